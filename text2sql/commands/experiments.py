"""List all experiments and the commits they started from: what changed, and what it brought.

python -m text2sql experiments

Every experiment is listed, best first, with its figures on the tuning part of the evaluation where it has one, else on
the test part. Those that differ in nothing but `seed` share a line: means, the standard deviation of EX, and how much
of the gain the choice of questions and training luck leave open. Those without figures say why: failed, queued or
running, no metrics, or not run to the end (its figures would be another run's). Changes are from the commit above:
parameters, without those of the run's preset where that is another, and by kind the code, prompts, data, base model,
libraries and machine. p is that of no difference from the commit above, adjusted for how many stand beside it. The best
of several is starred; below the table stands by how much it is flattered by having been chosen.
"""

import argparse
import contextlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from text2sql.base.errors import UserError
from text2sql.base.text import in_lines, printable
from text2sql.experiments.differences import INSTRUMENT, differences, rooms, same_texts, texts_md5
from text2sql.experiments.paired import estimate_between
from text2sql.experiments.runs import Run, every_run, own_changes, questions_of, same_questions
from text2sql.experiments.seeds import mean_ex, recipe, recipes, spread
from text2sql.scoring.conclusions import best_of, probability
from text2sql.scoring.stats import holm

WIDTH = 120
ONE_LINE = 105  # characters that a line takes with all of its columns side by side
LEGEND = (
    "gain: of the trained arm over the best untrained one, on databases like these from five databases on, on these "
    "databases below",
    "p: of no difference from the commit above, Holm-adjusted for all that stand beside it; – where questions or rules "
    "differ, or nothing but the seed does",
)


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    runs = every_run()
    console = Console()
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    lines = grouped(runs)
    best = best_recipes(lines)
    console.print(table_of(lines, {run.revision for ranked in best for run in ranked[0]}, console.width))
    for line in (*LEGEND, *map(note_on_the_best, best)):
        console.print(line, highlight=False, markup=False)
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


def table_of(lines: Sequence[Sequence[Run]], best: Collection[str], width: int = WIDTH) -> Table:
    """The table: a commit, below it the experiments that started from it. best: the revisions to star. On a narrow
    terminal, of `width` characters, preset and changes stand below an experiment's name and intervals below their gain.
    """
    narrow = width < ONE_LINE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("experiment",) if narrow else ("experiment", "preset", "changes"):
        table.add_column(name, overflow="fold")
    judged = any(key.startswith("judge.") for group in lines for run in group for key in run.summary)
    gain = "gain\n[95 % interval]" if narrow else "gain [95 % interval]"
    for name in ("untrained", "trained", gain, "p", *(["judge"] * judged), "n"):
        table.add_column(name, justify="right", no_wrap=True)
    reference, adjusted = lines[0][0], beside_commits(lines)
    for group in lines:
        run = group[0]
        if run.baseline is None:
            if run is not reference:
                table.add_section()
            reference = run
        names = (one.name + " *" * (one.revision in best) for one in group)
        name = "\n  ".join(in_lines(one, 18 if narrow else 22) for one in names)
        own = own_changes(run, reference)
        if len(group) > 1:
            own |= {"seed": ",".join(shown(one.params.get("seed")) for one in group)}
        changes = [f"{key}={shown(value)}" for key, value in own.items()]
        if run.baseline and run.stages:
            changes += other_changes(reference, run)
        *shares, judge, n = figures(run) if len(group) == 1 else figures_of_seeds(group)
        p = adjusted.get(run.revision)
        shares.append("–" if p is None else probability(p).removeprefix("p ").removeprefix("= "))
        figured = [*shares, *([judge] * judged), n]
        preset = str(run.params.get("preset", ""))
        title = f"└ {name}" if run.baseline else name
        changes = [in_lines(change, 18 if narrow else 30) for change in changes]
        if narrow:
            below = [line.replace("\n", "\n  ") for line in (in_lines(preset, 18), *changes) if line]
            cells = ["\n  ".join([title, *below]), *(cell.replace(" [", "\n[") for cell in figured)]
        else:
            cells = [title, in_lines(preset, 12), "\n".join(changes), *figured]
        table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in cells))
    return table


def other_changes(reference: Run, run: Run) -> list[str]:
    """What differs beside parameters, a kind a line: the rooms of changed code, of other kinds the names."""
    found = differences(reference, run)
    names = {kind: rooms(items) if kind == "code" else items for kind, items in found.items()}
    # What the scoring instrument consists of stands under its own kinds.
    return [f"{kind}: {', '.join(names[kind])}" for kind in names if kind not in ("parameters", INSTRUMENT)]


def beside_commits(lines: Sequence[Sequence[Run]]) -> dict[str, float]:
    """For the first run of each line that can be compared with the commit above it, the p of no difference in EX,
    Holm-adjusted for the lines below that commit."""
    found: dict[str, float] = {}
    for commit in (group[0] for group in lines if group[0].baseline is None and group[0].ex is not None):
        alone: dict[str, float] = {}
        for group in (group for group in lines if group[0].baseline == commit.revision and group[0].ex is not None):
            run = group[0]
            if not same_questions(commit, run) or rules(commit) != rules(run):
                continue
            if same_texts(commit, run) or recipe(commit) == recipe(run):
                continue
            with contextlib.suppress(UserError):  # figures of an earlier version, without their questions
                alone[run.revision] = estimate_between([commit], group, part=run.ranked_on).headline.p
        found |= dict(zip(alone, holm(list(alone.values())), strict=True))
    return found


def figures(run: Run) -> list[str]:
    """The cells of a run's figures on the part that it is ranked on; its state in place of the gain where it has
    none."""
    found = run.figures(run.ranked_on)
    over = run.best_untrained(run.ranked_on)
    shares = [found.get(f"ex.{key}") for key in (over, run.arm, "gain", "lo", "hi")]
    known = [100 * share for share in shares if share is not None]
    if len(known) < len(shares):
        return ["–", "–", run.state, "–", "–"]
    untrained, trained, *gain = known
    judge = found.get(f"judge.{run.arm}")
    return [
        f"{in_lines(over, 14)}{' ' if len(over) < 12 else chr(10)}{untrained:.1f} %",
        f"{trained:.1f} %",
        "{:+.1f} [{:+.1f}, {:+.1f}]".format(*gain),
        "–" if judge is None else f"{100 * judge:.1f} %",
        f"{found.get('n', '–')}{' tuning' if run.ranked_on == 'tuning' else ''}",
    ]


def figures_of_seeds(group: Sequence[Run]) -> list[str]:
    """The cells of the seeds of one recipe: means; below EX ± the standard deviation over seeds, below the gain how
    much of it the choice of questions and training luck leave open."""
    part, arm = group[0].ranked_on, group[0].arm
    over = group[0].best_untrained(part)

    def share(key: str) -> str:
        values = [run.figures(part)[key] for run in group if key in run.figures(part)]
        if len(values) < len(group):
            return "–"
        found = spread(values)
        return f"{100 * found['mean']:.1f} %\n± {100 * found['sd']:.1f}"

    untrained, _, mean_gain, _, n = figures(group[0])
    with contextlib.suppress(UserError):  # figures of an earlier version: the first seed's gain alone
        gain = estimate_between(group[:1], group, (over, None), part)
        mean_gain = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in (gain.gain, *gain.headline[:2])))
        mean_gain += f"\n± {100 * gain.questions:.1f} questions\n± {100 * (gain.training or 0):.1f} training luck"
    return [untrained, share(f"ex.{arm}"), mean_gain, share(f"judge.{arm}"), n]


def rules(run: Run) -> Any:
    """The version of the comparator's rules that the figures follow."""
    return run.comparison.get("policy_version")


def best_recipes(lines: Sequence[Sequence[Run]]) -> list[list[list[Run]]]:
    """For each set of evaluation questions on which more than two recipes are ranked, these recipes, the best first.
    Runs that wrote the same texts, as a commit and the experiment that became it, are one."""
    sets: dict[tuple, dict[str, Run]] = {}
    for run in (run for group in lines for run in group if run.ex is not None):
        sets.setdefault((questions_of(run), rules(run)), {}).setdefault(str(texts_md5(run)), run)
    ranked = [sorted(recipes(list(runs.values())), key=mean_ex, reverse=True) for runs in sets.values()]
    return [recipes_there for recipes_there in ranked if len(recipes_there) > 2]


def note_on_the_best(ranked: Sequence[Sequence[Run]]) -> str:
    """What having been chosen does to the figures of the best of several recipes."""
    part = ranked[0][0].ranked_on
    try:
        note = best_of(len(ranked), estimate_between(ranked[1], ranked[0], part=part), tuning=part == "tuning")
    except UserError as error:
        note = f"best of {len(ranked)} on the same questions, so its figures are too good ({error})"
    names = ", ".join(printable(run.name) for run in ranked[0])
    return f"* {names} (EX {100 * mean_ex(ranked[0]):.1f} %): {note}"


def shown(value: Any) -> str:
    """A parameter's value as params.yaml writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
