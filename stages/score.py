"""Scores one arm by execution: a typed outcome for every evaluation question.

Reads data/selected/eval.parquet, data/databases/ and data/generations/ARM.jsonl; of an arm with samples the candidate
that most agree with is scored. Writes data/scores/ARM.jsonl, and the first rows of both results to
data/results/ARM.jsonl. Killed, the rerun goes on after the last finished rows.
Alone: python stages/score.py base
"""

import checkout

import sys
from pathlib import Path

from text2sql.base.files import read_jsonl
from text2sql.base.params import read_params
from text2sql.base.resume import FOLDER
from text2sql.base.stage import run_stage
from text2sql.engines.pool import cores
from text2sql.engines.sqlite import Limits


def main(arm: str) -> None:
    from text2sql.databases.populate import read_databases, read_unusable
    from text2sql.dataset.rows import read_table
    from text2sql.engines.question import foreign_rows, open_engines, translations
    from text2sql.scoring.samples import score_samples
    from text2sql.scoring.score import arm_items, score_all, score_file, score_key

    config, evaluation = read_params("score", "evaluation")
    rows = read_table("data/selected/eval.parquet").to_dict("records")
    foreign = foreign_rows((row["context"], row["dialect"], row["database"]) for row in rows)
    for line in translations(foreign, evaluation):
        print(line, file=sys.stderr)
    with open_engines(foreign, evaluation) as engines:
        items = arm_items(
            rows,
            read_databases("data/databases"),
            read_unusable("data/databases"),
            list(read_jsonl(f"data/generations/{arm}.jsonl")),
            engines,
        )
        limits = Limits(seconds=config.seconds)
        score_file(
            Path(f"data/scores/{arm}.jsonl"),
            items,
            workers=cores(),
            limits=limits,
            engines=engines,
            results=Path(f"data/results/{arm}.jsonl"),
            by=score_samples if any(item.samples for item in items) else score_all,
            unfinished=FOLDER / "score" / f"{score_key(items, limits, engines)}.jsonl",
        )


if __name__ == "__main__":
    run_stage(main, __doc__, of_an_arm=True)
