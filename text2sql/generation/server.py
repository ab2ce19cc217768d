"""Completions from a server that speaks OpenAI's API: vLLM, SGLang, TGI, `transformers serve`, or OpenAI itself."""

import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from openai import APIConnectionError, APIError, APIStatusError, OpenAI
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from text2sql.base.endpoint import KEY_VARIABLE, TRANSIENT, NoAnswer, check_address, key_for, retry_after, strike_out
from text2sql.base.errors import UserError
from text2sql.base.params import GenerateParams
from text2sql.generation.backend import TEMPERATURE, Backend, Completion
from text2sql.models.prompts import Prompt, bare_text, messages

ATTEMPTS = 5  # at one answer
LONGEST_WAIT = 60.0  # seconds between two attempts
TIMEOUT = 600.0  # seconds of one attempt: a small machine's server answers one prompt after the other
TOO_LONG = re.compile(r"context.length|context.window|too long|too many tokens|inputs.? tokens", re.IGNORECASE)


class Server(Backend):
    """Completes by the server at config.base_url, which knows the arm as config.models says; each row by itself.

    chat: the prompt goes as the user's turn of a chat, to the server's chat template; else as bare text.
    """

    def __init__(self, chat: bool, config: GenerateParams, arm: str) -> None:
        if config.base_url is None:
            raise UserError("params.yaml, generate.base_url: backend openai needs the server's address")
        check_address(config.base_url, "params.yaml, generate.base_url")
        self.chat, self.config, self.name = chat, config, config.models.get(arm, arm)
        self.key = key_for(config.base_url, "generate.base_url")
        self.client = OpenAI(api_key=self.key or "none", base_url=config.base_url, max_retries=0, timeout=TIMEOUT)

    def complete(
        self, prompts: Sequence[Prompt], seeds: Sequence[int | None], done: Collection[int], share: tuple[int, int]
    ) -> Iterator[dict[int, Completion]]:
        todo = [index for index in range(len(prompts)) if index not in done and index % share[1] == share[0]]
        pool = ThreadPoolExecutor(self.config.concurrency)
        try:
            asked = {pool.submit(self.ask, prompts[index], seeds[index]): index for index in todo}
            for future in as_completed(asked):
                yield {asked[future]: future.result()}
        finally:
            pool.shutdown(cancel_futures=True)

    def fits(self, prompt: Prompt) -> bool:
        return True

    def ask(self, prompt: Prompt, seed: int | None) -> Completion:
        """One completion, in at most ATTEMPTS attempts with growing, jittered waits between them. Raises UserError."""
        backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)

        def wait(state: RetryCallState) -> float:
            return min(LONGEST_WAIT, state.outcome.exception().wait or 0.0) + backoff(state)  # type: ignore[union-attr]

        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS), wait=wait, retry=retry_if_exception_type(NoAnswer), reraise=True
        )
        try:
            return retrying(self.attempt, prompt, seed)
        except NoAnswer as failure:
            raise UserError(
                f"{self.client.base_url}: no answer in {ATTEMPTS} attempts, the last: {failure};"
                " see to the server and run again, finished rows are kept"
            ) from None

    def attempt(self, prompt: Prompt, seed: int | None) -> Completion:
        """One attempt. Raises NoAnswer for what may pass, UserError for what will not."""
        how: dict[str, Any] = {"model": self.name, "max_tokens": self.config.max_new_tokens}
        how |= {"temperature": 0.0} if seed is None else {"temperature": TEMPERATURE, "seed": seed}
        try:
            if self.chat:
                turns: Any = messages(prompt)
                reply: Any = self.client.chat.completions.create(messages=turns, **how)
                choice = reply.choices[0]
                content = choice.message.content or ""
            else:
                reply = self.client.completions.create(prompt=bare_text(prompt), **how)
                choice = reply.choices[0]
                content = choice.text or ""
        except APIStatusError as error:
            said = strike_out(" ".join(error.message.split())[:200], self.key)
            if error.status_code in (400, 413, 422) and TOO_LONG.search(error.message):
                return Completion("", 0, 0, "prompt_too_long")
            if error.status_code in TRANSIENT or error.status_code >= 500:
                raise NoAnswer(f"status {error.status_code}", retry_after(error.response.headers)) from error
            remedy = {401: f"check {KEY_VARIABLE}", 404: "check generate.models and generate.base_url"}
            raise UserError(
                f"{self.client.base_url}: status {error.status_code} ({said});"
                f" {remedy.get(error.status_code, 'fix the generate section of params.yaml')}"
            ) from None
        except APIConnectionError as error:  # a timeout too
            raise NoAnswer(strike_out(str(error), self.key)) from error
        except (APIError, AttributeError, IndexError, TypeError, ValueError) as error:
            raise NoAnswer("an answer that is not of the API's form") from error
        usage = reply.usage
        return Completion(
            content,
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
            choice.finish_reason or "stop",
        )
