"""Fine-tunes a LoRA adapter on the selected rows.

Reads data/selected/train.parquet and models/base/. Writes models/finetuned/ (the adapter) and metrics/train/ (loss
curve and counts). Killed, the rerun goes on from its last checkpoint. With `finetune.launcher: accelerate` it starts
itself again, once for every process that the configuration asks for.
Alone: python stages/finetune.py
"""

import checkout

from pathlib import Path

from text2sql.base.params import read_params
from text2sql.base.process import prepare_process
from text2sql.base.resume import file_key, work_folder
from text2sql.base.stage import run_stage
from text2sql.models.pin import read_pointer


def main() -> dict:
    seed, prompt, config = read_params("seed", "prompt", "finetune")
    prepare_process()
    from text2sql.dataset.rows import read_table  # pandas is slow to load, and torch and TRL even more

    rows = Path("data/selected/train.parquet")
    pointer, table = read_pointer("models/base"), read_table(rows)
    accelerate = Path(config.accelerate) if config.launcher == "accelerate" else None
    if accelerate:
        from text2sql.training.launch import is_launched, launch

        if not is_launched():
            return launch(__file__, accelerate)
    files = [file_key(path) for path in (rows, accelerate) if path]
    from text2sql.training.finetune import finetune

    return finetune(
        table,
        pointer,
        prompt,
        config,
        seed,
        adapter_folder=Path("models/finetuned"),
        metrics_folder=Path("metrics/train"),
        work=work_folder("finetune", seed, prompt.model_dump(), config.model_dump(), pointer, files),
    )


if __name__ == "__main__":
    run_stage(main, __doc__)
