"""Training speed of the finetune stage against TRL's trainer as it comes, on the quickstart's own rows and model.

    python benchmarks/train.py [--rows 64] [--json FILE]

Needs data/selected/train.parquet and models/base (run the pipeline once). Each way trains the same rows, those of the
first databases, for one epoch in a process of its own; tokens are the rows' own, without padding, also where a
beginning is read once for several rows. The ways:
  defaults   TRL's defaults with the model's weights in fp32: bf16 autocast, gradient checkpointing, random batches
  plain      weights in the stage's format, no checkpointing, random batches
  grouped    the same with batches of equal length: the stage without its memory settings
  alone      the finetune stage with every row on its own (finetune.share_prefixes: never)
  stage      the finetune stage itself
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = ("defaults", "plain", "grouped", "alone", "stage")
STAGE = ("alone", "stage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(train(args.way, args.rows)))
        return
    results = {}
    for way in args.ways:
        command = [sys.executable, __file__, "--way", way, "--rows", str(args.rows)]
        output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        results[way] = json.loads(output.splitlines()[-1])
        ratio = results[way]["tokens_per_second"] / results[args.ways[0]]["tokens_per_second"]
        print(
            f"{way:<10} {results[way]['tokens_per_second']:7.0f} tokens/s   {ratio:5.2f} x"
            f"   peak {results[way]['peak_gib']:.2f} GiB",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def train(way: str, rows: int) -> dict[str, float]:
    """One way's tokens per second of real tokens, and its process's peak memory in GiB."""
    import resource

    from text2sql.base.params import read_params
    from text2sql.base.process import prepare_process
    from text2sql.dataset.rows import read_table
    from text2sql.models.pin import read_pointer

    if way in STAGE:
        prepare_process()
    from text2sql.training.finetune import finetune

    seed, prompt, config = read_params("seed", "prompt", "finetune")
    table, pointer = read_table("data/selected/train.parquet"), read_pointer("models/base")
    table = table.sort_values("db_id", kind="stable").head(rows)
    with tempfile.TemporaryDirectory() as folder:
        if way in STAGE:
            if way == "alone":
                config = config.model_copy(update={"share_prefixes": "never"})
            places = {"adapter_folder": Path(folder, "adapter"), "metrics_folder": Path(folder, "metrics")}
            Path(folder, "work").mkdir()
            speed = finetune(table, pointer, prompt, config, seed, **places, work=Path(folder, "work"))
        else:
            speed = train_plainly(way, table, pointer, prompt, config, folder)
    return {**speed, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def train_plainly(way: str, table, pointer, prompt, config, folder: str) -> dict[str, float]:
    """TRL's trainer on the same examples, without what the stage does to the process."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from text2sql.models import load
    from text2sql.training.finetune import build_examples

    tokenizer = load.load_tokenizer(pointer)
    examples, _ = build_examples(table, tokenizer, prompt, config.max_length)
    options: dict = {} if way == "defaults" else {"gradient_checkpointing": False}
    if way == "grouped":
        options["train_sampling_strategy"] = "group_by_length"
    trainer = SFTTrainer(
        model=load.load_model(pointer, torch.float32 if way == "defaults" else None),
        args=SFTConfig(
            output_dir=folder,
            use_cpu=not torch.cuda.is_available(),
            per_device_train_batch_size=config.batch_size,
            num_train_epochs=1,
            learning_rate=config.learning_rate,
            save_strategy="no",
            report_to=[],
            max_length=None,
            bf16=load.device_and_dtype()[1] == torch.bfloat16 or way == "defaults",
            **options,
        ),
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **config.lora.model_dump(exclude={"loraplus_lr_ratio"})),
    )
    start = time.monotonic()
    trainer.train()
    tokens = sum(len(example["input_ids"]) for example in examples)
    return {"tokens_per_second": tokens / (time.monotonic() - start)}


if __name__ == "__main__":
    main()
