"""docs/scaling.md says what the functions say, and its configurations are the project's."""

import re

import pytest
from conftest import ROOT

from text2sql.training.memory import training_bytes

PAGE = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
TOKENS, COMPLETIONS = 8 * 512, 8 * 64
FLOPS = 250e12  # the page's, of an H100


def table() -> list[list[str]]:
    rows = PAGE.partition("| model |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows]


def test_there_is_a_row_for_every_size():
    assert len(table()) == 8


@pytest.mark.parametrize("row", table(), ids=lambda row: row[0])
def test_memory_and_time_of_a_model_are_what_the_formulas_give(row):
    name, billions, trained, hidden, inner, layers, words, *given = row
    shape = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": words}
    shape = {key: int(number) for key, number in shape.items()} | {"key_size": 0}  # no keys are copied
    parameters = float(billions) * 1e9
    embeddings = shape["vocab_size"] * shape["hidden_size"] * (1 if "tied" in name else 2)
    in_16_bits, in_nf4 = 2 * parameters, 0.52 * (parameters - embeddings) + 2 * embeddings

    def gib(weights: float, checkpointing: bool) -> float:
        adapter = int(float(trained) * 1e6)
        return training_bytes(shape, int(weights), adapter, TOKENS, COMPLETIONS, checkpointing=checkpointing) / 2**30

    figures = [gib(in_16_bits, False), gib(in_16_bits, True), gib(in_nf4, True)]
    figures.append(4 * parameters * 1e6 / FLOPS / 60)
    assert given == [f"{figure:.1f}" for figure in figures]


def test_every_configuration_is_in_the_page():
    named = set(re.findall(r"configs/(\w+\.yaml)", PAGE))
    assert named >= {path.name for path in (ROOT / "configs").glob("*.yaml")}
