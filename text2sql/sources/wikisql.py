"""WikiSQL's official files: `{train,dev,test}.jsonl` with structured queries, `{…}.tables.jsonl` with their tables.

`ingest.path` is the folder that holds them. A query is `{"sel": column, "agg": index, "conds": [[column, operator,
value], …]}`, rendered here to SQL (indexes as in salesforce/WikiSQL, lib/query.py). Where a split's `.db` is there,
its tables are named col0, col1 … in lower-case text, and so is the SQL, with the header as comments in the context;
else the columns are named by the header and the table's rows come as INSERTs. As in the official evaluation, text is
compared without regard to case.
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.files import read_jsonl
from text2sql.base.params import IngestParams
from text2sql.sources.left_out import Splits
from text2sql.sources.records import unread
from text2sql.sql.spelling import literal, spelled

AGGREGATES = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")
OPERATORS = ("=", ">", "<")
NUMBER = re.compile(r"[-+]?\d*\.\d+|[-+]?\d+")


def load(params: IngestParams) -> Splits:
    """Its train split, and its test split (dev where there is none). Raises UserError for what is missing or broken."""
    if not params.path:
        raise UserError("ingest.path: not set; give the folder with WikiSQL's train.jsonl and train.tables.jsonl")
    folder = Path(params.path)
    there = [split for split in ("train", "test", "dev") if (folder / f"{split}.jsonl").is_file()]
    if not there:
        raise UserError(f"{folder}: holds no train.jsonl, dev.jsonl or test.jsonl; unpack WikiSQL's data.tar.bz2 there")
    held_out = next((split for split in ("test", "dev") if split in there), None)
    unread_files = [folder / f"{split}.jsonl" for split in there if split not in ("train", held_out)]
    return {
        "train": rows_of(folder, "train") if "train" in there else (),
        "test": chain(rows_of(folder, held_out) if held_out else (), unread(unread_files)),
    }


def rows_of(folder: Path, split: str) -> Iterator[dict]:
    tables = {table["id"]: table for table in read_jsonl(folder / f"{split}.tables.jsonl")}
    database = folder / f"{split}.db"
    path = folder / f"{split}.jsonl"
    for number, record in enumerate(read_jsonl(path), 1):
        try:
            table, query, question = tables[record["table_id"]], record["sql"], record["question"]
            name = "table_" + record["table_id"].replace("-", "_")
            if database.is_file():
                columns, source = [f"col{index}" for index in range(len(table["header"]))], str(database)
                context, query = commented_ddl(name, columns, table), folded(query)
            else:
                columns, source = distinct(table["header"]), None
                context = ddl_with_rows(name, columns, table)
            answer = render(name, columns, table["types"], query)
        except (KeyError, IndexError, TypeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{path}, row {number}: its table or query does not fit WikiSQL's format ({problem})"
            ) from error
        yield {"db_id": name, "context": context, "question": question, "answer": answer, "database": source}


def render(name: str, columns: list[str], types: list[str], query: dict) -> str:
    """The SQL of a structured query. A number column compares with a number, as the official evaluation does."""
    selected = spelled(columns[query["sel"]])
    aggregate = AGGREGATES[query["agg"]]
    sql = f"SELECT {f'{aggregate}({selected})' if aggregate else selected} FROM {name}"
    conditions = []
    for column, operator, value in query["conds"]:
        if types[column] == "real" and not isinstance(value, int | float):
            value = float(NUMBER.findall(str(value).replace(",", ""))[0])
        conditions.append(f"{spelled(columns[column])} {OPERATORS[operator]} {cell(value)}")
    return sql + (f" WHERE {' AND '.join(conditions)}" if conditions else "")


def folded(query: dict) -> dict:
    """The query with its texts in lower case, as the texts of the official databases are."""
    conditions = [
        [column, operator, value.lower() if isinstance(value, str) else value]
        for column, operator, value in query["conds"]
    ]
    return query | {"conds": conditions}


def distinct(header: list[str]) -> list[str]:
    """The header as column names: empty ones numbered, repeated ones (SQLite ignores case) told apart by a number."""
    seen: set[str] = set()
    names = []
    for index, title in enumerate(header):
        name = title.strip() or f"column {index}"
        if name.lower() in seen:
            name = f"{name} {index}"
        seen.add(name.lower())
        names.append(name)
    return names


def ddl_with_rows(name: str, columns: list[str], table: dict) -> str:
    kinds = ["REAL" if kind == "real" else "TEXT COLLATE NOCASE" for kind in table["types"]]
    ddl = ", ".join(f"{spelled(column)} {kind}" for column, kind in zip(columns, kinds, strict=True))
    rows = ",\n".join("(" + ", ".join(cell(value) for value in row) + ")" for row in table["rows"])
    return f"CREATE TABLE {name} ({ddl});" + (f"\nINSERT INTO {name} VALUES\n{rows};" if rows else "")


def cell(value: object) -> str:
    """A value of the tables' JSON as SQL: whole numbers without a point, truth values and lists as text."""
    if value is None:
        return "NULL"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return literal(str(value))
    return literal(int(value) if value == int(value) else value)


def commented_ddl(name: str, columns: list[str], table: dict) -> str:
    lines = []
    for column, kind, title in zip(columns, table["types"], table["header"], strict=True):
        comma = "" if column == columns[-1] else ","
        lines.append(f"  {column} {'REAL' if kind == 'real' else 'TEXT'}{comma} -- {' '.join(title.split())}\n")
    return f"CREATE TABLE {name} (\n{''.join(lines)});"
