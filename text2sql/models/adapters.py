"""LoRA adapters added to their base's weights: a plain one without PEFT, which takes seconds to import and to wrap."""

from pathlib import Path
from typing import TYPE_CHECKING

from text2sql.base.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What may stand in an adapter's settings without changing its product: where it came from, which modules it is for
# (the tensors' names say so too), how it was initialised and trained, constants of methods that are switched off.
HARMLESS = frozenset(
    "r lora_alpha use_rslora peft_type peft_version task_type auto_mapping base_model_name_or_path revision "
    "inference_mode target_modules exclude_modules layers_to_transform layers_pattern lora_dropout init_lora_weights "
    "megatron_core qalora_group_size".split()
)
NOTHING = (None, False, "none", {}, [])


def merged(model: "PreTrainedModel", folder: Path) -> "PreTrainedModel":
    """The 16-bit model with an adapter in its weights."""
    if merge(model, folder):
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder).merge_and_unload()


def merge(model: "PreTrainedModel", folder: Path) -> bool:
    """Adds a LoRA adapter to the model's weights, to the bit as PEFT's merge does, and returns True.

    Returns False, and changes nothing, where the adapter is more than B @ A beside linear layers (DoRA, ranks of
    their own, trained biases or whole modules …).
    """
    import torch
    from safetensors.torch import load_file

    settings, file = read_json(folder / "adapter_config.json"), folder / "adapter_model.safetensors"
    more = [name for name, value in settings.items() if name not in HARMLESS and value not in NOTHING]
    if more or settings["peft_type"] != "LORA" or not file.is_file():
        return False
    tensors = load_file(file)
    modules = dict(model.named_modules())
    layers = {}
    for name in tensors:
        path, _, kind = name.removeprefix("base_model.model.").rpartition(".lora_")
        if kind not in ("A.weight", "B.weight") or type(modules.get(path)) is not torch.nn.Linear:
            return False
        layers[path] = modules[path], name.removesuffix(kind)
    scale = settings["lora_alpha"] / (settings["r"] ** 0.5 if settings.get("use_rslora") else settings["r"])
    with torch.no_grad():
        for layer, name in layers.values():
            a, b = (tensors[f"{name}{kind}.weight"].to(layer.weight.device, torch.float32) for kind in "AB")
            layer.weight += (b @ a) * scale
    return True
