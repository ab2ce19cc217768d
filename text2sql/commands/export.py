"""Export the fine-tuned model as GGUF files and an Ollama Modelfile, and check that they answer as it was measured.

python -m text2sql export
python -m text2sql export --questions 128

Merges models/finetuned/ into models/base/ where publish/merged/ is not that already, and writes exports/: the model in
its own 16 bits, as Q8_0 and as Q4_K_M, a Modelfile, and export.json: how the files answer evaluation questions by
llama.cpp on this CPU beside the adapter by transformers (texts and verdicts that changed). Q4_K_M takes llama-quantize.
"""

import argparse
import sys

from text2sql.base.process import prepare_process

QUESTIONS = 32  # as many as a merge is checked with


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--questions", type=int, default=QUESTIONS, metavar="N", help=f"evaluation questions to ask ({QUESTIONS})"
    )


def run(args: argparse.Namespace) -> int:
    prepare_process()
    from text2sql.base.params import read_params
    from text2sql.dataset.rows import read_rows  # these take seconds to load
    from text2sql.models.pin import read_pointer
    from text2sql.publish.export import export, write_modelfiles
    from text2sql.publish.measured import measure

    prompt, generate, score, evaluation = read_params("prompt", "generate", "score", "evaluation")
    pointer, rows = read_pointer("models/base"), read_rows("data/selected/eval.parquet")
    exported = export(pointer)
    modelfiles = write_modelfiles(exported.files[-1], prompt, generate)
    for path in [*exported.files, *modelfiles]:
        print(f"{path.stat().st_size:>13,}  {path}")
    chosen = rows[: args.questions]
    speeds = []
    for found in measure(chosen, exported.files, modelfiles, pointer, prompt, generate, score, evaluation):
        print(found.record["says"])
        speeds.append(f"{found.record['file']} {found.speed:.0f}")
        ours = found.adapter_speed
    print(f"tokens a second: adapter {ours:.0f}, {', '.join(speeds)}")
    if exported.missing:
        print(exported.missing, file=sys.stderr)
    return 0
