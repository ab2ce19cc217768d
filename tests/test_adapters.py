"""Adapters join their base as PEFT joins them."""

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
