"""Every data set the pipeline reads, brought to the one row format of `text2sql.dataset.rows`.

A source is a module of this package with `load(params: IngestParams) -> {"train": rows, "test": rows}`; rows are
plain dicts, made one at a time so that a million of them need no memory. A source without a test split returns an
empty one, and `select` holds databases out. Keys a source leaves out are filled here: id, db_id, dialect, and the
derived complexity and language.
"""

import importlib
from collections.abc import Iterable, Iterator

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.dataset.labels import complexity_of, language_of
from text2sql.dataset.rows import COLUMNS
from text2sql.sources.schemas import name_of_schema

# name in `ingest.source` → module of this package
SOURCES = {
    "synthetic": "synthetic",  # made, not read
    "file": "file",
    "sql_create_context": "file",
    "chat": "chat",
    "gretel": "gretel",
    "ko_text2sql": "ko_text2sql",
    "spider": "spider",
    "spider_ko": "spider",
    "wikisql": "wikisql",
    "aihub": "aihub",
    "text2sql_data": "text2sql_data",
}


def read(params: IngestParams) -> dict[str, Iterable[dict]]:
    """The splits of the source that `params` names: `{"train": rows, "test": rows}` with every column filled.

    Rows come in the source's own order, and the splits are to be read in that order too. Ids are unique over both:
    where the source repeats one, its later rows get `-2`, `-3` … Raises UserError for an unknown source and for
    anything in it that cannot be read.
    """
    if params.source not in SOURCES:
        raise UserError(f"ingest.source: no source named {params.source!r}; choose one of {', '.join(SOURCES)}")
    splits = importlib.import_module(f"text2sql.sources.{SOURCES[params.source]}").load(params)
    seen: dict[str, int] = {}
    return {split: complete(splits.get(split, ()), split, params, seen) for split in ("train", "test")}


def complete(rows: Iterable[dict], split: str, params: IngestParams, seen: dict[str, int]) -> Iterator[dict]:
    """Fills what the source left out: id, db_id, dialect, complexity, language."""
    for number, row in enumerate(rows, 1):
        dialect = row.get("dialect") or params.dialect or "sqlite"
        answer, question, context = (row.get(key) or "" for key in ("answer", "question", "context"))
        yield {name: row.get(name) for name in COLUMNS} | {
            "id": unique(str(row.get("id") or f"{split}-{number}"), seen),
            "db_id": str(row.get("db_id") or name_of_schema(context)),
            "dialect": dialect,
            "context": context,
            "question": question,
            "answer": answer,
            "complexity": row.get("complexity") or complexity_of(answer, dialect),
            "language": row.get("language") or language_of(question),
        }


def unique(id: str, seen: dict[str, int]) -> str:
    """`id`, or `id-2`, `id-3` … where it was seen before; remembers what it gives."""
    fresh = id
    while fresh in seen:
        seen[id] += 1
        fresh = f"{id}-{seen[id]}"
    seen[fresh] = 1
    return fresh
