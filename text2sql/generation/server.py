"""Completions from a server that speaks OpenAI's API: vLLM, llama.cpp, Ollama, `transformers serve`, OpenAI itself …"""

import asyncio
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from text2sql.base.endpoint.address import Endpoint, key_for
from text2sql.base.endpoint.client import CHAT, Client, Traffic, options
from text2sql.base.endpoint.cost import body_tokens, check_cost, cost_usd
from text2sql.base.endpoint.failures import NoAnswer, Refused
from text2sql.base.errors import UserError
from text2sql.base.params import GenerateParams, PromptParams, check, read_yaml
from text2sql.generation.backend import TEMPERATURE, Backend, Completion, stop_text
from text2sql.models.prompts import Prompt, bare_text, messages

TEXT = "/completions"


class Server(Backend):
    """Completes by the server at config.base_url, which knows the arm as config.models says; each row by itself.

    With prompt.chat the prompt goes as the turns of a chat to the server's chat template, with prompt.chat_kwargs for
    it (`chat_template_kwargs`, which vLLM, SGLang and llama.cpp take); else as bare text. section: what describes the
    server, for error messages.
    """

    def __init__(self, prompt: PromptParams, config: GenerateParams, arm: str, section: str = "generate") -> None:
        self.prompt, self.config, self.traffic = prompt, config, Traffic()
        self.endpoint = Endpoint(section, config, config.models.get(arm, arm), f"{section}.models")
        key_for(self.endpoint)  # a bad address or a missing key shows before any row does

    def complete(
        self, prompts: Sequence[Prompt], seeds: Sequence[int | None], done: Collection[int], share: tuple[int, int]
    ) -> Iterator[dict[int, Completion]]:
        bodies = {
            index: self.body(prompts[index], seeds[index])
            for index in range(len(prompts))
            if index not in done and index % share[1] == share[0]
        }
        if self.config.max_cost_usd is not None:
            prompt_tokens = sum(map(body_tokens, bodies.values()))
            check_cost(self.endpoint, len(bodies), prompt_tokens, len(bodies) * self.config.max_new_tokens)
        self.traffic = Traffic()
        ready: asyncio.Queue[dict[int, Completion] | None] = asyncio.Queue()
        with asyncio.Runner() as runner:
            asking = runner.get_loop().create_task(self.ask_all(bodies, ready, answered=bool(done)))
            asking.add_done_callback(lambda _: ready.put_nowait(None))
            while (piece := runner.run(ready.get())) is not None:
                yield piece
            asking.result()
        self.tell()

    def reads(self, prompt: Prompt) -> str:
        return bare_text(prompt)  # the server makes the tokens

    def fits(self, prompt: Prompt) -> bool:
        return True

    def body(self, prompt: Prompt, seed: int | None) -> dict[str, Any]:
        """The request about one prompt; with a seed it is sampled."""
        sampled = seed is not None
        temperature = TEMPERATURE if sampled and self.config.temperature is not None else self.config.temperature
        body: dict[str, Any] = {"model": self.endpoint.model}
        if self.prompt.chat:
            body |= {"messages": messages(prompt, self.prompt.system)}
            body |= {"chat_template_kwargs": self.prompt.chat_kwargs} if self.prompt.chat_kwargs else {}
        else:
            body["prompt"] = bare_text(prompt)
            if stop := stop_text(prompt, chat=False):
                body["stop"] = [stop]
        body |= options(self.config, self.config.max_new_tokens, temperature)
        if not self.prompt.chat:  # the older call knows the older name alone
            body["max_tokens"] = body.pop("max_completion_tokens", self.config.max_new_tokens)
        return body | ({"seed": seed} if sampled else {})

    async def ask_all(self, bodies: dict[int, dict], ready: asyncio.Queue, answered: bool) -> None:
        """Puts the completion of every body into `ready` as it comes.

        Raises UserError when going on is useless, and at the end for rows that got no answer.
        """
        held: dict[int, Completion] = {}  # refusals, while they may be about all rows: a piece that was yielded is kept
        async with Client(self.endpoint, self.traffic, answered) as client:

            async def ask(index: int) -> None:
                encoded = json.dumps(bodies[index], separators=(",", ":")).encode()
                try:
                    answer = await client.ask(CHAT if self.prompt.chat else TEXT, encoded, self.config.max_new_tokens)
                    ready.put_nowait({index: completion(answer)} | held)
                    held.clear()
                except Refused as refusal:
                    self.traffic.refused[index] = str(refusal)
                    reason = "prompt_too_long" if refusal.too_long else "refused"
                    held[index] = Completion("", 0, 0, reason, str(refusal))
                except NoAnswer as failure:
                    self.traffic.given_up[index] = f"{failure} (after {self.config.max_attempts} attempts)"

            await client.for_each(bodies, ask)
        if held:
            ready.put_nowait(held)
        if self.traffic.given_up:
            reason = next(iter(self.traffic.given_up.values()))
            raise UserError(
                f"{self.endpoint.url}: {len(self.traffic.given_up)} of {len(bodies)} rows got no answer, the first:"
                f" {reason}; see to the server and run again, finished rows are kept"
            )

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        price = self.config.prices.get(self.endpoint.model)
        return cost_usd(price, prompt_tokens, completion_tokens, self.endpoint.transport)

    def record(self) -> dict[str, Any]:
        traffic = self.traffic
        cost = self.cost(traffic.prompt_tokens, traffic.answer_tokens)
        return {
            "sent": traffic.sent,
            "retries": dict(sorted(traffic.retries.items())),
            "refused": len(traffic.refused),
            "prompt_tokens": traffic.prompt_tokens,
            "completion_tokens": traffic.answer_tokens,
            "cost_usd": "unknown" if cost is None else round(cost, 6),
        }

    def tell(self) -> None:
        """Says on stderr what was refused and what was paid; nothing where neither is known."""
        if self.traffic.refused:
            words = next(iter(self.traffic.refused.values()))
            refused = f"{len(self.traffic.refused)} rows without SQL, the first: {words}"
            print(f"{self.endpoint.model}: {refused}", file=sys.stderr)
        if isinstance(cost := self.record()["cost_usd"], float) and self.traffic.answers:
            print(f"{self.endpoint.model}: ${cost:.4f} for {self.traffic.answers} answers", file=sys.stderr)


def described(path: Path, prompt: PromptParams, config: GenerateParams, arm: str) -> Server:
    """The server of a reference arm, as its file describes it.

    The file has `model`, what the server calls the model, and any keys of the section `generate` that differ there;
    `chat: false` asks with bare text. Raises UserError for a file that is missing, or names no model, or has a key or
    value that the section does not take.
    """
    given = read_yaml(path)
    if not isinstance(given, dict) or not isinstance(given.get("model"), str):
        raise UserError(f"{path}: names no model; write `model:` with what the server calls it, and `base_url:`")
    values = config.model_dump() | {key: value for key, value in given.items() if key not in ("model", "chat")}
    asked = check(values | {"models": {arm: given["model"]}}, path, GenerateParams)
    chat = given.get("chat") is not False
    return Server(prompt.model_copy(update={"chat": chat}), asked, arm, str(path))


def completion(answer: dict[str, Any]) -> Completion:
    """A server's answer as a completion."""
    return Completion(
        answer["content"] or "",
        answer["prompt_tokens"] or 0,
        answer["completion_tokens"] or 0,
        answer["finish_reason"] or "stop",
        answer["refusal"],
    )
