"""List all experiments and the commits they started from: what changed, and what it brought.

python -m text2sql experiments

Every experiment is listed, best first. Those without figures say why: failed, queued or running, no metrics, or not run
to the end (its figures would be another run's). Changes are from the commit above: parameters, without those of the
run's preset where that is another, and by kind the code, prompts, data, base model, libraries and machine.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from text2sql.base.text import printable
from text2sql.experiments.differences import INSTRUMENT, differences, rooms
from text2sql.experiments.runs import Run, every_run, own_changes

WIDTH = 120


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    runs = every_run()
    console = Console()
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    console.print(table_of(runs))
    experiments = [run for run in runs if run.baseline]
    states = Counter(run.state for run in experiments)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    console.print(f"{len(experiments)} experiments{f': {counts}' if counts else ''}", highlight=False)
    return 0


def table_of(runs: Sequence[Run]) -> Table:
    """The table: a commit, below it the experiments that started from it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("experiment", "preset", "changes"):
        table.add_column(name, overflow="fold")
    for name in ("ex.base", "ex.ft", "gain [95 % interval]", "judge", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    reference = runs[0]
    for run in runs:
        if run.baseline is None:
            if run is not runs[0]:
                table.add_section()
            reference = run
        name = f"└ {run.name}" if run.baseline else run.name
        changes = [f"{key}={shown(value)}" for key, value in own_changes(run, reference).items()]
        if run.baseline and run.stages:
            changes += other_changes(reference, run)
        cells = [name, str(run.params.get("preset", "")), "\n".join(changes), *figures(run)]
        table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in cells))
    return table


def other_changes(reference: Run, run: Run) -> list[str]:
    """What differs beside parameters, a kind a line: the rooms of changed code, of other kinds the names."""
    found = differences(reference, run)
    names = {kind: rooms(items) if kind == "code" else items for kind, items in found.items()}
    # What the scoring instrument consists of stands under its own kinds.
    return [f"{kind}: {', '.join(names[kind])}" for kind in names if kind not in ("parameters", INSTRUMENT)]


def figures(run: Run) -> list[str]:
    """The cells of a run's figures; its state in place of the gain where it has none."""
    ex = {key: run.summary[f"ex.{key}"] for key in ("base", "ft", "gain", "lo", "hi") if f"ex.{key}" in run.summary}
    if len(ex) < 5:
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
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
