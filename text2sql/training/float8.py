"""Products with the frozen base in float8, by torchao: each row of numbers has a scale of its own."""

import importlib.util
from typing import Any

import torch

from text2sql.base.errors import UserError, install
from text2sql.base.params import FinetuneParams

RECIPE = "rowwise"  # of torchao's; learns as bf16 does (docs/speed.md)


def check(config: FinetuneParams) -> None:
    """Raises UserError where this machine or the other parameters have no use for float8."""
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9):
        missing = "needs a CUDA card that multiplies in float8 (Ada, Hopper or later); set false"
    elif importlib.util.find_spec("torchao") is None:
        missing = f"needs `{install('float8')}`; install it or set false"
    elif config.quantization != "none" or not config.compile:
        missing = (
            "multiplies 16-bit weights in compiled layers; set quantization: none and compile: true, or false here"
        )
    else:
        return
    raise UserError(f"params.yaml, finetune.float8: {missing}")


def swap_in(model: torch.nn.Module) -> None:
    """Has the base layers beside the model's adapters multiply in float8; their weights stay as they are.

    Layers whose sides are no multiples of 16, as the card's products want them, stay in 16 bits.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    def fits(module: Any, name: str) -> bool:
        return name.endswith("base_layer") and not any(side % 16 for side in module.weight.shape)

    convert_to_float8_training(model, module_filter_fn=fits, config=Float8LinearConfig.from_recipe_name(RECIPE))


def swap_out(model: torch.nn.Module) -> None:
    """Puts plain layers with the same weights back: the model that is saved and measured."""
    from torchao.float8.float8_linear import Float8Linear

    for module in model.modules():
        base = getattr(module, "base_layer", None)
        if isinstance(base, Float8Linear):
            plain = torch.nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
            plain.weight, plain.bias = base.weight, base.bias
            module.base_layer = plain
