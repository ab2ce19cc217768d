"""List golds that look wrong: as suspicion, with reasons, for somebody to look at.

python -m text2sql audit                      # of the run's evaluation questions
python -m text2sql audit questions.jsonl      # of a file in the form that `score` reads

Rows in: {id, setup_sql | database, gold_sql, question?, dialect?}, where gold_sql may be a list. A setup without rows
is filled as for `score`. Rows out, one for each suspicion about a gold: {id, kind, reason, question, gold_sql}. Kinds:
constant, ignores (a value of the question), tie, row order, nothing (it returns no row), differs (two golds of one
question), fails. The exit code is 0.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.files import is_url, json_line, read_jsonl
from text2sql.commands.score import checked, filled, to_items
from text2sql.databases.audit import KINDS, Asked, audit, golds_of
from text2sql.databases.populate import read_databases, read_unusable
from text2sql.dataset.rows import read_rows
from text2sql.engines.pool import cores
from text2sql.engines.question import ALONE, Fillings, row_question
from text2sql.sql.context import brings_rows

SELECTED = Path("data/selected/eval.parquet")
FILLED = Path("data/databases")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", help=f"JSON Lines file of golds (default: those of {SELECTED})")
    parser.add_argument("--populate", type=int, default=5, metavar="K", help="fillings of a file's setup (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of --populate (default: 0)")
    parser.add_argument("--workers", type=int, default=cores(), help="processes (default: one per core)")


def run(args: argparse.Namespace) -> int:
    for name in ("populate", "workers"):
        if getattr(args, name) < 1:
            raise UserError(f"audit: --{name} {getattr(args, name)} is not at least 1")
    asked = of_run() if args.file is None else of_file(args)
    if any(is_url(one.question.database or "") for one in asked):
        raise UserError("audit: golds about a database on a server are not audited; give a file of the others")
    golds = [gold for one in asked for gold in golds_of(one)]
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    kinds: Counter[str] = Counter()
    suspected = 0
    for one, suspicions in audit(golds, args.workers):
        suspected += bool(suspicions)
        kinds.update({suspicion.kind for suspicion in suspicions})
        for kind, reason in suspicions:
            row = {"id": one.id, "kind": kind, "reason": reason, "question": one.text}
            print(json_line({**row, "gold_sql": one.question.gold_sql}))
    counts = ", ".join(f"{kind} {kinds[kind]}" for kind in KINDS if kinds[kind])
    print(f"{suspected} of {len(golds)} golds are suspicious{f': {counts}' if counts else ''}", file=sys.stderr)
    return 0


def of_run() -> Sequence[Asked]:
    """The golds of the evaluation questions on their databases. Raises UserError where there are none."""
    if not SELECTED.is_file() or not (FILLED / "rows.jsonl").is_file():
        raise UserError("audit: there are no evaluation questions here; run `dvc repro populate`, or name a file")
    scripts, unusable = read_databases(FILLED), read_unusable(FILLED)
    asked = []
    for row in read_rows(SELECTED):
        own = row["database"] is not None or brings_rows(row["context"], row["dialect"])
        filled_with = scripts.get(row["id"], Fillings())
        reason = None if own else unusable.get(row["id"])
        question = row_question(row, filled_with.ordinary, reason, filled_in=filled_with.dialect)
        asked.append(Asked(row["id"], row["question"], question, own, reason))
    return asked


def of_file(args: argparse.Namespace) -> Sequence[Asked]:
    """The golds of a file. Raises UserError, as `score` does, for a row that lacks a field."""
    rows = [
        checked({"prediction": "", **row}, args.file, number) for number, row in enumerate(read_jsonl(args.file), 1)
    ]
    databases = filled(rows, args, ALONE)
    return [
        Asked(item.id, row.get("question") or "", item.question._replace(harsh=()), place not in databases)
        for place, (row, item) in enumerate(zip(rows, to_items(rows, databases), strict=True))
    ]
