"""Supervised fine-tuning of a LoRA adapter, with the loss on the completion alone."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedTokenizerBase, set_seed

from text2sql.base.errors import UserError
from text2sql.base.files import atomic_write, new_folder, write_json
from text2sql.base.machine import machine
from text2sql.base.params import FinetuneParams, PromptParams
from text2sql.base.text import first_line
from text2sql.dataset.examples import Retriever
from text2sql.models import adapters, load, prompts
from text2sql.sql.context import schema_of
from text2sql.training import memory
from text2sql.training.progress import LOWER
from text2sql.training.trainer import CompletionTrainer, last_complete_checkpoint

# Initialisations that take the adapter's start out of the base's weights.
MUTATING = ("pissa", "olora")


def finetune(
    table: pd.DataFrame,
    pointer: dict[str, Any],
    prompt: PromptParams,
    config: FinetuneParams,
    seed: int,
    *,
    adapter_folder: Path,
    metrics_folder: Path,
    work: Path,
) -> dict[str, Any]:
    """Trains an adapter on the table's rows and writes it, its loss curves and its counts.

    work: folder for checkpoints; a rerun goes on from the last one there, and it is removed at the end.
    Returns measurements that differ from run to run: tokens per second (real ones, and those computed, padding
    included), the device, and on a GPU its peak memory in GiB. Raises UserError when no row fits `max_length`, when
    the loss is not a number, when memory is short, and for what this machine or model cannot do.
    """
    state = PartialState()  # of several processes, each has its own card from here on
    tokenizer = load.load_tokenizer(pointer)
    rows, held_rows = hold_out(table, config.eval_rows)
    examples, too_long = build_examples(rows, tokenizer, prompt, config.max_length, config.shots, rows)
    held, held_too_long = build_examples(held_rows, tokenizer, prompt, config.max_length, config.shots, rows)
    for name, fits, there in (("training", examples, rows), ("held-out", held, held_rows)):
        if len(there) and not fits:
            problem = f"none of {len(there)} {name} rows fits {config.max_length}"
            raise UserError(f"params.yaml, finetune.max_length: {problem}; raise it")

    with memory.clear_errors(config):
        model = add_adapter(pointer, config, seed, work)
        trainer = CompletionTrainer(model, tokenizer, examples, held, config, seed, work)
        with state.main_process_first():
            checkpoint = last_complete_checkpoint(work)
        start = time.monotonic()
        trainer.train(resume_from_checkpoint=checkpoint)
        seconds = time.monotonic() - start
    check_weights(model)

    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled  # then all processes take part in collecting
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    tokens, computed = trainer.progress.counts["tokens"], trainer.progress.counts["computed"]
    if trainer.is_world_process_zero():
        write_adapter(model, pointer, adapter_folder, work, weights)
        for name in ("loss", "eval_loss"):
            write_curve(metrics_folder / f"{name}.tsv", name, trainer.state.log_history)
        prompts_only = [example["labels"].count(-100) for example in examples]
        write_json(metrics_folder / "prompt_tokens.json", {"limit": config.max_length, "tokens": prompts_only})
        counts = {
            "rows": len(examples),
            "eval_rows": len(held),
            "too_long": too_long + held_too_long,
            "steps": trainer.state.global_step,
            "kept_step": trainer.state.best_global_step if config.keep == "best" else trainer.state.global_step,
            "tokens": tokens,
            "computed_tokens": computed,
            "padding_share": round(max(0, 1 - tokens / computed), 4),
            "shared_share": round(max(0, 1 - computed / tokens), 4),
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "machine": machine(torch.get_num_threads()) | {"device": measured_device()["device"]},
        }
        write_json(metrics_folder / "summary.json", counts)
        shutil.rmtree(work)
    # After a resume the seconds are those of the rest alone, so a rate over all tokens would flatter.
    rates = {"tokens_per_second": tokens, "computed_tokens_per_second": computed}
    return measured_device() | ({} if checkpoint else {name: round(n / seconds, 1) for name, n in rates.items()})


def build_examples(
    table: pd.DataFrame,
    tokenizer: PreTrainedTokenizerBase,
    prompt: PromptParams,
    max_length: int,
    shots: int = 0,
    others: pd.DataFrame | None = None,
) -> tuple[list[dict], list[str]]:
    """Tokenised examples, and the ids of rows longer than max_length.

    An example has `input_ids`, `labels` that mask the prompt, and `schema`, a number that rows with equal contexts and
    languages share: their prompts begin alike.
    shots: how many rows of `others` stand before each, chosen as before an evaluation question, but never one that asks
    the same; those that do not fit are left out, the least alike first. A row that is too long alone is left out whole:
    cut SQL would teach the model to stop in the middle.
    """
    templates = prompts.read_templates(prompt)
    pool = [] if others is None or not shots else others.to_dict("records")
    retriever = Retriever(pool)
    examples, too_long = [], []
    schemas: dict[tuple[str, str], int] = {}
    for row in table.to_dict("records"):
        schema = schemas.setdefault((row["language"], schema_of(row["context"])), len(schemas))
        after = prompts.completion_ids(row["answer"], tokenizer)
        shown = [pool[place] for place in retriever.nearest(row, shots, unlike=True)]
        before = prompts.prompt_ids(prompts.with_examples(row, shown, templates, prompt), tokenizer, prompt.chat)
        while shown and len(before) + len(after) > max_length:
            shown.pop()
            before = prompts.prompt_ids(prompts.with_examples(row, shown, templates, prompt), tokenizer, prompt.chat)
        if len(before) + len(after) > max_length:
            too_long.append(row["id"])
        else:
            examples.append({"input_ids": before + after, "labels": [-100] * len(before) + after, "schema": schema})
    return examples, too_long


def hold_out(table: pd.DataFrame, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits a table into rows to train on and at most `count` rows, of whole databases, to follow the loss on.

    Databases are tried in the order of their names' hashes, so that no seed or parameter moves a row. Where every
    database is larger than `count`, the smallest is held out; where there is only one, rows of it are.
    Raises UserError when nothing would be left to train on.
    """
    if count >= len(table):
        raise UserError(f"params.yaml, finetune.eval_rows: {count} of {len(table)} rows leaves none to train; lower it")
    sizes = table["db_id"].value_counts()
    unit = "db_id" if len(sizes) > 1 else "id"
    sizes = table[unit].value_counts()
    held: list[str] = []
    for name in sorted(sizes.index, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if sum(sizes[held]) + sizes[name] <= count:
            held.append(name)
    if count and not held:
        held = [min(sizes.index, key=lambda name: (sizes[name], name))]
    chosen = table[unit].isin(held)
    return table[~chosen], table[chosen]


def add_adapter(pointer: dict[str, Any], config: FinetuneParams, seed: int, work: Path) -> PeftModel:
    """The base model with a fresh LoRA adapter, as `finetune.lora` says in PEFT's own words.

    Where the start of the adapter is taken out of the base, it is kept in work/initial: `write_adapter` needs it.
    """
    base = load.load_model(pointer, quantization=config.quantization, attention=config.attention)
    set_seed(seed)
    settings = config.lora.model_dump(exclude={"loraplus_lr_ratio"})
    try:
        model: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    except (ValueError, TypeError, ImportError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"params.yaml, finetune.lora: PEFT says: {first_line(error)}; fix it") from error
    if str(config.lora.init_lora_weights).startswith(MUTATING):
        first = os.environ.get("RANK", "0") == "0"  # of several processes, one writes
        model.save_pretrained(work / "initial", save_embedding_layers=False, is_main_process=first)
    return model


def check_weights(model: PeftModel) -> None:
    """Raises UserError when the adapter is no longer made of numbers, which the last step's loss cannot show."""
    if not all(torch.isfinite(p).all() for p in model.parameters() if p.requires_grad):
        raise UserError(f"the adapter's weights are no numbers after the last step; {LOWER}")


def write_curve(path: Path, name: str, history: list[dict[str, Any]]) -> None:
    """One loss by step, from the trainer's log, as a table; only its head where nothing was logged."""
    with atomic_write(path) as file:
        file.write(f"step\t{name}\n")
        file.writelines(f"{entry['step']}\t{entry[name]:.4f}\n" for entry in history if name in entry)


def write_adapter(
    model: PeftModel, pointer: dict[str, Any], folder: Path, work: Path, weights: dict[str, Any] | None = None
) -> None:
    """Saves a PEFT model's adapter with the base model's own name in place of this machine's path to it.

    weights: the model's state, where its own tensors are shards. An adapter whose start was taken out of the base is
    saved as the plain LoRA of twice the rank that it equals, so that it fits the untouched base.
    """
    initial = work / "initial"
    how: dict[str, Any] = {"save_embedding_layers": False}
    if initial.is_dir():
        how["path_initial_model_for_weight_conversion"] = str(initial)
    for config in model.peft_config.values():
        config.base_model_name_or_path = pointer["name"]
        config.revision = pointer.get("revision")
    with new_folder(folder) as temporary:
        model.save_pretrained(str(temporary), state_dict=weights, **how)
        (temporary / "README.md").unlink(missing_ok=True)
        adapters.write_settings(temporary, adapters.read_settings(temporary))


def measured_device() -> dict[str, Any]:
    """The device's name and, on a GPU, the most memory this process has held there, in GiB."""
    if not torch.cuda.is_available():
        return {"device": "CPU"}
    peak = torch.cuda.max_memory_allocated() / 2**30
    return {"device": torch.cuda.get_device_name(), "gpu_peak_gib": round(peak, 2)}
