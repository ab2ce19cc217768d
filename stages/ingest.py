"""Reads any source into one table.

Reads the source that `ingest` names (the generator, a file, a folder, a data set on the hub). A change of a file under
inputs/ reruns the pipeline; a file elsewhere is not watched.
Writes data/raw/train.parquet and data/raw/test.parquet (test is empty where the source has no test split), and what
was left out or changed on the way to data/raw/account.json.
Alone: python stages/ingest.py
"""

import checkout

import sys
from pathlib import Path

from text2sql.base.params import read_params
from text2sql.base.stage import run_stage


def main() -> None:
    from text2sql.sources import write_raw

    (ingest,) = read_params("ingest")
    for path in filter(None, (ingest.path, ingest.test_path, ingest.database)):
        if "://" in path:
            print("note: a change of the database reruns nothing by itself", file=sys.stderr)
        elif Path("inputs").resolve() not in Path(path).resolve().parents:
            print(f"note: {path} is outside inputs/, so a change of it reruns nothing by itself", file=sys.stderr)
    for split, kinds in write_raw(ingest, Path("data/raw")).items():
        for reason, rows in kinds["left_out"].items():
            print(f"note: {split}: {rows:,} rows left out: {reason}", file=sys.stderr)
        for reason, rows in kinds["changed"].items():
            print(f"note: {split}: {rows:,} rows read as meant: {reason}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main, __doc__)
