"""Makes the databases that the evaluation questions are scored on, where their contexts bring no rows.

Reads data/selected/eval.parquet. Writes data/databases/instances.jsonl (scripts, each once) and rows.jsonl (for each
question its instances, whether its gold returns rows on one, and how many mutants of the gold they tell apart).
Killed, the rerun goes on after the last finished schema.
Alone: python stages/populate.py
"""

import checkout

from pathlib import Path

from text2sql.base.params import read_compute, read_params
from text2sql.base.resume import file_key, work_folder
from text2sql.base.stage import run_stage


def main() -> None:
    from text2sql.databases.populate import populate_rows, write_databases
    from text2sql.dataset.rows import read_rows
    from text2sql.engines.compute import open_workers
    from text2sql.sql.context import brings_rows, schema_of

    (config,) = read_params("populate")
    path = Path("data/selected/eval.parquet")
    rows = [
        {**row, "context": schema_of(row["context"], row["dialect"])}
        for row in read_rows(path)
        if row["database"] is None and (config.beside_rows or not brings_rows(row["context"], row["dialect"]))
    ]
    work = work_folder("populate", config.model_dump(), file_key(path))
    with open_workers(read_compute()) as workers:
        instances, results = populate_rows(rows, config.instances, config.seed, workers, work / "finished.jsonl")
    write_databases("data/databases", instances, results)


if __name__ == "__main__":
    run_stage(main, __doc__)
