"""A GGUF file as a plain folder of weights, which loads in a second."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from text2sql.base.errors import UserError
from text2sql.base.files import new_folder


def convert_gguf(path: Path, folder: Path) -> None:
    """Writes a GGUF file's weights and tokenizer as a plain bf16 safetensors folder, which loads in a second.

    transformers refuses to save a model that it loaded from GGUF because it still counts as quantised; so its weights
    go into a model built from the same configuration without that mark.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    except ValueError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path.name}: cannot be converted ({reason}); take one that transformers reads") from error
    settings = model.config.to_dict()
    settings.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(type(model.config).from_dict(settings), dtype=torch.bfloat16)
    plain.load_state_dict({name: weight.to(torch.bfloat16) for name, weight in model.state_dict().items()})
    plain.generation_config = model.generation_config
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    with new_folder(folder) as temporary:
        plain.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
