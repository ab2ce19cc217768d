"""One LoRA training step on one GPU, the project's way beside the kernels of others, on a model of Yi-Ko-6B's shape.

    python benchmarks/peers.py [--ways WAY ...] [--model FOLDER] [--json FILE]     all: about 10 minutes on an H200
    python benchmarks/peers.py --small                                             the same on a CPU, a tiny model

Every way gets the same random weights, adapter (finetune.lora of params.yaml, one seed for all), rows of 1,024
synthetic tokens, loss over all of them, AdamW and clipping, bf16 under autocast, no recomputation; it brings the
layers and the loss. Tokens per second by the median of the last two thirds of the steps, in milliseconds beside it;
the losses of the first 20 steps, by which to judge that the ways train alike; the most memory of the steps, in GB.

plain        transformers and PEFT
compiled     what the finetune function does with compile: layers through torch.compile, TRL's loss without logits
liger        all of Liger's kernels (pip install liger-kernel)
axolotl      its LoRA kernels beside Liger's norm, rotation and loss (pip install --no-deps axolotl addict)
unsloth      its model and adapter (pip install unsloth: it wants an older transformers and TRL, so in a place apart)
fp8          compiled, with the products of the frozen layers in float8, a scale a row; their gradients too
fp8_whole    the same with one scale for a whole matrix

Every way runs in a process of its own; a way that fails is named and the others go on. Without a card nothing is
compiled, and the ways that are kernels of a card are left out.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from gpu import ROOT, TINY, YI_KO_6B, make_model, peak, where

FULL_SIZE = {"rows": 4, "tokens": 1024, "steps": 40}
SMALL_SIZE = {"rows": 2, "tokens": 64, "steps": 20}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LARGEST = 448.0  # of the numbers in float8_e4m3fn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--model", type=Path, help="folder for the model, kept and used again; default: temporary")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = SMALL_SIZE if args.small else FULL_SIZE
    if args.way:
        shape = TINY if args.small else YI_KO_6B
        print(json.dumps(make_model(args.model, shape) if args.way == "model" else measure(args.way, args.model, size)))
        return
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        model = args.model or Path(temporary, "model")
        for way in [*(["model"] if not (model / "config.json").is_file() else []), *args.ways]:
            command = [sys.executable, __file__, "--way", way, "--model", str(model.resolve())]
            done = subprocess.run([*command, *["--small"] * args.small], cwd=ROOT, capture_output=True, text=True)
            last = "".join((done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1:])
            results[way] = json.loads(last) if done.returncode == 0 else {"failed": last}
            if done.returncode:
                print(done.stderr[-3000:], file=sys.stderr)
            print(f"{way:<10}" + "".join(f"   {key} {value}" for key, value in results[way].items()), flush=True)
            if args.json:
                args.json.write_text(json.dumps({"where": where(), "size": size, "results": results}, indent=2) + "\n")
    sys.exit(any("failed" in result for result in results.values()))


def measure(way: str, folder: Path, size: dict) -> dict:
    """Tokens per second, milliseconds a step, losses and memory of one way of training."""
    import torch

    from text2sql.base.params import read_params

    on_card = torch.cuda.is_available()
    if not on_card and way in ("liger", "axolotl", "unsloth"):
        return {"left_out": "needs a CUDA card"}
    (config,) = read_params("finetune")
    model, asked = WAYS[way](folder, config.lora)
    learnt = start_adapter(model)
    model.train()
    optimizer = torch.optim.AdamW(learnt, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    # Few tokens of the vocabulary, so that there is something to learn.
    chance = torch.Generator().manual_seed(1)
    batches = torch.randint(2, 66, (size["steps"], size["rows"], size["tokens"]), generator=chance).to(model.device)
    losses, seconds = [], []
    if on_card:
        torch.cuda.reset_peak_memory_stats()  # of loading
    for ids in batches:
        start = time.monotonic()
        with torch.autocast(model.device.type, torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False, **asked).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(round(loss.item(), 4))  # waits for the card
        seconds.append(time.monotonic() - start)
    step = statistics.median(seconds[len(seconds) // 3 :])
    return {
        "tokens_per_second": round(size["rows"] * size["tokens"] / step), "step_ms": round(step * 1000, 1), **peak(),
        "first_step_seconds": round(seconds[0], 1), "learnt": sum(weights.numel() for weights in learnt),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")}, "losses": losses[:20],
    }  # fmt: skip


def start_adapter(model) -> list:
    """Sets the adapter's weights, in fp32: A as PEFT draws it, from the one seed, and B to zero. Returns them."""
    import torch

    chance = torch.Generator().manual_seed(0)
    learnt = sorted((name, weights) for name, weights in model.named_parameters() if weights.requires_grad)
    for name, weights in learnt:
        start = torch.zeros(weights.shape)
        if "lora_A" in name:
            bound = weights.shape[1] ** -0.5
            start.uniform_(-bound, bound, generator=chance)
        weights.data = start.to(weights.device)
    return [weights for _, weights in learnt]


def plain(folder: Path, lora) -> tuple:
    """transformers' model with PEFT's adapter, and what its forward is asked for."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, device_map="cuda" if torch.cuda.is_available() else "cpu"
    )
    settings = LoraConfig(r=lora.r, lora_alpha=lora.lora_alpha, target_modules=LINEAR, task_type="CAUSAL_LM")
    return get_peft_model(base, settings), {}


def compiled(folder: Path, lora, replace: Callable = lambda model: None) -> tuple:
    """As CompletionTrainer has its model with `finetune.compile`. replace: changes the model before it is compiled."""
    import torch
    from transformers.modeling_layers import GradientCheckpointingLayer
    from trl.trainer.utils import add_fused_lm_head

    model, _ = plain(folder, lora)
    replace(model)
    add_fused_lm_head(model.get_base_model(), outputs=("log_probs", "entropy", "is_top1"))
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer) and torch.cuda.is_available():
            module.compile()
    return model, {"fused_lm_head": True}


def liger(folder: Path, lora, swiglu: bool = True) -> tuple:
    from liger_kernel.transformers import apply_liger_kernel_to_llama

    apply_liger_kernel_to_llama(swiglu=swiglu)  # the rest is its default
    return plain(folder, lora)


def axolotl(folder: Path, lora) -> tuple:
    """As axolotl's configuration does it with lora_mlp_kernel, lora_qkv_kernel and lora_o_kernel."""
    from axolotl.monkeypatch.lora_kernels import apply_lora_kernel_patches, patch_self_attn_lora
    from axolotl.utils.dict import DictDefault

    kernels = {"lora_mlp_kernel": True, "lora_qkv_kernel": True, "lora_o_kernel": True}
    config = DictDefault({"base_model": str(folder), **kernels})
    patch_self_attn_lora(config)
    model, asked = liger(folder, lora, swiglu=False)
    return apply_lora_kernel_patches(model, config), asked


def unsloth(folder: Path, lora) -> tuple:
    import torch
    from unsloth import FastLanguageModel  # it patches transformers, TRL and PEFT, which nothing may import before

    model, _ = FastLanguageModel.from_pretrained(
        str(folder), max_seq_length=FULL_SIZE["tokens"], dtype=torch.bfloat16, load_in_4bit=False,
        use_gradient_checkpointing=False,
    )  # fmt: skip
    settings = {"r": lora.r, "lora_alpha": lora.lora_alpha, "target_modules": LINEAR}
    return FastLanguageModel.get_peft_model(model, **settings, use_gradient_checkpointing=False), {}


def fp8(folder: Path, lora, by_row: bool = True) -> tuple:
    return compiled(folder, lora, lambda model: to_float8_layers(model, by_row))


def fp8_whole(folder: Path, lora) -> tuple:
    return fp8(folder, lora, by_row=False)


def to_float8_layers(model, by_row: bool) -> None:
    """Puts float8 in place of the weights that stand frozen beside the adapter.

    Both products of a step, x @ W.T and gradient @ W, want the side that they sum over to be contiguous, so W is kept
    twice: the memory of bf16.
    """
    import torch

    def to_float8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """rows: [n, k]. Returns them in float8, and the scale that undoes it: [n, 1], or [1, 1] for all of them."""
        most = rows.abs().amax(-1, keepdim=True) if by_row else rows.abs().amax().view(1, 1)
        scale = most.float().clamp(min=1e-12) / LARGEST
        return (rows / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), scale

    def product(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """x: [..., k], weight: [n, k] in float8. Returns [..., n] in bf16."""
        rows, row_scale = to_float8(x.flatten(0, -2))
        out = torch._scaled_mm(
            rows, weight.t(), row_scale, scale.t(), out_dtype=torch.bfloat16, use_fast_accum=on_card
        )
        return out.view(*x.shape[:-1], -1)

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, scale, turned, turned_scale):
            ctx.save_for_backward(turned, turned_scale)
            return product(x, weight, scale)

        @staticmethod
        def backward(ctx, gradient):
            return product(gradient, *ctx.saved_tensors), None, None, None, None

    class Float8Linear(torch.nn.Module):
        def __init__(self, weight: torch.Tensor) -> None:
            super().__init__()
            for name, rows in (("", weight), ("turned_", weight.t())):
                numbers, scale = to_float8(rows)
                self.register_buffer(f"{name}weight", numbers.contiguous())
                self.register_buffer(f"{name}scale", scale.contiguous())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Product.apply(x, self.weight, self.scale, self.turned_weight, self.turned_scale)

    on_card = torch.cuda.is_available()
    for layer in [module for module in model.modules() if hasattr(module, "base_layer")]:
        layer.base_layer = Float8Linear(layer.base_layer.weight.detach())


ways = (plain, compiled, liger, axolotl, unsloth, fp8, fp8_whole)
WAYS = {way.__name__: way for way in ways}

if __name__ == "__main__":
    main()
