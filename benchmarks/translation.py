"""Whether golds in another dialect answer on SQLite, by translation, what they answer on their own engine.

Each gold of defog's questions (questions_gen and instruct_advanced of sql-eval, with the PostgreSQL dumps of
defog-data) runs on PostgreSQL or MariaDB and on SQLite; the comparator reads both answers. For MySQL the dumps are
rewritten from PostgreSQL. Printed are, of each file, how many golds are

- equal: the same answer;
- dialect: named as without SQLite form, with how many of each reason;
- different: another answer, in silence: there must be none;
- not built: translation gave another outcome than an answer (`schema`, `timeout` …), each with its words;
- unusable: the engine itself does not run them, each with the server's words; these are in no other number.

python benchmarks/translation.py FOLDER [--files postgres,mysql] [--show] [--json FILE]
"""

import argparse
import csv
import datetime
import functools
import json
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp

from text2sql.engines import mysql, postgres
from text2sql.engines.protocol import Database
from text2sql.engines.question import Question, databases, statement
from text2sql.engines.sqlite import Answer, Failure, Limits
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold, answer_gold, plan
from text2sql.scoring.matching import Slice

LIMITS = Limits(seconds=10.0)
TRUNCATED = {
    "MONTH": "CAST(DATE_FORMAT(CURRENT_DATE, '%Y-%m-01') AS DATE)",
    "WEEK": "CURRENT_DATE - INTERVAL WEEKDAY(CURRENT_DATE) DAY",
}
SYSTEMS = {"postgres": postgres, "mysql": mysql}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with *_postgres.csv, *_mysql.csv and databases/NAME.sql")
    parser.add_argument("--files", default="postgres,mysql")
    parser.add_argument("--show", action="store_true", help="print both answers of what differs")
    parser.add_argument("--json", type=Path, help="also write the counts here")
    args = parser.parse_args()

    results = {}
    for dialect in args.files.split(","):
        with SYSTEMS[dialect].private_server() as engine:
            print(f"{engine.name} {engine.version}")
            for file in sorted(args.folder.glob(f"*_{dialect}.csv")):
                results[file.name] = measured(engine, dialect, file, args.folder / "databases", args.show)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def measured(engine: Any, dialect: str, file: Path, folder: Path, show: bool) -> dict[str, Any]:
    """Counts of one file's golds; what differs is printed."""
    counts, reasons, unusable = Counter[str](), Counter[str](), {}
    own: dict[str, Database] = {}
    for name, row, sql in golds(file):
        script = dump(folder / f"{name}.sql", dialect)
        if name not in own:
            built = engine.build(script, LIMITS)
            if isinstance(built, Failure):
                raise SystemExit(f"{name}: {built.error}")
            own[name] = built
        text = statement(sql, Question(sql), engine)
        assert isinstance(text, str)  # it is not translated
        there = answer_gold(own[name], plan(text, dialect), LIMITS)
        if isinstance(there, Failure):
            counts["unusable"] += 1
            unusable[f"{row} {sql[:60]}"] = f"{there.outcome}: {there.error}"
            print(f"UNUSABLE {file.name} row {row}: {there.outcome}: {there.error}\n  {sql}")
            continue
        counts["usable"] += 1
        counts["itself"] += compare(there, there.answer).ex
        here = translated(script, dialect, sql)
        if isinstance(here, Failure):
            kind = "dialect" if here.outcome == "dialect" else "not built"
            reasons[f"{kind}: {here.error}"] += 1
            if kind != "dialect" or show:
                print(f"{kind.upper()} {file.name} row {row}: {here.outcome}: {here.error}\n  {sql}")
        else:
            gold = as_texts(there)
            kind = "equal" if compare(gold, as_text(here)).ex else "different"
            if kind == "different":
                print(f"DIFFERENT {file.name} row {row} ({name})\n  {sql}")
                if show:
                    print(f"  there {gold.answer.rows[:6]}\n  here  {here.rows[:6]}")
                    print(f"  {statement(sql, Question('', (script,), dialect=dialect, setup_dialect=dialect))}")
        counts[kind] += 1
    for database in own.values():
        database.close()
    print(f"{file.name}: {dict(counts)}")
    for reason, count in reasons.most_common():
        print(f"  {count:4} {reason}")
    return {**counts, "reasons": dict(reasons), "unusable_golds": unusable}


def golds(file: Path) -> Iterator[tuple[str, int, str]]:
    """The accepted queries of each question, as (database, row, SQL); of sets of columns, all of them."""
    with open(file, encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), 1):
            for sql in re.split(r";(?=(?:[^']*'[^']*')*[^']*$)", row["query"]):
                if sql.strip():
                    yield row["db_name"], number, with_columns(sql.strip())


def with_columns(sql: str) -> str:
    """`SELECT {a, b} … GROUP BY {}` with both columns in both places."""
    sets = re.findall(r"\{([^{}]+)\}", sql)
    sql = re.sub(r"\{([^{}]+)\}", r"\1", sql)
    return sql.replace("{}", re.sub(r"(?i)\s+as\s+\w+", "", sets[0])) if sets else sql


@functools.lru_cache(maxsize=32)
def dump(path: Path, dialect: str) -> str:
    """A PostgreSQL dump in a dialect."""
    script = path.read_text(encoding="utf-8")
    if dialect == "postgres":
        return script
    statements = []
    for tree in sqlglot.parse(script, read="postgres"):
        if tree is None or not isinstance(tree, (exp.Create, exp.Insert)) or tree.args.get("kind") == "SCHEMA":
            continue
        for table in tree.find_all(exp.Table):
            table.set("db", None)
        for kind in tree.find_all(exp.DataType):
            if kind.this in (exp.DType.SERIAL, exp.DType.BIGSERIAL):
                kind.replace(exp.DataType.build("INT"))
            elif kind.is_type("text"):
                kind.replace(exp.DataType.build("VARCHAR(400)"))
            elif kind.this in exp.DataType.TEMPORAL_TYPES and not kind.is_type("date", "time"):
                kind.replace(exp.DataType.build("DATETIME", dialect="mysql"))
        for node in list(tree.find_all(exp.TimestampTrunc)):  # DATE_TRUNC('month', CURRENT_DATE), in rows
            node.replace(sqlglot.parse_one(TRUNCATED[node.text("unit").upper()], read="mysql"))
        for column in list(tree.find_all(exp.ColumnConstraint)):  # keys of INT to BIGINT, which MySQL does not take
            if isinstance(column.kind, exp.Reference):
                column.pop()
        statements.append(re.sub(r"INTERVAL '(\d+)' MIN\b", r"INTERVAL \1 MINUTE", tree.sql("mysql")))
    return ";\n".join(statements) + ";"


def translated(script: str, dialect: str, sql: str) -> Answer | Failure:
    question = Question(sql, (script,), dialect=dialect, setup_dialect=dialect)
    text = statement(sql, question)
    if isinstance(text, Failure):
        return text
    (database,) = databases(question, LIMITS)
    return database if isinstance(database, Failure) else database.query(text, LIMITS)


def as_texts(gold: Gold) -> Gold:
    return Gold(as_text(gold.answer), [Slice(as_text_rows(part.rows), part.take) for part in gold.slices])


def as_text(answer: Answer) -> Answer:
    return Answer(answer.columns, as_text_rows(answer.rows))


def as_text_rows(rows: list) -> list:
    return [tuple(map(_text, row)) for row in rows]


def _text(cell: Any) -> Any:
    """A cell as SQLite has it; a timestamp at midnight is its date, as for `ex`."""
    match cell:
        case bool():
            return int(cell)
        case Decimal():
            return int(cell) if cell == cell.to_integral_value() else float(cell)
        case datetime.datetime():
            cell = str(cell)
        case datetime.date() | datetime.time():
            return str(cell)
        case datetime.timedelta() if 0 <= cell.days < 1:  # MySQL's TIME
            return str(datetime.datetime.min + cell).split()[-1]
    return cell.removesuffix(" 00:00:00") if isinstance(cell, str) else cell


if __name__ == "__main__":
    main()
