"""Answers by the model in this process: where they stop, and adapters beside 4-bit weights."""

import shutil

import pytest
from tiny_runs import run

from text2sql.base.files import read_json, write_json
from text2sql.generation import decode
from text2sql.generation.local import up_to_stop

pytestmark = pytest.mark.usefixtures("in_the_project")


def test_a_stop_is_told_from_the_token_limit(tmp_path, tiny_model):
    """A model whose end token always has the largest logit stops at once; the untrained one never does."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.norm.weight.zero_()  # all logits equal 0, and the first of equals is the greedy choice: <pad>
    model.generation_config.eos_token_id = [0, 1]
    model.save_pretrained(folder)
    rows = run({"source": "folder", "name": str(folder)}, tmp_path / "out")
    assert {(row["finish_reason"], row["completion_tokens"], row["text"]) for row in rows} == {("stop", 1, "")}


def test_greedy_is_greedy_whatever_the_models_own_settings_of_generation_say(pointer, tmp_path, monkeypatch):
    """Answered by `model.generate`, which would take penalties and beams from generation_config.json."""
    monkeypatch.setattr(decode, "serves", lambda model, columns: False)
    folder = shutil.copytree(pointer["name"], tmp_path / "model")
    settings = read_json(folder / "generation_config.json")
    more = {"repetition_penalty": 5.0, "num_beams": 3, "forced_eos_token_id": 200, "suppress_tokens": list(range(90))}
    write_json(folder / "generation_config.json", settings | more)
    rows = run(pointer, tmp_path / "plain")
    assert run({"source": "folder", "name": str(folder)}, tmp_path / "out") == rows


def test_what_follows_the_first_stop_is_padding():
    assert up_to_stop([5, 6, 1, 0, 0], {1}) == [5, 6, 1]
    assert up_to_stop([5, 6], {1}) == [5, 6]
    assert up_to_stop([], {1}) == []


def test_an_adapter_beside_a_4_bit_base(pointer, adapter, tmp_path):
    """bitsandbytes computes NF4 on CPUs too; its rounding changes the texts of a model with random weights."""
    tuned = run(pointer, tmp_path / "one", adapter=adapter, arm="finetuned", quantization="nf4")
    assert tuned == run(pointer, tmp_path / "two", adapter=adapter, arm="finetuned", quantization="nf4")
    assert [row["text"] for row in tuned] != [
        row["text"] for row in run(pointer, tmp_path / "base", quantization="nf4")
    ]
    assert [row["completion_tokens"] for row in tuned] == [6] * 7
