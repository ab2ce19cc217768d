"""finetune.float8: what it multiplies, what is learnt beside it and saved, and what it is refused for.

A processor multiplies in float8 too, slowly: a stub stands for the card that the stage asks for, all else is real.
"""

import pytest
from tiny_runs import losses, table, train, training

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.training import float8
from text2sql.training.finetune import add_adapter

pytestmark = pytest.mark.usefixtures("in_the_project")


def test_a_product_and_its_gradient_are_those_of_the_rounded_numbers():
    import torch

    source = torch.Generator().manual_seed(1)
    x = torch.randn(3, 5, 32, generator=source).bfloat16().requires_grad_()
    layer = torch.nn.Linear(32, 48, dtype=torch.bfloat16).requires_grad_(False)
    found = float8.Float8Linear(layer)(x)
    gradient = torch.randn(found.shape, generator=source).bfloat16()
    found.backward(gradient)

    def rounded(rows):
        numbers, scale = float8.to_float8(rows)
        assert ((numbers.float() * scale - rows).abs() <= rows.abs().amax(-1, keepdim=True) / 16).all()
        return numbers.float() * scale

    weight, bias = layer.weight, layer.bias.float()
    torch.testing.assert_close(found[0].float(), rounded(x[0].detach()) @ rounded(weight).t() + bias, rtol=0, atol=0.02)
    back = rounded(gradient[0]) @ rounded(weight.t().contiguous()).t()
    torch.testing.assert_close(x.grad[0].float(), back, rtol=0, atol=0.02)


def test_layers_are_swapped_where_their_sides_allow_it_and_swapped_back(pointers, tmp_path):
    import torch

    def kinds() -> set[str]:
        return {type(module.base_layer).__name__ for module in float8.adapted(model)}

    model = add_adapter(pointers["llama"], training(), 1, tmp_path, torch.bfloat16)
    fresh = add_adapter(pointers["llama"], training(), 1, tmp_path, torch.bfloat16).unload()
    ids = torch.arange(2, 40)[None]
    with torch.inference_mode():
        before = model(ids).logits
        float8.swap_in(model)
        assert kinds() == {"Float8Linear"}
        during = model(ids).logits
        float8.swap_out(model.get_base_model(), fresh)
        assert kinds() == {"Linear"} and torch.equal(model(ids).logits, before)
    assert 0 < (during - before).abs().max() < 0.2 * before.abs().max()
    odd = torch.nn.Module()
    odd.layer = torch.nn.Module()
    odd.layer.base_layer = torch.nn.Linear(32, 24)
    float8.swap_in(odd)
    assert type(odd.layer.base_layer) is torch.nn.Linear


def test_what_is_learnt_beside_float8_is_saved_for_the_model_in_16_bits(pointers, tmp_path, monkeypatch):
    monkeypatch.setattr(float8, "check", lambda config, plain: None)
    for name, changes in {"float8": {"float8": True}, "bf16": {}}.items():
        train(pointers["llama"], tmp_path / name, table(8), dtype="bf16", **changes)
    found, expected = losses(tmp_path / "float8"), losses(tmp_path / "bf16")
    assert found == pytest.approx(expected, rel=0.01) and found != expected
    assert read_json(tmp_path / "float8/train/summary.json")["saved_differs"]["merged"] < 0.02


@pytest.mark.parametrize(
    ("changes", "capability", "wanted"),
    [
        ({}, None, "a CUDA card that multiplies in float8"),
        ({}, (8, 0), "a CUDA card that multiplies in float8"),
        ({"compile": False}, (9, 0), "compile: true"),
        ({"quantization": "nf4"}, (9, 0), "quantization: none"),
        ({"dtype": "fp32"}, (9, 0), "dtype: bf16"),
        ({"lora": {"use_dora": True}}, (9, 0), "a plain adapter"),
        ({"lora": {"init_lora_weights": "pissa"}}, (9, 0), "a plain adapter"),
    ],
    ids=str,
)
def test_what_does_not_go_with_float8_is_one_line(changes, capability, wanted, pointers, tmp_path, monkeypatch):
    """A stub stands for the card."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    with pytest.raises(UserError, match=rf"params\.yaml, finetune\.float8: needs .*{wanted}.*; set false") as error:
        train(pointers["llama"], tmp_path, **({"float8": True, "compile": True} | changes))
    assert "\n" not in str(error.value)
