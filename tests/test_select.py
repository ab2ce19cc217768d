"""`select` holds databases out, draws in proportion, and lets nothing of the evaluation into training."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from text2sql.base.errors import UserError
from text2sql.base.params import SelectParams, read_yaml
from text2sql.dataset.rows import read_table, write_rows
from text2sql.dataset.select import proportional, select_tables
from text2sql.sources import synthetic
from text2sql.sources.records import read_records

ROOT = Path(__file__).parents[1]
DDL = "CREATE TABLE t (a INT, b TEXT);"


def select(folder: Path, train: list[dict], test: list[dict] = (), **changes) -> tuple[dict, list[dict], list[dict]]:
    """The counts and the two selected tables."""
    values = {
        "domains": [],
        "complexities": [],
        "languages": [],
        "split": "auto",
        "train_size": None,
        "eval_size": None,
        "holdout": 0.25,
        "tuning": 0.0,
        "seed": 1,
    }
    valid = {"train": folder / "valid_train.parquet", "test": folder / "valid_test.parquet"}
    selected = {"train": folder / "train.parquet", "eval": folder / "eval.parquet"}
    for path, rows in zip(valid.values(), (train, test), strict=True):
        write_rows(path, rows)
    counts = select_tables(valid, selected, SelectParams(**(values | changes)))
    return counts, *(read_table(path).to_dict("records") for path in selected.values())


def rows(count: int = 600, seed: int = 8) -> list[dict]:
    """Rows of the generator with the language that `ingest` would add."""
    return [row | {"language": row.get("language") or "en"} for row in synthetic.rows(count, seed)]


def row(id: str, question: str, answer: str = "SELECT a FROM t", db_id: str = "t", **more) -> dict:
    values = {"domain": None, "complexity": "basic SQL", "language": "en", "dialect": "sqlite"}
    context = DDL.replace(" t ", f' "{db_id}" ')
    return values | {"id": id, "db_id": db_id, "context": context, "question": question, "answer": answer} | more


# Splits


def test_without_a_test_split_whole_databases_are_held_out(tmp_path):
    given = rows()
    counts, train, evaluation = select(tmp_path, given)
    ours, theirs = {r["db_id"] for r in train}, {r["db_id"] for r in evaluation}
    assert counts["split"] == "databases"
    assert not ours & theirs
    assert len(theirs) == round(0.25 * len(ours | theirs))
    assert len(train) + len(evaluation) + counts["leaks"]["removed"] == len(given)


def test_databases_are_held_out_of_each_domain_alike(tmp_path):
    given = [row(f"{d}-{n}", f"question {d} {n}", db_id=f"{d}-{n}", domain=d) for d in "abcd" for n in range(8)]
    _, _, evaluation = select(tmp_path, given)
    assert Counter(r["domain"] for r in evaluation) == {"a": 2, "b": 2, "c": 2, "d": 2}


def test_the_sources_own_test_split_is_used_unless_databases_are_asked_for(tmp_path):
    train, test = rows(300, seed=1), [r | {"id": f"test-{r['id']}"} for r in rows(300, seed=2)]
    counts, _, evaluation = select(tmp_path, train, test)
    assert counts["split"] == "source"
    assert [r["id"] for r in evaluation] == [r["id"] for r in test]
    counts, ours, theirs = select(tmp_path, train, test, split="holdout")
    assert counts["split"] == "databases"
    assert not {r["db_id"] for r in ours} & {r["db_id"] for r in theirs}


def test_of_a_single_database_whole_queries_are_held_out(tmp_path):
    given = [row(f"{n}", f"phrasing {n} number {n}", f"SELECT a FROM t WHERE a = {n % 10}") for n in range(40)]
    counts, train, evaluation = select(tmp_path, given)
    assert counts["split"] == "queries"
    assert {r["answer"] for r in train} & {r["answer"] for r in evaluation} == set()
    assert len(evaluation) == 8 and len(train) == 32


# Filters and sizes


def test_filters_keep_what_is_asked_for(tmp_path):
    wanted = {"domains": ["space", "music"], "complexities": ["basic SQL", "aggregation"]}
    _, train, evaluation = select(tmp_path, rows(), **wanted)
    for found in (train, evaluation):
        assert {r["domain"] for r in found} == {"space", "music"}
        assert {r["complexity"] for r in found} == {"basic SQL", "aggregation"}


def test_a_filter_that_no_row_fits_is_named(tmp_path):
    with pytest.raises(UserError, match=r"select.domains: no row has 'spcae'; there are agriculture, education"):
        select(tmp_path, rows(), domains=["spcae"])


def test_a_size_is_drawn_in_proportion_to_domain_and_complexity(tmp_path):
    given = [
        row(f"{d}{c}{n}", f"{d} {c} {n}", db_id=f"{d}-{n % 20}", domain=d, complexity=c)
        for d, c, count in (("a", "x", 400), ("a", "y", 200), ("b", "x", 200))
        for n in range(count)
    ]
    counts, train, _ = select(tmp_path, given, train_size=60)
    strata = Counter((r["domain"], r["complexity"]) for r in train)
    assert strata == {("a", "x"): 30, ("a", "y"): 15, ("b", "x"): 15}
    assert counts["train"]["selected"] == 60


def test_the_shares_of_a_draw_are_within_one_row_of_the_proportion():
    rng = random.Random(0)
    for _ in range(50):
        items = [(rng.choice("abcdefg"), str(number)) for number in range(rng.randrange(1, 200))]
        size = rng.randrange(0, len(items) + 1)
        drawn = proportional(items, size, 3, stratum=lambda item: item[0], name=lambda item: item[1])
        assert len(drawn) == len(set(drawn)) == size
        there, found = Counter(s for s, _ in items), Counter(s for s, _ in drawn)
        assert all(abs(found[s] - size * there[s] / len(items)) < 1 for s in there)


def test_same_rows_and_seed_give_the_same_bytes_and_another_seed_another_draw(tmp_path):
    outputs = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        folder = tmp_path / name
        folder.mkdir()
        select(folder, rows(), train_size=50, eval_size=20, seed=seed)
        outputs.append([(folder / f"{split}.parquet").read_bytes() for split in ("train", "eval")])
    assert outputs[0] == outputs[1] != outputs[2]


def test_a_larger_draw_of_one_stratum_contains_the_smaller(tmp_path):
    given = [row(str(n), f"question {n} {n * 7919}", db_id=str(n % 10)) for n in range(200)]
    _, small, _ = select(tmp_path, given, train_size=20)
    _, large, _ = select(tmp_path, given, train_size=60)
    assert {r["id"] for r in small} < {r["id"] for r in large}


def test_fewer_rows_than_asked_for_are_all_used_and_noted(tmp_path):
    counts, train, evaluation = select(tmp_path, rows(60), train_size=1000, eval_size=500)
    assert counts["notes"] == [
        f"select.train_size: 1000 rows asked for, {len(train)} are there, all of them used",
        f"select.eval_size: 500 rows asked for, {len(evaluation)} are there, all of them used",
    ]


def test_the_preset_file_trains_on_every_row_and_asks_every_one_that_is_held_out(tmp_path):
    own = {key: read_yaml(ROOT / "presets/file.yaml")["select"][key] for key in ("train_size", "eval_size")}
    train = [row(f"t{n}", f"{n * 7919} to train", f"SELECT {n}", db_id="ours") for n in range(900)]
    test = [row(f"e{n}", f"{n * 104729} to ask", f"SELECT -{n}", db_id="theirs") for n in range(270)]
    counts, ours, theirs = select(tmp_path, train, test, **own)
    assert (len(ours), len(theirs), counts["notes"]) == (900, 270, [])


@pytest.mark.parametrize(
    "given, test, message", [(0, 0, "no evaluation row"), (1, 0, "no evaluation row"), (0, 5, "no training row")]
)
def test_a_side_without_rows_is_an_error(tmp_path, given, test, message):
    with pytest.raises(UserError, match=f"select: {message} is left"):
        select(tmp_path, rows(given), [r | {"id": f"t{r['id']}"} for r in rows(test, seed=9)])


# Leaks


def test_leaks_are_removed_from_training_and_counted(tmp_path):
    test = [row("e1", "Which a are there?"), row("e2", "What is the sum of a?", "SELECT SUM(a) FROM t")]
    train = [
        row("t1", "Which a are there?"),
        row("t2", "which a are there"),
        row("t3", "Add up a.", "select sum( a ) from t;"),
        row("t4", "What is b?", "SELECT b FROM t"),
        row("t5", "Is b what?", "SELECT b FROM t"),
    ]
    counts, kept, evaluation = select(tmp_path, train, test)
    assert [r["id"] for r in kept] == ["t4", "t5"]
    assert len(evaluation) == 2
    assert counts["leaks"] == {
        "question_exact": 1,
        "question_normalised": 1,
        "sql": 1,
        "sql_rewritten": 0,
        "question_near": 0,
        "removed": 3,
    }
    assert [(leak["train"], leak["eval"]) for leak in counts["leaked"]] == [("t1", "e1"), ("t2", "e1"), ("t3", "e2")]
    assert counts["train"] == {"available": 5, "filtered": 5, "without_leaks": 2, "selected": 2}
    assert counts["duplicates"] == {"train": {"question": 0, "sql": 1}, "eval": {"question": 0, "sql": 0}}


def test_any_gold_of_an_evaluation_row_gives_it_away(tmp_path):
    test = [row("e1", "What is the sum of a?", "SELECT SUM(a) FROM t", alternatives='["SELECT TOTAL(a) FROM t"]')]
    train = [
        row("t1", "Add up a.", "select total( a ) from t;"),
        row("t2", "All of a together?", "SELECT 1", alternatives='["SELECT TOTAL(x.a) FROM t AS x"]'),
        row("t3", "Which b are there?", "SELECT b FROM t"),
    ]
    counts, kept, _ = select(tmp_path, train, test)
    assert [r["id"] for r in kept] == ["t3"]
    assert [(leak["train"], leak["kind"]) for leak in counts["leaked"]] == [("t1", "sql"), ("t2", "sql_rewritten")]


def test_help_of_the_stage_is_quick():
    done = subprocess.run([sys.executable, "stages/select.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "data/selected/train.parquet" in done.stdout


def test_real_questions_of_a_known_split_are_compared(tmp_path):
    """wikisql's test questions are about tables that its training has not seen."""
    folder = ROOT.parent / "shared" / "data" / "wikisql"
    if not folder.exists():
        pytest.skip("../shared/data/wikisql is not there: this test looks for leaks in real data")
    splits = []
    for name in ("train", "test"):
        found = [r for r, _ in zip(read_records(folder / f"{name}.jsonl.gz"), range(3000), strict=False)]
        splits.append(
            [row(r["id"], r["question"], r["answer"], r["id"].rsplit("-", 1)[0], context=r["context"]) for r in found]
        )
    counts, train, evaluation = select(tmp_path, *splits)
    assert counts["databases"]["shared"] == 0
    assert len(train) == 3000 - counts["leaks"]["removed"]
    assert len(evaluation) == 3000


# The tuning part


def test_without_a_tuning_share_nothing_is_parted(tmp_path):
    counts, _, evaluation = select(tmp_path / "whole", rows())
    parted, _, same = select(tmp_path / "parted", rows(), tuning=0.3)
    assert "tuning" not in counts and "tuning" in parted
    assert evaluation == same  # a part is a list of ids: no question is generated or scored anew


def test_the_tuning_part_is_whole_databases_of_each_domain(tmp_path):
    train = [row("t0", "What is there?", db_id="other")]
    test = [
        row(f"q{n}", f"Question {n}?", f"SELECT {n} FROM d{n % 10}", db_id=f"d{n % 10}", domain="xy"[n % 2])
        for n in range(40)
    ]
    counts, _, evaluation = select(tmp_path, train, test, tuning=0.4)
    tuning = counts["tuning"]
    inside = {row["db_id"]: row["domain"] for row in evaluation if row["id"] in tuning["ids"]}
    outside = {row["db_id"] for row in evaluation if row["id"] not in tuning["ids"]}
    assert tuning["by"] == "databases" and not inside.keys() & outside and len(outside) == 6
    assert sorted(inside.values()) == ["x", "x", "y", "y"]
    assert (tuning["databases"], tuning["questions"]) == (4, 16)
    again, *_ = select(tmp_path, train, test, tuning=0.4)
    other, *_ = select(tmp_path, train, test, tuning=0.4, seed=2)
    assert again["tuning"] == tuning != other["tuning"]


def test_one_schema_under_several_names_is_not_parted(tmp_path):
    train = [row("t0", "What is there?", db_id="other")]
    same = [row(f"q{n}", f"Question {n}?", f"SELECT {n} FROM t", db_id="t") | {"db_id": f"t{n}"} for n in range(6)]
    two = [row("u0", "And here?", "SELECT a FROM u", db_id="u")]
    counts, *_ = select(tmp_path, train, same + two, tuning=0.5)
    assert counts["tuning"]["databases"] == 1
    assert set(counts["tuning"]["ids"]) in ({"u0"}, {f"q{n}" for n in range(6)})


def test_of_a_single_database_queries_are_parted_and_it_is_said(tmp_path):
    train = [row("t0", "What is there?", db_id="other")]
    test = [row(f"q{n}", f"Question {n}?", f"SELECT {n % 4} FROM t") for n in range(12)]
    counts, _, evaluation = select(tmp_path, train, test, tuning=0.25)
    tuning = counts["tuning"]
    assert (tuning["by"], tuning["queries"], tuning["questions"]) == ("queries", 1, 3)
    assert len({row["answer"] for row in evaluation if row["id"] in tuning["ids"]}) == 1
    assert any("is about one database, so it was parted by query" in note for note in counts["notes"])
    with pytest.raises(UserError, match=r"select\.tuning: the evaluation rows have one query alone"):
        select(tmp_path, train, test[:1], tuning=0.25)
