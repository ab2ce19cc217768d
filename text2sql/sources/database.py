"""Questions made from a database's schema and rows, for who has a database and few questions or none: they only train.

`ingest.database` is an SQLite file, or a folder of them; `ingest.rows` questions are made, as many about each database,
by the intents of the generated data set (`synthetic_intents`). Tables, columns and their words are read from the names,
what a column holds from its values, joins from the declared foreign keys; where the names are Korean, so are the
questions. Each query has been run, and those that fail, return nothing or repeat another are left out.

Their domain is `generated`, by which `select` never evaluates with them: what they bring is measured on questions that
people asked, in `ingest.test_path` or held out of `ingest.path`, files as the source `file` reads them.
"""

import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.dataset.labels import GENERATED, HANGUL
from text2sql.engines.sqlite import Answer, Failure, Limits, open_database
from text2sql.sources import file
from text2sql.sources.left_out import Splits
from text2sql.sources.schemas import database_in, is_sqlite_file, names_in, schema_of_database
from text2sql.sources.synthetic import COMPLEXITIES, INTENT_TABLE, JOINS_NEEDED, say, weighted, weights
from text2sql.sources.synthetic_intents import Draw
from text2sql.sources.synthetic_schemas import SUMMABLE, Column, Schema, Table
from text2sql.sql.spelling import quoted, spelled

ROWS = 1000  # of a table that are looked at
LONGEST = 60  # characters of a text that a question can name
ATTEMPTS = 30  # at each question that is asked for
LIMITS = Limits(seconds=2.0)
DATE = re.compile(r"\d{4}-\d\d-\d\d")
WORD = re.compile(r"[^\W\d_]+\d*|\d+")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

Cells = dict[str, dict[str, list]]  # table → column → values, both as SQL spells them


def load(params: IngestParams) -> Splits:
    """Generated training rows, behind those of `ingest.path`; the test rows of the files. Raises UserError as these."""
    if not params.path and not params.test_path:
        raise UserError(
            "ingest.test_path: not set; generated questions only train, so give a file of questions that people asked"
        )
    if params.path:
        asked = file.load(params)
    else:
        held_out = params.model_copy(update={"path": params.test_path, "test_path": None})
        asked = {"train": (), "test": file.load(held_out)["train"]}
    return {"train": chain(asked["train"], generated(params)), "test": asked["test"]}


def generated(params: IngestParams) -> Iterator[dict]:
    """`ingest.rows` questions, spread over the databases; says on stderr where a database gives fewer."""
    databases = sqlite_files(params.database)
    for number, path in enumerate(databases):
        wanted = params.rows // len(databases) + (number < params.rows % len(databases))
        made = 0
        for row in questions(path, wanted, params.seed):
            made += 1
            yield row
        if made < wanted:
            print(f"note: {path} gives {made} of {wanted} questions; it holds no more to ask about", file=sys.stderr)


def sqlite_files(database: str | None) -> list[Path]:
    """The SQLite files at `ingest.database`. Raises UserError where there are none."""
    if not database:
        raise UserError("ingest.database: not set; give the SQLite file, or the folder of them, to ask about")
    path = Path(database)
    found = [database_in(path, name) for name in names_in(path)] if path.is_dir() else [path]
    files = [one for one in found if one is not None and is_sqlite_file(one)]
    if not files:
        raise UserError(f"{path}: no SQLite file with rows to ask about; a script has to be loaded into one first")
    return files


def questions(path: Path, wanted: int, seed: int) -> Iterator[dict]:
    """Up to `wanted` different questions about an SQLite file, with queries that return rows."""
    context = schema_of_database(path)
    schema, cells = described(path)
    offered = complexities_of(schema)
    korean = bool(HANGUL.search(context))
    seen: set[str] = set()
    with closing(open_database(path, LIMITS)) as database:
        for attempt in range(ATTEMPTS * wanted if schema.tables else 0):
            if len(seen) == 2 * wanted:
                return
            rng = Random(f"{seed}/{path.stem}/{attempt}")
            complexity = weighted(rng, offered)
            intent = weighted(rng, INTENT_TABLE[complexity])
            drawn = Draw(rng, schema, korean, cells=cells)
            if (built := intent.build(drawn)) is None:
                continue
            sql, slots = built
            question = say(drawn, intent, slots)
            if seen & {sql, question} or not answers(database.query(sql, LIMITS)):
                continue
            seen |= {sql, question}
            yield {
                "id": f"{GENERATED}-{path.stem}-{len(seen) // 2}",
                "db_id": path.stem,
                "dialect": "sqlite",
                "context": context,
                "question": question,
                "answer": sql,
                "domain": GENERATED,
                "complexity": complexity,
                "language": "ko" if korean else "en",
                "database": str(path),
            }


def answers(answer: Answer | Failure) -> bool:
    """Whether a query answers with some value."""
    return isinstance(answer, Answer) and answer.has_value


def complexities_of(schema: Schema) -> tuple[list, list[float]]:
    """The classes of queries that a schema has the joins for, with their weights."""
    joins = (True, schema.relations, schema.paths)
    return weights({name: share for name, share in COMPLEXITIES.items() if joins[JOINS_NEEDED.get(name, 0)]})


# --- What a database holds, in the words of the intents ---------------------------------------------------------------


def described(path: Path) -> tuple[Schema, Cells]:
    """The tables of an SQLite file that can be asked about, and their first rows. Raises UserError for no database."""
    tables, cells = [], {}
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        keys = {name: key_of(connection, name) for name in table_names(connection)}
        for name, key in keys.items():
            found = connection.execute(f"SELECT * FROM {quoted(name)} LIMIT {ROWS}")
            rows = found.fetchall()
            values = {column: [row[place] for row in rows] for place, (column, *_) in enumerate(found.description)}
            table = table_of(name, values, key, references(connection, name, keys))
            if len(rows) > 1 and table.shown:
                tables.append(table)
                cells[table.name] = {spelled(column): held for column, held in values.items()}
    referred = {table.name for table in tables if table.key}
    for place, table in enumerate(tables):
        kept = tuple(column for column in table.columns if column.kind != "ref" or column.table in referred)
        tables[place] = replace(table, columns=kept)
    return Schema(path.stem, GENERATED, tuple(tables)), cells


def table_names(connection: sqlite3.Connection) -> list[str]:
    """The tables that hold rows of their own, in their order."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' "
        "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY rowid"
    )
    return [name for (name,) in found]


def key_of(connection: sqlite3.Connection, table: str) -> str | None:
    """The primary key of a table where it is one column."""
    keys = [name for _, name, _, _, _, part in connection.execute(f"PRAGMA table_info({quoted(table)})") if part]
    return keys[0] if len(keys) == 1 else None


def references(connection: sqlite3.Connection, table: str, keys: dict[str, str | None]) -> dict[str, str]:
    """From each column that refers alone to another table's key to that table."""
    names = {name.lower(): name for name in keys}
    parts = list(connection.execute(f"PRAGMA foreign_key_list({quoted(table)})"))
    found = {}
    for number, _, parent, child, column, *_ in parts:
        parent = names.get(parent.lower(), "")
        key = keys.get(parent)
        alone = sum(other == number for other, *_ in parts) == 1
        if alone and key and parent != table and (column or key).lower() == key.lower():
            found[child] = parent
    return found


def table_of(name: str, values: dict[str, list], key: str | None, references: dict[str, str]) -> Table:
    """A table with those of its columns that a question can speak of."""
    label = words_of(name)
    one = f"{label[:-3]}y" if label.endswith("ies") else label if label.endswith("ss") else label.removesuffix("s")
    many = label if one != label else f"{label[:-1]}ies" if re.search("[^aeiou]y$", label) else f"{label}s"
    columns = []
    for column, held in values.items():
        known = [value for value in held if value is not None]
        kind = "ref" if column in references else kind_of(column, known, len(held), column == key)
        if kind:
            spoken = words_of(column)
            columns.append(
                Column(
                    spelled(column), kind, "", spoken, spoken, aggregates=SUMMABLE, nullable=len(known) < len(held),
                    table=spelled(references.get(column, "")) if kind == "ref" else "",
                    repeats=len(set(known)) < 0.9 * len(known),
                )
            )  # fmt: skip
    return Table(spelled(name), label, tuple(columns), one, "건", many)


def kind_of(name: str, known: Sequence[Any], size: int, is_key: bool) -> str | None:
    """A column's kind (see `Column`) by its name and values; None for what no question can speak of."""
    if len(set(known)) < 2:
        return None
    texts = all(isinstance(value, str) for value in known)
    numbers = all(isinstance(value, int | float) for value in known)
    words = words_of(name).lower().split()
    if is_key and (texts or numbers):
        return "code" if texts else "key"
    if texts:
        if all(DATE.match(value) for value in known):
            return "date" if all(DATE.fullmatch(value) for value in known) else None
        if max(map(len, known)) > LONGEST or min(map(len, map(str.strip, known))) < 1:
            return None
        return "name" if len(set(known)) == size and min(map(len, known)) > 1 else "category"
    if numbers and "id" not in words:
        return "year" if "year" in words and all(isinstance(value, int) for value in known) else "measure"
    return None


def words_of(name: str) -> str:
    """A name of the schema as words: `customerId` and `customer_id` are "customer ID"."""
    words = WORD.findall(CAMEL.sub("_", name))
    return " ".join("ID" if word.lower() == "id" else word.lower() for word in words) or name
