"""Greedy completions for a table's questions, in left-padded batches of about equal length."""

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2sql import models, prompts
from text2sql.files import json_line, write_jsonl
from text2sql.resume import whole_lines

if TYPE_CHECKING:
    import pandas as pd

    from text2sql.params import GenerateParams, PromptParams


def generate(
    table: "pd.DataFrame",
    pointer: dict[str, Any],
    adapter: Path | None,
    prompt: "PromptParams",
    config: "GenerateParams",
    *,
    out: Path,
    work: Path,
) -> dict[str, float]:
    """Writes one generation a row of the table, in its order: id, prompt_sha256, text (untouched), prompt_tokens,
    completion_tokens and finish_reason ("stop", "length", or "prompt_too_long" with an empty text).

    adapter: folder of a LoRA adapter, merged into the base before generation (the same numbers, 1.4 times the speed);
    None for the base model itself. work: folder where finished batches wait for a rerun.
    Returns tokens_per_second of what this run generated.
    """
    models.prepare_process()
    tokenizer = models.load_tokenizer(pointer)
    model = models.load_model(pointer)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    model.eval()
    stops = stop_tokens(model, tokenizer)

    templates = prompts.read_templates(prompt)
    texts = {row["id"]: prompts.build_prompt(row, templates, prompt) for row in table.to_dict("records")}
    ids = {key: prompts.prompt_ids(text, tokenizer, prompt.chat) for key, text in texts.items()}
    room = model.config.max_position_embeddings - config.max_new_tokens
    # A fixed order of length then id keeps the batches, and with them bf16 rounding, the same in every run.
    order = sorted((key for key in ids if len(ids[key]) <= room), key=lambda key: (-len(ids[key]), key))
    batches = [order[start : start + config.batch_size] for start in range(0, len(order), config.batch_size)]

    finished_path = work / "finished.jsonl"
    finished = {row["id"]: row for line in whole_lines(finished_path) for row in line["rows"]}
    tokens, start = 0, time.monotonic()
    with open(finished_path, "a", encoding="utf-8") as file, progress(len(order), out.stem) as bar:
        bar.update(sum(len(batch) for batch in batches if batch[0] in finished))
        for batch in batches:
            if batch[0] in finished:
                continue
            completions = complete([ids[key] for key in batch], model, tokenizer, stops, config.max_new_tokens)
            rows = [
                {
                    "id": key,
                    "prompt_sha256": hashlib.sha256(texts[key].encode()).hexdigest(),
                    "text": tokenizer.decode(completion, skip_special_tokens=True),
                    "prompt_tokens": len(ids[key]),
                    "completion_tokens": len(completion),
                    "finish_reason": "stop" if completion and completion[-1] in stops else "length",
                }
                for key, completion in zip(batch, completions, strict=True)
            ]
            # One line a batch: a kill in the middle leaves a torn line, and the whole batch is done again.
            file.write(json_line({"rows": rows}) + "\n")
            file.flush()
            os.fsync(file.fileno())
            finished |= {row["id"]: row for row in rows}
            tokens += sum(row["completion_tokens"] for row in rows)
            bar.set_postfix(tokens_per_second=f"{tokens / (time.monotonic() - start):.0f}")
            bar.update(len(batch))
    seconds = time.monotonic() - start

    too_long = {key: too_long_row(key, texts[key], len(ids[key])) for key in ids if key not in finished}
    write_jsonl(out, ((finished | too_long)[key] for key in ids))
    finished_path.unlink()
    return {"tokens_per_second": round(tokens / seconds, 1)} if tokens else {}


def complete(
    batch: list[list[int]], model: Any, tokenizer: Any, stops: set[int], max_new_tokens: int
) -> list[list[int]]:
    """The greedy continuation of each prompt: token ids up to and with its stop token, at most max_new_tokens."""
    import torch

    inputs = tokenizer.pad({"input_ids": batch}, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(stops),
            pad_token_id=tokenizer.pad_token_id,
        )
    return [up_to_stop(row, stops) for row in output[:, inputs["input_ids"].shape[1] :].tolist()]


def up_to_stop(tokens: list[int], stops: set[int]) -> list[int]:
    """The tokens up to and with the first stop token; what follows it in a batch is padding."""
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens) - 1)
    return tokens[: end + 1]


def stop_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a completion: the tokenizer's end of sequence and those of the model's own settings."""
    own = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}


def too_long_row(key: str, prompt: str, length: int) -> dict:
    """The generation of a prompt that the model has no room for: never cut, never silent."""
    return {
        "id": key,
        "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
        "text": "",
        "prompt_tokens": length,
        "completion_tokens": 0,
        "finish_reason": "prompt_too_long",
    }


def progress(total: int, name: str) -> Any:
    """A progress bar over rows."""
    from tqdm import tqdm

    return tqdm(total=total, unit=" rows", desc=f"generate {name}")
