"""Answers by vLLM in this process."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2sql.base.errors import UserError, install
from text2sql.base.files import read_json
from text2sql.generation import decode
from text2sql.generation.backend import Complete, Completion, with_room
from text2sql.models import load, pin, prompts

if TYPE_CHECKING:
    from text2sql.base.params import GenerateParams

VLLM_ROWS = 1024  # handed over at once; vLLM makes its own batches of them


def open_vllm(pointer: dict[str, Any], adapter: Path | None, chat: bool, config: "GenerateParams") -> Complete:
    """Completes by vLLM in this process, which batches by itself. Raises UserError where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(f"params.yaml, generate.backend: vllm is not installed; `{install('vllm')}` on a GPU machine")
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    tokenizer = load.load_tokenizer(pointer)
    options: dict[str, Any] = {"quantization": "bitsandbytes"} if config.quantization == "nf4" else {}
    lora = None
    if adapter is not None:
        rank = read_json(adapter / "adapter_config.json")["r"]
        options |= {"enable_lora": True, "max_lora_rank": max(8, 1 << (rank - 1).bit_length())}
        lora = LoRARequest("adapter", 1, str(adapter))
    llm = LLM(model=str(pin.weights_folder(pointer)), seed=0, **options)
    limit = llm.llm_engine.model_config.max_model_len

    def complete(texts, seeds, done, share):
        ids = [prompts.prompt_ids(text, tokenizer, chat) for text in texts]
        fits, too_long = with_room(ids, limit, config.max_new_tokens)
        if share[0] == 0 and too_long.keys() - done:
            yield too_long
        todo = [index for index in fits if index not in done][share[0] :: share[1]]
        for start in range(0, len(todo), VLLM_ROWS):
            piece = todo[start : start + VLLM_ROWS]
            sampling = [
                SamplingParams(
                    max_tokens=config.max_new_tokens,
                    temperature=0.0 if seeds[index] is None else decode.TEMPERATURE,
                    seed=seeds[index],
                )
                for index in piece
            ]
            inputs = [{"prompt_token_ids": ids[index]} for index in piece]
            results = [
                result.outputs[0] for result in llm.generate(inputs, sampling, lora_request=lora, use_tqdm=False)
            ]
            yield {
                index: Completion(one.text, len(ids[index]), len(one.token_ids), one.finish_reason)
                for index, one in zip(piece, results, strict=True)
            }

    return complete
