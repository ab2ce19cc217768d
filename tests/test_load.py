"""A base model and its tokenizer, loaded as they were pinned."""

import json
import shutil

import pytest

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.models import load


def test_a_tokenizer_without_padding_does_not_pad_with_the_end(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    settings = read_json(folder / "tokenizer_config.json") | {"pad_token": "<end>", "unk_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load.load_tokenizer({"source": "folder", "name": str(folder)})
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side) == ("<pad>", "<end>", "left")


ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64,
    "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("rope", "positions", "switch"),
    [
        (ROPE, 512, None),
        (ROPE | {"rope_type": "linear", "factor": 4.0}, 512, None),
        (LONGROPE, 512, load.Switch(64, grows=False)),
        (ROPE | {"rope_type": "dynamic", "factor": 4.0}, 2048, load.Switch(512, grows=True)),
    ],
    ids=["plain", "linear", "longrope", "dynamic"],
)
def test_where_rotary_positions_depend_on_the_pass(rope, positions, switch):
    from transformers import LlamaConfig

    shape = {"hidden_size": 32, "num_attention_heads": 2, "head_dim": 16, "max_position_embeddings": 512}
    config = LlamaConfig(**shape, rope_parameters=rope)
    assert (load.max_positions(config), load.rope_switch(config)) == (positions, switch)


def test_rotary_positions_may_differ_by_the_type_of_layer():
    from transformers import Gemma3TextConfig

    types = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(num_hidden_layers=2, layer_types=types, head_dim=16, max_position_embeddings=512)
    assert [rope["rope_type"] for rope in load.ropes(config)] == ["default", "default"]
    assert load.rope_switch(config) is None


# Devices and formats


@pytest.mark.parametrize(
    ("kind", "has_bf16", "dtype"),
    [("cuda", True, "bfloat16"), ("cuda", False, "float16"), ("xpu", True, "bfloat16"), ("mps", None, "float32")],
)
def test_the_device_is_the_one_that_pytorch_offers(kind, has_bf16, dtype, monkeypatch):
    """A stub stands for each accelerator, which this machine may lack: what PyTorch says of it."""
    import torch

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device(kind))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda: has_bf16)
    assert load.device_and_dtype() == (kind, getattr(torch, dtype))
    assert load.number_format("auto") == getattr(torch, dtype)


@pytest.mark.parametrize(
    ("amx", "avx512", "name", "dtype"),
    [
        (True, True, "Intel Xeon", "bfloat16"),
        (False, True, "Intel Xeon", "float32"),
        (False, True, "AMD EPYC", "bfloat16"),
        (False, False, "AMD EPYC", "float32"),
    ],
)
def test_a_processor_computes_in_the_format_it_is_fast_in(amx, avx512, name, dtype, monkeypatch):
    """A stub stands for processors other than this machine's: what PyTorch says of them."""
    import torch

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name})
    assert load.device_and_dtype() == ("cpu", getattr(torch, dtype))


def test_a_format_that_is_named_is_the_models(tiny_model):
    import torch

    assert [load.number_format(name) for name in ("bf16", "fp16", "fp32")] == [
        torch.bfloat16,
        torch.float16,
        torch.float32,
    ]
    pointer = {"source": "folder", "name": str(tiny_model)}
    assert load.load_model(pointer, load.number_format("fp16")).dtype == torch.float16


def test_a_folder_that_went_away_after_resolve_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"gone: the model folder is gone; restore it, or fix resolve\.name"):
        load.load_tokenizer({"source": "folder", "name": str(tmp_path / "gone"), "sha256": "0" * 64})


# Four bits, and attention


def test_nf4_is_the_same_model_in_a_quarter_of_the_memory(tmp_path):
    """Normal floats of 4 bits with doubly quantised constants; the output layer and the norms stay as they are.

    On a CPU, bitsandbytes computes with layers whose widths are multiples of 64, which all models of use have.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=256, **shape)).save_pretrained(tmp_path)
    pointer = {"source": "folder", "name": str(tmp_path)}
    whole, four = load.load_model(pointer).cpu(), load.load_model(pointer, quantization="nf4")
    projection = four.model.layers[0].self_attn.q_proj
    assert projection.weight.dtype == torch.uint8
    assert (projection.weight.quant_state.quant_type, projection.weight.quant_state.nested) == ("nf4", True)
    assert projection.compute_dtype == load.device_and_dtype()[1]
    assert four.lm_head.weight.dtype == whole.lm_head.weight.dtype
    tokens = torch.arange(2, 42).reshape(1, -1)
    with torch.inference_mode():
        difference = (four.cpu()(tokens).logits - whole(tokens).logits).float()
        assert 0 < difference.norm() < 0.25 * whole(tokens).logits.float().norm()


@pytest.mark.parametrize("name", ["flash_attention_2", "no_such_attention"])
def test_an_attention_that_is_not_there_is_one_line(tiny_model, name):
    import importlib.util

    if importlib.util.find_spec("flash_attn") and name == "flash_attention_2":
        pytest.skip("flash attention is installed")
    with pytest.raises(UserError, match=f"attention {name} is not available here .*; use auto or sdpa") as error:
        load.load_model({"source": "folder", "name": str(tiny_model)}, attention=name)
    assert "\n" not in str(error.value)
