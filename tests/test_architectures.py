"""Every architecture from the pin to the merged model, as one and the same model.

Tiny models with random weights, in fp32, where the same is the same. benchmarks/models.py walks with more of them, and
docs/models.md has the table.
"""

import pytest
from architectures import ARCHITECTURES, COPIES, walk

pytestmark = pytest.mark.usefixtures("in_the_project")

# What does not heed padding, and so is read a row at a time.
ALONE = {"minimax", "recurrent_gemma", "rwkv"}


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in COPIES])
def test_each_architecture_is_trained_measured_and_merged_as_one_model(name, tokenizer, fp32, tmp_path):
    found = walk(name, tokenizer, tmp_path)
    assert (found["way"] == "alone") is (name in ALONE)
    assert found["base"] == found["base alone"]
    assert found["finetuned"] == found["merged alone"]
    assert found["saved differs"] < 1e-4 and found["opened differs"] < 1e-5


def test_there_are_many_of_them():
    assert len(ARCHITECTURES) - len(COPIES) >= 50
