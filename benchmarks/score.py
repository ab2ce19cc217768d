"""How fast predictions are scored, beside the way of Spider's test-suite evaluation, and what hostile rows cost.

Spider dev's questions, on 5 random databases of 30 rows a table for each schema; three predictions a question: the
gold itself, the gold with other spelling, and another question's gold. The Spider way opens a connection to a file for
every database and query, under asyncio, and compares rows in Python in one process; it knows no sandbox.

python benchmarks/score.py --spider ../shared/data/spider [--workers 2] [--json FILE]
"""

import argparse
import asyncio
import json
import random
import sqlite3
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path

from text2sql.engines.question import Question
from text2sql.engines.sqlite import Limits
from text2sql.scoring.score import GRACE_SECONDS, Item, score_rows

INSTANCES, ROWS = 5, 30
HOSTILE = [
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c",
    "SELECT instr(printf('%.990000c', 'a'), printf('%.490000c', 'a') || 'b')",
    "SELECT hex(zeroblob(200000000))",
    "DROP TABLE singer",
    "ATTACH 'hostile.db' AS z",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spider", type=Path, default=Path("../shared/data/spider"), help="dev.json and tables.json")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the hostile run")
    parser.add_argument("--json", type=Path, help="also write the results here")
    args = parser.parse_args()

    questions = json.loads((args.spider / "dev.json").read_text())
    scripts = instances(json.loads((args.spider / "tables.json").read_text()), {q["db_id"] for q in questions})
    items = [
        Item(f"{number}.{kind}", Question(q["query"], scripts[q["db_id"]]), text)
        for number, q in enumerate(questions)
        for kind, text in enumerate(predictions(q, questions))
    ]
    results: dict[str, float] = {"predictions": len(items), "databases_each": INSTANCES}
    for workers in sorted({1, args.workers}):
        seconds, rows = timed(lambda workers=workers: list(score_rows(items, workers=workers)))
        results[f"ours_{workers}_workers_per_second"] = len(items) / seconds
    with tempfile.TemporaryDirectory() as folder:
        files = {db: [to_file(script, Path(folder)) for script in own] for db, own in scripts.items()}
        seconds, verdicts = timed(lambda: spider_way(questions, files))
    results["spider_way_per_second"] = len(items) / seconds
    results["times_faster"] = results[f"ours_{args.workers}_workers_per_second"] / results["spider_way_per_second"]
    scored = [(row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if row["ex"] is not None]
    results["verdicts_that_differ"] = sum(row["ex"] != verdict for row, verdict in scored)

    many = [items[place % len(items)] for place in range(args.rows)]
    limits = Limits(seconds=0.5)
    calm, _ = timed(lambda: list(score_rows(many, workers=args.workers, limits=limits)))
    places = random.Random(0).sample(range(len(many)), 100)
    attacked = list(many)
    for number, place in enumerate(places):
        attacked[place] = Item(f"hostile{number}", many[place].question, HOSTILE[number % len(HOSTILE)])
    stormy, rows = timed(lambda: list(score_rows(attacked, workers=args.workers, limits=limits)))
    results |= {"calm_seconds": calm, "with_100_hostile_seconds": stormy, "hostile_cost_seconds": stormy - calm}
    late = [row["error"] for row in rows if row["outcome"] == "timeout"]
    killed = sum("hard" in error for error in late)  # SQLite did not stop by itself
    results["their_deadlines_seconds"] = (len(late) * limits.seconds + killed * GRACE_SECONDS) / args.workers

    for name, value in results.items():
        print(f"{name:<32} {value:>12,.2f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def timed(function):
    begun = time.perf_counter()
    result = function()
    return time.perf_counter() - begun, result


def instances(tables: list[dict], wanted: set[str]) -> dict[str, tuple[str, ...]]:
    """For each database, scripts that make its tables and fill them with values that often meet."""
    scripts = {}
    for schema in tables:
        if schema["db_id"] not in wanted:
            continue
        own = []
        for seed in range(INSTANCES):
            rng = random.Random(f"{schema['db_id']}{seed}")
            lines = []
            for number, table in enumerate(schema["table_names_original"]):
                columns = [
                    (name, kind)
                    for (owner, name), kind in zip(schema["column_names_original"], schema["column_types"], strict=True)
                    if owner == number and not table.startswith("sqlite_")
                ]
                if not columns:
                    continue
                lines.append(
                    f'CREATE TABLE "{table}" ({", ".join(chr(34) + n + chr(34) + " " + k for n, k in columns)});'
                )
                for _ in range(ROWS):
                    cells = [
                        str(rng.randint(1, 20)) if k == "number" else f"'{rng.choice('abcdef')}'" for _, k in columns
                    ]
                    lines.append(f'INSERT INTO "{table}" VALUES ({", ".join(cells)});')
            own.append("\n".join(lines))
        scripts[schema["db_id"]] = tuple(own)
    return scripts


def predictions(question: dict, questions: list[dict]) -> list[str]:
    others = [other["query"] for other in questions if other["db_id"] == question["db_id"]]
    return [
        question["query"],
        question["query"].replace("SELECT", "select"),
        random.Random(question["query"]).choice(others),
    ]


def to_file(script: str, folder: Path) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(f"BEGIN;{script}COMMIT;")
    connection.close()
    return path


def spider_way(questions: list[dict], files: dict[str, list[Path]]) -> list[bool]:
    verdicts = []
    for question in questions:
        ordered = "order by" in question["query"].lower()
        for text in predictions(question, questions):
            verdicts.append(
                all(same_result(path, question["query"], text, ordered) for path in files[question["db_id"]])
            )
    return verdicts


def same_result(path: Path, gold: str, predicted: str, ordered: bool) -> bool:
    async def run(sql):
        connection = sqlite3.connect(path)
        connection.text_factory = lambda text: text.decode(errors="ignore")
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            return error
        finally:
            connection.close()

    expected = asyncio.run(asyncio.wait_for(run(gold), 60))
    rows = asyncio.run(asyncio.wait_for(run(predicted), 60))
    if isinstance(expected, Exception) or isinstance(rows, Exception):
        return False
    return equal_results(expected, rows, ordered)


def equal_results(expected: list, rows: list, ordered: bool) -> bool:
    """Rows as a multiset, or in order, under some permutation of the columns."""
    if not expected and not rows:
        return True
    if len(expected) != len(rows) or len(expected[0]) != len(rows[0]):
        return False
    keys = [
        [tuple(sorted(row, key=lambda cell: str(cell) + str(type(cell)))) for row in side] for side in (expected, rows)
    ]
    if (keys[0] != keys[1]) if ordered else (set(keys[0]) != set(keys[1])):
        return False
    width = len(expected[0])
    cells = [{row[i] for row in expected} for i in range(width)]
    choices = [[j for j in range(width) if {row[j] for row in rows} == cells[i]] for i in range(width)]
    for order in product(*choices):
        if len(set(order)) == width:
            moved = [tuple(row[j] for j in order) for row in rows]
            if (expected == moved) if ordered else (Counter(expected) == Counter(moved)):
                return True
    return False


if __name__ == "__main__":
    main()
