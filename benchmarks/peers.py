"""A LoRA training step on one GPU, the project's way beside the kernels of others, with a model of Yi-Ko-6B's shape.

    python benchmarks/peers.py [--ways WAY ...] [--model FOLDER] [--json FILE]     all: about 5 minutes on an H200
    python benchmarks/peers.py --small                                             the same on a CPU, a tiny model

Every way gets the same random weights, adapter (r and alpha of finetune.lora, on every linear layer), rows of synthetic
tokens, loss over all of them, and AdamW, in bf16 without recomputation. Tokens per second are those of the median step
of the last two thirds; the losses of the first 20 steps show whether the ways learn alike.

plain        transformers and PEFT
compiled     as the finetune function with `compile`: each layer through torch.compile, and TRL's loss without logits
liger        all of Liger's kernels
axolotl      axolotl's LoRA kernels, and Liger's for norm, rotation and loss
unsloth      unsloth's model, adapter and loss; it may want an older transformers and TRL, found on a PYTHONPATH
fp8          compiled, where products with frozen weights are in float8 (finetune.float8)
torchao      compiled, with torchao's layers in float8 for that, by its recipe "rowwise"

Every way runs in a process of its own; a way that fails is named and the others go on. Without a card nothing is
compiled, and the ways of kernels for a card are left out.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from gpu import TINY, YI_KO_6B, make_model, peak, run_each, ways_on

from text2sql.base.params import LoraParams, read_params

FULL_SIZE = {"rows": 4, "tokens": 1024, "steps": 40}
SMALL_SIZE = {"rows": 2, "tokens": 64, "steps": 20}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--model", type=Path, help="folder for the model, kept and used again; default: temporary")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args()
    shape, size = (TINY, SMALL_SIZE) if args.small else (YI_KO_6B, FULL_SIZE)
    if args.way:
        print(json.dumps(make_model(args.model, shape) if args.way == "model" else measure(args.way, args.model, size)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        model = args.model or Path(temporary, "model")
        commands = [[sys.executable, __file__, "--way", way] for way in ways_on(model, args.ways)]
        run_each(commands, model, size, args, UNSLOTH_COMPILE_LOCATION=str(Path(temporary, "unsloth")))


def measure(way: str, folder: Path, size: dict) -> dict:
    """Tokens per second, memory and losses of one way of training."""
    if DEVICE == "cpu" and way in ("liger", "axolotl", "unsloth", "torchao"):
        return {"left_out": "needs a CUDA card"}
    (config,) = read_params("finetune")
    model, asked = WAYS[way](folder, config.lora)
    learnt = start_adapter(model.train())
    optimizer = torch.optim.AdamW(learnt, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    chance = torch.Generator().manual_seed(1)
    shape = size["steps"], size["rows"], size["tokens"]
    few = torch.randint(2, 66, shape, generator=chance)  # so that some is learnt
    losses, seconds = [], []
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()  # of loading
    for ids in few.to(DEVICE):
        start = time.monotonic()
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False, **asked).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(round(loss.item(), 4))  # waits for the card
        seconds.append(time.monotonic() - start)
    step = statistics.median(seconds[len(seconds) // 3 :])
    return {
        "tokens_per_second": round(size["rows"] * size["tokens"] / step), **peak(), "first_step": round(seconds[0], 1),
        "learnt": sum(weights.numel() for weights in learnt), "losses": losses[:20],
        "versions": {name: import_module(name).__version__ for name in ("torch", "transformers", "peft", "trl")},
    }  # fmt: skip


def start_adapter(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Sets the weights that learn, in fp32, and returns them: A as PEFT draws it, from one seed, and B zero."""
    chance = torch.Generator().manual_seed(0)
    learnt = dict(sorted((name, weights) for name, weights in model.named_parameters() if weights.requires_grad))
    for name, weights in learnt.items():
        bound = weights.shape[1] ** -0.5 if "lora_A" in name else 0.0
        weights.data = torch.empty(weights.shape).uniform_(-bound, bound, generator=chance).to(DEVICE)
    return list(learnt.values())


# A way returns its model, with an adapter, and what its forward is asked beside the loss. unsloth must be imported
# before transformers, TRL and PEFT: so all of them are in here.


def plain(folder: Path, lora: LoraParams) -> tuple:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map=DEVICE)
    settings = LoraConfig(r=lora.r, lora_alpha=lora.lora_alpha, target_modules=LINEAR, task_type="CAUSAL_LM")
    return get_peft_model(base, settings), {}


def compiled(folder: Path, lora: LoraParams, float8: Callable | None = None) -> tuple:
    from transformers.modeling_layers import GradientCheckpointingLayer
    from trl.trainer.utils import add_fused_lm_head

    model, _ = plain(folder, lora)
    if float8:
        float8(model)
    add_fused_lm_head(model.get_base_model(), outputs=("log_probs", "entropy", "is_top1"))
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer) and DEVICE == "cuda":
            module.compile()
    return model, {"fused_lm_head": True}


def fp8(folder: Path, lora: LoraParams) -> tuple:
    from text2sql.training.float8 import swap_in

    return compiled(folder, lora, swap_in)


def torchao(folder: Path, lora: LoraParams) -> tuple:
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    def convert(model: torch.nn.Module) -> None:
        config = Float8LinearConfig.from_recipe_name("rowwise")
        convert_to_float8_training(model, module_filter_fn=lambda _, name: name.endswith("base_layer"), config=config)

    return compiled(folder, lora, convert)


def liger(folder: Path, lora: LoraParams, swiglu: bool = True) -> tuple:
    from liger_kernel.transformers import apply_liger_kernel_to_llama

    apply_liger_kernel_to_llama(swiglu=swiglu)
    return plain(folder, lora)


def axolotl(folder: Path, lora: LoraParams) -> tuple:
    from axolotl.monkeypatch.lora_kernels import apply_lora_kernel_patches, patch_self_attn_lora
    from axolotl.utils.dict import DictDefault

    kernels = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")
    config = DictDefault(base_model=str(folder), **dict.fromkeys(kernels, True))
    patch_self_attn_lora(config)
    model, asked = liger(folder, lora, swiglu=False)
    return apply_lora_kernel_patches(model, config), asked


def unsloth(folder: Path, lora: LoraParams) -> tuple:
    from unsloth import FastLanguageModel

    how = {"dtype": torch.bfloat16, "load_in_4bit": False, "use_gradient_checkpointing": False}
    model, _ = FastLanguageModel.from_pretrained(str(folder), max_seq_length=FULL_SIZE["tokens"], **how)
    settings = {"r": lora.r, "lora_alpha": lora.lora_alpha, "target_modules": LINEAR}
    return FastLanguageModel.get_peft_model(model, **settings, use_gradient_checkpointing=False), {}


WAYS = {way.__name__: way for way in (plain, compiled, liger, axolotl, unsloth, fp8, torchao)}

if __name__ == "__main__":
    main()
