"""A pinned base model and its tokenizer, loaded onto the best device."""

import importlib.util
import os
import re
from typing import Any, Literal

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
from text2sql.models.pin import weights_folder


def load_config(pointer: dict[str, Any]) -> PreTrainedConfig:
    """The model's configuration."""
    return AutoConfig.from_pretrained(weights_folder(pointer))


def max_positions(config: PreTrainedConfig) -> int | None:
    """How many tokens, prompt and answer together, a model of this configuration has positions for; None: no limit.

    ALiBi and state-space models have no table of positions. A model with eyes keeps the number in its text's part.
    """
    text = config.get_text_config()
    given = (getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len"))
    return next((limit for limit in given if isinstance(limit, int) and limit > 0), None)


def load_tokenizer(pointer: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The model's tokenizer, padding on the left as generation needs, with a padding token that is not the end's.

    A model trained with its end token masked as padding never learns to stop.
    """
    tokenizer = AutoTokenizer.from_pretrained(weights_folder(pointer), padding_side="left")
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
    if quantization == "nf4" or (device == "cuda" and not is_sharded()):
        options["device_map"] = {"": torch.cuda.current_device() if device == "cuda" else device}
    if attention == "auto":
        has_flash = device == "cuda" and dtype != torch.float32 and importlib.util.find_spec("flash_attn") is not None
        implementation = "flash_attention_2" if has_flash else None
    else:
        implementation = attention
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights_folder(pointer), dtype=dtype, attn_implementation=implementation, **options
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
    """("cuda" or "cpu", the number format it is fast in).

    A CPU without bf16 instructions emulates them, slower than fp32.
    """
    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return "cuda", torch.bfloat16 if has_bf16 else torch.float16
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "cpu", torch.bfloat16 if has_bf16 else torch.float32


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a completion: the tokenizer's end of sequence and those of the model's own settings."""
    own = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
