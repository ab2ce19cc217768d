"""LoRA adapters: what their folder says, and how they join their base, merged into its weights or beside them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from text2sql.base.errors import UserError
from text2sql.base.files import new_folder, read_json, write_json
from text2sql.models.pin import is_adapter

# What may stand in an adapter's settings without changing its product: where it came from, which modules it is for
# (the tensors' names say so too), how it was initialised and trained, constants of methods that are switched off.
HARMLESS = frozenset(
    "r lora_alpha use_rslora peft_type peft_version task_type auto_mapping base_model_name_or_path revision "
    "inference_mode target_modules exclude_modules layers_to_transform layers_pattern lora_dropout init_lora_weights "
    "megatron_core qalora_group_size".split()
)
NOTHING: tuple[Any, ...] = (None, False, "none", {}, [])
ROUTERS = ("gate", "shared_expert_gate")  # names of linear layers that choose experts, beside those called router


def check(folder: Path) -> None:
    """Raises UserError unless the folder holds an adapter."""
    if not is_adapter(folder):
        raise UserError(f"{folder}: no adapter there; fine-tune first (`dvc repro`)")


def read_settings(folder: Path) -> dict[str, Any]:
    """An adapter's settings, by the names of PEFT's LoraConfig. Raises UserError when there is none."""
    check(folder)
    return read_json(folder / "adapter_config.json")


def beyond_plain(settings: Mapping[str, Any]) -> list[str]:
    """The settings, by PEFT's names, that make an adapter more than B @ A beside layers of the base."""
    return sorted(name for name, value in settings.items() if name not in HARMLESS and value not in NOTHING)


def left_alone(model: PreTrainedModel) -> str | None:
    """A pattern, as PEFT's exclude_modules takes it, for linear layers that `all-linear` must not mean; None: for none.

    They are those outside of the part that writes (what looks at images, and what listens), those that choose experts,
    whose choices would jump while their experts stand still, and a state space's output layer, which its kernels read
    past any adapter.
    """
    modules = dict(model.named_modules())
    decoder: Any = model.get_decoder() if model.config.get_text_config() is not model.config else model
    inside = next((name for name, module in modules.items() if module is decoder), "")

    def is_left(name: str) -> bool:
        above, _, last = name.rpartition(".")
        kinds = f"{type(modules[name]).__name__} {type(modules[above]).__name__}"
        routes = last in ROUTERS or "router" in name.lower() or "Router" in kinds or "Gating" in kinds
        return routes or not name.startswith(inside) or (last == "out_proj" and hasattr(modules[above], "A_log"))

    linear = [name for name, module in modules.items() if isinstance(module, (torch.nn.Linear, Conv1D))]
    left = sorted({re.sub(r"\d+", r"\\d+", re.escape(name)) for name in linear if is_left(name)})
    return "|".join(left) or None


def save(
    model: Any, pointer: dict[str, Any], folder: Path, initial: Path, weights: dict[str, Any] | None = None
) -> None:
    """Saves a PEFT model's adapter with the base model's own name in place of this machine's path to it.

    initial: folder of the adapter as it began, where that was taken out of the base's weights; it is then saved as the
    plain LoRA of twice the rank that it equals, so that it fits the untouched base. weights: the model's state, where
    its own tensors are shards.
    """
    how: dict[str, Any] = {"save_embedding_layers": False}
    if initial.is_dir():
        how["path_initial_model_for_weight_conversion"] = str(initial)
    for config in model.peft_config.values():
        config.base_model_name_or_path = pointer["name"]
        config.revision = pointer.get("revision")
    with new_folder(folder) as temporary:
        model.save_pretrained(str(temporary), state_dict=weights, **how)
        (temporary / "README.md").unlink(missing_ok=True)
        write_settings(temporary, read_settings(temporary))


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
    if beyond_plain(settings) or settings["peft_type"] != "LORA" or not file.is_file():
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
