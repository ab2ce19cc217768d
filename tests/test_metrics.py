"""A metric is one function: its name is a field of the scores, and nothing else has to know of it."""

import pytest

from text2sql.scoring.metrics import FLAGS, METRICS, Case, measure, metric
from text2sql.scoring.policy import NOT_SCORED, OUTCOMES, Verdict
from text2sql.sql.extract import extract

GOLD = "SELECT a FROM t"
RIGHT, SWAPPED = Verdict(True, True, True, False), Verdict(True, False, False, False)
AS_SET, WRONG = Verdict(False, False, True, False), Verdict(False, False, False, False)


def case(text: str = GOLD, outcome: str = "match", verdicts: tuple = (RIGHT,), **flags: bool) -> Case:
    flags = {"vacuous": False, "ambiguous": False} | flags
    return Case(GOLD, None, extract(text, False, None), outcome, verdicts, **flags)


def true(measured: dict) -> set[str]:
    return {name for name, value in measured.items() if value}


def test_the_fields_stand_in_the_order_of_the_interface():
    names = ["ex", "ex_harsh", "ex_strict", "ex_set", "em_text", "em_ast", "format_valid", "vacuous", "ambiguous_gold"]
    assert list(measure(case())) == [*METRICS, *FLAGS] == names


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (case(), {"ex", "ex_harsh", "ex_strict", "ex_set", "em_text", "em_ast", "format_valid"}),
        (case("select A from t"), {"ex", "ex_harsh", "ex_strict", "ex_set", "em_ast", "format_valid"}),
        (case("So: SELECT a FROM t", verdicts=(RIGHT, SWAPPED)), {"ex", "ex_harsh", "em_text"}),
        (case(harsh=(RIGHT, WRONG)), {"ex", "ex_strict", "ex_set", "em_text", "em_ast", "format_valid"}),
        (case("SELECT b FROM t", "mismatch", (RIGHT, AS_SET)), {"ex_set", "format_valid"}),
        (case("SELECT b FROM t", "mismatch", (WRONG,)), {"format_valid"}),
        (case("SELECT a FROM t", "timeout", ()), {"em_text", "em_ast", "format_valid"}),
        (case("No idea.", "no_sql", ()), set()),
        (case("No idea.", "no_sql", (), vacuous=True, ambiguous=True), {"vacuous", "ambiguous_gold"}),
    ],
)
def test_each_metric_says_what_its_definition_says(given, expected):
    assert true(measure(given)) == expected


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_without_a_verdict_every_metric_is_unknown_and_otherwise_a_boolean(outcome):
    values = set(map(type, measure(case(outcome=outcome)).values()))
    assert values == ({type(None)} if outcome in NOT_SCORED else {bool})


def test_a_new_metric_is_one_function(monkeypatch):
    monkeypatch.setattr("text2sql.scoring.metrics.METRICS", dict(METRICS))

    @metric
    def short(case: Case) -> bool:
        """The statement fits on a line."""
        return len(case.extracted.sql or "") <= 80

    assert list(measure(case())) == [*METRICS, "short", *FLAGS]
    assert measure(case())["short"] is True and measure(case(outcome="gold_error"))["short"] is None
