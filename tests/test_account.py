"""The account of the data adds up, from the rows read to the rows selected, and is shown as it is."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from text2sql.base.files import write_json
from text2sql.base.params import EvaluationParams, SelectParams, ValidateParams
from text2sql.cli import main
from text2sql.dataset.account import LABELS, STEPS, account, find_rejects
from text2sql.dataset.rows import read_table, write_rows
from text2sql.dataset.select import select_tables
from text2sql.dataset.validate import validate_tables
from text2sql.dataset.verdict import RULES
from text2sql.report.plots import length_rows, plot_rows, write_plot
from text2sql.sources import synthetic

SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The outputs of the three data stages over 900 generated rows, some of them leaking."""
    folder = tmp_path_factory.mktemp("data")
    rows = {
        "train": [row | {"language": "en"} for row in synthetic.rows(700, seed=6)],
        "test": [row | {"id": f"t-{row['id']}", "language": "en"} for row in synthetic.rows(200, seed=7)],
    }
    rows["train"] += [row | {"id": f"again-{row['id']}"} for row in rows["test"][:40]]
    rows["train"][0]["domain"] = None
    raw, valid = ({s: folder / name / f"{s}.parquet" for s in SPLITS} for name in ("raw", "valid"))
    for split, path in raw.items():
        write_rows(path, rows[split])
    validate = ValidateParams(has_rows=True, runs=True, returns_rows=True, test_rows="valid", seconds=2.0)
    evaluation = EvaluationParams(engine="auto", postgres_url=None, mysql_url=None, trust_login=False)
    funnel = validate_tables(raw, valid, folder / "rejected.parquet", validate, evaluation, workers=2)
    write_json(folder / "funnel.json", funnel)
    source = {split: {"left_out": {}, "changed": {}} for split in SPLITS}
    source["train"] = {"left_out": {"about the game database, which the test split asks about": 40}, "changed": {}}
    write_json(folder / "raw/account.json", source)
    selected = {split: folder / "selected" / f"{split}.parquet" for split in ("train", "eval")}
    select = SelectParams(
        domains=[],
        complexities=["basic SQL", "aggregation"],
        languages=[],
        split="auto",
        train_size=100,
        eval_size=50,
        holdout=0.25,
        tuning=0.0,
        seed=1,
    )
    write_json(folder / "selection.json", select_tables(valid, selected, select))
    return folder


def test_the_funnel_narrows_step_by_step_to_the_tables(folder):
    accounted = account(folder)
    for split in SPLITS:
        steps = [accounted["read"][split][step] for step in ("read", *RULES)]
        assert steps == sorted(steps, reverse=True)
        assert steps[0] == len(read_table(folder / "raw" / f"{split}.parquet"))
        assert steps[-1] == len(read_table(folder / "valid" / f"{split}.parquet"))
    for split, size in (("train", 100), ("eval", 50)):
        steps = list(accounted["selected"][split].values())
        assert steps == sorted(steps, reverse=True)
        assert steps[-1] == size == len(read_table(folder / "selected" / f"{split}.parquet"))


@pytest.mark.parametrize("label", LABELS)
def test_every_label_adds_up_to_the_whole(folder, label):
    accounted = account(folder)
    whole = {step: sum(accounted["read"][split][step] for split in SPLITS) for step in ("read", *RULES)}
    whole |= {"leaked": accounted["leaks"]["removed"], "train": 100, "eval": 50}
    assert {step: sum(steps[step] for steps in accounted[label].values()) for step in STEPS} == whole
    assert accounted["leaks"]["removed"] > 0


def test_a_row_without_a_domain_is_counted_as_none(folder):
    assert account(folder)["domain"]["none"]["read"] == 1


def test_rejects_by_reason_are_all_of_the_rejects(folder):
    accounted = account(folder)
    rejected = read_table(folder / "rejected.parquet")
    found = {(rule, name): rows for rule, names in accounted["rejects"].items() for name, rows in names.items()}
    assert found == rejected.groupby(["rule", "error_class"]).size().to_dict()


def test_the_account_is_json(folder):
    assert json.loads(json.dumps(account(folder))) == account(folder)


def test_plot_rows_carry_the_accounts_numbers(folder, tmp_path):
    accounted = account(folder)
    plots = plot_rows(accounted)
    assert set(plots) == {"domains.tsv", "complexities.tsv", "funnel.tsv"}
    for series in ("read", "train", "eval"):
        shares = [row["share"] for row in plots["complexities.tsv"] if row["series"] == series]
        assert sum(shares) == pytest.approx(1, abs=0.001)
    assert {"step": "selected", "series": "eval", "rows": 50} in plots["funnel.tsv"]
    write_plot(tmp_path / "domains.tsv", plots["domains.tsv"])
    with open(tmp_path / "domains.tsv", newline="") as file:
        back = list(csv.DictReader(file, delimiter="\t"))
    assert [int(row["rows"]) for row in back] == [row["rows"] for row in plots["domains.tsv"]]


def test_the_length_histogram_counts_every_prompt_once_and_carries_the_limit():
    rows = length_rows({"train": [10, 11, 500, 513], "eval": [0]}, limit=512, bins=32)
    assert sum(row["rows"] for row in rows if row["series"] == "train") == 4
    assert {row["limit"] for row in rows} == {512}
    assert max(row["tokens"] for row in rows if row["rows"]) <= 513
    edges = [row["tokens"] for row in rows if row["series"] == "train"]
    assert edges == sorted(set(edges)) and len(edges) <= 33
    assert length_rows({"train": []}, limit=8, bins=4)[0] == {"series": "train", "tokens": 0, "rows": 0, "limit": 8}


def test_rejects_are_found_by_rule_and_by_class(folder):
    total, rows = find_rejects(folder, "returns_rows", limit=2)
    assert total >= len(rows) == 2
    assert {row["rule"] for row in rows} == {"returns_rows"}
    assert find_rejects(folder, "empty", limit=2) == (total, rows)


# The command


def test_the_command_shows_funnel_rejects_and_labels(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["data", "--folder", str(folder)]) == 0
    shown = capsys.readouterr().out
    for text in ("Read and validated", "Selected (split: source)", "no_insert", "agriculture", "basic SQL", "leaks"):
        assert text in shown


def test_on_80_columns_no_number_and_no_name_is_cut(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "--folder", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown and all(len(line) <= 80 for line in shown.splitlines())
    for text in ("in the source", "740", "multiple_joins", "window functions", "question_normalised"):
        assert text in shown
    accounted = account(folder)
    for value, steps in accounted["domain"].items():
        (line,) = [line for line in shown.splitlines() if f" {value} " in line]
        numbers = [steps["read"], steps["returns_rows"], steps["leaked"], steps["train"], steps["eval"]]
        assert [int(cell) for cell in line.replace("│", " ").split()[-5:]] == numbers


def test_the_command_shows_examples_of_a_reason(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["data", "--folder", str(folder), "--rejects", "empty", "--limit", "1"]) == 0
    shown = capsys.readouterr().out
    assert "the SQL returns no row" in shown and "CREATE TABLE" in shown and "1 of " in shown


def test_an_unknown_reason_is_answered_with_those_there_are(folder, capsys):
    assert main(["data", "--folder", str(folder), "--rejects", "sintax"]) == 1
    assert "no reject has the reason 'sintax'; there are" in capsys.readouterr().err


def test_before_the_stages_have_run_one_line_says_so(tmp_path, capsys):
    assert main(["data", "--folder", str(tmp_path)]) == 1
    assert "funnel.json: no such file; run the stage that writes it" in capsys.readouterr().err


def test_the_stages_run_alone_from_a_file(tmp_path):
    """ingest, validate and select as the pipeline runs them, on somebody's file."""
    root = Path(__file__).parents[1]
    rows = [json.dumps({key: row[key] for key in ("question", "context", "answer")}) for row in synthetic.rows(200, 3)]
    (tmp_path / "mine.jsonl").write_text("\n".join(rows), encoding="utf-8")
    import yaml

    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    params["ingest"] |= {"source": "file", "path": "mine.jsonl"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for stage in ("ingest", "validate", "select"):
        command = [sys.executable, str(root / "stages" / f"{stage}.py")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    accounted = account(tmp_path / "data")
    assert accounted["read"]["train"]["read"] == 200
    assert accounted["split"] == "databases"
