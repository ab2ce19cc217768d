"""Products with the frozen base in float8, a scale for each row of numbers: three quarters of a step on newer cards.

torchao's layers compute gradients of frozen weights too, want batches of a multiple of 16 tokens for that, and scale
the weights anew in every step: they gained 12 % where these gain 29 % (docs/speed.md has the measurement).
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from text2sql.base.errors import UserError
from text2sql.base.params import FinetuneParams
from text2sql.models import load

LARGEST = 448.0  # of the numbers in float8_e4m3fn


def check(config: FinetuneParams, plain: bool) -> None:
    """Raises UserError where this machine or the other parameters do not go with float8.

    plain: whether the adapter is B @ A beside layers of an untouched base.
    """
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9):
        wanted = "a CUDA card that multiplies in float8 (Ada, Hopper or later)"
    elif not config.compile or config.quantization != "none" or config.dtype not in ("auto", "bf16"):
        wanted = "compile: true, quantization: none and dtype: bf16"
    elif not plain or load.is_sharded():
        wanted = "a plain adapter (no DoRA, PiSSA …), and weights that are not shared out over cards"
    else:
        return
    raise UserError(f"params.yaml, finetune.float8: needs {wanted}; set false")


def swap_in(model: torch.nn.Module) -> None:
    """Has the frozen layers beside the model's adapters multiply in float8. Their weights in 16 bits are let go.

    Layers whose sides are no multiples of 16, as the card's products want them, stay as they are.
    """
    for module in adapted(model):
        if not any(side % 16 for side in module.base_layer.weight.shape):
            module.base_layer = Float8Linear(module.base_layer)


def swap_out(model: torch.nn.Module, base: PreTrainedModel) -> None:
    """Puts the layers of `base`, the same model loaded afresh, in the places of those in float8: what is saved, and
    asked later, is the adapter beside them. model: the one within PEFT's."""
    names = {module: name for name, module in model.named_modules()}
    for module in adapted(model):
        if isinstance(module.base_layer, Float8Linear):
            module.base_layer = base.get_submodule(names[module])


def adapted(model: torch.nn.Module) -> list[Any]:
    """The model's adapters of linear layers."""
    layers = torch.nn.Linear, Float8Linear
    return [module for module in model.modules() if isinstance(getattr(module, "base_layer", None), layers)]


class Float8Linear(torch.nn.Module):
    """A frozen layer in float8, kept twice, the memory of 16 bits: each product wants what it sums over contiguous."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self.straight, self.turned = to_float8(weight), to_float8(weight.t().contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = Float8Product.apply(x, *self.straight, *self.turned)
        return out if self.bias is None else out + self.bias


class Float8Product(torch.autograd.Function):
    """x @ weight.T, of which x alone learns."""

    @staticmethod
    def forward(ctx, x, weight, scale, turned, turned_scale):  # named: with *turned it would not compile
        ctx.save_for_backward(turned, turned_scale)
        return product(x, weight, scale)

    @staticmethod
    def backward(ctx, gradient):
        return product(gradient, *ctx.saved_tensors), None, None, None, None


def product(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x @ weight.T (... x n) in bf16, of x (... x k) and weight (n x k) in float8 with its scale (n x 1)."""
    rows, row_scale = to_float8(x.flatten(0, -2))
    out = torch._scaled_mm(rows, weight.t(), row_scale, scale.t(), out_dtype=torch.bfloat16, use_fast_accum=True)
    return out.view(*x.shape[:-1], -1)


def to_float8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (n x k) in float8, and the scale of each (n x 1, fp32) that undoes it."""
    scale = rows.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (rows / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), scale
