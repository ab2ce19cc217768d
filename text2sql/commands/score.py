"""Score any predictions by execution: one JSON line per row, in the same order.

python -m text2sql score predictions.jsonl --out scores.jsonl
python -m text2sql score predictions.jsonl --populate 5 --workers 4 > scores.jsonl

Rows in: {id, setup_sql | database, gold_sql, prediction, dialect?, truncated?}. `setup_sql` is a script of DDL and
rows, `database` the path of an SQLite file or the URL of a database on a server, `gold_sql` the right query or a list
of such, any of which is right, `prediction` the model's raw text, `dialect` a sqlglot name (default sqlite) for all
three texts, `truncated` true where the model hit its token limit.
Rows out: {id, outcome, ex, ex_harsh, ex_strict, ex_set, em_text, em_ast, format_valid, vacuous, ambiguous_gold, sql,
error, engine, engine_version, failed, gold}; docs/evaluation.md explains them. With --witness also `witness`: for a
mismatch, one small database on which both answers differ, and these. Exit code 0 when every row got an outcome of its
own, 1 after an infra_error.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.files import is_url, json_line, read_jsonl
from text2sql.base.params import EvaluationParams, check, problem_of_url
from text2sql.databases.many import populate_rows
from text2sql.databases.populate import fillings
from text2sql.databases.witness import witness
from text2sql.engines.pool import cores
from text2sql.engines.question import Engines, Fillings, Question, foreign_rows, left_out_of, open_engines, translations
from text2sql.engines.sqlite import Limits
from text2sql.scoring.metrics import FLAGS, METRICS
from text2sql.scoring.policy import NOT_SCORED, POLICY_VERSION
from text2sql.scoring.score import Item, score_all, score_file, score_key
from text2sql.scoring.stats import wilson
from text2sql.sql.context import brings_rows


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="JSON Lines file of predictions (.gz too)")
    parser.add_argument("--out", type=Path, help="where the scores go (default: stdout)")
    parser.add_argument("--populate", type=int, metavar="K", help="fill setups that bring no rows K times over")
    parser.add_argument("--workers", type=int, default=cores(), help="processes (default: one per core)")
    parser.add_argument("--witness", action="store_true", help="for each mismatch, one small database that shows it")
    parser.add_argument("--timeout", type=float, default=2.0, metavar="S", help="seconds a query may run (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of --populate (default: 0)")
    parser.add_argument(
        "--engine", choices=("auto", "sqlite"), default="auto",
        help="auto: SQL of a dialect on its own engine where that is there, else translated to SQLite; sqlite: always",
    )  # fmt: skip
    parser.add_argument("--postgres-url", metavar="URL", help="a PostgreSQL server, in place of one that is started")
    parser.add_argument("--mysql-url", metavar="URL", help="a MySQL or MariaDB server, likewise")
    parser.add_argument(
        "--trust-login", action="store_true", help="score on a `database` whose login may do more than read"
    )


def run(args: argparse.Namespace) -> int:
    for name, least in (("populate", 1), ("workers", 1), ("timeout", 0.001)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: must be at least {least}")
    rows = [checked(row, args.file, number) for number, row in enumerate(read_jsonl(args.file), 1)]
    choice = {"engine": args.engine, "postgres_url": args.postgres_url, "mysql_url": args.mysql_url,
              "trust_login": args.trust_login}  # fmt: skip
    evaluation = check(choice, Path("the command line"), EvaluationParams)
    limits = Limits(seconds=args.timeout)
    shrinking = witness if args.witness else None

    foreign = foreign_rows((row.get("dialect"), row.get("database"), False) for row in rows)
    for line in translations(foreign, evaluation):
        print(line, file=sys.stderr)
    with open_engines(foreign, evaluation) as engines:
        for line in left_out_of(((row.get("setup_sql"), row.get("dialect")) for row in rows), engines):
            print(line, file=sys.stderr)
        items = to_items(rows, filled(rows, args, engines) if args.populate else {})
        if args.out is not None:
            key = score_key(items, limits, engines, shrinking)
            unfinished = args.out.with_name(f".{args.out.name}.{key}.unfinished")
            score_file(
                args.out, items, workers=args.workers, limits=limits, engines=engines, unfinished=unfinished,
                witness=shrinking,
            )  # fmt: skip
            return summarize(list(read_jsonl(args.out)))
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        scored = []
        for row, shown in score_all(items, workers=args.workers, limits=limits, engines=engines, witness=shrinking):
            print(json_line({**row, "witness": shown["witness"]} if args.witness else row))
            scored.append(row)
    return summarize(scored)


def checked(row: dict, file: Path, number: int) -> dict:
    """The row, if it has the fields of the interface. Raises UserError naming file, row and field otherwise."""
    where = f"{file}, row {number}"
    if "id" not in row:
        raise UserError(f"{where}: no id; give every row one")
    if isinstance(golds := row.get("gold_sql"), list):
        if not golds or not all(isinstance(gold, str) for gold in golds):
            raise UserError(f"{where}: gold_sql must be text, or a list of at least one text")
        row |= {"gold_sql": golds[0], "alternatives": tuple(golds[1:])}
    for name in ("gold_sql", "prediction", "setup_sql", "database", "dialect"):
        if not isinstance(row.get(name), str | None):
            raise UserError(f"{where}: {name} must be text, not {type(row[name]).__name__}")
    for name in ("gold_sql", "prediction"):
        if row.get(name) is None:
            raise UserError(f'{where}: no {name}; an empty prediction is ""')
    if (row.get("setup_sql") is None) == (row.get("database") is None):
        raise UserError(f"{where}: give either setup_sql or database")
    if row.get("database") and is_url(row["database"]):
        if problem := problem_of_url(row["database"]):
            raise UserError(f"{where}: database: {problem}")
    elif row.get("database") is not None and not Path(row["database"]).is_file():
        raise UserError(f"{where}: no such database file: {row['database']}")
    return row


def filled(rows: Sequence[dict], args: argparse.Namespace, engines: Engines) -> dict[int, Fillings]:
    """The filled databases of the rows whose setup brings no rows, by the row's place; none where no filling helps."""
    empty = [
        {"id": place, "context": row["setup_sql"], "answer": row["gold_sql"], "dialect": row.get("dialect")}
        for place, row in enumerate(rows)
        if row.get("setup_sql") is not None and not brings_rows(row["setup_sql"], row.get("dialect"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder, "populate")
        return fillings(*populate_rows(empty, args.populate, args.seed, args.workers, unfinished, engines))


def to_items(rows: Sequence[dict], populated: dict[int, Fillings]) -> list[Item]:
    """The rows as the engine takes them."""
    items = []
    for place, row in enumerate(rows):
        dialect = row.get("dialect")
        question = Question(row["gold_sql"], dialect=dialect, alternatives=row.get("alternatives", ()))
        if place in populated:
            ordinary, harsh, filled_in = populated[place]
            question = question._replace(setups=ordinary, harsh=harsh, setup_dialect=filled_in, ddl=row["setup_sql"])
        elif row.get("database") is not None:
            question = question._replace(database=row["database"])
        else:
            question = question._replace(setups=(row["setup_sql"],), setup_dialect=dialect)
        items.append(Item(row["id"], question, row["prediction"], bool(row.get("truncated"))))
    return items


def summarize(rows: Sequence[dict]) -> int:
    """Prints the totals to stderr; returns the exit code."""
    outcomes = Counter(row["outcome"] for row in rows)
    engines = Counter(row["engine"] for row in rows)
    scored = [row for row in rows if row["ex"] is not None]
    say = lambda line: print(line, file=sys.stderr)  # noqa: E731
    say(f"{len(rows)} rows, policy version {POLICY_VERSION}")
    if scored:
        right = sum(row["ex"] for row in scored)
        low, high = wilson(right, len(scored))
        say(f"ex {right / len(scored):.4f} (95 % interval {low:.4f} to {high:.4f}, n = {len(scored)})")
        for name in [*METRICS, *FLAGS][1:]:  # `ex` is said
            say(f"{name} {sum(row[name] for row in scored) / len(scored):.4f}")
    say(", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items())))
    say("engines: " + ", ".join(f"{engine} {count}" for engine, count in sorted(engines.items())))
    for row in rows:
        if row["outcome"] in NOT_SCORED:
            say(f"{row['outcome']}: {row['id']}: {row['error']}")
    return 1 if outcomes["infra_error"] else 0
