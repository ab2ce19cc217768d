"""Answers of several candidates: the choice by execution, how right it is, and from which agreement on."""

from dataclasses import replace

import pytest

from text2sql.base.files import read_jsonl
from text2sql.engines import duckdb
from text2sql.engines.question import Question
from text2sql.engines.sqlite import Limits
from text2sql.report.coverage import area, coverage_rows, curve, describe_samples, suggested
from text2sql.scoring.samples import score_samples
from text2sql.scoring.score import Item, arm_items, score_all, score_file, score_key

SETUP = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (1,'x'),(2,'y'),(3,'z');"
FILLED = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (7,'x'),(9,'y');"
GOLD = "SELECT a FROM t"
STUCK = "SELECT instr(printf('%.990000c', 'a'), printf('%.490000c', 'a') || 'b')"


def item(*texts: str, gold: str = GOLD, setups=(SETUP,), name: str = "q") -> Item:
    """A question with its candidates, the greedy one first."""
    greedy, *others = texts
    return Item(name, Question(gold, tuple(setups)), greedy, samples=tuple((text, False) for text in others))


def chosen(*items: Item, **options) -> list[dict]:
    return [scored.row for scored in score_samples(items, workers=2, **options)]


def test_the_result_that_most_candidates_have_is_scored_with_the_greedy_one_beside_it():
    (row,) = chosen(item("SELECT b FROM t", "SELECT a FROM t", "SELECT t.a FROM t", "SELECT a, b FROM t"))
    assert (row["sql"], row["outcome"], row["ex"]) == ("SELECT a FROM t", "match", True)
    found = {key: row[key] for key in ("samples", "chosen", "agreed", "ex_greedy", "oracle")}
    assert found == {"samples": 4, "chosen": 1, "agreed": 2, "ex_greedy": False, "oracle": True}


def test_a_right_candidate_that_few_agree_with_is_the_oracles():
    (row,) = chosen(item("SELECT b FROM t", "SELECT b FROM t", "SELECT a FROM t"))
    assert (row["ex"], row["oracle"], row["agreed"], row["chosen"]) == (False, True, 2, 0)


def test_what_does_not_run_has_no_vote():
    (row,) = chosen(item("SELECT no FROM t", "SELECT no FROM t", "I cannot tell.", "SELECT a FROM t"))
    assert (row["ex"], row["agreed"], row["samples"], row["chosen"], row["ex_greedy"]) == (True, 1, 4, 3, False)
    (row,) = chosen(item("SELECT no FROM t", "nothing"))
    assert (row["outcome"], row["agreed"], row["chosen"], row["oracle"]) == ("schema", 0, 0, False)


def test_the_vote_is_on_the_first_database_alone_as_ask_has_one():
    """On the filled one the first two differ; that decides the verdict and not the choice."""
    few, same = "SELECT a FROM t WHERE a < 4", "SELECT a FROM t"
    (row,) = chosen(item(few, same, "SELECT b FROM t", setups=(SETUP, FILLED)))
    assert (row["sql"], row["ex"], row["agreed"], row["oracle"]) == (few, False, 2, True)


def test_a_broken_gold_has_no_verdict_of_any_kind():
    (row,) = chosen(item("SELECT a FROM t", "SELECT b FROM t", gold="SELECT c FROM t"))
    assert (row["outcome"], row["samples"]) == ("gold_error", 2)
    assert [row[key] for key in ("ex", "ex_greedy", "oracle", "agreed", "chosen")] == [None] * 5


def test_a_hostile_candidate_costs_no_other_its_vote():
    limits = Limits(seconds=0.5)
    first, second = chosen(item(STUCK, "SELECT a FROM t", name="q1"), item("SELECT a FROM t", name="q2"), limits=limits)
    assert (first["ex"], first["ex_greedy"], first["agreed"], second["ex"]) == (True, False, 1, True)


def test_each_question_votes_on_the_engine_of_its_dialect():
    """DuckDB has QUALIFY, SQLite has not."""
    if not duckdb.installed():
        pytest.skip("DuckDB is not installed (the extra `duckdb`)")
    top = "SELECT a FROM t QUALIFY row_number() OVER (ORDER BY a DESC) = 1"
    texts = ("SELECT min(a) FROM t", top, "SELECT max(a) FROM t")
    elsewhere = Question("SELECT max(a) FROM t", (SETUP,), dialect="duckdb", setup_dialect="duckdb")
    items = [item(*texts, gold="SELECT min(a) FROM t"), Item("q2", elsewhere, texts[0])] * 2
    items = [one if one.samples else replace(one, samples=tuple((text, False) for text in texts[1:])) for one in items]
    rows = chosen(*items, engines={"duckdb": duckdb.engine()})
    assert [(row["engine"], row["agreed"], row["chosen"], row["ex"]) for row in rows] == [
        ("sqlite", 1, 0, True), ("duckdb", 2, 1, True),
    ] * 2  # fmt: skip


def many() -> list[Item]:
    texts = ["SELECT a FROM t", "SELECT b FROM t", "SELECT a, b FROM t", "SELECT no FROM t"]
    return [item(*(texts[n * place % 4] for place in range(1, 6)), name=f"q{n}") for n in range(40)]


def test_a_killed_scoring_of_samples_goes_on_to_the_same_bytes(tmp_path):
    unfinished = tmp_path / f"{score_key(many())}.jsonl"
    stream = score_samples(many(), workers=1, unfinished=unfinished)
    next(stream)  # after all candidates are scored, in the middle of the votes
    stream.close()
    lines = unfinished.read_text().splitlines(keepends=True)
    assert len(lines) > len(many())
    unfinished.write_text("".join(lines[:50]) + '{"row": {"id": "half a li')
    score_file(tmp_path / "resumed", many(), workers=2, unfinished=unfinished, by=score_samples)
    score_file(tmp_path / "whole", many(), workers=1, by=score_samples)
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert [row["id"] for row in read_jsonl(tmp_path / "whole")] == [f"q{n}" for n in range(40)]


def test_items_of_an_arm_with_samples_hold_its_candidates():
    row = {"id": "q", "answer": GOLD, "context": SETUP, "database": None, "dialect": None}
    line = {"id": "q", "text": "SELECT a FROM t", "finish_reason": "stop"}
    samples = [{"text": "SELECT", "finish_reason": "length", "completion_tokens": 9}]
    (plain,) = arm_items([row], {}, {}, [line])
    (sampled,) = arm_items([row], {}, {}, [line | {"samples": samples}])
    assert plain.samples == () and sampled.samples == (("SELECT", True),)
    assert score_key([plain]) != score_key([sampled])
    (greedy,) = score_all([plain], workers=1)
    assert chosen(sampled)[0] == greedy.row | {
        "samples": 2, "chosen": 0, "agreed": 1, "ex_greedy": True, "oracle": True,
    }  # fmt: skip


# Coverage

# (agreed of 4, right): by four, three, two and one candidate.
VERDICTS = [(4, True)] * 18 + [(4, False)] * 2 + [(3, True)] * 6 + [(3, False)] * 4 + [(2, False)] * 6 + [(1, True)] * 4


def test_the_curve_has_a_point_for_each_agreement_the_surest_first():
    points = curve(VERDICTS)
    assert [(point["agreed"], point["n"], point["coverage"], point["ex"]) for point in points] == [
        (4, 20, 0.5, 0.9), (3, 30, 0.75, 0.8), (2, 36, 0.9, 0.666667), (1, 40, 1.0, 0.7),
    ]  # fmt: skip
    assert all(point["lo"] < point["ex"] < point["hi"] for point in points)


def test_the_threshold_is_where_right_answers_outnumber_wrong_ones_by_the_most():
    assert suggested(curve(VERDICTS))["agreed"] == 3  # 24 right, 6 wrong; at 4: 18 and 2; at 1: 28 and 12


def test_no_threshold_where_no_agreement_makes_an_answer_more_likely_right_than_wrong():
    assert suggested(curve([(4, True)] * 3 + [(4, False)] * 2)) is None  # 60 %, of five questions
    assert suggested(curve([(2, False)] * 9)) is None


def test_the_area_is_the_mean_risk_over_all_coverages():
    """Right before wrong: risks 0, 0, 1/3, 2/4. Together: the share that is wrong, whatever the order."""
    assert area([(2, True), (2, True), (1, False), (1, False)]) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert area([(3, True), (3, False)] * 5) == pytest.approx(0.5)


def test_an_arm_with_samples_is_described_and_drawn_beside_one_without():
    scored = [
        {"agreed": agreed, "ex": right, "samples": 4, "ex_greedy": right and agreed > 2, "oracle": True}
        for agreed, right in VERDICTS
    ]
    found = describe_samples(scored)
    assert (found["n"], found["ex_greedy"], found["oracle"]) == (4, 0.6, 1.0)
    assert found["area"] < 0.3 and found["threshold"]["agreed"] == 3
    plain = {"ex": 0.5, "ex_lo": 0.4, "ex_hi": 0.6}
    rows = coverage_rows({"base": plain, "voted": plain | {"samples": found}})
    assert [(row["series"], row["coverage"]) for row in rows] == [
        ("base", 1.0), ("voted", 0.5), ("voted", 0.75), ("voted", 0.9), ("voted", 1.0),
    ]  # fmt: skip
