"""Generation speed of the generate stage against one prompt at a time, on the quickstart's own questions and model.

    python benchmarks/generate.py [--rows 32] [--json FILE]

Needs data/selected/eval.parquet, models/base and models/finetuned (run the pipeline once). Both ways are greedy and use
the same weights (bf16, adapter merged); tokens are completion tokens. Reports how many texts differ between the ways:
bf16 rounding changes with the batch.
"""

import argparse
import json
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = {}
    for arm, adapter in (("base", None), ("finetuned", Path("models/finetuned"))):
        single, batched = measure(args.rows, adapter, 1), measure(args.rows, adapter, None)
        differ = sum(a != b for a, b in zip(single["texts"], batched["texts"], strict=True))
        ratio = single["seconds"] / batched["seconds"]
        print(
            f"{arm:<10} one at a time {single['rate']:6.1f} tokens/s   stage {batched['rate']:6.1f} tokens/s"
            f"   time {ratio:4.2f} x less   texts that differ {differ} of {args.rows}",
            flush=True,
        )
        results[arm] = {
            "one_at_a_time": single["rate"], "stage": batched["rate"], "time_ratio": ratio, "differ": differ,
        }  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(rows: int, adapter: Path | None, batch_size: int | None) -> dict:
    """Seconds of generating (without loading), tokens per second and texts; batch_size None: as params.yaml says."""
    from text2sql.files import read_jsonl
    from text2sql.generate import generate
    from text2sql.models import read_pointer
    from text2sql.params import read_params
    from text2sql.rows import read_table

    prompt, config = read_params("prompt", "generate")
    if batch_size:
        config = config.model_copy(update={"batch_size": batch_size})
    table = read_table("data/selected/eval.parquet").head(rows)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.jsonl")
        speed = generate(table, read_pointer("models/base"), adapter, prompt, config, out=out, work=Path(folder))
        written = list(read_jsonl(out))
    tokens = sum(row["completion_tokens"] for row in written)
    rate = speed["tokens_per_second"]
    return {"rate": rate, "seconds": tokens / rate, "texts": [row["text"] for row in written]}


if __name__ == "__main__":
    main()
