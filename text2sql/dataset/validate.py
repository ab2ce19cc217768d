"""Which rows are valid: each has its verdict, and each reject keeps its reason.

A row stops at the first rule it breaks; `verdict` names the rules, each of which can be switched off in `validate`.
Of a row with several golds those are kept that break none, and the row is a reject where there are none.
Tables are read and written batch by batch, so that memory does not grow with them.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from text2sql.base.params import EvaluationParams, ValidateParams
from text2sql.dataset.rows import COLUMNS, count_rows, read_batches, table_writer
from text2sql.dataset.verdict import ITEM_COLUMNS, REASON_COLUMNS, RULES, Item, Reject, items_in, verdicts
from text2sql.engines.compute import Workers
from text2sql.engines.question import foreign_rows, open_engines, translations
from text2sql.sql.golds import alternatives_cell

REJECTED = [*COLUMNS, "split", *REASON_COLUMNS]


def validate_tables(
    raw: Mapping[str, Path],
    valid: Mapping[str, Path],
    rejected: Path,
    params: ValidateParams,
    evaluation: EvaluationParams,
    workers: Workers,
) -> dict[str, dict]:
    """Splits each raw table into its valid rows and its rejects, and counts both.

    raw, valid: the table of each split, read and written; rejected: one table of every split's rejects, with the
    columns of REJECTED; evaluation: which engines may be used; workers: as `compute.workforce` takes them, which change
    nothing but the time. Says on stderr which rows run on SQLite by translation. Returns the funnel: for each split the
    rows `read`, those left after each rule, `kept`, and `rejects` by rule and error class; with `test_rows: all` the
    test rows that fail are kept, and counted by class as `gold_errors`; where rows have several golds, how many of the
    `golds` were `read` and `kept`.
    """
    funnel = {}
    foreign = foreign_rows(where for path in raw.values() for where in places_of(path))
    for line in translations(foreign, evaluation):
        print(line, file=sys.stderr)
    rules = params.model_dump(exclude={"test_rows"})
    with table_writer(rejected, REJECTED) as rejects, open_engines(foreign, evaluation) as engines:
        for split, path in raw.items():
            with (
                table_writer(valid[split]) as keeps,
                tqdm(total=count_rows(path), desc=f"validate {split}", unit=" rows", mininterval=0.5) as progress,
            ):
                answers = verdicts(items_of(path), rules, workers, engines)
                failing_stay = split == "test" and params.test_rows == "all"
                funnel[split] = validate_split(split, path, keeps, rejects, answers, failing_stay, progress)
    return funnel


def validate_split(
    split: str, path: Path, keeps, rejects, answers: Iterator[Reject | None], failing_stay: bool, progress
) -> dict:
    found: Counter[tuple[str, str]] = Counter()
    gold_errors: Counter[str] = Counter()
    golds: Counter[str] = Counter()
    read = kept = 0
    for batch in read_batches(path):
        batch, judged = sound_golds(batch, answers, golds)
        if failing_stay:
            gold_errors.update(reject[1] for reject in judged if reject and reject[0] != "complete")
            judged = [reject if reject and reject[0] == "complete" else None for reject in judged]
        reasons = [reject for reject in judged if reject]
        if len(reasons) < len(judged):
            keeps.write_batch(batch.filter(pa.array([reject is None for reject in judged])))
        if reasons:
            bad = batch.filter(pa.array([reject is not None for reject in judged]))
            columns = [
                pa.array(cells, pa.string()) for cells in zip(*((split, *reason) for reason in reasons), strict=True)
            ]
            rejects.write_batch(pa.record_batch([*bad.columns, *columns], names=REJECTED))
            found.update((rule, error) for rule, error, _ in reasons)
        read, kept = read + len(judged), kept + len(judged) - len(reasons)
        progress.update(len(judged))
    assert read == count_rows(path) == kept + found.total(), (
        f"{split}: {read} rows, {kept} kept, {found.total()} rejected"
    )
    return {
        **funnel_of(read, found),
        **({"gold_errors": dict(gold_errors.most_common())} if failing_stay else {}),
        **({"golds": dict(golds)} if golds else {}),
    }


def sound_golds(
    batch: pa.RecordBatch, answers: Iterator[Reject | None], counted: Counter[str]
) -> tuple[pa.RecordBatch, list[Reject | None]]:
    """The rows with those of their golds that are valid, and the verdict on each row: that on its best gold.

    answers: the verdict on each gold of the rows. Where no gold of a row is valid, it keeps all of them, and the
    verdict is that on the first. Golds of rows that have several are counted as `read` and `kept`.
    """
    kept, judged = [], []
    for items in items_in(batch):
        verdicts = list(islice(answers, len(items)))
        golds = [gold for (_, gold, *_), reject in zip(items, verdicts, strict=True) if reject is None]
        judged.append(None if golds else verdicts[0])
        kept.append(golds or [gold for _, gold, *_ in items])
        if len(items) > 1:
            counted.update(read=len(items), kept=len(golds))
    if counted:
        for name, cells in (
            ("answer", [golds[0] for golds in kept]),
            ("alternatives", [alternatives_cell(golds[1:]) for golds in kept]),
        ):
            batch = batch.set_column(batch.schema.get_field_index(name), name, pa.array(cells, pa.string()))
    return batch, judged


def places_of(path: Path) -> Iterator[tuple[str, str | None, bool]]:
    """Dialect and database of each row of a table, none of which is filled."""
    for batch in read_batches(path, ["dialect", "database"]):
        for dialect, database in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield dialect, database, False


def items_of(path: Path) -> Iterator[Item]:
    for batch in read_batches(path, ITEM_COLUMNS):
        for items in items_in(batch):
            yield from items


def funnel_of(read: int, found: Mapping[tuple[str, str], int]) -> dict:
    """Rows read, left after each rule, kept; and the rejects by rule and error class, most frequent first."""
    left, steps = read, {}
    for rule in RULES:
        left -= sum(count for (broken, _), count in found.items() if broken == rule)
        steps[rule] = left
    rejects: dict[str, dict[str, int]] = {rule: {} for rule in RULES}
    for (rule, error), count in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])):
        rejects[rule][error] = count
    return {"read": read, **steps, "kept": left, "rejects": {rule: by for rule, by in rejects.items() if by}}
