"""The adapter merged into its base, as a model that needs neither PEFT nor this project, and a check of it."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM

from text2sql.base.errors import UserError
from text2sql.base.files import new_folder, write_json
from text2sql.base.params import PromptParams, read_params
from text2sql.base.resume import FOLDER, file_key
from text2sql.dataset.rows import read_table
from text2sql.generation.local import complete_padded
from text2sql.models import adapters, load, pin, prompts
from text2sql.publish import portable
from text2sql.publish.finished import check_finished
from text2sql.publish.params import ADAPTER, MERGED, RECORD

CHECKED = 32  # evaluation prompts that merged and unmerged model both answer
BATCH = 16


def publish_merged() -> dict[str, Any]:
    """Merges the finished run's adapter into its base, and writes model and check to `publish/`.

    Returns the check, `agreement`. The record of it also names adapter and base, so that no other run's model is taken
    for this one's. Raises UserError when training is not finished, and from `merge`.
    """
    prompt, generate = read_params("prompt", "generate")
    pointer, adapter, merged = pin.read_pointer("models/base"), Path(ADAPTER), Path(MERGED)
    check_finished("finetune")  # arms that need the merged model wait for it
    RECORD.unlink(missing_ok=True)
    merge(pointer, adapter, merged)
    table = read_table("data/selected/eval.parquet")
    found = agreement(table, pointer, adapter, merged, prompt, generate.max_new_tokens)
    write_json(RECORD, found | {"adapter": file_key(adapter), "base": pointer})
    return found


def merge(pointer: dict[str, Any], adapter: Path, folder: Path) -> None:
    """Writes the base that `pointer` names, with the adapter merged in, and its tokenizer, to `folder`.

    The weights have the base's own 16-bit format, or bf16 where it has none. On the CPU, where the adapter's product
    is added in fp32 before rounding it, so that the bytes do not hang on a card. transformers 4 opens the folder too.
    Its generation_config.json says what was measured: greedy, up to the stop tokens. Raises UserError when there is no
    adapter, and when the base's weights are quantised.
    """
    adapters.check(adapter)
    dtype = dtype_of(pointer)
    base = AutoModelForCausalLM.from_pretrained(pin.weights_folder(pointer), dtype=dtype)
    tokenizer = load.load_tokenizer(pointer)
    stops, begin = load.stop_tokens(base, tokenizer), base.generation_config.bos_token_id
    merged = adapters.merged(base, adapter)
    # Beside DVC's outs, so that a kill leaves nothing that git would see.
    unfinished = FOLDER / "merge" / "model"
    with new_folder(unfinished) as temporary:
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        portable.save_greedy(temporary, stops, begin, tokenizer.pad_token_id)
        portable.copy_sentencepiece(pin.weights_folder(pointer), temporary)
        portable.make_portable(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(unfinished, folder)


def dtype_of(pointer: dict[str, Any]) -> torch.dtype:
    """The 16-bit format of the base's weights, bf16 where they are wider. Raises UserError when they are quantised."""
    config = load.load_config(pointer)
    if getattr(config, "quantization_config", None):
        raise UserError(
            f"{pointer['name']}: its weights are quantised, and an adapter is merged into 16-bit ones; set resolve to"
            f" the unquantised model, or publish the adapter alone (publish/params.yaml, model: {ADAPTER})"
        )
    return config.dtype if config.dtype in (torch.bfloat16, torch.float16) else torch.bfloat16


def agreement(
    table: pd.DataFrame,
    pointer: dict[str, Any],
    adapter: Path,
    merged: Path,
    prompt: PromptParams,
    max_new_tokens: int,
) -> dict[str, Any]:
    """How far the merged model answers as base and adapter do, unmerged, in the same format, greedily.

    Both get the table's first CHECKED prompts that the model has room for. Returns prompts, agree, and differ: id and
    both texts of every prompt whose texts are not the same. Rounding makes a few of them.
    """
    dtype = dtype_of(pointer)
    tokenizer = load.load_tokenizer(pointer)
    templates = prompts.read_templates(prompt)
    model = adapters.attach(load.load_model(pointer, dtype), adapter)
    limit = load.max_positions(model.config)
    ids = {
        row["id"]: prompts.tokenize(prompts.build_prompt(row, templates, prompt), tokenizer, prompt)
        for row in table.to_dict("records")
    }
    chosen = [key for key in ids if limit is None or len(ids[key]) + max_new_tokens <= limit][:CHECKED]

    def answers(model: Any, name: str) -> list[str]:
        model.eval()
        stops = load.stop_tokens(model, tokenizer)
        batches = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
        return [
            prompts.answer_text(completion, tokenizer)
            for batch in tqdm(batches, f"generate {name}", unit=" batches")
            for completion in complete_padded(
                model, tokenizer, [ids[key] for key in batch], stops, max_new_tokens, [None] * len(batch)
            )
        ]

    before = answers(model, "unmerged")
    del model
    after = answers(load.load_model({"source": "folder", "name": str(merged)}, dtype), "merged")
    differ = [
        {"id": key, "unmerged": unmerged, "merged": text}
        for key, unmerged, text in zip(chosen, before, after, strict=True)
        if unmerged != text
    ]
    return {"prompts": len(chosen), "agree": len(chosen) - len(differ), "differ": differ}
