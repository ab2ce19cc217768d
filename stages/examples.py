"""Chooses the training rows that stand as examples before each evaluation question of one arm.

Reads data/selected/train.parquet and data/selected/eval.parquet. Writes data/examples/ARM.jsonl: for each question its
id and `shots` training rows, the most alike first; none for an arm without shots, whatever the training rows are.
Alone: python stages/examples.py fewshot
"""

import checkout

from pathlib import Path

from text2sql.base.params import read_arm
from text2sql.base.stage import run_stage


def main(arm: str) -> None:
    shots = read_arm(arm).shots
    from text2sql.dataset.examples import write_examples  # pandas is slow to load

    selected = Path("data/selected")
    write_examples(selected / "train.parquet", selected / "eval.parquet", shots, Path(f"data/examples/{arm}.jsonl"))


if __name__ == "__main__":
    run_stage(main, __doc__, of_an_arm=True)
