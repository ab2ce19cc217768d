"""Which valid rows train the model and which evaluate it, so that the second tell something about the first.

In this order: the split (the source's own, or whole databases held out), the filters (domains, complexities,
languages), the evaluation rows, the training rows that do not leak into them, then which of the evaluation rows are
for ranking experiments (`select.tuning`). Sizes are drawn in proportion from every domain × complexity. The same
tables, parameters and seed give the same rows in the same order, whatever else the tables hold: a row's chance hangs
on the seed and its id alone, so a larger sample contains a smaller one but for rounding. Tables stream; what stays in
memory is labels, not texts.
"""

import hashlib
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from tqdm import tqdm

from text2sql.base.errors import UserError
from text2sql.base.params import SelectParams
from text2sql.dataset.clusters import databases_of
from text2sql.dataset.labels import GENERATED
from text2sql.dataset.leaks import LEAKS, Texts, count_duplicates, find_leaks, normal_sql
from text2sql.dataset.rows import count_rows, read_batches, read_rows, table_writer


class Label(NamedTuple):
    """What selection needs to know of a row without its texts."""

    table: str  # the valid table it stands in
    position: int
    id: str
    db_id: str
    domain: str | None
    complexity: str | None
    language: str | None


def select_tables(valid: Mapping[str, Path], selected: Mapping[str, Path], params: SelectParams) -> dict:
    """Reads the valid `train` and `test` tables, writes the selected `train` and `eval` tables.

    Returns the counts: how the splits were told apart (source, databases, queries), rows after each step and databases
    for both, leaks by kind with every removed pair of ids, duplicates within each split, notes where fewer rows were
    there than asked for, and, where `params.tuning` is not 0, `tuning` (see `tuning_part`). Raises UserError when a
    filter names a value that no row has, when no row is left to train on or to evaluate with, or when the evaluation
    rows cannot be parted.
    """
    labels = {table: read_labels(table, path) for table, path in valid.items()}
    everything = [label for table in labels.values() for label in table]
    how = "source"
    train, evaluation = labels.values()
    if params.split == "holdout" or not evaluation:
        how, train, evaluation = hold_out(valid, everything, params.holdout, params.seed)
    counts = {"train": {"available": len(train)}, "eval": {"available": len(evaluation)}}

    check_filters(everything, params)
    train, evaluation = filtered(train, params), filtered(evaluation, params)
    counts["train"]["filtered"], counts["eval"]["filtered"] = len(train), len(evaluation)

    evaluation = sample(evaluation, params.eval_size, params.seed)
    if not evaluation:
        raise UserError("select: no evaluation row is left; widen the filters of select, or raise select.holdout")
    candidates = tqdm(texts(valid, train), "look for leaks", total=len(train), unit=" rows", mininterval=0.5)
    leaks = find_leaks(candidates, texts(valid, evaluation))
    leaked = {leak.train for leak in leaks}
    removed = [label for label in train if label.id in leaked]
    train = [label for label in train if label.id not in leaked]
    counts["train"]["without_leaks"] = len(train)

    train = sample(train, params.train_size, params.seed)
    if not train:
        raise UserError("select: no training row is left; widen the filters of select, or set select.split to holdout")
    chosen = {"train": train, "eval": evaluation}
    for split, rows in chosen.items():
        counts[split]["selected"] = len(rows)
        copy_rows(valid, rows, selected[split])
    parted = {"tuning": tuning_part(selected["eval"], params.tuning, params.seed)} if params.tuning else {}
    return {
        "split": how,
        **counts,
        "databases": count_databases(train, evaluation),
        "leaks": {kind: sum(leak.kind == kind for leak in leaks) for kind in LEAKS} | {"removed": len(leaks)},
        "duplicates": {split: count_duplicates(texts(valid, rows)) for split, rows in chosen.items()},
        "notes": [*shortfalls(counts, params), *parted_by_query(parted)],
        "leaked_by": {
            name: dict(Counter(getattr(label, name) or "none" for label in removed).most_common())
            for name in ("domain", "complexity", "language")
        },
        "leaked": [leak._asdict() for leak in leaks],
        **parted,
    }


def read_labels(table: str, path: Path) -> list[Label]:
    """The labels of a table's rows, in its order."""
    labels: list[Label] = []
    columns = [name for name in Label._fields if name not in ("table", "position")]
    for batch in read_batches(path, columns):
        cells = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        # Labels repeat from row to row: keep one copy of each.
        labels += [
            Label(table, position, row_id, *(text and sys.intern(text) for text in rest))
            for position, (row_id, *rest) in enumerate(cells, len(labels))
        ]
    return labels


def hold_out(
    valid: Mapping[str, Path], labels: Sequence[Label], share: float, seed: int
) -> tuple[str, list[Label], list[Label]]:
    """Splits by whole databases: about `share` of them, of each domain alike and at least one, go to evaluation.

    Where all rows are about one database, whole queries are held out: rows of equal SQL (normalised) stay together.
    Questions that were made from a database stay training rows. Returns what was held out (`databases` or `queries`),
    the training rows and the evaluation rows.
    """
    made = [label for label in labels if label.domain == GENERATED]
    labels = [label for label in labels if label.domain != GENERATED]
    kind, units = "databases", [label.db_id for label in labels]
    if len(set(units)) == 1:
        kind, units = "queries", [normal_sql(row.answer) for row in texts(valid, labels)]
    held = draw_units(units, [label.domain for label in labels], share, seed)
    sides: tuple[list[Label], list[Label]] = (made, [])
    for unit, label in zip(units, labels, strict=True):
        sides[unit in held].append(label)
    return kind, *sides


def draw_units(
    units: Sequence[str], domains: Sequence[str | None], share: float, seed: int, name: Callable[[str], str] = str
) -> set[str]:
    """About `share` of the units (databases or queries), of each domain alike, at least one and never all; none of one.

    units, domains: of each row. A unit is of its first row's domain. name: what a unit's chance hangs on.
    """
    domain = {unit: its for unit, its in zip(reversed(units), reversed(domains), strict=True)}
    wanted = min(max(1, round(share * len(domain))), len(domain) - 1)
    return set(proportional(sorted(domain), wanted, seed, stratum=domain.get, name=name)) if wanted > 0 else set()


def tuning_part(evaluation: Path, share: float, seed: int) -> dict:
    """Which evaluation rows are for ranking experiments, so that the others can judge the one that was chosen.

    About `share` of the databases, of each domain alike; a database is what `clusters.databases_of` says. Where all
    rows are about one database, queries are parted, as in `hold_out`. Returns what was parted (`by`: databases or
    queries), how many of them and how many `questions` the tuning part has, and the `ids` of its rows. Raises UserError
    where there is one query alone.
    """
    rows = read_rows(evaluation)
    by, units = "databases", databases_of(rows)
    if len(set(units)) == 1:
        by, units = "queries", [normal_sql(row["answer"]) for row in rows]
    drawn = draw_units(units, [row["domain"] for row in rows], share, seed, name=lambda unit: f"tuning:{unit}")
    if not drawn:
        raise UserError(
            "select.tuning: the evaluation rows have one query alone, which cannot be parted; set it to 0.0"
        )
    ids = [row["id"] for row, unit in zip(rows, units, strict=True) if unit in drawn]
    return {"by": by, by: len(drawn), "questions": len(ids), "ids": ids}


def parted_by_query(parted: Mapping[str, Mapping]) -> list[str]:
    """A line where the tuning part is about the same database as the test part; nothing where there is no such part."""
    if not parted or parted["tuning"]["by"] == "databases":
        return []
    return ["select.tuning: the evaluation is about one database, so it was parted by query, which says less"]


def check_filters(labels: Sequence[Label], params: SelectParams) -> None:
    """Raises UserError for a wanted domain, complexity or language that no row has."""
    for key, field in (("domains", "domain"), ("complexities", "complexity"), ("languages", "language")):
        there = {getattr(label, field) for label in labels} - {None}
        for value in getattr(params, key):
            if value not in there:
                raise UserError(f"select.{key}: no row has {value!r}; there are {', '.join(sorted(there)) or 'none'}")


def filtered(labels: Iterable[Label], params: SelectParams) -> list[Label]:
    """The rows whose labels are wanted; an empty list of wanted values takes all."""
    return [
        label
        for label in labels
        if (not params.domains or label.domain in params.domains)
        and (not params.complexities or label.complexity in params.complexities)
        and (not params.languages or label.language in params.languages)
    ]


def sample(labels: list[Label], size: int | None, seed: int) -> list[Label]:
    """`size` rows in proportion from each domain × complexity; all of them when there are no more than that."""
    if size is None or len(labels) <= size:
        return labels
    chosen = set(proportional(labels, size, seed, stratum=lambda x: (x.domain, x.complexity), name=lambda x: x.id))
    return [label for label in labels if label in chosen]


def proportional(
    items: Sequence, size: int, seed: int, stratum: Callable[..., Hashable], name: Callable[..., str]
) -> list:
    """`size` of the items, from each stratum its share (largest remainders), within a stratum by seeded chance."""
    strata = defaultdict(list)
    for item in items:
        strata[stratum(item)].append(item)
    keys = sorted(strata, key=str)
    shares = {key: size * len(strata[key]) / len(items) for key in keys}
    quota = {key: math.floor(share) for key, share in shares.items()}
    by_remainder = sorted(keys, key=lambda key: (quota[key] - shares[key], chance(seed, str(key))))
    for key in by_remainder[: size - sum(quota.values())]:
        quota[key] += 1
    return [
        item for key in keys for item in sorted(strata[key], key=lambda item: chance(seed, name(item)))[: quota[key]]
    ]


def chance(seed: int, name: str) -> bytes:
    """A pseudo-random number that hangs on the seed and the name alone."""
    return hashlib.blake2b(f"{seed}:{name}".encode("utf-8", "backslashreplace"), digest_size=16).digest()


def texts(valid: Mapping[str, Path], labels: Iterable[Label]) -> Iterator[Texts]:
    """The texts of the labelled rows, streamed in the tables' order."""
    wanted = marked(valid, labels)
    for table, path in valid.items():
        position = 0
        for batch in read_batches(path, Texts._fields):
            for cells in zip(*(batch.column(name).to_pylist() for name in Texts._fields), strict=True):
                if wanted[table][position]:
                    yield Texts(*cells)
                position += 1


def marked(valid: Mapping[str, Path], labels: Iterable[Label]) -> dict[str, bytearray]:
    """For each table a byte a row: 1 for those that are labelled."""
    marks = {table: bytearray(count_rows(path)) for table, path in valid.items()}
    for label in labels:
        marks[label.table][label.position] = 1
    return marks


def count_databases(train: Iterable[Label], evaluation: Iterable[Label]) -> dict[str, int]:
    ours, theirs = {label.db_id for label in train}, {label.db_id for label in evaluation}
    return {"train": len(ours), "eval": len(theirs), "shared": len(ours & theirs)}


def shortfalls(counts: Mapping[str, Mapping[str, int]], params: SelectParams) -> list[str]:
    """A line for each split with fewer rows than asked for."""
    asked = {"train": params.train_size, "eval": params.eval_size}
    return [
        f"select.{split}_size: {size} rows asked for, {counts[split]['selected']} are there, all of them used"
        for split, size in asked.items()
        if size is not None and counts[split]["selected"] < size
    ]


def copy_rows(valid: Mapping[str, Path], labels: Iterable[Label], path: Path) -> None:
    """Writes the labelled rows, in the tables' order, to one table."""
    wanted = marked(valid, labels)
    with table_writer(path) as writer:
        for table, source in valid.items():
            start = 0
            for batch in read_batches(source):
                mask = [mark == 1 for mark in wanted[table][start : start + batch.num_rows]]
                start += batch.num_rows
                if any(mask):
                    writer.write_batch(batch.filter(pa.array(mask)))
