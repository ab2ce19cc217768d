"""Adapters join their base as PEFT joins them."""

import re

import architectures
import pytest

from text2sql.base.errors import UserError
from text2sql.generation.local import load_arm
from text2sql.models import adapters, load

pytestmark = pytest.mark.usefixtures("in_the_project")


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, True),
        ({"use_rslora": True}, True),
        ({"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]}, True),
        ({"use_dora": True}, False),
        ({"rank_pattern": {"q_proj": 2}}, False),
        ({"modules_to_save": ["lm_head"]}, False),
        ({"bias": "lora_only"}, False),
        ({"target_modules": ["embed_tokens"]}, False),
    ],
)
def test_an_adapter_is_merged_as_peft_merges_it(settings, plain, pointer, tmp_path):
    """To the bit; what is more than plain LoRA is left to PEFT."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(**{"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | settings)
    get_peft_model(load.load_model(pointer), config).save_pretrained(tmp_path)
    expected = PeftModel.from_pretrained(load.load_model(pointer), tmp_path).merge_and_unload().state_dict()
    untouched = load.load_model(pointer)
    assert adapters.merge(untouched, tmp_path) is plain
    base = load.load_model(pointer).state_dict()
    for model, weights in ((load_arm(pointer, tmp_path, "none"), expected), (untouched, expected if plain else base)):
        found = model.state_dict()
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_folder_without_an_adapter_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no adapter there; fine-tune first \(`dvc repro`\)"):
        adapters.read_settings(tmp_path)


def excluded(name: str, tokenizer, folder) -> set[str]:
    """The names of an architecture's linear layers that `all-linear` leaves alone."""
    import torch

    model = load.load_model(architectures.save(name, tokenizer, folder))
    pattern = adapters.left_alone(model)
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return {name for name in names if pattern and re.fullmatch(pattern, name)}


def test_all_linear_layers_are_those_of_the_part_that_writes(tokenizer, tmp_path):
    """Not those that look at images, choose experts, or end a state space, whose kernels read past an adapter."""
    found = {
        name: excluded(name, tokenizer, tmp_path / name)
        for name in ("llama", "gemma3", "llama4_text", "qwen2_moe", "phimoe", "mamba", "falcon_h1")
    }
    assert found["llama"] == set()
    assert {name.split(".")[1] for name in found["gemma3"] - {"lm_head"}} == {"vision_tower"}
    assert found["llama4_text"] == {f"model.layers.{layer}.feed_forward.router" for layer in (0, 1)}
    assert found["qwen2_moe"] == {f"model.layers.{layer}.mlp.shared_expert_gate" for layer in (0, 1)}
    assert found["phimoe"] == {f"model.layers.{layer}.mlp.router" for layer in (0, 1)}
    assert found["mamba"] == {f"backbone.layers.{layer}.mixer.out_proj" for layer in (0, 1)}
    assert found["falcon_h1"] == {f"model.layers.{layer}.mamba.out_proj" for layer in (0, 1)}
