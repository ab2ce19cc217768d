"""defog-ai/sql-eval's questions: CSV files whose cell of SQL stands for every query that is accepted.

`ingest.path` is a file of questions, `ingest.database` the folder with the dump or SQLite file of each `db_name`, and
`ingest.dialect` what both are written in (default: postgres). Queries stand behind one another with a semicolon;
`{a, b}` in one stands for any of these columns, and `GROUP BY {}` behind it for the same. What the question tells
beside the schema (`instructions`) becomes `notes`.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, combinations

from text2sql.base.params import IngestParams
from text2sql.sources import file
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sql.golds import alternatives_cell
from text2sql.sql.tokens import tokens

COLUMNS = {"db_id": "db_name", "answer": "query", "notes": "instructions"}
CHOICE = re.compile(r"\{([^{}]+)\}")


def load(params: IngestParams) -> Splits:
    """The rows of the file, all to train on unless `ingest.test_path` is given. Raises UserError as `file` does."""
    dialect = params.dialect or "postgres"
    known = params.model_copy(update={"columns": COLUMNS | params.columns, "dialect": dialect})
    return {split: accepted(rows, dialect) for split, rows in file.load(known).items()}


def accepted(rows: Iterable[dict | LeftOut], dialect: str) -> Iterator[dict | LeftOut]:
    """The rows with each query that their cell of SQL accepts as a gold."""
    for row in rows:
        if isinstance(row, LeftOut):
            yield row
        else:
            yield row | {"answer": alternatives_cell(golds_of(row["answer"] or "")), "dialect": dialect}


def golds_of(cell: str) -> list[str]:
    """Every query that a cell accepts, fewer columns first, as sql-eval's `get_all_minimal_queries` has them."""
    return list(chain.from_iterable(chosen(sql) for sql in statements(cell)))


def statements(script: str) -> list[str]:
    """The statements of a script, without the semicolons between them."""
    ends = [token.start for token in tokens(script) if token.text == ";"]
    parts = [script[a:b] for a, b in zip([0, *(end + 1 for end in ends)], [*ends, len(script)], strict=True)]
    return [part.strip() for part in parts if part.strip()]


def chosen(sql: str) -> Iterator[str]:
    """A query once for each choice of the columns in its braces."""
    found = CHOICE.search(sql)
    if found is None:
        yield sql
        return
    offered = [column.strip() for column in found[1].split(",")]
    for size in range(1, len(offered) + 1):
        for columns in combinations(offered, size):
            names = ", ".join(columns)
            yield sql[: found.start()] + names + sql[found.end() :].replace("{}", names)
