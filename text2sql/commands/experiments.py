"""List all experiments and the commits they started from: what changed, and what it brought.

python -m text2sql experiments

Every experiment is listed, best first; those that differ in nothing but `seed` share a line, with the mean of their
figures ± their standard deviation. Those without figures say why: failed, queued or running, no metrics, or not run to
the end (its figures would be another run's). Changes are from the commit above: parameters, without those of the run's
preset where that is another, and by kind the code, prompts, data, base model, libraries and machine. Below the table
stands by how much the best of several runs is flattered by having been chosen.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from text2sql.base.errors import UserError
from text2sql.base.text import in_lines, printable
from text2sql.experiments.differences import INSTRUMENT, differences, rooms, texts_md5
from text2sql.experiments.paired import EVALUATION, estimate_between
from text2sql.experiments.runs import Run, checksum, every_run, own_changes
from text2sql.experiments.seeds import mean_ex, recipes, spread
from text2sql.scoring.conclusions import best_of

WIDTH = 120
ONE_LINE = 105  # characters that a line takes with all of its columns side by side
INTERVALS = (
    "gain: of the trained arm over the best untrained one, on databases like these from five databases on, on these "
    "databases below"
)


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    runs = every_run()
    console = Console()
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    lines = grouped(runs)
    console.print(table_of(lines, console.width))
    console.print(INTERVALS, highlight=False)
    for note in notes_on_the_best(lines):
        console.print(note, highlight=False, markup=False)
    experiments = [run for run in runs if run.baseline]
    states = Counter(run.state for run in experiments)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    console.print(f"{len(experiments)} experiments{f': {counts}' if counts else ''}", highlight=False)
    return 0


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """The lines of the table, each a run, or the seeds of one recipe that started from one commit. The order is that of
    `every_run`, a recipe's seeds at the place of its mean EX."""
    lines: list[list[Run]] = []
    for commit in (run for run in runs if run.baseline is None):
        started = [run for run in runs if run.baseline == commit.revision]
        ranked = recipes([run for run in started if run.ex is not None])
        others = [[run] for run in started if run.ex is None]
        lines += [[commit], *sorted(ranked, key=mean_ex, reverse=True), *others]
    return lines


def table_of(lines: Sequence[Sequence[Run]], width: int = WIDTH) -> Table:
    """The table: a commit, below it the experiments that started from it. On a narrow terminal, of `width` characters,
    preset and changes stand below an experiment's name and intervals below their gain."""
    narrow = width < ONE_LINE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0) if narrow else (0, 1))
    for name in ("experiment",) if narrow else ("experiment", "preset", "changes"):
        table.add_column(name, overflow="fold")
    gain = "gain\n[95 % interval]" if narrow else "gain [95 % interval]"
    for name in ("untrained", "trained", gain, "judge", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    reference = lines[0][0]
    for group in lines:
        run = group[0]
        if run.baseline is None:
            if run is not reference:
                table.add_section()
            reference = run
        name = "\n  ".join(in_lines(one.name, 18 if narrow else 22) for one in group)
        own = own_changes(run, reference)
        if len(group) > 1:
            own |= {"seed": ",".join(shown(one.params.get("seed")) for one in group)}
        changes = [f"{key}={shown(value)}" for key, value in own.items()]
        if run.baseline and run.stages:
            changes += other_changes(reference, run)
        figured = figures(run) if len(group) == 1 else figures_of_seeds(group)
        preset = str(run.params.get("preset", ""))
        name = f"└ {name}" if run.baseline else name
        changes = [in_lines(change, 18 if narrow else 24) for change in changes]
        if narrow:
            below = [line.replace("\n", "\n  ") for line in (in_lines(preset, 18), *changes) if line]
            cells = ["\n  ".join([name, *below]), *(cell.replace(" [", "\n[") for cell in figured)]
        else:
            cells = [name, in_lines(preset, 12), "\n".join(changes), *figured]
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
    shares = [run.summary.get(f"ex.{key}") for key in (run.over, run.arm, "gain", "lo", "hi")]
    known = [100 * share for share in shares if share is not None]
    if len(known) < len(shares):
        return ["–", "–", run.state, "–", "–"]
    untrained, trained, *gain = known
    judge = run.summary.get(f"judge.{run.arm}")
    return [
        f"{in_lines(run.over, 14)}{' ' if len(run.over) < 12 else chr(10)}{untrained:.1f} %",
        f"{trained:.1f} %",
        "{:+.1f} [{:+.1f}, {:+.1f}]".format(*gain),
        "–" if judge is None else f"{100 * judge:.1f} %",
        str(run.summary.get("n", "–")),
    ]


def figures_of_seeds(group: Sequence[Run]) -> list[str]:
    """The cells of the seeds of one recipe: means, and below them ± the standard deviation over seeds."""

    def cell(key: str, form: str) -> str:
        if not all(key in run.summary for run in group):
            return "–"
        found = spread([run.summary[key] for run in group])
        return form.format(100 * found["mean"], 100 * found["sd"])

    untrained, *_, n = figures(group[0])
    share = "{:.1f} %\n± {:.1f}"
    gain = cell("ex.gain", f"{{:+.1f}}\n± {{:.1f}} ({len(group)} seeds)")
    arm = group[0].arm
    return [untrained, cell(f"ex.{arm}", share), gain, cell(f"judge.{arm}", share), n]


def notes_on_the_best(lines: Sequence[Sequence[Run]]) -> Iterator[str]:
    """For each set of evaluation questions on which more than two recipes are ranked: what having been chosen does to
    the figures of the best. Runs that wrote the same texts, as a commit and the experiment that became it, are one."""
    sets: dict[tuple, dict[str, Run]] = {}
    for run in (run for group in lines for run in group if run.ex is not None):
        same_questions = checksum(run, EVALUATION), run.comparison.get("policy_version")
        sets.setdefault(same_questions, {}).setdefault(str(texts_md5(run)), run)
    for runs in sets.values():
        ranked = sorted(recipes(list(runs.values())), key=mean_ex, reverse=True)
        if len(ranked) <= 2:
            continue
        try:
            note = best_of(len(ranked), estimate_between(ranked[1], ranked[0]))
        except UserError as error:
            note = f"best of {len(ranked)} on the same questions, so its figures are too good ({error})"
        names = ", ".join(printable(run.name) for run in ranked[0])
        yield f"{names} (EX {100 * mean_ex(ranked[0]):.1f} %): {note}"


def shown(value: Any) -> str:
    """A parameter's value as params.yaml writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
