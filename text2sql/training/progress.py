"""What is seen of a training run while it runs: tokens, their rate, the time left, the loss."""

import math
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from text2sql.base.errors import UserError

LOWER = "lower finetune.learning_rate (params.yaml)"


class Progress(TrainerCallback):
    """Shows the tokens trained on, their rate, the time left and the loss; stops at a loss that is not a number.

    total: tokens of the whole run. `counts` holds how many were trained on, over all processes: those of the rows, and
    those computed, which padding makes more and shared beginnings fewer. Raises UserError for a loss that is not a
    number.
    """

    def __init__(self, total: float) -> None:
        self.total = int(total)
        self.counts = {"tokens": 0, "computed": 0}
        self.step = [0, 0]

    def count(self, model: torch.nn.Module, args: tuple, inputs: dict[str, Any]) -> None:
        """Runs before each forward pass of the model."""
        if model.training:
            self.step[0] += row_tokens(inputs)
            self.step[1] += inputs["input_ids"].numel()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        seen = self.counts["tokens"]
        quiet = not state.is_world_process_zero
        self.bar = tqdm(total=self.total, initial=seen, unit=" tokens", unit_scale=True, desc="train", disable=quiet)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step = torch.tensor(self.step, device=args.device)
        if args.world_size > 1:
            torch.distributed.all_reduce(step)
        self.counts = {name: n + more for (name, n), more in zip(self.counts.items(), step.tolist(), strict=True)}
        self.step = [0, 0]

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        losses = {name: value for name, value in (logs or {}).items() if name in ("loss", "eval_loss")}
        for name, value in losses.items():
            if not math.isfinite(value):
                raise UserError(f"{name} is not a number at step {state.global_step} of {state.max_steps}; {LOWER}")
            self.bar.set_postfix(step=f"{state.global_step}/{state.max_steps}", **{name: f"{value:.3f}"})
        self.bar.update(self.counts["tokens"] - self.bar.n)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar.close()


def row_tokens(inputs: dict[str, Any]) -> int:
    """How many tokens a batch's rows have, each row counted whole.

    Where rows stand behind one another in a sequence, a row ends where positions fall back.
    """
    if "position_ids" not in inputs:
        return int(inputs["attention_mask"].sum())
    positions = inputs["position_ids"][0]
    ends = positions.diff(append=positions.new_full((1,), -1)) < 0
    return int((positions[ends] + 1).sum())
