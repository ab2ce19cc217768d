"""The gold audit: what it suspects, with reasons, and what it leaves alone."""

import json
import os
import subprocess
import sys

from conftest import ROOT

from text2sql.base.files import write_jsonl
from text2sql.databases.audit import Asked, audit, golds_of
from text2sql.databases.populate import populate
from text2sql.engines.question import Question

SHOP = (
    "CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT, city TEXT);"
    "CREATE TABLE sale (id INTEGER PRIMARY KEY, shop INT NOT NULL REFERENCES shop(id), amount INT)"
)


def asked(gold: str, question: str = "", number: int = 0) -> Asked:
    filled = populate(SHOP, gold, 5, seed=1)
    return Asked(number, question, Question(gold, tuple(filled.scripts)), False, filled.reason)


def kinds(*golds: Asked) -> list[set[str]]:
    return [{suspicion.kind for suspicion in found} for _, found in audit(golds, workers=1)]


SUSPICIOUS = [
    ("SELECT 1", "constant"),
    ("SELECT count(*) > -1 FROM shop", "constant"),
    ("SELECT name FROM shop LIMIT 1", "row order"),
    ("SELECT name, count(*) FROM shop", "row order"),
    ("SELECT city, id FROM shop GROUP BY city", "row order"),
    ("SELECT name FROM shop WHERE id > 5 AND id < 5", "nothing"),
    ("SELECT nothing FROM shop", "fails"),
]
SOUND = [
    "SELECT name FROM shop WHERE city = 'Seoul'",
    "SELECT count(*) FROM sale",
    "SELECT name FROM shop ORDER BY id LIMIT 1",
    "SELECT s.name, count(*) FROM shop AS s JOIN sale AS x ON x.shop = s.id GROUP BY x.shop",
    "SELECT city, max(name) FROM shop GROUP BY city",
]
NAMING = [
    ("Which shops are in Seoul?", "SELECT name FROM shop", True),
    ("Which shops are in Seoul?", "SELECT name FROM shop WHERE city = 'seoul'", False),
    ("Which shops are in 'new york'?", "SELECT name FROM shop WHERE city = 'Boston'", True),
    ("Which sales are above 500?", "SELECT id FROM sale WHERE amount > 50", True),
    ("Which sales are above 500?", "SELECT id FROM sale WHERE amount >= 501", False),
    ("Which shops have more than two sales?", "SELECT shop FROM sale GROUP BY shop HAVING count(*) >= 3", False),
    ("Which shops have more than five sales?", "SELECT shop FROM sale GROUP BY shop HAVING count(*) > 1", True),
    ("금액이 500보다 큰 판매는?", "SELECT id FROM sale", True),
    ("'서울'에 있는 가게는?", "SELECT name FROM shop WHERE city = '부산'", True),
    ("Show every Shop with its City.", "SELECT name, city FROM shop", False),
]


def test_a_suspicious_gold_is_named_by_kind():
    found = kinds(*(asked(gold, "", n) for n, (gold, _) in enumerate(SUSPICIOUS)))
    assert [kind for (_, kind), named in zip(SUSPICIOUS, found, strict=True) if kind not in named] == []


def test_a_sound_gold_is_left_alone():
    assert kinds(*(asked(gold, "", n) for n, gold in enumerate(SOUND))) == [set()] * len(SOUND)


def test_a_value_of_the_question_that_the_gold_lacks_is_suspicious():
    found = kinds(*(asked(gold, question) for question, gold, _ in NAMING))
    assert ["ignores" in named for named in found] == [suspicious for *_, suspicious in NAMING]


def test_two_golds_of_one_question_that_answer_otherwise_are_both_named():
    total = "How much was sold?"
    golds = [
        asked("SELECT sum(amount) FROM sale", total, 1),
        asked("SELECT count(*) FROM sale", total.upper(), 2),
        asked("SELECT sum(amount) AS total FROM sale", "Another one?", 3),
    ]
    assert kinds(*golds) == [{"differs"}, {"differs"}, set()]
    same = [golds[0], asked("SELECT sum(s.amount) FROM sale AS s", total, 4)]
    assert kinds(*same) == [set(), set()]


def test_every_gold_of_a_question_is_looked_at():
    one = asked("SELECT city FROM shop", "Where are shops?")
    others = ("SELECT s.city FROM shop AS s", "SELECT city, id FROM shop GROUP BY city", "SELECT town FROM shop")
    golds = list(golds_of(one._replace(question=one.question._replace(alternatives=others))))
    assert kinds(*golds) == [{"differs"}, {"differs"}, {"row order", "differs"}, {"fails"}]
    assert kinds(*golds[:2]) == [set(), set()]


def test_a_tie_counts_on_rows_that_the_data_bring():
    rows = SHOP + "; INSERT INTO shop VALUES (1, 'a', 'Seoul'), (2, 'b', 'Seoul')"
    gold = "SELECT name FROM shop ORDER BY city LIMIT 1"
    own = Asked(1, "", Question(gold, (rows,)), own_rows=True)
    assert kinds(own, asked(gold, "", 2)) == [{"tie"}, set()]


def audited(*arguments: str, cwd=ROOT) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "text2sql", "audit", *arguments], cwd=cwd, env=env, capture_output=True, text=True
    )


def test_the_command_lists_suspicions_of_a_file(tmp_path):
    rows = [
        {"id": "a", "setup_sql": SHOP, "gold_sql": "SELECT name FROM shop LIMIT 1", "question": "A shop?"},
        {"id": "b", "setup_sql": SHOP, "gold_sql": "SELECT name FROM shop", "question": "All shops?"},
    ]
    rows[1]["gold_sql"] = [rows[1]["gold_sql"], "SELECT naam FROM shop"]
    write_jsonl(tmp_path / "golds.jsonl", rows)
    done = audited(str(tmp_path / "golds.jsonl"))
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["id"], row["kind"]) for row in found] == [("a", "row order"), ("b", "fails")]
    assert found[1]["gold_sql"] == "SELECT naam FROM shop"
    assert done.stderr.endswith("2 of 3 golds are suspicious: row order 1, fails 1\n")


def test_golds_about_a_database_on_a_server_are_refused_by_one_line(tmp_path):
    write_jsonl(tmp_path / "golds.jsonl", [{"id": 1, "database": "postgresql://h/shop", "gold_sql": "SELECT 1"}])
    done = audited(str(tmp_path / "golds.jsonl"))
    assert done.returncode != 0 and done.stderr.startswith("error: audit: golds about a database on a server")


def test_without_a_run_or_a_gold_one_line_says_so(tmp_path):
    assert audited(cwd=tmp_path).stderr.startswith("error: audit: there are no evaluation questions here")
    write_jsonl(tmp_path / "golds.jsonl", [{"id": 1, "setup_sql": SHOP}])
    done = audited(str(tmp_path / "golds.jsonl"))
    assert done.returncode != 0 and "row 1: no gold_sql" in done.stderr and "Traceback" not in done.stderr
