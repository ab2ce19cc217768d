"""Seconds from a question to its answer: the first, with the program's start and the model's loading, and later ones.

    python benchmarks/ask.py [--arm base] [--questions 5] [--json FILE]

Needs models/base, and models/finetuned for that arm (run the pipeline once). The database is a small shop made here.
The first answer is a command of its own; the later ones are questions to one program that has already answered one.
A question whose SQL fails counts too: the model took its time over it.
"""

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

SHOP = """
CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(customer_id),
    ordered DATE, amount REAL);
INSERT INTO customers VALUES (1, 'Ada', 'Seoul'), (2, 'Bo', 'Busan');
INSERT INTO orders VALUES (1, 1, '2026-05-02', 20.5), (2, 1, '2026-05-19', 12.0);
"""
QUESTIONS = (
    "How many customers are there?",
    "Show the name and city of every customer.",
    "What is the largest amount of an order?",
    "How many orders does each customer have?",
    "Which customers live in Seoul?",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", default="finetuned")
    parser.add_argument("--questions", type=int, default=len(QUESTIONS), help="how many later ones")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shop = Path(folder, "shop.db")
        with closing(sqlite3.connect(shop)) as connection:
            connection.executescript(SHOP)
        command = [sys.executable, "-m", "text2sql", "ask", "--db", str(shop), "--arm", args.arm, "--json"]
        start = time.monotonic()
        subprocess.run([*command, QUESTIONS[0]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first = time.monotonic() - start
        later = seconds_of_later(command, args.questions)
    print(f"first answer {first:.1f} s; later ones {statistics.median(later):.1f} s (largest {max(later):.1f} s)")
    if args.json:
        args.json.write_text(json.dumps({"arm": args.arm, "first": first, "later": later}, indent=2) + "\n")


def seconds_of_later(command: list[str], questions: int) -> list[float]:
    """Seconds of each answer after the first, asked one after another of one program."""
    seconds = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for number in range(questions + 1):
            start = time.monotonic()
            process.stdin.write(QUESTIONS[number % len(QUESTIONS)] + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
            if reply.startswith("{") and '"error"' in reply:
                process.stdout.readline()  # the line that says so
            seconds.append(time.monotonic() - start)
        process.stdin.close()
    return seconds[1:]


if __name__ == "__main__":
    main()
