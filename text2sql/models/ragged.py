"""Attention within runs of packed tokens, rows of any length in one call: PyTorch's flash attention on a CUDA card."""

from typing import NamedTuple

import torch


class Runs(NamedTuple):
    """Which queries attend to which keys: the i-th run of packed queries to the i-th run of packed keys."""

    queries: torch.Tensor  # where each run starts, and where the last ends (int32)
    keys: torch.Tensor
    used: torch.Tensor | None  # how many of a run's keys are attended to (int32); None: all
    longest: tuple[int, int]  # bounds of the runs' lengths


def is_there(device: torch.device, *formats: torch.dtype) -> bool:
    """Whether `ragged` runs on the device with numbers of these formats: a CUDA card since Ampere, in 16 bits."""
    return (
        device.type == "cuda"
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and all(dtype in (torch.bfloat16, torch.float16) for dtype in formats)
    )


def ragged(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    runs: Runs,
    scaling: float | None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention within runs of packed tokens (tokens x heads x size): as packed as the queries, and its log-sum-exps
    (heads x queries). Queries whose run has no keys get zeros and infinity; those in no run get anything.

    scaling: of the scores; None is one over the root of a head's size. causal: a run's last query sees all of its keys,
    each one before it one less. Gradients reach queries, keys and values where all keys are used.
    """
    output, sums, *_ = torch.ops.aten._flash_attention_forward(
        queries, keys, values, runs.queries, runs.keys, *runs.longest, dropout, causal, False,
        scale=scaling, seqused_k=runs.used,
    )  # fmt: skip
    return output, sums
