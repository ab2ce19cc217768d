"""How many planted leaks `select` finds, by how they are written, and how long it looks.

Plants, for generated evaluation rows, training rows that ask the same: the question with other case and punctuation,
with one letter more, in another phrasing of the generator's own (with the same SQL, with the SQL written otherwise, and
with no SQL in common). Then times 20,000 training rows against 10,000 evaluation rows made from three templates, whose
questions are all alike.

    python benchmarks/leaks.py --json leaks.json
"""

import argparse
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from random import Random

from text2sql.base.files import write_json
from text2sql.dataset.leaks import Texts, find_leaks
from text2sql.sources import synthetic

SCHEMA = (
    "CREATE TABLE customers (id INT, city TEXT, orders INT, month INT, year INT); "
    "CREATE TABLE products (name TEXT, price REAL, city TEXT, year INT); "
    "CREATE TABLE shops (id INT, revenue REAL, city TEXT, month INT, year INT);"
)
TEMPLATES = (
    (
        "How many customers in {c} ordered more than {n} products in month {m} of {y}?",
        "SELECT COUNT(*) FROM customers WHERE city = '{c}' AND orders > {n} AND month = {m} AND year = {y}",
    ),
    (
        "What are the names of the products that cost more than {n} euros in {c} in {y}?",
        "SELECT name FROM products WHERE price > {n} AND city = '{c}' AND year = {y}",
    ),
    (
        "List the total revenue of the shop number {n} in {c} for month {m} of the year {y}.",
        "SELECT SUM(revenue) FROM shops WHERE id = {n} AND city = '{c}' AND month = {m} AND year = {y}",
    ),
)
CITIES = "Seoul Busan Incheon Daegu Daejeon Gwangju Ulsan Suwon Jeju Lisbon Porto Lyon Oslo Bergen Graz Vienna".split()


def rewritten(sql: str) -> str:
    """The SQL with its names in backticks where they follow FROM, other case, and its comparisons turned round."""
    sql = re.sub(r"\bFROM (\w+)", r"FROM `\1`", sql)
    sql = re.sub(r"\bCOUNT\(\*\)", "count(1)", sql)
    return re.sub(r"(\b[\w.]+) = ('(?:[^']|'')*'|\d+(?:\.\d+)?)(?! *[-+*/])", r"\2 = \1", sql).replace(
        "SELECT", "select"
    )


def pairs_of_phrasings(rows: list[dict]) -> Iterator[tuple[dict, dict]]:
    """Generated rows with the same SQL on the same schema that ask in different words, two by two."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["db_id"], row["answer"]].append(row)
    for group in groups.values():
        others = [row for row in group if row["question"] != group[0]["question"]]
        if others:
            yield group[0], others[0]


def planted(count: int, seed: int) -> dict[str, tuple[int, Counter]]:
    """For each way to write a leak: how many were planted, and under which kind they were found."""
    rows = [row | {"context": row["context"].split("INSERT")[0]} for row in synthetic.rows(60_000, seed)]
    asked = list(pairs_of_phrasings(rows))[:count]
    ways: dict[str, Callable[[dict, dict], tuple[str, str]]] = {
        "other case and punctuation": lambda row, _: (row["question"].upper().rstrip("?.") + " !", "SELECT 1"),
        "a letter more": lambda row, _: (row["question"].rstrip("?.") + "s", "SELECT 1"),
        "another phrasing, same SQL": lambda _, other: (other["question"], other["answer"]),
        "another phrasing, SQL written otherwise": lambda _, other: (other["question"], rewritten(other["answer"])),
        "another phrasing alone": lambda _, other: (other["question"], "SELECT 1"),
    }
    found = {}
    for way, write in ways.items():
        evaluation = [
            Texts(f"e{n}", row["context"], row["question"], row["answer"]) for n, (row, _) in enumerate(asked)
        ]
        train = [Texts(f"t{n}", row["context"], *write(row, other)) for n, (row, other) in enumerate(asked)]
        found[way] = len(train), Counter(leak.kind for leak in find_leaks(train, evaluation))
    return found


def templated(count: int, seed: int) -> Iterator[Texts]:
    rng = Random(seed)
    for number in range(count):
        question, sql = rng.choice(TEMPLATES)
        cells = {
            "c": rng.choice(CITIES),
            "n": rng.randrange(1000),
            "m": rng.randrange(1, 13),
            "y": rng.randrange(2000, 2025),
        }
        yield Texts(f"{seed}-{number}", SCHEMA, question.format(**cells), sql.format(**cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    figures: dict = {}
    for way, (count, kinds) in planted(400, seed=5).items():
        figures[way] = {"planted": count, "found": kinds.total(), "as": dict(kinds)}
        print(f"{way}: {kinds.total()} of {count} {dict(kinds)}")
    train, evaluation = list(templated(20_000, 1)), list(templated(10_000, 2))
    start, cpu = time.perf_counter(), time.process_time()
    leaks = find_leaks(train, evaluation)
    figures["templated"] = {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "leaks": len(leaks),
    }
    print(f"20,000 × 10,000 templated: {figures['templated']}")
    if args.json:
        write_json(args.json, figures)


if __name__ == "__main__":
    main()
