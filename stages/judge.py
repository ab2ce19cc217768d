"""Asks an LLM about every generated query, where `judge.enabled` says so; else writes valid, empty outputs.

Reads data/selected/eval.parquet, data/scores/ARM.jsonl and data/results/ARM.jsonl.
Writes data/judgements/ARM.jsonl and data/judgements/ARM/ (requests.jsonl, answers.csv, disagreements.jsonl,
metrics.json).
Alone: OPENAI_API_KEY=… python stages/judge.py finetuned
"""

import checkout

from pathlib import Path

from text2sql.base.params import read_params
from text2sql.base.stage import run_stage


def main(arm: str) -> dict | None:
    from text2sql.judge.results import write_empty
    from text2sql.judge.run import judge_rows, scored_rows

    (judge,) = read_params("judge")
    out = Path(f"data/judgements/{arm}.jsonl")
    if not judge.enabled:
        return write_empty(out)
    rows = scored_rows("data/selected/eval.parquet", f"data/scores/{arm}.jsonl", f"data/results/{arm}.jsonl")
    _metrics, sent = judge_rows(rows, judge, out)
    return sent


if __name__ == "__main__":
    run_stage(main, __doc__, of_an_arm=True)
