"""The comparison policy, pair by pair: every file of pairs, run through the whole engine as the command runs it."""

import json
from pathlib import Path

import pytest

from text2sql.engines.question import Question
from text2sql.engines.sqlite import Failure, build, query
from text2sql.scoring import compare, gold, matching
from text2sql.scoring.policy import OUTCOMES
from text2sql.scoring.score import Item, score_rows
from text2sql.sql.extract import extract

OWN = Path(__file__).parent / "conformance"
SHARED = Path(__file__).parents[1].parent / "shared" / "conformance"
FILES = [folder / f"{name}.jsonl" for folder in (OWN, SHARED) for name in ("comparator", "hostile")]


def pairs(file):
    if not file.exists():
        pytest.skip(f"{file} is absent")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def verdict(row):
    """true, false, or "error" for a row without a verdict on its answer."""
    return row["ex"] if row["outcome"] in ("match", "vacuous_match", "mismatch") else "error"


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_every_pair_gets_the_reviewers_verdict(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = pairs(file)
    items = [Item(p["id"], Question(p["gold_sql"], (p["setup_sql"],)), p["prediction"]) for p in given]
    rows = list(score_rows(items, workers=2))
    assert [row["id"] for row in rows] == [pair["id"] for pair in given]
    assert {row["outcome"] for row in rows} <= set(OUTCOMES) - {"infra_error"}
    wrong = {row["id"]: row for row, pair in zip(rows, given, strict=True) if verdict(row) != pair["expected"]}
    assert wrong == {}
    assert list(tmp_path.iterdir()) == [], "an attack left a file"


def test_the_projects_own_pairs_cover_every_family():
    families = [pair["id"].split("-")[0] for pair in pairs(OWN / "comparator.jsonl")]
    for family in ("col", "dup", "empty", "err", "ext", "null", "num", "ord", "type"):
        assert families.count(family) >= 5
    assert len(families) >= 60
    assert len(pairs(OWN / "hostile.jsonl")) >= 30


def judge(pair):
    """The verdict in this process, where parts of the comparator can be exchanged."""
    connection = build(pair["setup_sql"])
    allowed = gold.answer_gold(connection, gold.plan(pair["gold_sql"]))
    extracted = extract(pair["prediction"])
    if isinstance(allowed, Failure) or extracted.outcome:
        return "error"
    answer = query(connection, extracted.sql)
    return "error" if isinstance(answer, Failure) else compare.compare(allowed, answer).ex


def as_set(pool, rows):
    return set(rows) <= set(pool)


def as_text(pool, rows, exact=matching._drawn_from):
    def texts(table):
        return [tuple(str(cell) for cell in row) for row in table]

    return exact(texts(pool), texts(rows))


def trusting_the_engine(*_):
    return None  # no ranks known: the order that SQLite happens to return


def by_substring(sql, parsed=gold.plan):
    from dataclasses import replace

    plan = parsed(sql)
    return plan if "order by" in sql.lower() else replace(plan, order=())


def ordered_by_substring(sql, parsed=gold.plan):
    from dataclasses import replace

    plan = parsed(sql)
    return replace(plan, order=plan.order or (gold.Order("nowhere", ""),)) if "order by" in sql.lower() else plan


def rounded(a, b):
    return a == b


@pytest.mark.parametrize(
    "module, seam, mutant",
    [
        (matching, "_drawn_from", as_set),
        (matching, "_drawn_from", as_text),
        (gold, "_ranked_rows", trusting_the_engine),
        (gold, "plan", by_substring),
        (gold, "plan", ordered_by_substring),
        (matching, "_close", rounded),
        (compare, "fits_permuted", lambda slices, rows: False),
    ],
)
def test_a_weaker_comparator_fails_on_the_projects_own_pairs(module, seam, mutant, monkeypatch):
    given = pairs(OWN / "comparator.jsonl")
    assert all(judge(pair) == pair["expected"] for pair in given)
    monkeypatch.setattr(module, seam, mutant)
    assert any(judge(pair) != pair["expected"] for pair in given)
