"""How fast each engine that is there starts, builds databases, and answers predictions on five filled ones.

One small shop's schema, filled five times with different rows; a prediction runs on all five and is compared with the
gold's answers there. Every query of a list is asked as it stands and with an alias that makes its text another, so that
no cache of texts answers for it. Golds and databases are made once a worker, as scoring makes them once a question.

Last, what a row costs that never ends, beyond what another row in its place does: at best its deadline of 0.2 s.

python benchmarks/engines.py [--workers 2] [--predictions 4000] [--hostile 100] [--json FILE]
"""

import argparse
import contextlib
import importlib
import json
import random
import time
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from text2sql.engines import duckdb, mysql, postgres
from text2sql.engines.pool import guarded_map
from text2sql.engines.sqlite import Failure, Limits, SQLite
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import answer_gold, plan

DATABASES, ROWS = 5, 30
HOSTILE_SECONDS = 0.2  # deadline of a hostile row
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c"
# MariaDB ends a recursion after a thousand steps; 30 rows to the twelfth it does not.
ENDLESS_JOIN = f"SELECT COUNT(*) FROM {', '.join(f'orders o{number}' for number in range(12))} WHERE o0.id <> o11.id"
SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, city VARCHAR(40));
CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, price DECIMAL(8,2) NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id),
  product_id INTEGER REFERENCES products(id), amount INTEGER NOT NULL, day DATE NOT NULL);
"""
QUERIES = [
    "SELECT name FROM customers WHERE city = 'Busan'",
    "SELECT COUNT(*) FROM orders WHERE amount > 3",
    "SELECT city, COUNT(*) FROM customers GROUP BY city ORDER BY city",
    "SELECT p.name, SUM(o.amount) FROM orders o JOIN products p ON p.id = o.product_id GROUP BY p.name",
    "SELECT c.name FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE o.id IS NULL",
    "SELECT name FROM products ORDER BY price DESC LIMIT 3",
    "SELECT AVG(price) FROM products",
    "SELECT c.city, SUM(o.amount * p.price) FROM orders o JOIN customers c ON c.id = o.customer_id"
    " JOIN products p ON p.id = o.product_id GROUP BY c.city HAVING COUNT(*) > 2",
    "SELECT DISTINCT day FROM orders WHERE day > '2024-03-01' ORDER BY day",
    "SELECT name FROM customers WHERE id IN"
    " (SELECT customer_id FROM orders GROUP BY customer_id HAVING SUM(amount) > 8)",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--predictions", type=int, default=4_000)
    parser.add_argument("--hostile", type=int, default=100, help="rows that never end, among twice the predictions")
    parser.add_argument("--engines", default="sqlite,duckdb,postgres,mysql")
    parser.add_argument("--json", type=Path, help="also write the results here")
    args = parser.parse_args()

    results = {}
    for name in args.engines.split(","):
        begun = time.perf_counter()
        with started(name) as engine:
            if engine is None:
                print(f"{name:10} is not installed")
                continue
            ready = time.perf_counter() - begun
            results[name] = {"version": engine.version, "start_seconds": ready} | measured(engine, args)
        print(f"{name:10} " + "  ".join(f"{key} {value}" for key, value in shown(results[name]).items()))
    if args.json:
        args.json.write_text(json.dumps({name: shown(result) for name, result in results.items()}, indent=2) + "\n")


@contextlib.contextmanager
def started(name: str) -> Iterator[Any]:
    """The engine; None where it is not installed."""
    if name == "sqlite":
        yield SQLite()
    elif name == "duckdb":
        yield duckdb.engine() if duckdb.installed() else None
    else:
        module = {"postgres": postgres, "mysql": mysql}[name]
        if not module.installed():
            yield None
            return
        with module.private_server() as engine:
            yield engine


def measured(engine: Any, args: argparse.Namespace) -> dict[str, float]:
    scripts = fillings()
    first = [engine.build(script) for script in scripts]  # what a process pays once
    for database in first:
        database.close()
    begun = time.perf_counter()
    for _ in range(20):
        for script in scripts:
            database = engine.build(script)
            database.query("SELECT COUNT(*) FROM orders")
            database.close()
    building = (time.perf_counter() - begun) / 20 / len(scripts)
    rates = {}
    for workers in sorted({1, args.workers}):
        items = [(place % len(QUERIES), place) for place in range(args.predictions)]
        mapped = guarded_map(partial(predict, engine), items, workers=workers, seconds=60, memory_bytes=2 * 2**30)
        right = [next(mapped) for _ in range(len(items) // 4)]  # databases and golds are there by then
        begun = time.perf_counter()
        right += list(mapped)
        assert all(right), "a gold does not equal itself"
        rates[f"predictions_per_second_{workers}_workers"] = len(items) * 3 / 4 / (time.perf_counter() - begun)
    calm = items * 2 + [(place % len(QUERIES), -1 - place) for place in range(args.hostile)]
    hostile = [*calm[: len(items) * 2], *((-1, place) for place in range(args.hostile))]
    random.Random(0).shuffle(hostile)
    lost = (seconds_of(engine, hostile, args.workers) - seconds_of(engine, calm, args.workers)) * args.workers
    return {"build_ask_drop_ms": building * 1_000} | rates | {"seconds_of_a_hostile_row": lost / args.hostile}


def seconds_of(engine: Any, items: list[tuple[int, int]], workers: int) -> float:
    """How long predictions take, their databases included."""
    begun = time.perf_counter()
    assert all(guarded_map(partial(predict, engine), items, workers=workers, seconds=60, memory_bytes=2 * 2**30))
    return time.perf_counter() - begun


def predict(engine: Any, item: tuple[int, int]) -> bool:
    """Whether a query under another alias is right on all databases; of a hostile one (-1), whether it is stopped."""
    number, place = item
    if number < 0:
        sql = ENDLESS_JOIN if engine.dialect == "mysql" else ENDLESS
        answer = built(engine)[0].query(f"{sql} -- {place}", Limits(seconds=HOSTILE_SECONDS))
        return isinstance(answer, Failure) and answer.outcome == "timeout"
    right = True
    for database, gold in databases(engine, number):
        answer = database.query(f"SELECT * FROM ({QUERIES[number]}) AS q{place % 10**6}" if number not in (2, 5, 8) else
                                f"{QUERIES[number]} -- {place}")  # fmt: skip
        right = right and compare(gold, answer).ex
    return right


@lru_cache
def databases(engine: Any, number: int) -> list[tuple[Any, Any]]:
    """The filled databases and the gold's answers there."""
    gold = plan(QUERIES[number], engine.dialect)
    return [(database, answer_gold(database, gold)) for database in built(engine)]


@lru_cache
def built(engine: Any) -> list[Any]:
    return [engine.build(script) for script in fillings()]


def fillings() -> list[str]:
    """The schema with rows, five times."""
    scripts = []
    for seed in range(DATABASES):
        rng = random.Random(seed)
        rows = [SCHEMA]
        for key in range(1, ROWS + 1):
            city = rng.choice(["Busan", "Seoul", "Oslo", "Lima"])
            rows.append(f"INSERT INTO customers VALUES ({key}, 'name {rng.randrange(25)}', '{city}');")
            price = rng.randrange(9999) / 100
            rows.append(f"INSERT INTO products VALUES ({key}, 'thing {rng.randrange(25)}', {price});")
        for key in range(1, ROWS + 1):
            day = f"2024-{rng.randrange(1, 7):02}-{rng.randrange(1, 29):02}"
            values = (key, rng.randrange(1, ROWS + 1), rng.randrange(1, ROWS + 1), rng.randrange(1, 9))
            rows.append(f"INSERT INTO orders VALUES ({', '.join(map(str, values))}, '{day}');")
        scripts.append("\n".join(rows))
    return scripts


def shown(result: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in result.items()}


if __name__ == "__main__":
    importlib.import_module(Path(__file__).stem).main()  # workers find what they are sent by the module's name
