"""Generates SQL for every evaluation question with one arm: the base model, or the base with the fine-tuned adapter.

Reads data/selected/eval.parquet, models/base/ and, for the fine-tuned arm, models/finetuned/.
Writes data/generations/ARM.jsonl. Killed, the rerun goes on after the last finished batch.
Alone: python stages/generate.py base
On two cards: accelerate launch --num_processes 2 stages/generate.py base
"""

import checkout

from pathlib import Path

from text2sql.base.arms import BASE, FINETUNED
from text2sql.base.params import read_params
from text2sql.base.process import prepare_process
from text2sql.base.resume import file_key, work_folder
from text2sql.base.stage import run_stage
from text2sql.models.pin import read_pointer

ADAPTERS = {BASE: None, FINETUNED: Path("models/finetuned")}


def main(arm: str) -> dict:
    prepare_process()
    from text2sql.dataset.rows import read_table  # pandas is slow to load
    from text2sql.generation.generate import generate

    prompt, config = read_params("prompt", "generate")
    rows, adapter = Path("data/selected/eval.parquet"), ADAPTERS[arm]
    pointer = read_pointer("models/base")
    key = [prompt.model_dump(), config.model_dump(), pointer, file_key(rows), adapter and file_key(adapter)]
    return generate(
        read_table(rows),
        pointer,
        adapter,
        prompt,
        config,
        arm,
        out=Path(f"data/generations/{arm}.jsonl"),
        work=work_folder("generate", *key),
    )


if __name__ == "__main__":
    run_stage(main, __doc__, arms=list(ADAPTERS))
