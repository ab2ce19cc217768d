"""Generation speed of the generate stage against one prompt at a time, on the quickstart's own questions and model.

    python benchmarks/generate.py [--alone 24] [--json FILE]

Needs data/selected/eval.parquet, models/base and models/finetuned (run the pipeline once). Both ways are greedy and use
the same weights (bf16, adapter merged); loading is not counted. The stage answers every question; one at a time, by
transformers' `generate`, an even sample of `--alone` of them, and seconds a question are compared. Reports how many
texts of the sample differ between the ways: bf16 rounding changes with the batch.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from text2sql.base.files import read_jsonl
from text2sql.base.params import read_params
from text2sql.base.process import prepare_process
from text2sql.dataset.rows import read_table
from text2sql.generation.generate import generate
from text2sql.models import pin, prompts

prepare_process()
from text2sql.generation.local import complete_padded, load_arm  # noqa: E402
from text2sql.models import load  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", type=int, default=24, help="questions that are also answered one at a time")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = read_table("data/selected/eval.parquet")
    sample = table.iloc[:: max(1, len(table) // args.alone)].head(args.alone)
    results = {}
    for arm, adapter in (("base", None), ("finetuned", Path("models/finetuned"))):
        alone, stage = one_at_a_time(sample, adapter), by_stage(table, adapter, arm)
        differ = sum(alone["texts"][key] != stage["texts"][key] for key in alone["texts"])
        results[arm] = {
            "one_at_a_time": alone["tokens"] / alone["seconds"],
            "stage": stage["tokens"] / stage["seconds"],
            "time_ratio": alone["seconds"] / len(sample) / (stage["seconds"] / len(table)),
            "seconds": stage["seconds"],
            "questions": len(table),
            "sample": len(sample),
            "differ": differ,
        }
        print(
            f"{arm:<10} one at a time {results[arm]['one_at_a_time']:6.1f} tokens/s"
            f"   stage {results[arm]['stage']:6.1f} tokens/s, {stage['seconds']:.1f} s for {len(table)} questions"
            f"   time {results[arm]['time_ratio']:4.2f} x less   texts that differ {differ} of {len(sample)}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def one_at_a_time(table, adapter: Path | None) -> dict:
    """Seconds, completion tokens and texts by id, each prompt by itself."""
    prompt, config = read_params("prompt", "generate")
    pointer, templates = pin.read_pointer("models/base"), prompts.read_templates(prompt)
    tokenizer, model = load.load_tokenizer(pointer), load_arm(pointer, adapter, "none")
    stops, texts, tokens = load.stop_tokens(model, tokenizer), {}, 0
    start = time.monotonic()
    for row in table.to_dict("records"):
        ids = prompts.tokenize(prompts.build_prompt(row, templates, prompt), tokenizer, prompt)
        (answer,) = complete_padded(model, tokenizer, [ids], stops, config.max_new_tokens, [None])
        texts[row["id"]] = tokenizer.decode(answer, skip_special_tokens=True)
        tokens += len(answer)
    return {"seconds": time.monotonic() - start, "tokens": tokens, "texts": texts}


def by_stage(table, adapter: Path | None, arm: str) -> dict:
    """The same by the generate stage, as params.yaml says."""
    prompt, config = read_params("prompt", "generate")
    with tempfile.TemporaryDirectory() as folder:
        out, pointer = Path(folder, "out.jsonl"), pin.read_pointer("models/base")
        model, none = str(adapter or "models/base"), {key: [] for key in table["id"]}
        speed = generate(table, none, pointer, model, prompt, config, arm, out=out, work=Path(folder))
        rows = list(read_jsonl(out))
    tokens = sum(row["completion_tokens"] for row in rows)
    return {
        "seconds": tokens / speed["tokens_per_second"],
        "tokens": tokens,
        "texts": {row["id"]: row["text"] for row in rows},
    }


if __name__ == "__main__":
    main()
