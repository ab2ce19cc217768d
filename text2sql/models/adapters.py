"""LoRA adapters: what their folder says, and how they join their base, merged into its weights or beside them."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from text2sql.base.errors import UserError
from text2sql.base.files import read_json, write_json
from text2sql.models.pin import is_adapter

# What may stand in an adapter's settings without changing its product: where it came from, which modules it is for
# (the tensors' names say so too), how it was initialised and trained, constants of methods that are switched off.
HARMLESS = frozenset(
    "r lora_alpha use_rslora peft_type peft_version task_type auto_mapping base_model_name_or_path revision "
    "inference_mode target_modules exclude_modules layers_to_transform layers_pattern lora_dropout init_lora_weights "
    "megatron_core qalora_group_size".split()
)
NOTHING: tuple[Any, ...] = (None, False, "none", {}, [])


def check(folder: Path) -> None:
    """Raises UserError unless the folder holds an adapter."""
    if not is_adapter(folder):
        raise UserError(f"{folder}: no adapter there; fine-tune first (`dvc repro`)")


def read_settings(folder: Path) -> dict[str, Any]:
    """An adapter's settings, by the names of PEFT's LoraConfig. Raises UserError when there is none."""
    check(folder)
    return read_json(folder / "adapter_config.json")


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Writes an adapter's settings so that equal ones are equal bytes: PEFT writes its sets in an order of chance."""
    for name in ("target_modules", "exclude_modules", "modules_to_save"):
        if isinstance(settings.get(name), list):
            settings = settings | {name: sorted(settings[name])}
    write_json(folder / "adapter_config.json", settings)


def attach(model: PreTrainedModel, folder: Path) -> Any:
    """The model with an adapter beside its weights: PEFT's PeftModel."""
    from peft import PeftModel  # takes seconds, and a plain adapter does without

    return PeftModel.from_pretrained(model, folder)


def beside(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with an adapter beside its weights, called as the model itself is."""
    return attach(model, folder).get_base_model()


def merged(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The 16-bit model with an adapter in its weights."""
    return model if merge(model, folder) else attach(model, folder).merge_and_unload()


def merge(model: PreTrainedModel, folder: Path) -> bool:
    """Adds a LoRA adapter to the model's weights, to the bit as PEFT's merge does, and returns True.

    Returns False, and changes nothing, where the adapter is more than B @ A beside linear layers (DoRA, ranks of
    their own, trained biases or whole modules …). Raises UserError when there is no adapter.
    """
    settings, file = read_settings(folder), folder / "adapter_model.safetensors"
    more = [name for name, value in settings.items() if name not in HARMLESS and value not in NOTHING]
    if more or settings["peft_type"] != "LORA" or not file.is_file():
        return False
    tensors = load_file(file)
    modules = dict(model.named_modules())
    layers = {}
    for name in tensors:
        path, _, kind = name.removeprefix("base_model.model.").rpartition(".lora_")
        layer = modules.get(path)
        if kind not in ("A.weight", "B.weight") or type(layer) is not torch.nn.Linear:
            return False
        layers[path] = layer, name.removesuffix(kind)
    scale = settings["lora_alpha"] / (settings["r"] ** 0.5 if settings.get("use_rslora") else settings["r"])
    with torch.no_grad():
        for layer, name in layers.values():
            a, b = (tensors[f"{name}{kind}.weight"].to(layer.weight.device, torch.float32) for kind in "AB")
            layer.weight += (b @ a) * scale
    return True
