"""Scores one arm by execution: a typed outcome for every evaluation question.

Reads data/selected/eval.parquet, data/databases/ and data/generations/ARM.jsonl; of an arm with samples the candidate
that most agree with is scored. Writes data/scores/ARM.jsonl, and to data/results/ARM.jsonl the first rows of both
results and, for a mismatch, one small database that shows it. Killed, the rerun goes on after the last finished rows.
Alone: python stages/score.py base
"""

import checkout

import sys
from functools import partial
from pathlib import Path

from text2sql.base.files import read_jsonl
from text2sql.base.params import read_compute, read_params
from text2sql.base.resume import FOLDER
from text2sql.base.stage import run_stage
from text2sql.engines.sqlite import Limits


def main(arm: str) -> None:
    from text2sql.databases.populate import read_databases, read_unusable
    from text2sql.databases.witness import witness
    from text2sql.dataset.rows import read_rows
    from text2sql.engines.compute import open_workers
    from text2sql.engines.question import left_out_of, open_dialects, open_engines, translations
    from text2sql.scoring.samples import score_samples
    from text2sql.scoring.score import arm_items, foreign_arm, score_all, score_file, score_key

    config, evaluation = read_params("score", "evaluation")
    rows = read_rows("data/selected/eval.parquet")
    databases = read_databases("data/databases")
    foreign = foreign_arm(rows, databases)
    for line in translations(foreign, evaluation):
        print(line, file=sys.stderr)
    with (
        open_engines(foreign, evaluation) as engines,
        open_workers(read_compute(), partial(open_dialects, choice=evaluation)) as workers,
    ):
        for line in left_out_of(((row["context"], row["dialect"]) for row in rows), engines):
            print(line, file=sys.stderr)
        items = arm_items(
            rows,
            databases,
            read_unusable("data/databases"),
            list(read_jsonl(f"data/generations/{arm}.jsonl")),
            engines,
        )
        limits = Limits(seconds=config.seconds)
        score_file(
            Path(f"data/scores/{arm}.jsonl"),
            items,
            workers=workers,
            limits=limits,
            engines=engines,
            results=Path(f"data/results/{arm}.jsonl"),
            by=score_samples if any(item.samples for item in items) else score_all,
            unfinished=FOLDER / "score" / f"{score_key(items, limits, engines, witness)}.jsonl",
            witness=witness,
        )


if __name__ == "__main__":
    run_stage(main, __doc__, of_an_arm=True)
