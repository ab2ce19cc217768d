"""The model that is measured is the model that was trained: the adapter as saved, loaded afresh, against the one in
memory."""

import gc
from pathlib import Path
from typing import Any

import torch

from text2sql.base.params import FinetuneParams
from text2sql.models import adapters, load
from text2sql.models.preflight import TOLERANCE

ROWS = 4  # examples whose logits are compared
LAST = 16  # their last tokens
MERGED = 1e-2  # share of the largest logit: learning at 0.05 made merged sums differ by 1.3e-3 in fp32
NOISE = 0.02  # standard deviation of what stands for training in a rehearsal


def example_logits(model: Any, examples: list[dict[str, Any]]) -> list[torch.Tensor]:
    """The logits (tokens x vocabulary) behind the last tokens of the first examples (`input_ids`), in fp32 on the CPU.

    model: the one within PEFT's, as what training wraps around that computes in another format.
    """
    model.eval()
    found = []
    # Compiled layers would be compiled anew, for these few rows.
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        for example in examples[:ROWS]:
            row = torch.tensor([example["input_ids"]], device=model.device)
            model(row[:, :1], use_cache=False)  # forgets how far a longer row stretched dynamic rotary positions
            found.append(model(row, use_cache=False).logits[0, -LAST:].float().cpu())
    return found


def disturb(model: torch.nn.Module) -> None:
    """Moves everything that would be trained, as training might."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.requires_grad:
                noise = torch.randn(weights.shape, generator=source) * NOISE
                weights.add_(noise.to(weights.device, weights.dtype))


def saved_differences(
    pointer: dict[str, Any],
    folder: Path,
    config: FinetuneParams,
    dtype: torch.dtype,
    examples: list[dict[str, Any]],
    expected: list[torch.Tensor],
) -> dict[str, float]:
    """How far the adapter in `folder`, loaded afresh, is from the model whose logits are `expected`.

    Returns the largest difference as a share of the largest logit: with the adapter beside the base's weights and,
    where those are not in 4 bits, merged into them.
    """
    found = {}
    gc.collect()  # the model that was trained: two may not fit
    for name, arm in {"beside": adapters.beside, "merged": adapters.merged}.items():
        if name == "merged" and config.quantization == "nf4":
            continue
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        base = load.load_model(pointer, dtype, quantization=config.quantization, attention=config.attention)
        model = arm(base, folder)
        pairs = zip(example_logits(model, examples), expected, strict=True)
        found[name] = max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)
        del base, model
    return found


def is_same(differences: dict[str, float], dtype: torch.dtype) -> bool:
    """Whether differences are no more than rounding in that format; merged, a large adapter's sums round more."""
    most = {"merged": max(MERGED, TOLERANCE[dtype])}
    return all(value <= most.get(arm, TOLERANCE[dtype]) for arm, value in differences.items())
