"""Scores one arm by execution: a typed outcome for every evaluation question.

Reads data/selected/eval.parquet, data/databases/ and data/generations/ARM.jsonl. Writes data/scores/ARM.jsonl,
and the first rows of both results to data/results/ARM.jsonl. Killed, the rerun goes on after the last finished rows.
Alone: python stages/score.py base
"""

import checkout

from pathlib import Path

from text2sql.base.arms import ARMS
from text2sql.base.files import read_jsonl
from text2sql.base.params import read_params
from text2sql.base.resume import FOLDER
from text2sql.base.stage import run_stage
from text2sql.engines.pool import cores
from text2sql.engines.sqlite import Limits


def main(arm: str) -> None:
    from text2sql.databases.populate import read_databases, read_unusable
    from text2sql.dataset.rows import read_table
    from text2sql.scoring.score import arm_items, score_file, score_key

    (config,) = read_params("score")
    items = arm_items(
        read_table("data/selected/eval.parquet").to_dict("records"),
        read_databases("data/databases"),
        read_unusable("data/databases"),
        list(read_jsonl(f"data/generations/{arm}.jsonl")),
    )
    limits = Limits(seconds=config.seconds)
    unfinished = FOLDER / "score" / f"{score_key(items, limits)}.jsonl"
    score_file(
        Path(f"data/scores/{arm}.jsonl"),
        items,
        workers=cores(),
        limits=limits,
        results=Path(f"data/results/{arm}.jsonl"),
        unfinished=unfinished,
    )


if __name__ == "__main__":
    run_stage(main, __doc__, arms=ARMS)
