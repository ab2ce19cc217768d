"""Keeps the rows that are valid, and every reject with its reason.

Reads data/raw/train.parquet and data/raw/test.parquet.
Writes data/valid/train.parquet and data/valid/test.parquet, data/rejected.parquet, and the counts to data/funnel.json.
Alone: python stages/validate.py
"""

import checkout

from pathlib import Path

from text2sql.base.files import write_json
from text2sql.base.params import read_params
from text2sql.base.stage import run_stage
from text2sql.engines.pool import cores


def main() -> None:
    from text2sql.dataset.validate import validate_tables

    validate, evaluation = read_params("validate", "evaluation")
    splits = ("train", "test")
    raw = {split: Path(f"data/raw/{split}.parquet") for split in splits}
    valid = {split: Path(f"data/valid/{split}.parquet") for split in splits}
    funnel = validate_tables(raw, valid, Path("data/rejected.parquet"), validate, evaluation, workers=cores())
    write_json("data/funnel.json", funnel)


if __name__ == "__main__":
    run_stage(main, __doc__)
