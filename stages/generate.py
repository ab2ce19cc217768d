"""Generates SQL for every evaluation question with one arm.

Reads data/selected/eval.parquet, data/examples/ARM.jsonl, models/base/ and the arm's model.
Writes data/generations/ARM.jsonl. Killed, the rerun goes on after the last finished batch.
Alone: python stages/generate.py base
On two cards: accelerate launch --num_processes 2 stages/generate.py base
"""

import checkout

from pathlib import Path

from text2sql.base.files import read_jsonl
from text2sql.base.params import PACE, read_arm, read_params
from text2sql.base.process import prepare_process
from text2sql.base.resume import file_key, work_folder
from text2sql.base.stage import run_stage
from text2sql.models.pin import read_pointer


def main(arm: str) -> dict:
    prepare_process()
    from text2sql.dataset.rows import read_table  # pandas is slow to load
    from text2sql.generation.generate import generate
    from text2sql.generation.made import check_made

    answering = read_arm(arm)
    check_made(answering.model)
    prompt, config = read_params("prompt", "generate")
    rows, examples = Path("data/selected/eval.parquet"), Path(f"data/examples/{arm}.jsonl")
    pointer = read_pointer("models/base")
    files = [file_key(path) for path in (rows, examples, Path(answering.model))]
    return generate(
        read_table(rows),
        {row["id"]: row["examples"] for row in read_jsonl(examples)},
        pointer,
        answering.model,
        prompt,
        config,
        arm,
        samples=answering.samples,
        out=Path(f"data/generations/{arm}.jsonl"),
        work=work_folder(
            "generate", arm, answering.samples, prompt.model_dump(), config.model_dump(exclude=PACE), pointer, files
        ),
    )


if __name__ == "__main__":
    run_stage(main, __doc__, of_an_arm=True)
