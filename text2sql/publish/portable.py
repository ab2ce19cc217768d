"""A model folder that transformers 5 saved, as readers that know transformers 4 open it too.

Among them are llama.cpp's converter, which is pinned to 4.57, and versions of vLLM that are.
"""

import shutil
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig

from text2sql.base.files import read_json, write_json

# transformers 5's class for any tokenizer.json; the name before, which both versions know.
CLASSES = {"TokenizersBackend": "PreTrainedTokenizerFast"}


def save_greedy(folder: Path, stops: set[int], begin: int | None, padding: int | None) -> None:
    """Writes the generation_config.json that says what was measured: greedy decoding up to one of the stop tokens."""
    GenerationConfig(
        do_sample=False, bos_token_id=begin, eos_token_id=sorted(stops), pad_token_id=padding
    ).save_pretrained(folder)


def make_portable(folder: Path) -> None:
    """Adds to a saved model's settings what transformers 4 reads: rope_theta and its kin, a tokenizer class it knows.

    The old names stand beside the new ones only where transformers 5 still reads the same model from both.
    """
    path = folder / "config.json"
    settings = read_json(path)
    before = rope_of(folder)
    write_json(path, with_old_rope(settings))
    if rope_of(folder) != before:
        write_json(path, settings)
    make_tokenizer_portable(folder)


def rope_of(folder: Path) -> list[Any]:
    """How transformers 5 reads a folder's rotary embeddings: of the model and of its text part."""
    config = AutoConfig.from_pretrained(folder)
    parts = [getattr(part, "rope_parameters", None) or {} for part in (config, config.get_text_config())]
    return [{key: value for key, value in part.items() if key != "type"} for part in parts]


def with_old_rope(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with `rope_parameters` said once more as transformers 4 does, in a model's parts too.

    A model whose kinds of layers differ gives one for each kind; transformers 4 names those of Gemma 3 so.
    """
    settings = {
        key: with_old_rope(value) if isinstance(value, dict) and key != "rope_parameters" else value
        for key, value in settings.items()
    }
    rope = settings.get("rope_parameters") or {}
    local, whole = rope.get("sliding_attention"), rope.get("full_attention", rope)
    if "rope_theta" not in whole:
        return settings
    beside = ("rope_theta", "partial_rotary_factor")
    old: dict[str, Any] = {key: whole[key] for key in beside if key in whole}
    scaling = {key: value for key, value in whole.items() if key not in beside}
    if scaling.get("rope_type") == "longrope" and "original_max_position_embeddings" in settings:
        # Phi-3 takes these three alone, the type under its older name.
        scaling = {"type": "longrope"} | {key: scaling[key] for key in ("short_factor", "long_factor")}
    old["rope_scaling"] = None if scaling.get("rope_type") == "default" else scaling
    if local:
        old["rope_local_base_freq"] = local["rope_theta"]
    return settings | old


def make_tokenizer_portable(folder: Path) -> None:
    """Names a saved tokenizer's class, and its further special tokens, as both versions read them."""
    path = folder / "tokenizer_config.json"
    settings = read_json(path)
    settings["tokenizer_class"] = CLASSES.get(settings["tokenizer_class"], settings["tokenizer_class"])
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    write_json(path, dict(sorted(settings.items())))


def copy_sentencepiece(source: Path, folder: Path) -> None:
    """Copies the base's SentencePiece file, which llama.cpp's converter reads of some models, where there is one."""
    if (source / "tokenizer.model").is_file():
        shutil.copyfile(source / "tokenizer.model", folder / "tokenizer.model")
