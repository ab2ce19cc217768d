"""The verdicts on a table's rows from a Ray cluster. Ray is an extra: this is imported where it is asked for."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import ray  # type: ignore[import-not-found]  # an extra

from text2sql.base.params import EvaluationParams
from text2sql.dataset.verdict import ITEM_COLUMNS, REASON_COLUMNS, Reject, verdicts
from text2sql.engines.question import foreign_rows, open_engines

BLOCK = 4096  # rows of one Ray task


def cluster_verdicts(path: Path, rules: Mapping, workers: int, evaluation: EvaluationParams) -> Iterator[Reject | None]:
    """The verdict on each row of a table, in its order, from the Ray cluster at RAY_ADDRESS, or one on this machine.

    Every machine of the cluster must see the table under the same path, and have the engines that it needs.
    rules: the arguments of `check` beside the item.
    """
    cpus = None if "RAY_ADDRESS" in os.environ else workers
    ray.init(num_cpus=cpus, ignore_reinit_error=True, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = ray.data.read_parquet(str(path.resolve())).select_columns(list(ITEM_COLUMNS))
    blocks = rows.repartition(target_num_rows_per_block=BLOCK)
    given = {"rules": rules, "evaluation": evaluation}
    judged = blocks.map_batches(judge_batch, batch_format="pyarrow", batch_size=BLOCK, fn_kwargs=given)
    for batch in judged.iter_batches(batch_format="pyarrow", batch_size=None):
        for reject in zip(*(batch.column(name).to_pylist() for name in REASON_COLUMNS), strict=True):
            yield reject if reject[0] else None


def judge_batch(batch: pa.Table, rules: Mapping, evaluation: EvaluationParams) -> pa.Table:
    """What a Ray worker does with some rows: the same verdicts, guarded by a child process of its own."""
    items = list(zip(*(batch.column(name).to_pylist() for name in ITEM_COLUMNS), strict=True))
    foreign = foreign_rows((dialect, database, False) for _, _, _, dialect, database in items)
    with open_engines(foreign, evaluation) as engines:
        rejects = [reject or (None, None, None) for reject in verdicts(items, rules, 1, engines)]
    columns = [pa.array(cells, pa.string()) for cells in zip(*rejects, strict=True)]
    return pa.table(columns, names=list(REASON_COLUMNS))
