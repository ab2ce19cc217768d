"""Selects the rows to train on and to evaluate with, and removes what leaks from one into the other.

Reads data/valid/train.parquet and data/valid/test.parquet.
Writes data/selected/train.parquet, data/selected/eval.parquet, and the counts to data/selection.json.
Alone: python stages/select.py
"""

import checkout

import sys
from pathlib import Path

from text2sql.base.files import write_json
from text2sql.base.params import read_params
from text2sql.base.stage import run_stage


def main() -> None:
    from text2sql.dataset.clusters import databases_of
    from text2sql.dataset.parts import judged_sizes
    from text2sql.dataset.rows import read_rows
    from text2sql.dataset.select import select_tables
    from text2sql.scoring.conclusions import too_small

    (select,) = read_params("select")
    valid = {split: Path(f"data/valid/{split}.parquet") for split in ("train", "test")}
    selected = {split: Path(f"data/selected/{split}.parquet") for split in ("train", "eval")}
    counts = select_tables(valid, selected, select)
    rows = read_rows(selected["eval"])
    if note := too_small(judged_sizes(rows, databases_of(rows), counts)):
        counts["notes"].append(f"{note}; `python -m text2sql power` says how many it takes")
    for note in counts["notes"]:
        print(f"note: {note}", file=sys.stderr)
    write_json("data/selection.json", counts)


if __name__ == "__main__":
    run_stage(main, __doc__)
