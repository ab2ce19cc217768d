"""Print the result of the last run as a table.

python -m text2sql show
"""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics", type=Path, default=Path("metrics"), help="folder of figures (default: metrics)")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from text2sql.files import read_json
    from text2sql.report import ARMS
    from text2sql.stage import TIMINGS

    comparison = read_json(args.metrics / "comparison.json")
    details = {arm: read_json(args.metrics / f"{arm}.json") for arm in ARMS}
    timings = [read_json(path) for path in sorted(TIMINGS.glob("*.json"))]
    console = Console()
    console.print(result_table(details, comparison))
    console.print(verdict(comparison))
    if timings:
        console.print(timing_line(timings))
    return 0


def result_table(details: dict, comparison: dict):
    """Both arms side by side: shares with the 95 % interval of execution accuracy."""
    from rich.table import Table

    questions = f"{comparison['n']} questions about {comparison['databases']} databases"
    table = Table(title=f"Execution accuracy (EX), {questions}")
    table.add_column("", no_wrap=True)
    for name in ("EX", "95 % interval", "exact match", "valid format", "vacuous"):
        table.add_column(name, justify="right", no_wrap=True)
    for arm, label in (("base", "base"), ("finetuned", "fine-tuned")):
        detail = details[arm]
        table.add_row(
            label,
            percent(detail["ex"]),
            f"{percent(detail['ex_lo'])} – {percent(detail['ex_hi'])}",
            percent(detail["em_ast"]),
            percent(detail["format_valid"]),
            str(detail["outcomes"]["vacuous_match"]),
        )
    return table


def verdict(comparison: dict) -> str:
    """What the comparison says, in words."""
    interval = f"95 % interval {points(comparison['lo'])} to {points(comparison['hi'])}"
    counts = f"won {len(comparison['won'])}, lost {len(comparison['lost'])}, McNemar p = {comparison['mcnemar_p']:.2g}"
    lines = [f"gain {points(comparison['gain'])} points ({interval}; {counts})"]
    if not comparison["detectable"]:
        lines.append("no detectable difference: the interval holds 0")
    if comparison["gold_errors"]:
        lines.append(f"{len(comparison['gold_errors'])} questions left out: no usable gold (metrics/comparison.json)")
    if comparison["power"]["kill_rate"] is not None and comparison["power"]["n"]:
        lines.append(f"the databases tell {percent(comparison['power']['kill_rate'])} of slightly wrong queries apart")
    return "\n".join(lines)


def timing_line(timings: list[dict]) -> str:
    """Seconds of each stage as it last ran, in the pipeline's order, with tokens/s where it says so."""
    order = (
        "ingest",
        "validate",
        "select_rows",
        "populate",
        "resolve",
        "finetune",
        "generate",
        "score",
        "judge",
        "report",
    )
    timings = sorted(timings, key=lambda timing: order.index(timing["stage"].partition("@")[0]))
    parts = [
        f"{timing['stage']} {timing['seconds']:.0f}"
        + (f" ({timing['tokens_per_second']:.0f} tokens/s)" if "tokens_per_second" in timing else "")
        for timing in timings
    ]
    together, peak = sum(timing["seconds"] for timing in timings), max(timing["peak_gib"] for timing in timings)
    return f"seconds: {', '.join(parts)}; together {together:.0f}, peak memory {peak:.1f} GiB"


def percent(share: float) -> str:
    """A share as percent with one digit."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed."""
    return f"{100 * difference:+.1f}"
