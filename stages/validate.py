"""Keeps the rows that are valid, and every reject with its reason.

Reads data/raw/train.parquet and data/raw/test.parquet.
Writes data/valid/train.parquet and data/valid/test.parquet, data/rejected.parquet, and the counts to data/funnel.json.
Alone: python stages/validate.py
"""

import checkout

from functools import partial
from pathlib import Path

from text2sql.base.files import write_json
from text2sql.base.params import read_compute, read_params
from text2sql.base.stage import run_stage


def main() -> None:
    from text2sql.dataset.validate import validate_tables
    from text2sql.engines.compute import open_workers
    from text2sql.engines.question import open_dialects

    validate, evaluation = read_params("validate", "evaluation")
    splits = ("train", "test")
    raw = {split: Path(f"data/raw/{split}.parquet") for split in splits}
    valid = {split: Path(f"data/valid/{split}.parquet") for split in splits}
    with open_workers(read_compute(), partial(open_dialects, choice=evaluation)) as workers:
        funnel = validate_tables(raw, valid, Path("data/rejected.parquet"), validate, evaluation, workers)
    write_json("data/funnel.json", funnel)


if __name__ == "__main__":
    run_stage(main, __doc__)
