"""What training needs of a card's memory and of a processor's time, estimated before it starts."""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel

from text2sql.base.errors import UserError
from text2sql.base.params import FinetuneParams

# Adapter, its gradient and AdamW's two moments, in fp32.
BYTES_PER_TRAINED_PARAMETER = 16
# Share of the card that an estimate may fill: the rest is the allocator's and the estimate's own error.
USABLE = 0.9


def training_bytes(
    shape: dict[str, int],
    weights: int,
    trained: int,
    tokens: int,
    completions: int,
    *,
    seen: int = 0,
    dropout: bool = False,
    checkpointing: bool = False,
) -> int:
    """Estimated peak memory, in bytes, of a LoRA training step in 16 bits.

    shape: hidden_size, intermediate_size, num_hidden_layers, vocab_size and key_size (a token's keys over all heads) of
    a decoder. weights: bytes of the frozen model. trained: number of trained parameters. tokens: of one batch, padding
    included, and completions: those of them that are learnt. seen: tokens whose keys and values attention copies. Per
    token and layer a step keeps the inputs of the adapted projections, both norms in fp32, attention's operands, and
    such copies; with dropout its masks too; with checkpointing the layer's input alone, but all of one layer at a time.
    Logits, their fp32 copy and their gradient take 10 bytes a word, for the completions alone. Within 20 % of what an
    H100 and an H200 measured for 6.2 billion parameters (tests/test_memory.py).
    """
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    layer = 26 * hidden + 8 * inner + dropout * (6 * hidden + inner)
    layer = tokens * layer + 4 * seen * shape["key_size"]
    many = shape["num_hidden_layers"]
    layers = 2 * tokens * hidden * many + layer if checkpointing else layer * many
    return weights + BYTES_PER_TRAINED_PARAMETER * trained + layers + 10 * completions * shape["vocab_size"]


def checkpoints_gradients(
    model: PeftModel, config: FinetuneParams, tokens: int, completions: int, seen: int = 0
) -> bool:
    """What `finetune.gradient_checkpointing` comes to: auto asks the card's memory, and says what it found.

    tokens, completions, seen: of the largest batch, as `training_bytes` takes them; of the tokens all may be learnt.
    """
    if config.gradient_checkpointing != "auto":
        return config.gradient_checkpointing
    if model.device.type != "cuda":  # others do not tell their memory in one way
        return False
    needed, why = needs_checkpointing(model, tokens, completions, seen, config.lora.lora_dropout > 0)
    print(f"finetune: {why}", file=sys.stderr)
    return needed


def needs_checkpointing(model: PeftModel, tokens: int, completions: int, seen: int, dropout: bool) -> tuple[bool, str]:
    """Whether a training step on such a batch (`training_bytes`) needs gradient checkpointing to fit the model's CUDA
    card, and why."""
    total = torch.cuda.get_device_properties(model.device).total_memory
    weights = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    estimate = functools.partial(
        training_bytes, shape_of(model.config), weights, trained, tokens, completions, seen=seen, dropout=dropout
    )
    plain, saving = estimate(checkpointing=False), estimate(checkpointing=True)
    needed = plain > USABLE * total
    return needed, (
        f"gradient checkpointing {'on' if needed else 'off'}: about {plain / 2**30:.1f} GiB without it,"
        f" {saving / 2**30:.1f} GiB with it, and the card has {total / 2**30:.1f} GiB"
    )


def shape_of(config: Any) -> dict[str, int]:
    """The numbers of a model's configuration that the estimate needs.

    Of several inner widths the largest; 4 times the width where it names none.
    """
    names = ("hidden_size", "num_hidden_layers", "vocab_size")
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    inner = max(inner) if isinstance(inner, list | tuple) else inner
    return {name: getattr(config, name) for name in names} | {"intermediate_size": inner, "key_size": key_size(config)}


def key_size(config: Any) -> int:
    """How many numbers a token's keys are, over all heads, in a layer; 0 without attention."""
    heads = getattr(config, "num_attention_heads", None)
    if not heads:
        return 0
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return size * (getattr(config, "num_key_value_heads", None) or heads)


def cpu_hours(parameters: int, tokens: float, cores: int) -> float:
    """Estimated hours of LoRA training on a CPU with bf16 instructions.

    Forward and backward through frozen weights take 4 floating-point operations a parameter and token. 0.1 TFLOP/s a
    core lies between the 501 tokens/s of 135 million parameters that two cores of an AMD EPYC did and the 300 of two
    cores of an Intel Xeon (docs/speed.md).
    """
    return 4 * parameters * tokens / (1e11 * cores) / 3600


def say_how_long(model: PeftModel, tokens: float) -> None:
    """Warns where a model is large for a CPU. Nothing is forbidden: a first step may be all that is wanted."""
    _, parameters = model.get_nb_trainable_parameters()
    hours = cpu_hours(parameters, tokens, os.cpu_count() or 1)
    if hours > 1:
        size = f"{parameters / 1e9:.1f} billion parameters"
        print(f"finetune: no CUDA card, and {size}: about {hours:.0f} hours on this processor", file=sys.stderr)


@contextlib.contextmanager
def clear_errors(config: FinetuneParams) -> Iterator[None]:
    """Turns a lack of GPU memory into one line that names the parameter to change first."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        remedies = (
            (config.batch_size > 1, "lower finetune.batch_size (raise finetune.accumulation to keep their product)"),
            (config.gradient_checkpointing is not True, "set finetune.gradient_checkpointing to true"),
            (config.quantization == "none", "set finetune.quantization to nf4"),
            (True, "lower finetune.max_length"),
        )
        raise UserError(f"out of GPU memory: {next(line for fits, line in remedies if fits)}") from error
