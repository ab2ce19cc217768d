"""List all experiments and the commits they started from: what changed, and what it brought.

python -m text2sql experiments

Every experiment is listed, best first. Those without figures say why: failed, queued or running, no metrics, or not run
to the end (its figures would be another run's). Parameters are those that differ from the commit above, or
from the run's preset where that is another.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from text2sql.base.text import printable

WIDTH = 120


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from text2sql.experiments.runs import every_run

    runs = every_run()
    console = Console()
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    console.print(table_of(runs))
    experiments = [run for run in runs if run.baseline]
    states = Counter(run.state for run in experiments)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    console.print(f"{len(experiments)} experiments{f': {counts}' if counts else ''}", highlight=False)
    return 0


def table_of(runs: Sequence[Any]):
    """The table: a commit, below it the experiments that started from it."""
    from rich import box
    from rich.table import Table

    from text2sql.experiments.runs import own_changes

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("experiment", "preset", "changed parameters"):
        table.add_column(name, overflow="fold")
    for name in ("ex.base", "ex.ft", "gain [95 % interval]", "judge", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    reference = None
    for run in runs:
        if run.baseline is None:
            if reference is not None:
                table.add_section()
            reference = run
        name = f"└ {run.name}" if run.baseline else run.name
        changes = [f"{key}={shown(value)}" for key, value in own_changes(run, reference).items()]
        cells = [name, str(run.params.get("preset", "")), "\n".join(changes), *figures(run)]
        table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in cells))
    return table


def figures(run: Any) -> list[str]:
    """The cells of a run's figures; its state in place of the gain where it has none."""
    ex = {key: run.summary.get(f"ex.{key}") for key in ("base", "ft", "gain", "lo", "hi")}
    if None in ex.values():
        return ["–", "–", run.state, "–", "–"]
    gain = f"{100 * ex['gain']:+.1f} [{100 * ex['lo']:+.1f}, {100 * ex['hi']:+.1f}]"
    judge = run.summary.get("judge.ft")
    return [
        f"{100 * ex['base']:.1f} %",
        f"{100 * ex['ft']:.1f} %",
        gain,
        "–" if judge is None else f"{100 * judge:.1f} %",
        str(run.summary.get("n", "–")),
    ]


def shown(value: Any) -> str:
    """A parameter's value as params.yaml writes it."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
