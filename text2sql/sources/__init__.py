"""Every data set the pipeline reads, brought to the one row format of `text2sql.dataset.rows`.

A source is a module of this package with `load(params: IngestParams) -> {"train": rows, "test": rows}`; rows are
plain dicts, made one at a time so that a million of them need no memory. In the place of rows that it does not take,
a source yields a `LeftOut`, which counts them by reason. A source without a test split returns an empty one, and
`select` holds databases out. Keys a source leaves out are filled here: id, db_id, dialect, and the derived complexity
and language.
"""

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from text2sql.base.errors import UserError
from text2sql.base.files import write_json
from text2sql.base.params import IngestParams
from text2sql.dataset.labels import complexity_of, language_of
from text2sql.dataset.rows import COLUMNS, write_rows
from text2sql.sources.left_out import LeftOut
from text2sql.sources.schemas import name_of_schema
from text2sql.sources.values import cell_of, unfenced
from text2sql.sql.dialect_names import dialect_name, known, unknown_dialect

# name in `ingest.source` → module of this package
SOURCES = {
    "synthetic": "generated",  # made, not read
    "file": "file",
    "sql_create_context": "file",
    "chat": "chat",
    "alpaca": "alpaca",
    "gretel": "gretel",
    "ko_text2sql": "ko_text2sql",
    "spider": "spider",
    "spider_ko": "spider",
    "bird": "bird",
    "kaggledbqa": "kaggledbqa",
    "wikisql": "wikisql",
    "aihub": "aihub",
    "text2sql_data": "text2sql_data",
}
# Sources whose records have no columns to map: what they hold is found by their format.
WITHOUT_COLUMNS = ("synthetic", "chat", "alpaca", "wikisql", "text2sql_data")
FENCE = "the code fence around the SQL is taken off"

Counts = dict[str, dict[str, Counter[str]]]  # split → `left_out` or `changed` → reason → rows


def write_raw(params: IngestParams, folder: Path) -> Counts:
    """Writes the source's rows to train.parquet and test.parquet in `folder`, and what became of the others.

    Returns (and writes to account.json) for each split the rows `left_out`, and those `changed`, by reason. Raises
    UserError as `read`, and where no row is left.
    """
    counts: Counts = {split: {"left_out": Counter(), "changed": Counter()} for split in ("train", "test")}
    rows = 0
    for split, found in read(params, counts).items():
        rows += write_rows(folder / f"{split}.parquet", tqdm(found, f"ingest {split}", unit=" rows", mininterval=0.5))
    if not rows:
        whys = sorted({why for split in counts.values() for why in split["left_out"]})
        why = f"all rows are left out: {'; '.join(whys)}" if whys else "it holds none"
        raise UserError(f"ingest: {params.source} gives no row from {params.path}; {why}")
    write_json(folder / "account.json", counts)
    return counts


def read(params: IngestParams, counts: Counts | None = None) -> dict[str, Iterable[dict]]:
    """The splits of the source that `params` names: `{"train": rows, "test": rows}` with every column filled.

    Rows come in the source's own order, and the splits are to be read in that order too. Ids are unique over both:
    where the source repeats one, its later rows get `-2`, `-3` … While rows are read, `counts` fills with those that
    are left out and changed. Raises UserError for an unknown source or dialect and for anything that cannot be read.
    """
    if params.source not in SOURCES:
        raise UserError(f"ingest.source: no source named {params.source!r}; choose one of {', '.join(SOURCES)}")
    if params.dialect and not known(params.dialect):
        raise UserError(f"ingest.dialect: {unknown_dialect(params.dialect)}")
    if params.columns and params.source in WITHOUT_COLUMNS:
        raise UserError(f"ingest.columns: the source {params.source} has no columns to map; remove them")
    splits = importlib.import_module(f"text2sql.sources.{SOURCES[params.source]}").load(params)
    counts = counts or {split: {"left_out": Counter(), "changed": Counter()} for split in ("train", "test")}
    seen: dict[str, int] = {}
    return {split: complete(splits.get(split, ()), split, params, seen, counts[split]) for split in ("train", "test")}


def complete(
    rows: Iterable[dict | LeftOut], split: str, params: IngestParams, seen: dict[str, int], counts: dict[str, Counter]
) -> Iterator[dict]:
    """Fills what the source left out: id, db_id, dialect, complexity, language. Counts what is no row."""
    number = 0
    for row in rows:
        if isinstance(row, LeftOut):
            counts["left_out"][row.reason] += row.rows
            continue
        number += 1
        cells = {name: cell_of(name, row.get(name)) for name in COLUMNS}
        dialect = dialect_name(cells["dialect"] or params.dialect or "sqlite")
        answer, question, context = (cells[key] or "" for key in ("answer", "question", "context"))
        if (bare := unfenced(answer)) is not None:
            answer = bare
            counts["changed"][FENCE] += 1
        yield cells | {
            "id": unique(cells["id"] or f"{split}-{number}", seen),
            "db_id": cells["db_id"] or name_of_schema(context),
            "dialect": dialect,
            "context": context,
            "question": question,
            "answer": answer,
            "complexity": cells["complexity"] or complexity_of(answer, dialect),
            "language": cells["language"] or language_of(question),
        }


def unique(id: str, seen: dict[str, int]) -> str:
    """`id`, or `id-2`, `id-3` … where it was seen before; remembers what it gives."""
    fresh = id
    while fresh in seen:
        seen[id] += 1
        fresh = f"{id}-{seen[id]}"
    seen[fresh] = 1
    return fresh
