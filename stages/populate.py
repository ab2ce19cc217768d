"""Makes the databases that the evaluation questions are scored on, where their contexts bring no rows.

Reads data/selected/eval.parquet; rows of another dialect are filled for its own engine where that is there. Writes
data/databases/instances.jsonl (scripts, each once) and rows.jsonl (for each question its instances, whether its gold
returns rows on one, and how many mutants of the gold they tell apart).
Killed, the rerun goes on after the last finished schema.
Alone: python stages/populate.py
"""

import checkout

import sys
from functools import partial
from pathlib import Path

from text2sql.base.params import read_compute, read_params
from text2sql.base.resume import file_key, work_folder
from text2sql.base.stage import run_stage


def main() -> None:
    from text2sql.databases.many import populate_rows
    from text2sql.databases.populate import write_databases
    from text2sql.dataset.rows import read_rows
    from text2sql.engines.compute import open_workers
    from text2sql.engines.question import foreign_rows, open_dialects, open_engines, translations, versions
    from text2sql.sql.context import brings_rows, schema_of

    config, evaluation = read_params("populate", "evaluation")
    path = Path("data/selected/eval.parquet")
    rows = [
        {**row, "context": schema_of(row["context"], row["dialect"])}
        for row in read_rows(path)
        if row["database"] is None and (config.beside_rows or not brings_rows(row["context"], row["dialect"]))
    ]
    foreign = foreign_rows((row["dialect"], None, False) for row in rows if config.instances)
    for line in translations(foreign, evaluation):
        print(line, file=sys.stderr)
    with (
        open_engines(foreign, evaluation) as engines,
        open_workers(read_compute(), partial(open_dialects, choice=evaluation)) as workers,
    ):
        work = work_folder("populate", config.model_dump(), versions(engines), file_key(path))
        instances, results = populate_rows(
            rows, config.instances, config.seed, workers, work / "finished.jsonl", engines
        )
    write_databases("data/databases", instances, results)


if __name__ == "__main__":
    run_stage(main, __doc__)
