"""A tiny configuration of every architecture that the project is tried with: random weights, two layers or few more."""

from pathlib import Path
from typing import Any

from tiny_runs import prompt_of, run, table, train

from text2sql.base.files import read_json
from text2sql.base.params import ResolveParams

NEW = 8  # tokens of an answer
TOKENS = {
    "vocab_size": 264, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip
SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 1024,
}  # fmt: skip
HEADS = SHAPE | {"num_key_value_heads": 1, "head_dim": 16}
EXPERTS = HEADS | {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
SWITCH = 185  # tokens, between the lengths of the prompts that the tests write: some answers cross it

LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": SWITCH,
    "short_factor": [1.0] * 8, "long_factor": [1.0 + 3 * place for place in range(8)],
}  # fmt: skip
LATENT = EXPERTS | {
    "num_key_value_heads": 2, "head_dim": 8, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 8, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
MAMBA2 = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_expand": 2,
    "mamba_chunk_size": 16,
}  # fmt: skip
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}

# Name of the case: (model_type, settings).
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    kind: (kind, settings)
    for kind, settings in {
        "apertus": HEADS,
        "arcee": HEADS,
        "bamba": HEADS | MAMBA2 | {"attn_layer_indices": [1]},
        "biogpt": SHAPE,
        "bitnet": HEADS,
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
        "codegen": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024, "rotary_dim": 4},
        "cohere": HEADS,
        "cohere2": HEADS | {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
        "ctrl": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 1024, "dff": 64},
        "cwm": HEADS | {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
        "dbrx": {
            "d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 1024,
            "attn_config": {"kv_n_heads": 1, "rope_theta": 10000.0, "clip_qkv": 8.0},
            "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
        },
        "deepseek_v2": LATENT,
        "deepseek_v3": LATENT,
        "diffllama": HEADS | {"num_key_value_heads": 2},
        "doge": HEADS,
        "dots1": EXPERTS | {
            "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1,
        },
        "ernie4_5": HEADS,
        "ernie4_5_moe": EXPERTS | {"moe_num_experts": 4, "moe_k": 2, "moe_num_shared_experts": 1},
        "exaone4": HEADS | {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
        "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "alibi": False},
        "falcon_h1": HEADS | MAMBA2 | {"mamba_d_ssm": 64},
        "falcon_mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
        "flex_olmo": EXPERTS | {"num_experts": 4},
        "gemma": HEADS,
        "gemma2": HEADS | {"sliding_window": 64},
        "gemma3_text": HEADS | {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
        "gemma3n_text": HEADS | {
            "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64, "altup_num_inputs": 2,
            "vocab_size_per_layer_input": 264, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0,
            "laurel_rank": 4, "activation_sparsity_pattern": [0.0, 0.0], "intermediate_size": [64, 64],
        },
        "gemma4_text": HEADS | {
            "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64, "global_head_dim": 16,
            "vocab_size_per_layer_input": 264, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0,
        },
        "glm": HEADS,
        "glm4": HEADS,
        "glm4_moe": EXPERTS | {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
        "gpt_bigcode": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 1024},
        "gpt_neo": {
            "hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
            "window_size": 64, "max_position_embeddings": 1024,
        },
        "gpt_neox": SHAPE,
        "gpt_oss": EXPERTS | {"num_local_experts": 4, "sliding_window": 64, "rope_parameters": None},
        "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 1024, "rotary_dim": 8},
        "granite": HEADS,
        "granitemoe": HEADS | {"num_local_experts": 4, "num_experts_per_tok": 2},
        "granitemoehybrid": HEADS | MAMBA2 | {
            "layer_types": ["mamba", "attention"], "num_local_experts": 4, "num_experts_per_tok": 2,
            "shared_intermediate_size": 32,
        },
        "granitemoeshared": HEADS | {
            "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 32,
        },
        "helium": HEADS,
        "hunyuan_v1_dense": HEADS,
        "hunyuan_v1_moe": HEADS | {"num_experts": 4, "moe_topk": 2},
        "hyperclovax": HEADS,
        "jamba": HEADS | {
            "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "num_experts": 4,
            "num_experts_per_tok": 2, "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False,
        },
        "jais2": HEADS,
        "jetmoe": HEADS | {"kv_channels": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
        "lfm2": HEADS | {"layer_types": ["conv", "full_attention"], "block_ff_dim": 64},
        "lfm2_moe": EXPERTS | {"layer_types": ["conv", "full_attention"], "num_experts": 4, "num_dense_layers": 1},
        "llama": HEADS,
        "llama4_text": EXPERTS | {
            "intermediate_size_mlp": 64, "num_local_experts": 4, "num_experts_per_tok": 1,
            "attention_chunk_size": 64, "layer_types": ["chunked_attention", "full_attention"],
        },
        "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
        "mamba2": {
            "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1,
            "chunk_size": 16,
        },
        "minimax": EXPERTS | {"num_local_experts": 4, "layer_types": ["linear_attention", "full_attention"]},
        "ministral": HEADS | {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
        "mistral": HEADS | {"sliding_window": 64},
        "mixtral": HEADS | {"num_local_experts": 4, "num_experts_per_tok": 2},
        "modernbert-decoder": SHAPE | {"local_attention": 64, "global_attn_every_n_layers": 2},
        "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 1024},
        "nanochat": HEADS,
        "nemotron": HEADS,
        "nemotron_h": HEADS | {
            "layers_block_type": ["mamba", "attention"], "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 1,
            "ssm_state_size": 8, "chunk_size": 16,
        },
        "olmo": HEADS,
        "olmo2": HEADS,
        "olmo3": HEADS | {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
        "olmoe": EXPERTS | {"num_experts": 4},
        "opt": SHAPE | {"ffn_dim": 64, "word_embed_proj_dim": 32},
        "persimmon": SHAPE,
        "phi": SHAPE | {"num_key_value_heads": 2},
        "phi3": HEADS,
        "phimoe": HEADS | {"num_local_experts": 4, "num_experts_per_tok": 2},
        "qwen2": HEADS,
        "qwen2_moe": EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 16},
        "qwen3": HEADS,
        "qwen3_5_text": HEADS | LINEAR,
        "qwen3_moe": EXPERTS | {"num_experts": 4},
        "qwen3_next": EXPERTS | LINEAR | {"num_experts": 4, "shared_expert_intermediate_size": 16},
        "recurrent_gemma": HEADS | {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 64},
        "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "context_length": 1024},
        "seed_oss": HEADS,
        "smollm3": HEADS,
        "solar_open": EXPERTS | {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
        "stablelm": HEADS,
        "starcoder2": HEADS,
        "vaultgemma": HEADS | {"sliding_window": 64},
        "xglm": {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 2, "max_position_embeddings": 1024},
        "youtu": LATENT,
        "zamba2": HEADS | {
            "num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "mamba"], "num_mem_blocks": 1,
            "mamba_d_state": 8, "n_mamba_heads": 4, "mamba_headdim": 16, "mamba_ngroups": 1, "chunk_size": 16,
            "attention_head_dim": 32, "attention_hidden_size": 64,
        },
    }.items()
} | {
    "falcon, ALiBi": (
        "falcon",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "alibi": True},
    ),
    "gemma3": (
        "gemma3",
        {
            "text_config": TOKENS | HEADS | {
                "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"],
            },
            "vision_config": VISION | {"image_size": 28, "patch_size": 14},
            "mm_tokens_per_image": 4, "tie_word_embeddings": False,
        },
    ),
    "granitemoehybrid without experts": (
        "granitemoehybrid",
        HEADS | MAMBA2 | {
            "layer_types": ["mamba", "attention"], "num_local_experts": 0, "shared_intermediate_size": 64,
        },
    ),
    "llama, dynamic": ("llama", HEADS | {
        "max_position_embeddings": SWITCH,
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 10.0},
    }),
    "llama, longrope": ("llama", HEADS | {"rope_parameters": LONGROPE}),
    "phi3, longrope": (
        "phi3", HEADS | {"original_max_position_embeddings": SWITCH, "rope_parameters": LONGROPE},
    ),
}  # fmt: skip


# Those whose code is about that of another in the list; benchmarks/models.py walks with them too.
COPIES = frozenset(
    "arcee biogpt ctrl cwm diffllama doge dots1 ernie4_5 ernie4_5_moe flex_olmo glm4_moe gpt_bigcode granitemoeshared "
    "hunyuan_v1_dense hunyuan_v1_moe lfm2_moe ministral nanochat nemotron olmo olmoe persimmon qwen3 seed_oss "
    "solar_open vaultgemma xglm youtu".split()
)


def save(name: str, tokenizer: Any, folder: Path) -> dict[str, Any]:
    """The pointer to a model of one of the ARCHITECTURES, as `write` makes it."""
    kind, settings = ARCHITECTURES[name]
    return write(kind, settings if "text_config" in settings else TOKENS | settings, tokenizer, folder)


def write(kind: str, settings: dict[str, Any], tokenizer: Any, folder: Path) -> dict[str, Any]:
    """The pointer to a model with random weights, large enough that its logits and its answers differ."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings), dtype=torch.float32)
    with torch.no_grad():
        for path, weights in model.named_parameters():
            if weights.dim() > 1 and "A_log" not in path:
                weights.normal_(std=0.5 if "embed" in path else 0.2)
    model.generation_config.eos_token_id = 1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"source": "folder", "name": str(folder), "sha256": "0" * 64}


def walk(name: str, tokenizer: Any, folder: Path) -> dict[str, Any]:
    """Resolves a model, trains it for two steps, answers as both arms in batches, merges, saves and opens it again.

    Returns by what the arms answered, their texts and those of `model.generate` one prompt at a time, and how far the
    adapter as saved, and the merged model as opened again, are from the models in memory.
    """
    import torch

    from text2sql.generation import decode
    from text2sql.models import adapters, load
    from text2sql.models.resolve import resolve

    model = save(name, tokenizer, folder / "model")["name"]
    values = {"source": "folder", "name": model, "file": None, "revision": None, "sha256": None}
    pointer = resolve(ResolveParams(**values, trust_remote_code=False), folder / "base")
    rows = table(4)
    train(pointer, folder, rows, epochs=1.0)
    counted = read_json(folder / "train/summary.json")
    assert (counted["steps"], counted["rows"]) == (2, 4)

    untrained = run(pointer, folder / "one", rows=rows, max_new_tokens=NEW)
    tuned = run(pointer, folder / "two", folder / "adapter", rows, "finetuned", max_new_tokens=NEW)
    own = load.load_tokenizer(pointer)
    prompts = [prompt_of(row, own) for row in rows.to_dict("records")]
    base = load.load_model(pointer).eval()
    base_alone = alone(base, own, prompts)
    merged = adapters.merged(base, folder / "adapter").eval()
    merged_alone = alone(merged, own, prompts)
    merged.save_pretrained(folder / "merged")
    opened = load.load_model({"source": "folder", "name": str(folder / "merged")}).eval()
    with torch.inference_mode():
        ids = torch.tensor(prompts[:1])
        expected, again = (each(ids, use_cache=False).logits for each in (merged, opened))
    ways = {"loop": decode.serves(opened, 1024), "switch": decode.serves(opened, 1)}
    ways["generate" if pointer["checks"]["batches"] else "alone"] = True
    return {
        "way": next(way for way, taken in ways.items() if taken),
        "base": [row["text"] for row in untrained],
        "base alone": base_alone,
        "finetuned": [row["text"] for row in tuned],
        "merged alone": merged_alone,
        "saved differs": max(counted["saved_differs"].values()),
        "opened differs": float((again - expected).abs().max() / expected.abs().max()),
    }


def alone(model: Any, tokenizer: Any, rows: list[list[int]]) -> list[str]:
    """The greedy answers of transformers' own `generate`, one prompt at a time."""
    import torch

    texts = []
    for row in rows:
        ids = torch.tensor([row])
        with torch.inference_mode():
            model(ids[:, :1])  # forgets what a longer row before made of dynamic positions
            found = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW, eos_token_id=1,
                pad_token_id=0,
            )  # fmt: skip
        texts.append(tokenizer.decode(found[0, len(row) :], skip_special_tokens=True))
    return texts
