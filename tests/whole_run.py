"""The tiny model through every stage: the project of the tests that need a whole run, and its rows.

Half of the rows are ordinary; the others have characters in every field that some program may stumble over.
"""

from pathlib import Path

from conftest import Project, make_tiny

from text2sql.base.files import write_jsonl
from text2sql.sources import synthetic

FIELDS = ("id", "db_id", "context", "question", "answer", "domain", "complexity")
# Korean, an emoji of several code points, right to left, a combining mark, a line separator, and NUL where SQL is not.
TEXT = "가수 👩‍🎤 שלום é\u2028ﷺ"
NUL = "a\x00b"


def questions(count: int, start: int) -> list[dict]:
    """Rows with every script in every text field; each database has its own table."""
    return [
        {
            "id": f"{NUL} {TEXT} {number}",
            "db_id": f"{NUL} {TEXT} {number // 2}",
            "context": f'CREATE TABLE "{TEXT}{number // 2}" ("이름 👩‍🎤" TEXT, "שם" INTEGER); -- {TEXT}',
            "question": f"{NUL} {TEXT} {number}?",
            "answer": f'SELECT "이름 👩‍🎤" FROM "{TEXT}{number // 2}" WHERE "שם" > {number} -- {TEXT}',
            "domain": f"{NUL} {TEXT}",
            "complexity": f"{TEXT} {NUL}",
        }
        for number in range(start, start + count)
    ]


def ordinary(count: int) -> list[dict]:
    """Of the generated data set's first `count` rows those that hold up; they bring rows of their own."""
    drawn = enumerate(synthetic.rows(count, 11))
    return [{name: row[name] for name in FIELDS} for index, row in drawn if not synthetic.draw(11, index).flaw]


ORDINARY = ordinary(40)
TRAIN, TEST = [*questions(12, 0), *ORDINARY[6:]], [*questions(6, 100), *ORDINARY[:6]]
for row in (TRAIN[5], TEST[3]):
    row["question"] += " so long" * 400  # beyond the tiny model's 1024 tokens
# SQL that holds NUL is none to SQLite.
NO_SQL = [
    TRAIN[0] | {"id": f"{NUL} answer", "answer": f"SELECT '{NUL}'"},
    TRAIN[0] | {"id": f"{NUL} context", "context": f"CREATE TABLE t (a TEXT DEFAULT '{NUL}')"},
]


def make_whole(folder: Path, model: Path) -> Project:
    """A project about `TRAIN` and `TEST`, which git keeps, of which nothing has run yet."""
    project = make_tiny(folder, model)
    write_jsonl(folder / "inputs/train.jsonl", TRAIN + NO_SQL)
    write_jsonl(folder / "inputs/test.jsonl", TEST)
    project.set(
        preset="file", ingest__source="file", ingest__path="inputs/train.jsonl", ingest__test_path="inputs/test.jsonl",
        validate__has_rows=False, validate__returns_rows=False, select__train_size=400, select__eval_size=128,
    )  # fmt: skip
    project.run("git", "add", "-f", "inputs")
    project.commit("questions")
    return project
