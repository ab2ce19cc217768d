"""Reads any source into one table.

Reads the source that `ingest` names (the generator, a file, a folder, a data set on the hub).
Writes data/raw/train.parquet and data/raw/test.parquet (test is empty where the source has no test split).
Alone: python stages/ingest.py
"""

from text2sql.params import read_params
from text2sql.rows import write_rows
from text2sql.sources import read
from text2sql.stage import run_stage


def main() -> None:
    (ingest,) = read_params("ingest")
    for split, rows in read(ingest).items():
        write_rows(f"data/raw/{split}.parquet", rows)


if __name__ == "__main__":
    run_stage(main, __doc__)
