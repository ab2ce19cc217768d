"""Supervised fine-tuning of a LoRA adapter, with the loss on the completion alone."""

import contextlib
import functools
import hashlib
import importlib.util
import inspect
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2sql.base.errors import UserError, install
from text2sql.base.files import atomic_write, read_json, write_json
from text2sql.base.text import first_line
from text2sql.models import load, pin, prompts
from text2sql.training import memory

if TYPE_CHECKING:
    import pandas as pd
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase, TrainerCallback
    from transformers.trainer_pt_utils import LengthGroupedSampler
    from trl import SFTConfig, SFTTrainer

    from text2sql.base.params import FinetuneParams, PromptParams

# Initialisations that take the adapter's start out of the base's weights.
MUTATING = ("pissa", "olora")


def build_examples(
    table: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", prompt: "PromptParams", max_length: int
) -> tuple[list[dict], list[str]]:
    """Tokenised examples (`input_ids`, and `labels` that mask the prompt), and the ids of rows longer than max_length.

    A row that is too long is left out whole: cut SQL would teach the model to stop in the middle.
    """
    templates = prompts.read_templates(prompt)
    examples, too_long = [], []
    for row in table.to_dict("records"):
        before = prompts.prompt_ids(prompts.build_prompt(row, templates, prompt), tokenizer, prompt.chat)
        after = prompts.completion_ids(row["answer"], tokenizer)
        if len(before) + len(after) > max_length:
            too_long.append(row["id"])
        else:
            examples.append({"input_ids": before + after, "labels": [-100] * len(before) + after})
    return examples, too_long


def hold_out(table: "pd.DataFrame", count: int) -> "tuple[pd.DataFrame, pd.DataFrame]":
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


def finetune(
    table: "pd.DataFrame",
    pointer: dict[str, Any],
    prompt: "PromptParams",
    config: "FinetuneParams",
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
    the loss is no number, when memory is short, and for what this machine or model cannot do.
    """
    load.prepare_process()
    from accelerate import PartialState

    state = PartialState()  # of several processes, each has its own card from here on
    tokenizer = load.load_tokenizer(pointer)
    rows, held_rows = hold_out(table, config.eval_rows)
    examples, too_long = build_examples(rows, tokenizer, prompt, config.max_length)
    held, held_too_long = build_examples(held_rows, tokenizer, prompt, config.max_length)
    for name, fits, there in (("training", examples, rows), ("held-out", held, held_rows)):
        if len(there) and not fits:
            problem = f"none of {len(there)} {name} rows fits {config.max_length}"
            raise UserError(f"params.yaml, finetune.max_length: {problem}; raise it")

    with clear_memory_errors(config):
        model = add_adapter(pointer, config, seed, work)
        progress = make_progress(sum(len(example["input_ids"]) for example in examples) * config.epochs)
        trainer = make_trainer(model, tokenizer, examples, held, config, seed, work, progress)
        with state.main_process_first():
            checkpoint = last_complete_checkpoint(work)
        if checkpoint:
            progress.counts = read_json(Path(checkpoint, COMPLETE))
        start = time.monotonic()
        trainer.train(resume_from_checkpoint=checkpoint)
        seconds = time.monotonic() - start
    check_weights(model)

    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled  # then all processes take part in collecting
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    tokens, computed = progress.counts["tokens"], progress.counts["computed"]
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
            "padding_share": round(1 - tokens / computed, 4),
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        }
        write_json(metrics_folder / "summary.json", counts)
        shutil.rmtree(work)
    # After a resume the seconds are those of the rest alone, so a rate over all tokens would flatter.
    rates = {"tokens_per_second": tokens, "computed_tokens_per_second": computed}
    return measured_device() | ({} if checkpoint else {name: round(n / seconds, 1) for name, n in rates.items()})


def add_adapter(pointer: dict[str, Any], config: "FinetuneParams", seed: int, work: Path) -> "PeftModel":
    """The base model with a fresh LoRA adapter, as `finetune.lora` says in PEFT's own words.

    Where the start of the adapter is taken out of the base, it is kept in work/initial: `write_adapter` needs it.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    model = load.load_model(pointer, quantization=config.quantization, attention=config.attention)
    set_seed(seed)
    settings = config.lora.model_dump(exclude={"loraplus_lr_ratio"})
    try:
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    except (ValueError, TypeError, ImportError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"params.yaml, finetune.lora: PEFT says: {first_line(error)}; mend it") from error
    if str(config.lora.init_lora_weights).startswith(MUTATING):
        first = os.environ.get("RANK", "0") == "0"  # of several processes, one writes
        model.save_pretrained(work / "initial", save_embedding_layers=False, is_main_process=first)
    return model


def make_trainer(
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: list[dict],
    held: list[dict],
    config: "FinetuneParams",
    seed: int,
    work: Path,
    progress: "TrainerCallback",
) -> "SFTTrainer":
    """TRL's trainer for the model; `held` rows are evaluated ten times, each time that a checkpoint is written."""
    from datasets import Dataset
    from transformers import EarlyStoppingCallback, PrinterCallback
    from transformers.modeling_layers import GradientCheckpointingLayer
    from trl import SFTConfig, SFTTrainer

    device, dtype = load.device_and_dtype()
    packed = config.packing == "padding_free"
    if packed:
        check_isolation(model)
    if config.liger and (device == "cpu" or importlib.util.find_spec("liger_kernel") is None):
        missing = "needs a CUDA card" if device == "cpu" else f"needs `{install('liger')}`"
        raise UserError(f"params.yaml, finetune.liger: {missing}; install it or set false")
    longest = max(len(example["input_ids"]) for example in examples)
    learnt = max(len(example["labels"]) - example["labels"].count(-100) for example in examples)
    if device == "cpu":
        say_how_long(model, sum(len(example["input_ids"]) for example in examples) * config.epochs)
    args = SFTConfig(
        output_dir=str(work),
        seed=seed,
        use_cpu=device == "cpu",
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup,
        lr_scheduler_type=config.scheduler,
        optim="adamw_torch_fused",
        # Rows of about the same length share a batch: 3 % of padding instead of 30 %.
        train_sampling_strategy="random" if packed else "group_by_length",
        padding_free=packed,
        bf16=str(dtype) == "torch.bfloat16",
        fp16=str(dtype) == "torch.float16",
        gradient_checkpointing=checkpoints_gradients(model, config, longest, learnt),
        use_liger_kernel=config.liger,
        ddp_find_unused_parameters=False,
        max_length=None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=0.1,
        save_total_limit=2,
        eval_strategy="steps" if held else "no",
        eval_steps=0.1,
        per_device_eval_batch_size=config.batch_size,
        metric_for_best_model="eval_loss" if held else None,
        load_best_model_at_end=config.keep == "best",
        restore_callback_states_from_checkpoint=True,
        report_to=[],
        disable_tqdm=True,
    )
    patience = [EarlyStoppingCallback(config.patience)] if config.patience else []
    try:
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(examples),
            eval_dataset=Dataset.from_list(sorted(held, key=lambda row: len(row["input_ids"]))) if held else None,
            processing_class=tokenizer,
            callbacks=[progress, *patience],
            optimizers=(loraplus_optimizer(model, config, args), None),
        )
    except ValueError as error:  # an adapter on the output layer, for one
        raise UserError(f"params.yaml, finetune: TRL says: {first_line(error)}; mend it") from error
    trainer.remove_callback(PrinterCallback)
    if not packed:
        together = args.train_batch_size * config.accumulation * args.world_size  # the rows of one step
        sampler = length_sampler([len(example["input_ids"]) for example in examples], together, seed)
        trainer._get_train_sampler = lambda dataset=None: sampler
    if device == "cpu" and "logits_to_keep" in inspect.signature(model.get_base_model().forward).parameters:
        trainer.compute_loss = functools.partial(completion_loss, processes=args.world_size)
    model.register_forward_pre_hook(progress.count, with_kwargs=True)
    for parameter in model.parameters():
        if parameter.requires_grad:  # TRL makes them bf16 beside a 4-bit base, where small updates are lost
            parameter.data = parameter.data.float()
    if config.compile:
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.compile()
    return trainer


def completion_loss(
    model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None, *, processes: int = 1
) -> Any:
    """The loss that TRL computes, from the logits behind the first completed token alone.

    TRL's own way spares memory by going over the vocabulary in pieces, in fp32, and works out a gradient for the output
    layer, which is frozen here: on a CPU that is a fifth of all the time. num_items_in_batch: the completions' tokens
    in the whole step, over all processes; without it the loss is the batch's mean.
    """
    import torch

    labels = inputs["labels"]
    first = int((labels != -100).any(dim=0).nonzero()[0])
    others = {name: value for name, value in inputs.items() if name != "labels"}
    outputs = model(**others, use_cache=False, logits_to_keep=labels.shape[1] - first + 1)
    asked = labels[:, first:] != -100
    logits = outputs.logits[:, -1 - asked.shape[1] : -1][asked].float()
    total = torch.nn.functional.cross_entropy(logits, labels[:, first:][asked], reduction="sum")
    loss = total / asked.sum() if num_items_in_batch is None else total * processes / num_items_in_batch
    return (loss, outputs) if return_outputs else loss


def length_sampler(lengths: list[int], together: int, seed: int) -> "LengthGroupedSampler":
    """transformers' sampler of rows of about equal length, with an order of its own for every epoch after the first.

    Its one order comes from the global generator, as it stands when an epoch begins. A rerun finds that only for the
    epoch it trains first; with any other it would train some rows twice and others never.
    """
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler

    class LengthSampler(LengthGroupedSampler):
        def set_epoch(self, epoch: int) -> None:
            self.generator = torch.Generator().manual_seed(seed + epoch) if epoch else None

    return LengthSampler(together, lengths=lengths)


def loraplus_optimizer(model: "PeftModel", config: "FinetuneParams", args: "SFTConfig") -> Any:
    """AdamW with LoRA+'s larger learning rate for the B matrices (Hayou et al. 2024), or None where it is not asked."""
    if config.lora.loraplus_lr_ratio is None:
        return None
    from peft.optimizers import create_loraplus_optimizer
    from transformers import Trainer

    kind, settings = Trainer.get_optimizer_cls_and_kwargs(args)
    ratio = {"loraplus_lr_ratio": config.lora.loraplus_lr_ratio, "loraplus_weight_decay": config.weight_decay}
    return create_loraplus_optimizer(model, kind, **settings, **ratio)


def checkpoints_gradients(model: "PeftModel", config: "FinetuneParams", longest: int, learnt: int) -> bool:
    """What `finetune.gradient_checkpointing` comes to: auto asks the card's memory, and says what it found.

    longest: tokens of the longest example. learnt: of the longest completion.
    """
    if config.gradient_checkpointing != "auto":
        return config.gradient_checkpointing
    if model.device.type == "cpu":
        return False
    rows, dropout = config.batch_size, config.lora.lora_dropout > 0
    needed, why = memory.needs_checkpointing(model, rows * longest, rows * learnt, dropout)
    print(f"finetune: {why}", file=sys.stderr)
    return needed


def say_how_long(model: "PeftModel", tokens: float) -> None:
    """Warns where a model is large for a CPU. Nothing is forbidden: a first step may be all that is wanted."""
    _, parameters = model.get_nb_trainable_parameters()
    hours = memory.cpu_hours(parameters, tokens, os.cpu_count() or 1)
    if hours > 1:
        size = f"{parameters / 1e9:.1f} billion parameters"
        print(f"finetune: no CUDA card, and {size}: about {hours:.0f} hours on this processor", file=sys.stderr)


def check_isolation(model: "PeftModel") -> None:
    """Raises UserError unless examples that are packed into one row cannot see each other in this very model.

    The second of two packed sequences must get the same logits, bit for bit, whatever the first one is.
    """
    import torch

    model.eval()
    size = 8
    first, other, second = (torch.arange(start, start + size) for start in (1, 1 + size, 1 + 2 * size))
    positions = torch.arange(size).repeat(2)[None].to(model.device)
    with torch.inference_mode():
        logits = [
            model(
                input_ids=torch.cat([before, second])[None].to(model.device), position_ids=positions, use_cache=False
            ).logits[:, size:]
            for before in (first, other)
        ]
    if not torch.equal(*logits):
        raise UserError(
            "params.yaml, finetune.packing: with this model and attention, examples in one row see each other; set none"
        )


@contextlib.contextmanager
def clear_memory_errors(config: "FinetuneParams") -> Iterator[None]:
    """Turns a lack of GPU memory into one line that names the parameter to change first."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        remedies = (
            (config.batch_size > 1, "lower finetune.batch_size (raise finetune.accumulation to keep their product)"),
            (config.gradient_checkpointing is not True, "set finetune.gradient_checkpointing to true"),
            (config.quantization == "none", "set finetune.quantization to nf4"),
            (True, "lower finetune.max_length"),
        )
        raise UserError(f"out of GPU memory: {next(line for fits, line in remedies if fits)}") from error


def check_weights(model: "PeftModel") -> None:
    """Raises UserError when the adapter is no longer made of numbers, which the last step's loss cannot show."""
    import torch

    if not all(torch.isfinite(p).all() for p in model.parameters() if p.requires_grad):
        raise UserError(f"the adapter's weights are no numbers after the last step; {LOWER}")


LOWER = "lower finetune.learning_rate (params.yaml)"
COMPLETE = "complete"


def last_complete_checkpoint(work: Path) -> str | None:
    """The newest checkpoint that was written to its end; what a kill left half-written is removed."""
    complete = []
    for folder in work.glob("checkpoint-*"):
        if (folder / COMPLETE).is_file():
            complete.append(folder)
        else:
            shutil.rmtree(folder)
    return str(max(complete, key=lambda folder: int(folder.name.partition("-")[2]))) if complete else None


def write_curve(path: Path, name: str, history: list[dict[str, Any]]) -> None:
    """One loss by step, from the trainer's log, as a table; only its head where nothing was logged."""
    with atomic_write(path) as file:
        file.write(f"step\t{name}\n")
        file.writelines(f"{entry['step']}\t{entry[name]:.4f}\n" for entry in history if name in entry)


def write_adapter(
    model: "PeftModel", pointer: dict[str, Any], folder: Path, work: Path, weights: dict[str, Any] | None = None
) -> None:
    """Saves a PEFT model's adapter with the base model's own name in place of this machine's path to it.

    weights: the model's state, where its own tensors are shards. An adapter whose start was taken out of the base is
    saved as the plain LoRA of twice the rank that it equals, so that it fits the untouched base.
    """
    initial = work / "initial"
    converted = {"path_initial_model_for_weight_conversion": str(initial)} if initial.is_dir() else {}
    for config in model.peft_config.values():
        config.base_model_name_or_path = pointer["name"]
        config.revision = pointer.get("revision")
    with pin.new_folder(folder) as temporary:
        model.save_pretrained(temporary, state_dict=weights, save_embedding_layers=False, **converted)
        (temporary / "README.md").unlink(missing_ok=True)
        # PEFT writes its sets in an order that changes from run to run.
        settings = read_json(temporary / "adapter_config.json")
        for name in ("target_modules", "exclude_modules", "modules_to_save"):
            if isinstance(settings.get(name), list):
                settings[name] = sorted(settings[name])
        write_json(temporary / "adapter_config.json", settings)


def make_progress(total: float) -> "TrainerCallback":
    """A trainer callback that shows the tokens trained on, their rate, the time left and the loss.

    It counts tokens, real and computed, marks each checkpoint with the counts once all of it is written, and raises
    UserError for a loss that is no number.
    """
    import torch
    from tqdm import tqdm
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        def __init__(self):
            self.counts = {"tokens": 0, "computed": 0}
            self.step = [0, 0]

        def count(self, model, args, inputs):
            """Runs before each forward pass of the model."""
            if model.training:
                computed, mask = inputs["input_ids"].numel(), inputs.get("attention_mask")
                self.step[0] += computed if mask is None else int(mask.sum())
                self.step[1] += computed

        def on_train_begin(self, args, state, control, **kwargs):
            seen = self.counts["tokens"]
            quiet = not state.is_world_process_zero
            self.bar = tqdm(
                total=int(total), initial=seen, unit=" tokens", unit_scale=True, desc="train", disable=quiet
            )

        def on_step_end(self, args, state, control, **kwargs):
            step = torch.tensor(self.step, device=args.device)
            if args.world_size > 1:
                torch.distributed.all_reduce(step)
            self.counts = {name: n + more for (name, n), more in zip(self.counts.items(), step.tolist(), strict=True)}
            self.step = [0, 0]

        def on_log(self, args, state, control, logs=None, **kwargs):
            for name in {"loss", "eval_loss"} & set(logs or {}):
                if not math.isfinite(logs[name]):
                    raise UserError(f"{name} is no number at step {state.global_step} of {state.max_steps}; {LOWER}")
                self.bar.set_postfix(step=f"{state.global_step}/{state.max_steps}", **{name: f"{logs[name]:.3f}"})
            self.bar.update(self.counts["tokens"] - self.bar.n)

        def on_save(self, args, state, control, **kwargs):
            # A rerun from the checkpoint at which training stopped early would train on; from the one before, it stops.
            stopped_early = control.should_training_stop and state.global_step < state.max_steps
            if state.is_world_process_zero and not stopped_early:
                write_json(Path(args.output_dir, f"checkpoint-{state.global_step}", COMPLETE), self.counts)

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

    return Progress()


def measured_device() -> dict[str, Any]:
    """The device's name and, on a GPU, the most memory this process has held there, in GiB."""
    import torch

    if not torch.cuda.is_available():
        return {"device": "CPU"}
    peak = torch.cuda.max_memory_allocated() / 2**30
    return {"device": torch.cuda.get_device_name(), "gpu_peak_gib": round(peak, 2)}
