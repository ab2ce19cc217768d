"""Every data set the pipeline reads, brought to the one row format of `text2sql.dataset.rows`.

A source is a module of this package with `load(params: IngestParams) -> {"train": rows, "test": rows}`; rows are
plain dicts, made one at a time so that a million of them need no memory. In the place of rows that it does not take,
a source yields a `LeftOut`, which counts them by reason. A source without a test split returns an empty one, and
`select` holds databases out. Keys a source leaves out are filled here: id, db_id, dialect, and the derived complexity
and language. A question may bring several golds that are equally right: as a list in `answer`, as `alternatives`, or as
several rows of one id, which become one.
"""

import importlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from text2sql.base.errors import UserError
from text2sql.base.files import write_json
from text2sql.base.params import IngestParams
from text2sql.dataset.labels import complexity_of, language_of
from text2sql.dataset.rows import COLUMNS, read_batches, write_rows
from text2sql.sources.left_out import LeftOut
from text2sql.sources.schemas import name_of_schema
from text2sql.sources.values import cell_of, sqls_of, unfenced
from text2sql.sql.dialect_names import dialect_name, known, unknown_dialect
from text2sql.sql.golds import alternatives_cell, golds_in

# name in `ingest.source` → module of this package
SOURCES = {
    "synthetic": "generated",  # made, not read
    "file": "file",
    "database": "database",
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
    "sql_eval": "sql_eval",
}
# Sources whose records have no columns to map: what they hold is found by their format.
WITHOUT_COLUMNS = ("synthetic", "chat", "alpaca", "wikisql", "text2sql_data")
FENCE = "the code fence around the SQL is taken off"
FURTHER_GOLD = "asks what an earlier row of its id asks: its SQL is a further gold of that row"

Counts = dict[str, dict[str, Counter[str]]]  # split → `left_out` or `changed` → reason → rows


class Seen:
    """The ids given so far in both splits, and the golds that later rows bring to a question.

    For a million rows it holds their ids and a number for each, and no texts.
    """

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}  # id → hash of what its row asks
        self.often: dict[str, int] = {}  # id of the source that came more than once → how often
        self.again: dict[tuple[str, int], str] = {}  # the same, with the hash of what its row asks → id
        self.further: dict[str, list[str]] = {}  # id → golds

    def earlier(self, id: str, asked: Hashable) -> str | None:
        """The id of an earlier row of this id in the source that asks the same."""
        return id if self.asked.get(id) == hash(asked) else self.again.get((id, hash(asked)))

    def unique(self, id: str, asked: Hashable) -> str:
        """`id`, or `id-2`, `id-3` … where it was seen before; remembers what the row asks."""
        fresh = id
        while fresh in self.asked:
            self.often[id] = self.often.get(id, 1) + 1
            fresh = f"{id}-{self.often[id]}"
        self.asked[fresh] = hash(asked)
        if fresh != id:
            self.again[id, hash(asked)] = fresh
        return fresh


def write_raw(params: IngestParams, folder: Path) -> Counts:
    """Writes the source's rows to train.parquet and test.parquet in `folder`, and what became of the others.

    Returns (and writes to account.json) for each split the rows `left_out`, and those `changed`, by reason. Raises
    UserError as `read`, and where no row is left.
    """
    counts: Counts = {split: {"left_out": Counter(), "changed": Counter()} for split in ("train", "test")}
    rows, seen = 0, Seen()
    for split, found in read(params, counts, seen).items():
        rows += write_rows(folder / f"{split}.parquet", tqdm(found, f"ingest {split}", unit=" rows", mininterval=0.5))
        add_golds(folder / f"{split}.parquet", seen.further)
    if not rows:
        whys = sorted({why for split in counts.values() for why in split["left_out"]})
        why = f"all rows are left out: {'; '.join(whys)}" if whys else "it holds none"
        raise UserError(f"ingest: {params.source} gives no row from {params.path}; {why}")
    write_json(folder / "account.json", counts)
    return counts


def add_golds(path: Path, further: Mapping[str, list[str]]) -> None:
    """Writes a table anew with further golds by id, each once, behind those that its rows have."""
    if not further:
        return

    def rows() -> Iterator[dict]:
        for batch in read_batches(path):
            for row in batch.to_pylist():
                golds = list(dict.fromkeys([*golds_in(row), *further.get(row["id"], ())]))
                yield row | {"answer": golds[0], "alternatives": alternatives_cell(golds[1:])}

    write_rows(path, rows())


def read(params: IngestParams, counts: Counts | None = None, seen: Seen | None = None) -> dict[str, Iterable[dict]]:
    """The splits of the source that `params` names: `{"train": rows, "test": rows}` with every column filled.

    Rows come in the source's own order, and the splits are to be read in that order too. Ids are unique over both:
    where the source repeats one for another question, its later rows get `-2`, `-3` … While rows are read, `counts`
    fills with those that are left out and changed, and `seen` with the golds that stood in rows of their own. Raises
    UserError for an unknown source or dialect and for anything that cannot be read.
    """
    if params.source not in SOURCES:
        raise UserError(f"ingest.source: no source named {params.source!r}; choose one of {', '.join(SOURCES)}")
    if params.dialect and not known(params.dialect):
        raise UserError(f"ingest.dialect: {unknown_dialect(params.dialect)}")
    if params.columns and params.source in WITHOUT_COLUMNS:
        raise UserError(f"ingest.columns: the source {params.source} has no columns to map; remove them")
    splits = importlib.import_module(f"text2sql.sources.{SOURCES[params.source]}").load(params)
    counts = counts or {split: {"left_out": Counter(), "changed": Counter()} for split in ("train", "test")}
    seen = seen or Seen()
    return {split: complete(splits.get(split, ()), split, params, seen, counts[split]) for split in ("train", "test")}


def complete(
    rows: Iterable[dict | LeftOut], split: str, params: IngestParams, seen: Seen, counts: dict[str, Counter]
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
        question, context = cells["question"] or "", cells["context"] or ""
        written = [sql for key in ("answer", "alternatives") for sql in sqls_of(cells[key])]
        bare = [unfenced(sql) for sql in written]
        golds = list(dict.fromkeys(sql if inner is None else inner for sql, inner in zip(written, bare, strict=True)))
        counts["changed"].update([FENCE] if any(inner is not None for inner in bare) else [])
        asked = (split, question, context, cells["db_id"], cells["database"])
        if cells["id"] and (earlier := seen.earlier(cells["id"], asked)):
            seen.further.setdefault(earlier, []).extend(golds)
            counts["left_out"][FURTHER_GOLD] += 1
            continue
        answer, id = golds[0] if golds else "", seen.unique(cells["id"] or f"{split}-{number}", asked)
        yield cells | {
            "id": id,
            "db_id": cells["db_id"] or name_of_schema(context),
            "dialect": dialect,
            "context": context,
            "question": question,
            "answer": answer,
            "alternatives": alternatives_cell(golds[1:]),
            "complexity": cells["complexity"] or complexity_of(answer, dialect),
            "language": cells["language"] or language_of(question),
        }
