"""The explorer shows what scoring kept: the right results beside the right arm, on the right database."""

import base64
import json
import re
import zlib
from pathlib import Path

import pytest
from test_figures import ARMS, CONTEXT, OUTCOME, made

from text2sql.report.explorer import gold_results, shorten

GOLD = {"columns": ["a"], "rows": [[1]], "row_count": 1, "column_count": 1}


def data_of(page: Path) -> dict:
    """What the page's script unpacks."""
    packed = re.search(r'<script id="data"[^>]*>([^<]*)</script>', page.read_text(encoding="utf-8"))
    return json.loads(zlib.decompress(base64.b64decode(packed[1])))


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> dict:
    """The data of test_figures' eight questions."""
    return data_of(made(tmp_path_factory.mktemp("run"))[1] / "explorer.html")


def test_the_page_names_the_arms_and_holds_every_question_once(shown):
    assert shown["arms"] == list(ARMS)
    assert [row["id"] for row in shown["rows"]] == list(OUTCOME)
    assert shown["schemas"] == [f"{CONTEXT} CREATE TABLE d{number} (a INT);" for number in range(4)]


def test_an_arm_has_a_result_exactly_where_its_query_ran(shown):
    ran = ("match", "vacuous_match", "mismatch")
    for row, outcomes in zip(shown["rows"], OUTCOME.values(), strict=True):
        assert [arm["outcome"] for arm in row["arms"]] == list(outcomes)
        assert [arm["result"] is not None for arm in row["arms"]] == [outcome in ran for outcome in outcomes]
    wrong = shown["rows"][3]["arms"][1]["result"]
    assert (wrong["database"], wrong["rows"], wrong["row_count"]) == (1, [[1], [2]], 2)


def test_a_question_whose_gold_failed_has_no_results(shown):
    (row,) = (row for row in shown["rows"] if row["id"] == "q05")
    assert (row["gold_results"], row["databases"], [arm["result"] for arm in row["arms"]]) == ({}, 0, [None, None])
    assert row["arms"][0]["error"] == "no such table: u"


def line(database: int) -> dict:
    return {"databases": 3, "database": database, "gold": GOLD | {"row_count": database}, "prediction": GOLD}


@pytest.mark.parametrize(
    ("outcomes", "databases", "expected"),
    [
        (("match", "mismatch"), (2, 1), [1, 2]),
        (("match", "match"), (2, 2), [2]),
        (("syntax", "mismatch"), (2, 3), [3]),
        (("syntax", "timeout"), (2, 2), [2]),
    ],
)
def test_the_gold_is_shown_on_the_databases_that_its_predictions_are_shown_on(outcomes, databases, expected):
    scores = [{"outcome": outcome, "ex": outcome == "match"} for outcome in outcomes]
    shown = gold_results(scores, [line(database) for database in databases])
    assert {number: gold["row_count"] for number, gold in shown.items()} == {number: number for number in expected}
    assert list(shown) == expected


def test_a_long_text_says_how_much_of_it_is_left_out():
    assert shorten("x" * 70, 60) == "x" * 60 + " … (10 more characters)"
    assert shorten("x" * 60, 60) == "x" * 60


def test_the_filters_are_named_after_the_arms(tmp_path):
    page = (made(tmp_path)[1] / "explorer.html").read_text(encoding="utf-8")
    assert 'base<select id="arm-base">' in page and 'finetuned<select id="arm-finetuned">' in page
    assert "<title>Questions: base, finetuned</title>" in page and "finetuned over base" in page
