"""TRL's trainer as this project trains with it: batches of rows of about equal length, the loss on completions alone,
checkpoints that are whole or not there."""

import importlib.util
import inspect
import shutil
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, PrinterCallback, Trainer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import SFTConfig, SFTTrainer

from text2sql.base.errors import UserError, install
from text2sql.base.files import read_json, write_json
from text2sql.base.params import FinetuneParams
from text2sql.base.text import first_line
from text2sql.models import load
from text2sql.training import float8, memory, prefixes
from text2sql.training.progress import Progress

COMPLETE = "complete"  # a checkpoint's file that is written last; it holds the tokens trained on so far


class CompletionTrainer(SFTTrainer):
    """Trains the adapter of a PEFT model on tokenised examples (`input_ids`, and `labels` that mask the prompt).

    `held` examples are evaluated ten times, each time that a checkpoint is written. `progress` counts and shows.
    Raises UserError for what this machine or model cannot do.
    """

    def __init__(
        self,
        model: PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        examples: list[dict],
        held: list[dict],
        config: FinetuneParams,
        seed: int,
        work: Path,
    ) -> None:
        check(model, config)
        self.loraplus_ratio = config.lora.loraplus_lr_ratio
        self.sharing = prefixes.share(model, examples, config, seed)
        self.lengths = [len(example["input_ids"]) for example in examples]
        self.progress = Progress(sum(self.lengths) * float(config.epochs))
        patience = [EarlyStoppingCallback(config.patience)] if config.patience else []
        try:
            arguments = settings(model, examples, held, config, seed, work, self.sharing)
            # A process trains on one card: of several that it sees, transformers would give each a part of all tensors.
            arguments._n_gpu = min(arguments.n_gpu, 1)
            super().__init__(
                model=model,
                args=arguments,
                train_dataset=Dataset.from_list(examples),
                eval_dataset=Dataset.from_list(in_batches(held, self.sharing)) if held else None,
                processing_class=tokenizer,
                callbacks=[self.progress, *patience],
            )
        except ValueError as error:  # an adapter on the output layer, for one
            raise UserError(f"params.yaml, finetune: TRL says: {first_line(error)}; fix it") from error
        if self.args.use_cpu:
            tokens = self.sharing.tokens * float(config.epochs) if self.sharing else self.progress.total
            memory.say_how_long(model, tokens)
        self.remove_callback(PrinterCallback)
        if self.sharing:
            self.data_collator = self.sharing.collator
        parameters = inspect.signature(model.get_base_model().forward).parameters
        self.takes_logits = self.args.use_cpu and "logits_to_keep" in parameters
        model.register_forward_pre_hook(self.progress.count, with_kwargs=True)
        for parameter in model.parameters():
            if parameter.requires_grad:  # TRL makes them bf16 beside a 4-bit base, where small updates are lost
                parameter.data = parameter.data.float()
        if config.float8:
            float8.swap_in(model)
        if config.compile:
            for module in model.modules():
                if isinstance(module, GradientCheckpointingLayer):
                    # Trees differ in every size: else each that changes first in some step would compile anew.
                    module.compile(dynamic=True if self.sharing else None)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Trains, or goes on from a checkpoint with its counts."""
        if resume_from_checkpoint:
            self.progress.counts = read_json(Path(str(resume_from_checkpoint), COMPLETE))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW, with LoRA+'s larger learning rate for the B matrices (Hayou et al. 2024) where it is asked for."""
        if self.loraplus_ratio is None or self.optimizer is not None:
            return super().create_optimizer(model)
        kind, how = Trainer.get_optimizer_cls_and_kwargs(self.args)
        ratio = {"loraplus_lr_ratio": self.loraplus_ratio, "loraplus_weight_decay": self.args.weight_decay}
        whole: Any = self.model if model is None else model
        self.optimizer = create_loraplus_optimizer(whole, kind, **how, **ratio)
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler | None:
        if self.sharing:
            return self.sharing.sampler
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        together = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthSampler(self.lengths, together, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss; on a CPU by `completion_loss`, where the model can leave out logits."""
        if not self.takes_logits:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, outputs = completion_loss(model, inputs, num_items_in_batch, self.args.world_size)
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """None are counted: nobody reads them, and to go over the parameters takes 10 ms in every step."""
        return 0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Marks a checkpoint, once all of it is written, with the tokens trained on so far."""
        super()._save_checkpoint(model, trial)
        # A rerun from the checkpoint at which training stopped early would train on; from the one before, it stops.
        stopped_early = self.control.should_training_stop and self.state.global_step < self.state.max_steps
        if self.is_world_process_zero() and not stopped_early:
            folder = Path(str(self.args.output_dir), f"checkpoint-{self.state.global_step}")
            write_json(folder / COMPLETE, self.progress.counts)


class LengthSampler(LengthGroupedSampler):
    """transformers' sampler of rows of about equal length, with an order of its own for every epoch after the first.

    Its one order comes from the global generator, as it stands when an epoch begins. A rerun finds that only for the
    epoch it trains first; with any other it would train some rows twice and others never.
    """

    def __init__(self, lengths: list[int], together: int, seed: int) -> None:
        """lengths: tokens of each row. together: rows of one step, over all processes."""
        super().__init__(together, lengths=lengths)
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        self.generator = torch.Generator().manual_seed(self.seed + epoch) if epoch else None


def in_batches(held: list[dict], sharing: prefixes.Sharing | None) -> list[dict]:
    """Held-out examples in the order of their batches: by schema where they share beginnings, else by length."""
    return sorted(held, key=lambda row: (row["schema"] if sharing else 0, len(row["input_ids"])))


def completion_loss(model: Any, inputs: dict, in_step: Any, processes: int) -> tuple[torch.Tensor, Any]:
    """The loss that TRL computes, from the logits of completed tokens alone, and the model's output.

    TRL's own way spares memory by going over the vocabulary in pieces, in fp32, and works out a gradient for the output
    layer, which is frozen here: on a CPU that is a fifth of all the time. in_step: the completions' tokens in the whole
    step, over all processes; where it is None the loss is the batch's mean.
    """
    others = {name: value for name, value in inputs.items() if name != "labels"}
    labels = inputs["labels"][:, 1:]
    asked = labels != -100
    outputs = model(**others, use_cache=False, logits_to_keep=torch.nn.functional.pad(asked, (0, 1)))
    total = torch.nn.functional.cross_entropy(outputs.logits.float(), labels[asked], reduction="sum")
    return total / asked.sum() if in_step is None else total * processes / in_step, outputs


def settings(
    model: PeftModel,
    examples: list[dict],
    held: list[dict],
    config: FinetuneParams,
    seed: int,
    work: Path,
    sharing: prefixes.Sharing | None,
) -> SFTConfig:
    """`finetune` of params.yaml in TRL's words; what stands here as a value is the project's choice."""
    device, dtype = load.device_and_dtype()[0], load.number_format(config.dtype)
    longest = max(len(example["input_ids"]) for example in examples)
    tokens, seen = (sharing.largest, sharing.seen) if sharing else (config.batch_size * longest, 0)
    learnt = max(len(example["labels"]) - example["labels"].count(-100) for example in examples)
    packed = config.packing == "padding_free"
    return SFTConfig(
        output_dir=str(work),
        seed=seed,
        use_cpu=device == "cpu",
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        num_train_epochs=float(config.epochs),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup,
        lr_scheduler_type=config.scheduler,
        optim="adamw_torch_fused",
        # Rows of about the same length share a batch: 3 % of padding instead of 30 %.
        train_sampling_strategy="random" if packed else "group_by_length",
        padding_free=packed,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        gradient_checkpointing=memory.checkpoints_gradients(model, config, tokens, config.batch_size * learnt, seen),
        use_liger_kernel=config.liger,
        router_aux_loss_coef=0.0,  # what chooses experts is frozen, and the loss is that of the SQL alone
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


def check(model: PeftModel, config: FinetuneParams) -> None:
    """Raises UserError where this machine or model cannot train as the parameters say."""
    on_cpu = load.device_and_dtype()[0] == "cpu"
    if on_cpu and config.dtype == "fp16":
        raise UserError("params.yaml, finetune.dtype: fp16 trains on a card alone; set auto, bf16 or fp32")
    if config.packing == "padding_free":
        check_isolation(model)
    if config.liger and (on_cpu or importlib.util.find_spec("liger_kernel") is None):
        missing = "needs a CUDA card" if on_cpu else f"needs `{install('liger')}`"
        raise UserError(f"params.yaml, finetune.liger: {missing}; install it or set false")


def check_isolation(model: torch.nn.Module) -> None:
    """Raises UserError unless examples that are packed into one row cannot see each other in this very model.

    The second of two packed sequences must get the same logits, bit for bit, whatever the first one is.
    """
    model.eval()
    size = 8
    device = next(model.parameters()).device
    first, other, second = (torch.arange(start, start + size) for start in (1, 1 + size, 1 + 2 * size))
    positions = torch.arange(size).repeat(2)[None].to(device)
    with torch.inference_mode():
        logits = [
            model(
                input_ids=torch.cat([before, second])[None].to(device), position_ids=positions, use_cache=False
            ).logits[:, size:]
            for before in (first, other)
        ]
    if not torch.equal(*logits):
        raise UserError(
            "params.yaml, finetune.packing: with this model and attention, examples in one row see each other; set none"
        )


def last_complete_checkpoint(work: Path) -> str | None:
    """The newest checkpoint that was written to its end; what a kill left half-written is removed."""
    complete = []
    for folder in work.glob("checkpoint-*"):
        if (folder / COMPLETE).is_file():
            complete.append(folder)
        else:
            shutil.rmtree(folder)
    return str(max(complete, key=lambda folder: int(folder.name.partition("-")[2]))) if complete else None
