"""Answers by vLLM in this process."""

import contextlib
import os
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from text2sql.base.errors import UserError, install
from text2sql.base.params import GenerateParams, PromptParams
from text2sql.generation.backend import TEMPERATURE, Backend, Completion, stop_text, with_room
from text2sql.models import adapters, load, pin
from text2sql.models.prompts import Prompt, answer_text, opened_reasoning, tokenize

# vLLM would start its engine as a process of its own, forked from this one, which has loaded other libraries: it hangs.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
try:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest
except ModuleNotFoundError as missing:
    if missing.name != "vllm":
        raise
    line = f"params.yaml, generate.backend: vllm is not installed; `{install('vllm')}` on a GPU machine"
    raise UserError(line) from missing

ROWS = 1024  # handed over at once; vLLM makes its own batches of them
START_SECONDS = 900.0  # until its engine answers: ten times what a small model took on an H200, compilation included


class VLLM(Backend):
    """Completes by vLLM in this process, which batches by itself."""

    def __init__(
        self, pointer: dict[str, Any], adapter: Path | None, prompt: PromptParams, config: GenerateParams
    ) -> None:
        self.prompt, self.config = prompt, config
        self.tokenizer = load.load_tokenizer(pointer)
        options: dict[str, Any] = {"quantization": "bitsandbytes"} if config.quantization == "nf4" else {}
        self.lora = None
        if adapter is not None:
            rank = adapters.read_settings(adapter)["r"]
            options |= {"enable_lora": True, "max_lora_rank": max(8, 1 << (rank - 1).bit_length())}
            self.lora = LoRARequest("adapter", 1, str(adapter))
        options["dtype"] = str(load.number_format(config.dtype)).removeprefix("torch.")
        options["trust_remote_code"] = pin.runs_own_code(pointer)
        with time_limit(START_SECONDS):
            self.llm = LLM(model=str(pin.weights_folder(pointer)), seed=0, **options)
        self.limit = self.llm.llm_engine.model_config.max_model_len

    def complete(
        self, prompts: Sequence[Prompt], seeds: Sequence[int | None], done: Collection[int], share: tuple[int, int]
    ) -> Iterator[dict[int, Completion]]:
        ids = list(map(self.reads, prompts))
        fits, too_long = with_room(ids, self.limit, self.config.max_new_tokens)
        if share[0] == 0 and too_long.keys() - done:
            yield too_long
        todo = [index for index in fits if index not in done][share[0] :: share[1]]
        for start in range(0, len(todo), ROWS):
            piece = todo[start : start + ROWS]
            results = self.llm.generate(
                [{"prompt_token_ids": ids[index]} for index in piece],
                [self.sampling(prompts[index], seeds[index]) for index in piece],
                lora_request=self.lora,
                use_tqdm=False,
            )
            yield {
                index: Completion(
                    opened_reasoning(ids[index], self.tokenizer) + answer_text(list(one.token_ids), self.tokenizer),
                    len(ids[index]),
                    len(one.token_ids),
                    one.finish_reason,
                )
                for index, one in zip(piece, (result.outputs[0] for result in results), strict=True)
            }

    def reads(self, prompt: Prompt) -> list[int]:
        return tokenize(prompt, self.tokenizer, self.prompt)

    def fits(self, prompt: Prompt) -> bool:
        return len(self.reads(prompt)) + self.config.max_new_tokens <= self.limit

    def sampling(self, prompt: Prompt, seed: int | None) -> SamplingParams:
        """How one prompt is answered: greedily, or drawn by its seed."""
        temperature = 0.0 if seed is None else TEMPERATURE
        stop = stop_text(prompt, self.prompt.chat)
        return SamplingParams(max_tokens=self.config.max_new_tokens, temperature=temperature, seed=seed, stop=stop)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends this process with one line where what stands within takes longer.

    From a thread of its own, as what hangs may hang outside of Python, where no exception reaches it.
    """

    def end() -> None:
        line = f"vLLM has not started within {seconds:.0f} seconds; set generate.backend: transformers, or see its log"
        print(f"\nerror: {line}", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
