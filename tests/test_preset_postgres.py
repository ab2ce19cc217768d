"""The preset `postgres`: generated data in PostgreSQL's dialect, validated, filled and judged on a real server."""

from pathlib import Path

import pytest
from conftest import ROOT, Project

from text2sql.base.files import read_json, read_jsonl

ROWS = 60


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Project:
    """A project on the preset whose stages up to `populate` have run, with few rows."""
    project = Project(tmp_path_factory.mktemp("postgres") / "project")
    project.python("-m", "text2sql", "preset", "postgres", "--write")
    project.set(ingest__rows=ROWS, select__train_size=8, select__eval_size=6, populate__instances=2)
    project.said = "".join(
        project.python(f"stages/{stage}.py").stderr for stage in ("ingest", "validate", "select", "populate")
    )
    return project


def test_rows_are_validated_on_the_server_and_none_is_translated(prepared):
    funnel = read_json(prepared.folder / "data/funnel.json")["train"]
    assert funnel["read"] == ROWS and funnel["kept"] > ROWS / 2
    assert "by translation" not in prepared.said


def test_questions_are_filled_for_the_server_beside_their_own_rows(prepared):
    instances = list(read_jsonl(prepared.folder / "data/databases/instances.jsonl"))
    results = list(read_jsonl(prepared.folder / "data/databases/rows.jsonl"))
    assert all(row["dialect"] == "postgres" for row in instances)
    assert [row["reason"] for row in results if not row["usable"]] == [] and len(results) == 6


def test_golds_as_their_own_predictions_are_right_on_the_server(prepared):
    write = (
        "import json, pandas; rows = pandas.read_parquet('data/selected/eval.parquet').to_dict('records');"
        "import pathlib; pathlib.Path('data/generations').mkdir();"
        "open('data/generations/base.jsonl', 'w').writelines(json.dumps({'id': r['id'], 'text': r['answer'],"
        " 'finish_reason': 'stop'}) + '\\n' for r in rows)"
    )
    prepared.python("-c", write)
    prepared.python("stages/score.py", "base")
    scores = list(read_jsonl(prepared.folder / "data/scores/base.jsonl"))
    assert [(row["ex"], row["ex_harsh"], row["engine"]) for row in scores] == [(True, True, "postgres")] * 6
    results = list(read_jsonl(prepared.folder / "data/results/base.jsonl"))
    assert [row["databases"] for row in results] == [3] * 6  # the rows that the context brings, and two fillings


def test_the_preset_says_what_it_needs():
    head = (ROOT / "presets/postgres.yaml").read_text(encoding="utf-8").splitlines()[1]
    assert ".[postgres]" in head and Path(ROOT / "README.md").read_text(encoding="utf-8").count("| `postgres`") == 1
