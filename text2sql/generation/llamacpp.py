"""Answers of an exported GGUF file, by llama.cpp's own server in this process."""

import json
import secrets
from collections.abc import Collection, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from text2sql.base.errors import UserError, install
from text2sql.base.params import GenerateParams, PromptParams
from text2sql.generation.backend import TEMPERATURE, Backend, Completion, stop_text, with_room
from text2sql.models import load
from text2sql.models.prompts import Prompt, answer_text, bare_text, messages, tokenize

try:
    import xllamacpp
except ModuleNotFoundError as missing:
    if missing.name != "xllamacpp":
        raise
    raise UserError(f"a GGUF file is run by llama.cpp, which is not installed; `{install('llamacpp')}`") from missing

TIMEOUT = 600.0  # seconds of one answer
ENDS = {"eos": "stop", "word": "stop", "limit": "length"}  # llama.cpp's words for how an answer ended


class LlamaCpp(Backend):
    """Completes by a GGUF file, on the CPU, one prompt at a time.

    The file is given the prompts as the token ids that the model which it was made from (`pointer`) reads, and is
    refused where its own chat template and tokenizer make others of them: then whoever uses it asks another question
    than the one that is measured. Each row is read from its first token on, so that an answer does not depend on the
    rows before it.
    """

    def __init__(self, file: Path, pointer: dict[str, Any], prompt: PromptParams, config: GenerateParams) -> None:
        if not file.is_file():
            raise UserError(f"{file}: no such file; run `python -m text2sql export`")
        self.file, self.prompt, self.config = file, prompt, config
        self.tokenizer = load.load_tokenizer(pointer)
        self.limit = load.max_positions(load.load_config(pointer))

    def complete(
        self, prompts: Sequence[Prompt], seeds: Sequence[int | None], done: Collection[int], share: tuple[int, int]
    ) -> Iterator[dict[int, Completion]]:
        new = self.config.max_new_tokens
        ids = list(map(self.reads, prompts))
        fits, too_long = with_room(ids, self.limit, new)
        if share[0] == 0 and too_long.keys() - done:
            yield too_long
        todo = [index for index in fits[share[0] :: share[1]] if index not in done]
        if not todo:
            return
        served = Served(self.file, max(len(ids[index]) for index in fits) + new)
        for index in todo:
            if (read := served.prompt_ids(prompts[index], self.prompt)) != ids[index]:
                raise UserError(f"{self.file}: {difference(read, ids[index])}; export it again")
        for index in todo:
            yield {index: self.answer(served, ids[index], seeds[index], stop_text(prompts[index], self.prompt.chat))}

    def reads(self, prompt: Prompt) -> list[int]:
        return tokenize(prompt, self.tokenizer, self.prompt)

    def fits(self, prompt: Prompt) -> bool:
        length = len(self.reads(prompt))
        return self.limit is None or length + self.config.max_new_tokens <= self.limit

    def answer(self, served: "Served", ids: list[int], seed: int | None, stop: str | None) -> Completion:
        """One prompt's answer: its tokens as the model's own tokenizer writes them."""
        reply = served.complete(ids, self.config.max_new_tokens, seed, stop)
        text = answer_text(reply["tokens"], self.tokenizer)
        return Completion(text, len(ids), reply["tokens_predicted"], ENDS.get(reply["stop_type"], reply["stop_type"]))


class Served:
    """A GGUF file behind llama.cpp's server, on a port and with a key of its own. `tokens`: prompt and answer together.

    Raises UserError for a file that llama.cpp cannot open.
    """

    def __init__(self, file: Path, tokens: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx = tokens
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        params.port = 0
        self.key = secrets.token_hex(16)
        params.api_keys = [self.key]
        # What would let an answer depend on the machine's free memory, or on earlier answers.
        params.fit_params = params.cache_prompt = False
        params.cache_ram_mib = params.n_ctx_checkpoints = 0
        params.ui = params.warmup = False
        params.verbosity = 0
        try:
            self.server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise UserError(f"{file}: llama.cpp cannot open it ({error}); run `python -m text2sql export`") from error
        self.file, self.address = file, urlsplit(self.server.listening_address)
        # A server that is let go of before its loop has begun waits for ever for the loop's end; an answer shows that
        # it has.
        self.ask("/completion", {"prompt": [0], "n_predict": 0})

    def prompt_ids(self, prompt: Prompt, config: PromptParams) -> list[int]:
        """The token ids that a prompt is for the file: by its own chat template where a chat, and its own tokenizer."""
        if not config.chat:
            return self.ids(bare_text(prompt))
        body = {"messages": messages(prompt, config.system), "chat_template_kwargs": config.chat_kwargs}
        return self.ids(self.ask("/apply-template", body)["prompt"])

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, with what the tokenizer puts around it."""
        return self.ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def complete(self, ids: list[int], max_new_tokens: int, seed: int | None, stop: str | None) -> dict[str, Any]:
        """llama.cpp's answer to token ids, up to the text `stop` where there is one: greedy, or sampled at TEMPERATURE
        alone where there is a seed."""
        how = {"temperature": 0.0} if seed is None else {"temperature": TEMPERATURE, "seed": seed}
        asked = {"prompt": ids, "n_predict": max_new_tokens, "samplers": ["temperature"], "return_tokens": True}
        ends = {"stop": [stop]} if stop else {}
        return self.ask("/completion", asked | how | ends | {"cache_prompt": False})

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to one call. Raises UserError with llama.cpp's own words where it refuses."""
        connection = HTTPConnection(str(self.address.hostname), self.address.port, timeout=TIMEOUT)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            reply = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            said = " ".join(str(reply.get("error", {}).get("message", reply)).split())[:200]
            raise UserError(f"{self.file}: llama.cpp refuses {path} ({said}); export it again")
        return reply


def difference(read: list[int], measured: list[int]) -> str:
    """Where two readings of one prompt part."""
    pairs = zip(read, measured, strict=False)
    place = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(read), len(measured)))
    return f"it reads a prompt as other tokens than the model that it was made from (from token {place + 1} on)"
