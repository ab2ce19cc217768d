"""Compare the trained arms of two or more experiments or git revisions, question by question.

python -m text2sql compare main slower
python -m text2sql compare seed-1 seed-2 seed-3
python -m text2sql compare --tuning main rate-1 rate-2 rate-3

Each run is compared with the first one: ids won and lost, and in what the two differ. Runs that differ in nothing but
`seed` are one recipe, whose verdicts are averaged; what may be concluded is said of recipes, with the number of
comparisons taken into account. Where the evaluation has a tuning part, choose on that (--tuning) and judge what was
chosen on the test part (without). Everything is read from git; the questions' texts are shown where the data are in the
local DVC cache.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from text2sql.base.text import printable
from text2sql.commands.experiments import shown
from text2sql.commands.show import questions
from text2sql.dataset.parts import Part
from text2sql.experiments.differences import MACHINE, VERSIONS, listed
from text2sql.experiments.paired import conclude_between, estimate_between, figure, paired
from text2sql.experiments.runs import Run, changed_params, named_runs, require_figures
from text2sql.experiments.seeds import mean_ex, recipes, spread
from text2sql.experiments.texts import question_texts
from text2sql.scoring import stats
from text2sql.scoring.conclusions import Conclusion, best_of, chosen_elsewhere, conclude, points

PARTS = {
    "tuning": "On the tuning part, where runs are chosen.\n",
    "test": "On the test part, where what was chosen is judged (--tuning: the part where runs are chosen).\n",
}
SHOWN = 20  # ids of each list; --json has all


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="what the others are compared with: experiment or git revision")
    parser.add_argument("others", nargs="+", metavar="B", help="experiments or git revisions")
    parser.add_argument("--common", action="store_true", help="where the questions differ, compare those of both")
    parser.add_argument("--tuning", action="store_true", help="on the tuning part of the evaluation (select.tuning)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    runs = [require_figures(run) for run in named_runs(args.first, *args.others)]
    part: Part = "tuning" if args.tuning else "test"
    comparisons = [paired(runs[0], other, common=args.common, part=part) for other in runs[1:]]
    groups = recipes(runs)
    conclusions = between_recipes(groups, part)
    best = best_recipe(groups, part)
    seeds = [seeds_of(group, part) for group in groups if len(group) > 1]
    if args.json:
        listed = [{"name": run.name, "revision": run.revision, "summary": run.summary} for run in runs]
        found = {
            "part": part,
            "runs": listed,
            "comparisons": comparisons,
            "conclusions": conclusions,
            "best": best,
            "seeds": seeds,
        }
        print(json.dumps(found, indent=2))
    else:
        if any(run.ranked_on == "tuning" for run in runs):
            print(PARTS[part])
        show(runs, comparisons, conclusions, best, seeds)
    return 0


def between_recipes(groups: Sequence[Sequence[Run]], part: Part) -> list[dict[str, Any]]:
    """What may be concluded of each recipe beside the first, each p adjusted for how many stand side by side."""
    first, *others = groups
    gains = [estimate_between(first, group, part=part) for group in others]
    adjusted = stats.holm([gain.headline.p for gain in gains]) if len(gains) > 1 else [None] * len(gains)
    found = []
    for group, gain, holm_p in zip(others, gains, adjusted, strict=True):
        names = named(first), named(group)
        conclusion = conclude_between(first, group, gain, names=names, compared=len(gains), holm_p=holm_p)
        sides = {"before": [run.name for run in first], "after": [run.name for run in group]}
        found.append({**sides, **stats.figures(gain), "holm_p": holm_p, **conclusion._asdict()})
    return found


def best_recipe(groups: Sequence[Sequence[Run]], part: Part) -> dict[str, Any] | None:
    """The recipe with the highest EX on the tuning part where all have one, else on the part that is compared; its EX
    on the latter, and what having been chosen does to that. None where two or less are compared, which their own
    comparison says."""
    if len(groups) <= 2:
        return None
    chosen_on: Part = "tuning" if all(run.ranked_on == "tuning" for group in groups for run in group) else part
    ranked = sorted(groups, key=lambda group: mean_ex(group, chosen_on), reverse=True)
    if chosen_on != part:
        note = chosen_elsewhere(len(groups))
    else:
        note = best_of(len(groups), estimate_between(ranked[1], ranked[0], part=part), tuning=part == "tuning")
    return {
        "runs": [run.name for run in ranked[0]],
        "ex": mean_ex(ranked[0], part),
        "chosen_on": chosen_on,
        "note": note,
    }


def seeds_of(group: Sequence[Run], part: Part) -> dict[str, Any]:
    """Seeds of one recipe: their spread, and what may be concluded of the recipe beside the first seed's best untrained
    arm."""
    over = group[0].best_untrained(part)
    gain = estimate_between(group[:1], group, (over, None), part)
    conclusion = conclude(gain, arm=named(group), over=over)
    return {
        "runs": [run.name for run in group],
        "seeds": [run.params["seed"] for run in group],
        "spread": {
            "ex": spread([figure(run, f"ex.{run.arm}", part) for run in group]),
            "gain": spread([figure(run, "ex.gain", part) for run in group]),
        },
        **stats.figures(gain),
        **conclusion._asdict(),
    }


def named(group: Sequence[Run]) -> str:
    """A recipe by the name of its first run."""
    name = printable(group[0].name)
    return name if len(group) == 1 else f"the recipe of {name}"


def show(
    runs: Sequence[Run],
    comparisons: Sequence[Mapping],
    conclusions: Sequence[Mapping],
    best: Mapping | None,
    seeds: Sequence[Mapping],
) -> None:
    """Prints the runs beside the first one, what may be concluded of recipes, and the seeds."""
    for run, comparison in zip(runs[1:], comparisons, strict=True):
        before, after = (f"{100 * comparison[key]:.1f} %" for key in ("ex_before", "ex_after"))
        flips = f"{points(comparison['gain'])} points, won {len(comparison['won'])}, lost {len(comparison['lost'])}"
        print(f"{printable(runs[0].name)} → {printable(run.name)}: EX {before} → {after}, {flips}")
        print(f"  {questions(dict(comparison))}{left_out(comparison)}")
        for note in (comparison["cause"], comparison["elsewhere"]):
            if note:
                print(f"  note: {note}")
        for kind, items in comparison["differences"].items():
            if kind not in ("parameters", MACHINE, VERSIONS):
                print(f"  {kind}: {listed(items)}")
        for key, pair in changed_params(run, runs[0]).items():
            print(f"  {printable(key)}: {' → '.join(printable(shown(value)) for value in pair)}")
        texts = question_texts(runs[0]) | question_texts(run)
        for kind in ("won", "lost"):
            for name in comparison[kind][:SHOWN]:
                print(f"  {kind:<4} {printable(name)}{'  ' * (name in texts)}{printable(texts.get(name, ''))}")
            if len(comparison[kind]) > SHOWN:
                print(f"  {kind:<4} and {len(comparison[kind]) - SHOWN} more (--json lists all)")
        print()
    for found in conclusions:
        print(text(found))
    if best:
        print(f"{', '.join(map(printable, best['runs']))} (EX {100 * best['ex']:.1f} %): {best['note']}")
    for group in seeds:
        members = ", ".join(
            f"{printable(name)} ({seed})" for name, seed in zip(group["runs"], group["seeds"], strict=True)
        )
        print(f"{len(group['seeds'])} seeds of one recipe: {members}")
        spreads = group["spread"]
        for key, label, unit in (("ex", "EX", "%"), ("gain", "gain", "points")):
            print(f"  {label:<4} {spread_text(spreads[key], unit)}")
        print(f"  {text(group)}")


def text(found: Mapping) -> str:
    """The sentences of a conclusion that stands among other figures."""
    return Conclusion(found["verdict"], found["claim"], found["limits"]).text


def left_out(comparison: Mapping) -> str:
    """What a reader has to know about the questions compared."""
    notes = []
    if comparison["left_out"]:
        notes.append(f"{comparison['left_out']} left out, without a verdict in both")
    if not comparison["same_databases"]:
        notes.append("filled differently for the two")
    return "".join(f"; {note}" for note in notes)


def spread_text(spread: Mapping[str, float], unit: str) -> str:
    """Mean and spread over seeds."""
    mean, sd, least, most = (100 * spread[key] for key in ("mean", "sd", "min", "max"))
    return f"mean {mean:.1f} {unit}, standard deviation {sd:.1f} points, {least:.1f} to {most:.1f} {unit}"
