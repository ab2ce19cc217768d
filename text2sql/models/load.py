"""A pinned base model and its tokenizer, loaded onto the best device."""

import importlib.util
import os
import re
from typing import Any, Literal, NamedTuple

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from text2sql.base.errors import UserError
from text2sql.base.text import first_line
from text2sql.models.pin import runs_own_code, weights_folder

FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Switch(NamedTuple):
    """Where a model's rotary positions depend on the pass: how many tokens a pass may hold before they change, and
    whether they go on to change with every further token (dynamic) or only that once (longrope)."""

    tokens: int
    grows: bool


def load_config(pointer: dict[str, Any]) -> PreTrainedConfig:
    """The model's configuration."""
    return AutoConfig.from_pretrained(weights_folder(pointer), trust_remote_code=runs_own_code(pointer))


def max_positions(config: PreTrainedConfig) -> int | None:
    """How many tokens, prompt and answer together, a model of this configuration has positions for; None: no limit.

    ALiBi and state-space models have no table of positions. A model with eyes keeps the number in its text's part. With
    dynamic rotary positions the number is what they stretch from, `factor` times (bloc97's NTK-aware scaling).
    """
    text = config.get_text_config()
    given = (getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len"))
    limit = next((limit for limit in given if isinstance(limit, int) and limit > 0), None)
    stretch = [rope["factor"] for rope in ropes(config) if "dynamic" in rope["rope_type"]]
    return int(limit * min(stretch)) if limit and stretch else limit


def rope_switch(config: PreTrainedConfig) -> Switch | None:
    """Where the model's rotary positions change with the tokens of a pass; None where they never do."""
    text = config.get_text_config()
    switches = [
        Switch(text.max_position_embeddings if grows else rope["original_max_position_embeddings"], grows)
        for rope in ropes(config)
        if (grows := "dynamic" in rope["rope_type"]) or rope["rope_type"] == "longrope"
    ]
    return min(switches, default=None)


def ropes(config: PreTrainedConfig) -> list[dict[str, Any]]:
    """The settings of a model's rotary positions: one, or one for each type of layer; none where it has others."""
    given = getattr(config.get_text_config(), "rope_parameters", None) or {}
    found = [given] if "rope_type" in given else [part for part in given.values() if isinstance(part, dict)]
    return [rope for rope in found if "rope_type" in rope]


def load_tokenizer(pointer: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The model's tokenizer, padding on the left as generation needs, with a padding token that is not the end's.

    A model trained with its end token masked as padding never learns to stop.
    """
    tokenizer = AutoTokenizer.from_pretrained(
        weights_folder(pointer), padding_side="left", trust_remote_code=runs_own_code(pointer)
    )
    tokenizer.init_kwargs.pop("local_files_only", None)  # a setting of this process, which saving would write down
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = tokenizer.unk_token if tokenizer.unk_token else tokenizer.eos_token
    return tokenizer


def load_model(
    pointer: dict[str, Any],
    dtype: torch.dtype | None = None,
    *,
    quantization: Literal["none", "nf4"] = "none",
    attention: str = "auto",
) -> PreTrainedModel:
    """The base model on the best device, in `dtype` (by default bf16 where the device computes it, else fp16 or fp32).

    quantization: "nf4" keeps the linear layers' weights in 4-bit NormalFloat with doubly quantised constants and
    computes in `dtype`, as QLoRA does (Dettmers et al. 2023). attention: a name that transformers knows; "auto" takes
    flash attention where it is installed for the card, else what transformers prefers for the model. Of the model's
    generation_config.json only the tokens that begin, end and pad are kept. Raises UserError where that attention is
    missing.
    """
    device, default = device_and_dtype()
    dtype = dtype or default
    options: dict[str, Any] = {}
    if quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype if is_sharded() else torch.uint8,  # FSDP shares out floating numbers alone
        )
    # Straight to the device, never whole in the main memory, but where no card may hold the whole of it.
    if quantization == "nf4" or (device != "cpu" and not is_sharded()):
        index = "" if device == "cpu" else f":{torch.accelerator.current_device_index()}"
        options["device_map"] = {"": f"{device}{index}"}
    if attention == "auto":
        has_flash = device == "cuda" and dtype != torch.float32 and importlib.util.find_spec("flash_attn") is not None
        implementation = "flash_attention_2" if has_flash else None
    else:
        implementation = attention
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights_folder(pointer),
            dtype=dtype,
            attn_implementation=implementation,
            trust_remote_code=runs_own_code(pointer),
            **options,
        )
    except (ImportError, ValueError) as error:
        if not re.search("attention|attn", str(error), re.IGNORECASE):
            raise
        raise UserError(
            f"attention {attention} is not available here ({first_line(error)}); use auto or sdpa"
        ) from error
    # Its own settings of generation (penalties, beams, forced tokens) would make greedy mean something else for each
    # model and backend; which tokens begin, end and pad is all that counts of them.
    own = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    for module in model.modules():
        # On a CPU, bitsandbytes would repack, and round, weights as soon as they are not trained on; evaluation in the
        # middle of training, and generation after it, must see the numbers that were trained beside.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010
    return model


def is_sharded() -> bool:
    """Whether accelerate's launcher was told to share the weights out over the cards (FSDP or DeepSpeed)."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}") == "true" for name in ("FSDP", "DEEPSPEED"))


def device_and_dtype() -> tuple[str, torch.dtype]:
    """(the accelerator's type as PyTorch calls it, "cuda", "xpu", "mps", or "cpu"; the number format it is fast in).

    Apple's processors train in fp32: their fp16 has no room for the gradients, and bf16 depends on the system's
    version.
    """
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return "cpu", torch.bfloat16 if is_fast_in_bf16() else torch.float32
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return "cuda", torch.bfloat16 if has_bf16 else torch.float16
    if device.type == "xpu":
        return "xpu", torch.bfloat16 if torch.xpu.is_bf16_supported() else torch.float16
    return device.type, torch.float32


def is_fast_in_bf16() -> bool:
    """Whether this processor multiplies matrices faster in bf16 than in fp32.

    Without instructions for it bf16 is emulated. Those of AVX-512 pay on AMD's processors; on Intel's, where AMX is
    missing or hidden by the machine's host, training took 1.7 times as long with them as in fp32 (docs/speed.md).
    """
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and "Intel" not in torch.cpu.get_capabilities().get("cpu_name", "")


def number_format(name: str) -> torch.dtype:
    """The number format that a parameter names: bf16, fp16, fp32, or auto for the one the device is fast in."""
    return device_and_dtype()[1] if name == "auto" else FORMATS[name]


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a completion: the tokenizer's end of sequence and those of the model's own settings."""
    own = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
