"""Supervised fine-tuning of a LoRA adapter, with the loss on the completion alone."""

import hashlib
import os
import re
import shutil
import sys
import time
from math import ceil
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedTokenizerBase, set_seed

from text2sql.base.errors import UserError
from text2sql.base.files import atomic_write, write_json
from text2sql.base.machine import machine
from text2sql.base.params import FinetuneParams, PromptParams
from text2sql.base.text import first_line
from text2sql.dataset.examples import Retriever
from text2sql.models import adapters, load, preflight, prompts
from text2sql.sql.context import schema_of
from text2sql.training import fidelity, float8, memory
from text2sql.training.progress import LOWER
from text2sql.training.trainer import CompletionTrainer, last_complete_checkpoint

# Initialisations that take the adapter's start out of the base's weights.
MUTATING = ("pissa", "olora")
STEPS, MOST_EPOCHS = 250, 5  # of finetune.epochs: auto


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
    included), the device, and on a GPU its peak memory in GiB. Raises UserError when no row fits `max_length` or the
    model's positions, when the loss is not a number, when memory is short, for what this machine or model cannot do,
    and when the adapter as saved is not the model that was trained.
    """
    if config.float8:
        float8.check(config, plain=not unusual_settings(config))
    state = PartialState()  # of several processes, each has its own card from here on
    tokenizer = load.load_tokenizer(pointer)
    positions = load.max_positions(load.load_config(pointer))
    limit = min(config.max_length, positions or config.max_length)
    rows, held_rows = hold_out(table, config.eval_rows)
    examples, too_long = build_examples(rows, tokenizer, prompt, limit, config.shots, rows)
    held, held_too_long = build_examples(held_rows, tokenizer, prompt, limit, config.shots, rows)
    for name, fits, there in (("training", examples, rows), ("held-out", held, held_rows)):
        if len(there) and not fits:
            remedy = "raise it" if limit == config.max_length else "the model has no more positions, so take another"
            problem = f"none of {len(there)} {name} rows fits {limit}"
            raise UserError(f"params.yaml, finetune.max_length: {problem}; {remedy}")
    needed = longest(table[table["id"].isin([*too_long, *held_too_long])], tokenizer, prompt)
    if needed and state.is_main_process:
        remedy = (
            f"finetune.max_length: {needed} keeps them" if limit == config.max_length else "the model takes no more"
        )
        left_out = f"{len(too_long) + len(held_too_long):,} of {len(table):,} training rows"
        print(f"note: {left_out} are longer than {limit:,} tokens and left out; {remedy}", file=sys.stderr)

    config = config.model_copy(update={"epochs": epochs_of(config, len(examples))})
    with memory.clear_errors(config):
        with state.main_process_first():
            if state.is_main_process:
                rehearse(pointer, config, examples, work / "rehearsal")
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
    measured = measured_device()
    if trainer.is_world_process_zero():
        if config.float8:
            float8.swap_out(model.get_base_model(), load.load_model(pointer, load.number_format(config.dtype)))
        expected = None if sharded else fidelity.example_logits(model.get_base_model(), examples)
        write_adapter(model, pointer, adapter_folder, work, weights)
        for name in ("loss", "eval_loss"):
            write_curve(metrics_folder / f"{name}.tsv", name, trainer.state.log_history)
        prompts_only = [example["labels"].count(-100) for example in examples]
        write_json(metrics_folder / "prompt_tokens.json", {"limit": limit, "tokens": prompts_only})
        counts = {
            "rows": len(examples),
            "eval_rows": len(held),
            "too_long": too_long + held_too_long,
            "longest": needed,
            "epochs": config.epochs,
            "steps": trainer.state.global_step,
            "kept_step": trainer.state.best_global_step if config.keep == "best" else trainer.state.global_step,
            "tokens": tokens,
            "computed_tokens": computed,
            "padding_share": round(max(0, 1 - tokens / computed), 4),
            "shared_share": round(max(0, 1 - computed / tokens), 4),
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "machine": machine(torch.get_num_threads()) | {"device": measured["device"]},
        }
        del model, trainer
        counts["saved_differs"] = check_saved(pointer, config, examples, expected, adapter_folder)
        write_json(metrics_folder / "summary.json", counts)
        shutil.rmtree(work)
    # After a resume the seconds are those of the rest alone, so a rate over all tokens would flatter.
    rates = {"tokens_per_second": tokens, "computed_tokens_per_second": computed}
    return measured | ({} if checkpoint else {name: round(n / seconds, 1) for name, n in rates.items()})


def epochs_of(config: FinetuneParams, rows: int) -> float:
    """How often the rows are trained on: `auto` is as many whole times as make STEPS steps, between 1 and MOST_EPOCHS.

    A few hundred rows seen once are too few steps to beat examples in the prompt (docs/arms.md has the measurement).
    """
    if config.epochs != "auto":
        return config.epochs
    steps = ceil(rows / (config.batch_size * config.accumulation))
    return float(min(MOST_EPOCHS, ceil(STEPS / steps)))


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
        before = prompts.tokenize(prompts.with_examples(row, shown, templates, prompt), tokenizer, prompt)
        while shown and len(before) + len(after) > max_length:
            shown.pop()
            before = prompts.tokenize(prompts.with_examples(row, shown, templates, prompt), tokenizer, prompt)
        if len(before) + len(after) > max_length:
            too_long.append(row["id"])
        else:
            examples.append({"input_ids": before + after, "labels": [-100] * len(before) + after, "schema": schema})
    return examples, too_long


def longest(table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, prompt: PromptParams) -> int | None:
    """The tokens of the longest row alone, its SQL included: the `max_length` that keeps all; None without rows."""
    templates = prompts.read_templates(prompt)
    return max(
        (
            len(prompts.tokenize(prompts.with_examples(row, [], templates, prompt), tokenizer, prompt))
            + len(prompts.completion_ids(row["answer"], tokenizer))
            for row in table.to_dict("records")
        ),
        default=None,
    )


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


def add_adapter(
    pointer: dict[str, Any], config: FinetuneParams, seed: int, work: Path, dtype: torch.dtype | None = None
) -> PeftModel:
    """The base model with a fresh LoRA adapter, as `finetune.lora` says in PEFT's own words.

    Where the start of the adapter is taken out of the base, it is kept in work/initial: `write_adapter` needs it.
    dtype: in place of `finetune.dtype`.
    """
    dtype = dtype or load.number_format(config.dtype)
    base = load.load_model(pointer, dtype, quantization=config.quantization, attention=config.attention)
    set_seed(seed)
    settings = config.lora.model_dump(exclude={"loraplus_lr_ratio"})
    if settings["target_modules"] == "all-linear":
        own = settings.get("exclude_modules") or []
        patterns = [own] if isinstance(own, str) else [rf"(.*\.)?{re.escape(name)}" for name in own]
        settings["exclude_modules"] = "|".join(filter(None, [*patterns, adapters.left_alone(base)])) or None
    try:
        model: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    except (ValueError, TypeError, AttributeError, ImportError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"params.yaml, finetune.lora: PEFT says: {first_line(error)}; fix it") from error
    if str(config.lora.init_lora_weights).startswith(MUTATING):
        first = os.environ.get("RANK", "0") == "0"  # of several processes, one writes
        model.save_pretrained(work / "initial", save_embedding_layers=False, is_main_process=first)
    return model


def rehearse(pointer: dict[str, Any], config: FinetuneParams, examples: list[dict], folder: Path) -> None:
    """Raises UserError where an adapter, once trained, would be saved as another model: before it is trained.

    An adapter that is more than plain LoRA is made, moved as training might, saved, and loaded afresh. folder: for what
    is written, and removed. Weights that are shared out over cards are not rehearsed with.
    """
    unusual = unusual_settings(config)
    if not unusual or load.is_sharded():
        return
    settings = ", ".join(f"{name}: {value}" for name, value in unusual.items())
    asked = f"params.yaml, finetune.lora: with {settings}"
    size = preflight.parameters_of(load.load_config(pointer), "code_sha256" in pointer)
    dtype = torch.float32 if size <= preflight.SMALL else load.number_format(config.dtype)
    model = add_adapter(pointer, config, 0, folder, dtype)
    try:
        fidelity.disturb(model)
        expected = fidelity.example_logits(model.get_base_model(), examples)
        adapters.save(model, pointer, folder / "adapter", folder / "initial")
        del model
        found = fidelity.saved_differences(pointer, folder / "adapter", config, dtype, examples, expected)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of PEFT, for what it does not save or merge
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{asked} an adapter cannot be saved and loaded ({said}); leave one of them out") from error
    if not fidelity.is_same(found, dtype):
        where = "saved" if found["beside"] > preflight.TOLERANCE[dtype] else "merged"
        raise UserError(f"{asked} the adapter as {where} is not the model that was trained; leave one of them out")
    shutil.rmtree(folder)


def unusual_settings(config: FinetuneParams) -> dict[str, Any]:
    """What of `finetune.lora` makes an adapter more than B @ A beside linear layers of an untouched base."""
    settings = config.lora.model_dump(exclude={"loraplus_lr_ratio"})
    names = adapters.beyond_plain(settings)
    if str(config.lora.init_lora_weights).startswith(MUTATING):
        names = ["init_lora_weights", *names]
    if re.search("embed|wte|wpe", str(config.lora.target_modules)):
        names = [*names, "target_modules"]
    return {name: settings[name] for name in names}


def check_saved(
    pointer: dict[str, Any],
    config: FinetuneParams,
    examples: list[dict],
    expected: list[torch.Tensor] | None,
    folder: Path,
) -> dict[str, float] | None:
    """How far the saved adapter is from the model that was trained (`fidelity.saved_differences`), in two digits.

    None where weights were shared out over cards. Raises UserError, and removes the adapter, where it is another model.
    """
    if expected is None:
        print("finetune: weights are shared out over cards, so the saved adapter was not loaded again", file=sys.stderr)
        return None
    dtype = load.number_format(config.dtype)
    found = fidelity.saved_differences(pointer, folder, config, dtype, examples, expected)
    if not fidelity.is_same(found, dtype):
        shutil.rmtree(folder)
        apart = f"{max(found.values()):.0%} of the largest logit"
        raise UserError(
            f"the adapter as saved is not the model that was trained ({apart} apart), and was removed;"
            " make finetune.lora plainer, and report it"
        )
    return {name: float(f"{value:.1e}") for name, value in found.items()}


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
    """Saves the adapter of a model that `add_adapter` made with the same `work`; weights as in `adapters.save`."""
    adapters.save(model, pointer, folder, work / "initial", weights)


def measured_device() -> dict[str, Any]:
    """The device's name and, on a CUDA card, the most memory this process has held there, in GiB."""
    device, _ = load.device_and_dtype()
    if device != "cuda":
        return {"device": "CPU" if device == "cpu" else device}
    peak = torch.cuda.max_memory_allocated() / 2**30
    return {"device": torch.cuda.get_device_name(), "gpu_peak_gib": round(peak, 2)}
