"""Ask an LLM whether generated SQL answers its questions (or what asking would cost).

FILE holds JSON Lines with id, context, question, answer (gold SQL) and sql (generated); ex, outcome and error of an
execution, where they are there, are compared with the verdicts, and results, as `score` keeps them in data/results/,
can be shown to the judge (`judge.show_results`). Endpoint, model, template, limits, budget and prices are the section
`judge` of params.yaml; the key stands in the environment variable that `judge.key_env` names.

    python -m text2sql judge rows.jsonl --estimate
    OPENAI_API_KEY=… python -m text2sql judge rows.jsonl
"""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the rows to judge")
    parser.add_argument("--out", type=Path, help="where the verdicts go (default: FILE with .judged.jsonl at its end)")
    parser.add_argument("--estimate", action="store_true", help="print what is left to pay for, and stop")


def run(args: argparse.Namespace) -> int:
    from text2sql.base.errors import UserError
    from text2sql.base.files import read_jsonl
    from text2sql.base.params import read_params
    from text2sql.judge.results import FILES, summary
    from text2sql.judge.run import estimate, judge_rows

    (params,) = read_params("judge")
    if args.estimate:
        print(estimate(read_jsonl(args.file), params))
        return 0
    out = args.out or args.file.with_name(args.file.name.split(".")[0] + ".judged.jsonl")
    folder = out.with_suffix("")
    if folder == out:
        raise UserError(f"--out {out}: has no suffix; the folder of that name takes prompts and metrics, add .jsonl")
    written = {path.resolve() for path in (out, *(folder / name for name in FILES))}
    if args.file.resolve() in written:
        raise UserError(f"{args.file}: the verdicts would overwrite these rows; name another file with --out")
    metrics, sent = judge_rows(read_jsonl(args.file), params, out)
    print(summary(metrics))
    print(f"this run: {sent['sent']} requests sent, {sum(sent['retries'].values())} of them retries")
    print(f"verdicts: {out}; prompts, disagreements and metrics: {out.with_suffix('')}/")
    return 0
