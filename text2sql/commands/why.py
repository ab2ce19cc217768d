"""Say why an arm's answers are wrong: its failures by cause, by outcome and error, by complexity.

python -m text2sql why
python -m text2sql why base --csv failures.csv

A failure is counted under the first cause by which its query differs from the gold; `also` counts those that have the
cause beside a greater one. The explorer (metrics/explorer.html) shows the questions behind every line.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from text2sql.base.errors import UserError
from text2sql.base.files import read_json


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arm", nargs="?", metavar="ARM", help="default: the fine-tuned one that the headline is about")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the failing rows, as CSV")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the stages' outputs (default: data)")
    parser.add_argument("--metrics", type=Path, default=Path("metrics"), help="folder of figures (default: metrics)")


def run(args: argparse.Namespace) -> int:
    from text2sql.dataset.rows import read_rows
    from text2sql.report.failures import by_cause, by_complexity, by_error, failures, write_csv
    from text2sql.report.run import joined, same_golds

    comparison = read_json(args.metrics / "comparison.json")
    arms = list(comparison["kinds"])
    arm = args.arm or comparison["arm"]
    if arm not in arms:
        raise UserError(f"{arm}: no arm of the last run; there are {', '.join(arms)}")
    rows = read_rows(args.data / "selected/eval.parquet")
    scores = same_golds({name: joined(rows, args.data / f"scores/{name}.jsonl") for name in arms})[arm]
    failed = failures(rows, scores)
    console = Console(highlight=False)
    scored = sum(score["ex"] is not None for score in scores)
    console.print(f"{arm}: {len(failed):,} of {scored:,} questions wrong", markup=False)
    if failed:
        groups = by_cause(failed)
        console.print(table("Cause", ["failures", "also"], [[g.name, g.failures, g.also, g.example] for g in groups]))
        groups = by_error(failed)
        console.print(table("Outcome and error", ["failures"], [[g.name, g.failures, g.example] for g in groups]))
        groups = by_complexity(failed, rows, scores)
        lines = [[g.name, g.failures, g.questions, g.example] for g in groups]
        console.print(table("Complexity", ["failures", "of"], lines))
    if args.csv:
        write_csv(args.csv, failed)
        console.print(f"{len(failed):,} failing rows: {args.csv}", markup=False, soft_wrap=True)
    return 0


def table(name: str, counts: list[str], lines: list[list]) -> Table:
    """Lines of a name, counts and an example's id."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(f"\n{name}")
    for count in counts:
        made.add_column(f"\n{count}", justify="right", no_wrap=True)
    made.add_column("\nfor example", overflow="fold")
    for line in lines:
        made.add_row(*(f"{cell:,}" if isinstance(cell, int) else escape(cell) for cell in line))
    return made
