"""Failures by cause, by error and by complexity, in the terminal and as a file: every wrong answer once."""

import csv
import io
import json
import os
import subprocess
import sys
from argparse import Namespace

import pytest
from test_figures import ARMS, OUTCOME, made, write_more_arms, write_run

from text2sql.base.errors import UserError
from text2sql.commands import why
from text2sql.dataset.rows import read_table, write_rows
from text2sql.report.failures import (
    COLUMNS,
    by_cause,
    by_complexity,
    by_error,
    error_kind,
    failures,
    why_wrong,
    write_csv,
)
from text2sql.report.run import joined, report


def failure(key: str, causes: list[str], kind: str = "mismatch", complexity: str | None = "basic SQL") -> dict:
    row = dict.fromkeys(COLUMNS, "x") | {"id": key, "complexity": complexity, "causes": causes, "cause": causes[0]}
    return row | {"kind": kind}


def test_a_failure_is_counted_once_under_its_first_cause():
    failed = [failure("a", ["join", "column"]), failure("b", ["column"]), failure("c", ["column", "literal"])]
    groups = by_cause(failed)
    assert [(group.name, group.failures, group.also, group.example) for group in groups] == [
        ("column", 2, 1, "b"),
        ("join", 1, 0, "a"),
    ]
    assert sum(group.failures for group in groups) == len(failed)


def test_a_right_answer_and_one_without_verdict_have_no_cause():
    row = {"answer": "SELECT a FROM t", "dialect": "sqlite"}
    score = {"outcome": "mismatch", "ex": False, "sql": "SELECT b FROM t", "error": None}
    assert why_wrong(row, score) == ["column"]
    assert why_wrong(row, score | {"outcome": "match", "ex": True}) == []
    assert why_wrong(row, score | {"outcome": "gold_error", "ex": None}) == []
    assert why_wrong(row, score | {"outcome": "no_sql", "sql": None}) == ["no SQL"]
    assert why_wrong(row, score | {"outcome": "too_large"}) == ["too large", "column"]
    assert why_wrong(row, score | {"outcome": "syntax", "sql": "SELECT FROM"}) == ["syntax"]


def test_a_wrong_answer_is_held_against_the_gold_that_is_nearest():
    golds = json.dumps(["SELECT a FROM t WHERE b = 2", "not SQL at all"])
    row = {"answer": "SELECT count(*) FROM u", "alternatives": golds, "dialect": "sqlite"}
    score = {"outcome": "mismatch", "ex": False, "sql": "SELECT a FROM t WHERE b = 1", "error": None}
    assert why_wrong(row, score) == ["literal"]
    assert why_wrong(row | {"alternatives": None}, score)[0] == "table"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("no such column: T1.birth", "schema: no such column: …"),
        ('near "FRM": syntax error', "schema: near …: syntax error"),
        ('column "birth" does not exist\nLINE 1: SELECT birth', "schema: column … does not exist"),
        ("Unknown column 'a.b' in 'SELECT'", "schema: Unknown column … in …"),
        ("wrong number of arguments to function year()", "schema: wrong number of arguments to function …()"),
        ("more than 5.0 s", "schema: more than … s"),
        (None, "schema"),
    ],
)
def test_errors_that_differ_in_names_and_numbers_are_of_one_kind(error, kind):
    assert error_kind({"outcome": "schema", "error": error}) == kind


def test_the_counts_add_up_to_the_figures(tmp_path):
    data, metrics = write_run(tmp_path / "data"), tmp_path / "metrics"
    summary = report(data, metrics, ARMS)
    rows = read_table(data / "selected/eval.parquet").to_dict("records")
    for place, arm in enumerate(ARMS):
        scores = joined(rows, data / f"scores/{arm}.jsonl")
        failed = failures(rows, scores)
        wrong = [
            key for key, outcomes in OUTCOME.items() if outcomes[place] not in ("match", "vacuous_match", "gold_error")
        ]
        assert [one["id"] for one in failed] == wrong and len(wrong) == round((1 - summary["ex"][arm]) * summary["n"])
        for groups in (by_cause(failed), by_error(failed), by_complexity(failed, rows, scores)):
            assert sum(group.failures for group in groups) == len(failed)
        assert sum(group.questions for group in by_complexity(failed, rows, scores)) == summary["n"]


def test_a_formula_in_a_cell_stays_text(tmp_path):
    write_csv(tmp_path / "failures.csv", [failure("a", ["join", "column"]) | {"sql": '=HYPERLINK("x")', "error": None}])
    header, line = csv.reader(io.StringIO((tmp_path / "failures.csv").read_text()))
    assert header == list(COLUMNS) and line[COLUMNS.index("sql")] == '\'=HYPERLINK("x")'
    assert line[COLUMNS.index("causes")] == "join, column" and line[COLUMNS.index("error")] == ""


def test_the_command_prints_whole_words_at_80_columns_also_in_a_pipe(tmp_path):
    data, metrics = write_run(tmp_path / "data"), tmp_path / "metrics"
    rows = read_table(data / "selected/eval.parquet").to_dict("records")
    labels = ["recursive common table expressions", "set operations"]
    write_rows(data / "selected/eval.parquet", [row | {"complexity": labels[n % 2]} for n, row in enumerate(rows)])
    arms = write_more_arms(data, {"with_three_examples_in_the_prompt": {"q01": "match"}})
    report(data, metrics, arms)
    command = [sys.executable, "-m", "text2sql", "why", "--data", str(data), "--metrics", str(metrics)]
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = done.stdout.splitlines()
    assert lines[0] == "finetuned: 3 of 7 questions wrong" and max(map(len, lines)) <= 80 and "…" not in done.stdout
    assert [line.split() for line in lines if line.startswith("distinct")] == [["distinct", "2", "0", "q02"]]
    assert [line.split() for line in lines if line.startswith("no SQL")] == [
        ["no", "SQL", "1", "0", "q06"],
        ["no", "SQL", "1", "q06"],
    ]
    assert "recursive common table expressions" in done.stdout and "set operations" in done.stdout


def test_an_arm_may_be_named_and_its_rows_written(tmp_path, capsys):
    _, metrics = made(tmp_path)
    out = tmp_path / "failures.csv"
    assert why.run(Namespace(arm="base", csv=out, data=tmp_path / "data", metrics=metrics)) == 0
    assert "base: 5 of 7 questions wrong" in capsys.readouterr().out
    assert [row["id"] for row in csv.DictReader(io.StringIO(out.read_text()))] == ["q01", "q02", "q04", "q06", "q07"]
    with pytest.raises(UserError, match="fewshot: no arm of the last run; there are base, finetuned"):
        why.run(Namespace(arm="fewshot", csv=None, data=tmp_path / "data", metrics=metrics))
