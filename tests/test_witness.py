"""Witnesses: of a database on which gold and prediction differ, the few rows that show it."""

import json

import pytest

from text2sql.base.files import read_jsonl
from text2sql.databases.populate import populate
from text2sql.databases.witness import ROWS, TRIALS, witness
from text2sql.engines.question import Question
from text2sql.engines.sqlite import build, query
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import answer_gold, plan
from text2sql.scoring.score import Item, score_all, score_file

SHOP = (
    "CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);"
    "CREATE TABLE sale (id INTEGER PRIMARY KEY, shop INT NOT NULL REFERENCES shop(id), amount INT, note TEXT);"
    "CREATE TABLE visitor (id INTEGER PRIMARY KEY, shop INT REFERENCES shop(id))"
)
JOINED = "SELECT s.name FROM shop AS s JOIN sale AS x ON x.shop = s.id WHERE x.amount > 50"
PAIRS = [
    (JOINED, "SELECT s.name FROM shop AS s JOIN sale AS x ON x.shop = s.id WHERE x.amount >= 50"),
    (JOINED, "SELECT name FROM shop WHERE id IN (SELECT shop FROM sale WHERE amount > 50)"),
    ("SELECT count(*) FROM sale", "SELECT count(DISTINCT shop) FROM sale"),
    ("SELECT name FROM shop ORDER BY city LIMIT 1", "SELECT name FROM shop ORDER BY city DESC LIMIT 1"),
    ("SELECT max(amount) FROM sale", "SELECT min(amount) FROM sale"),
    ("SELECT * FROM shop WHERE city LIKE 'S%'", "SELECT * FROM shop WHERE city LIKE '%S%'"),
    ("SELECT name FROM shop WHERE id NOT IN (SELECT shop FROM sale)", "SELECT name FROM shop"),
]


def told_apart(gold: str, wrong: str) -> str:
    """A filling for the gold on which the wrong query answers otherwise."""
    for script in populate(SHOP, gold, 5, seed=1).scripts:
        connection = build(script)
        if not compare(answer_gold(connection, plan(gold)), query(connection, wrong)).ex:
            return script
    raise AssertionError(f"no filling tells {wrong} apart")


def rebuilt(shown: dict):
    """The witness as a database of its own."""
    script = []
    for name, table in shown["tables"].items():
        script.append(f"CREATE TABLE {name} ({', '.join(table['columns'])})")
        for row in table["rows"]:
            values = ", ".join("NULL" if v is None else repr(v) for v in row)
            script.append(f"INSERT INTO {name} VALUES ({values})")
    return build(";\n".join(script))


@pytest.mark.parametrize(("gold", "wrong"), PAIRS)
def test_a_witness_is_a_small_database_on_which_the_two_answers_differ(gold, wrong):
    shown = witness(told_apart(gold, wrong), gold, wrong)
    assert sum(len(table["rows"]) for table in shown["tables"].values()) <= 5
    database = rebuilt(shown)
    assert shown["gold"] == [list(row) for row in query(database, gold).rows]
    assert shown["prediction"] == [list(row) for row in query(database, wrong).rows]
    assert not compare(answer_gold(database, plan(gold)), query(database, wrong)).ex


def test_a_witness_holds_what_the_queries_read_and_the_keys():
    gold, wrong = PAIRS[0]
    shown = witness(told_apart(gold, wrong), gold, wrong)
    assert {name: table["columns"] for name, table in shown["tables"].items()} == {
        "shop": ["id", "name"],
        "sale": ["id", "shop", "amount"],
    }


@pytest.mark.parametrize(
    "declared",
    ["REFERENCES shop(id)", ""],
)  # a gold that joins by a column says that it refers
def test_no_row_of_a_witness_loses_the_partner_that_it_had(declared):
    shop = "CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO shop VALUES (1, 'a'), (2, 'b');"
    sale = (
        f"CREATE TABLE sale (shop INT {declared}, amount INT); INSERT INTO sale VALUES (1, 9), (2, 8), (2, 8), (7, 8)"
    )
    gold = "SELECT count(*) FROM sale JOIN shop ON sale.shop = shop.id"
    shown = witness(shop + sale, gold, "SELECT count(*) FROM sale WHERE amount > 8")
    assert shown["tables"]["sale"]["rows"] == [[2, 8]]
    assert shown["tables"]["shop"]["rows"] == [[2]]
    assert (shown["gold"], shown["prediction"]) == ([[1]], [[0]])


def test_the_same_pair_gives_the_same_witness():
    gold, wrong = PAIRS[1]
    script = told_apart(gold, wrong)
    assert json.dumps(witness(script, gold, wrong)) == json.dumps(witness(script, gold, wrong))


def test_there_is_no_witness_of_equal_answers_nor_of_what_is_never_small():
    script = told_apart(*PAIRS[0])
    assert witness(script, JOINED, JOINED) is None
    many = "CREATE TABLE t (a INT); INSERT INTO t WITH n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n WHERE a < 80)"
    many += " SELECT 1 FROM n"
    assert ROWS < 70 < TRIALS
    assert witness(many, "SELECT count(*) > 70 FROM t", "SELECT 0") is None


def test_a_trigger_that_forbids_to_delete_leaves_no_witness():
    script = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);"
    assert witness(script, "SELECT a FROM t", "SELECT a FROM t WHERE a > 1") is not None
    script += "CREATE TRIGGER keep BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'kept'); END"
    assert witness(script, "SELECT a FROM t", "SELECT a FROM t WHERE a > 1") is None


def test_scores_and_results_carry_the_witness_of_a_mismatch_alone(tmp_path):
    gold, wrong = PAIRS[0]
    filled = populate(SHOP, gold, 2, seed=1)
    question = Question(gold, tuple(filled.scripts), harsh=tuple(filled.harsh))
    items = [Item("wrong", question, wrong), Item("right", question, gold), Item("broken", question, "SELECT nothing")]
    shown = [results["witness"] for _, results in score_all(items, workers=1, witness=witness)]
    assert shown[0]["tables"] and shown[1:] == [None, None]
    for results in (None, tmp_path / "results.jsonl"):
        score_file(tmp_path / "scores.jsonl", items, workers=2, results=results, witness=witness)
        carrying = tmp_path / ("results.jsonl" if results else "scores.jsonl")
        assert [row["witness"] for row in read_jsonl(carrying)] == shown
    score_file(tmp_path / "scores.jsonl", items, workers=2)
    assert all("witness" not in row for row in read_jsonl(tmp_path / "scores.jsonl"))
