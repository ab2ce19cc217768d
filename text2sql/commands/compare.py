"""Compare the fine-tuned models of two or more experiments or git revisions, question by question.

python -m text2sql compare main slower
python -m text2sql compare seed-1 seed-2 seed-3

Each run is compared with the first one: gain with its interval, McNemar's test, ids won and lost, and in what the two
differ. Runs that differ in nothing but `seed` are summed up as seeds of one recipe. Everything is read from git; the
questions' texts are shown where the data are in the local DVC cache.
"""

import argparse
import json
from collections.abc import Mapping, Sequence

from text2sql.base.text import printable
from text2sql.commands.experiments import shown
from text2sql.commands.show import questions
from text2sql.experiments.differences import MACHINE, VERSIONS, listed
from text2sql.experiments.paired import paired, verdict
from text2sql.experiments.runs import Run, changed_params, named_runs, require_figures
from text2sql.experiments.seeds import seed_groups, spread
from text2sql.experiments.texts import question_texts
from text2sql.scoring.stats import caution

SHOWN = 20  # ids of each list; --json has all


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="what the others are compared with: experiment or git revision")
    parser.add_argument("others", nargs="+", metavar="B", help="experiments or git revisions")
    parser.add_argument("--common", action="store_true", help="where the questions differ, compare those of both")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    runs = [require_figures(run) for run in named_runs(args.first, *args.others)]
    comparisons = [paired(runs[0], other, common=args.common) for other in runs[1:]]
    seeds = [
        {
            "runs": [run.name for run in group],
            "seeds": [run.params["seed"] for run in group],
            **{key: spread([run.summary[key] for run in group]) for key in ("ex.ft", "ex.gain")},
        }
        for group in seed_groups(runs)
    ]
    if args.json:
        listed = [{"name": run.name, "revision": run.revision, "summary": run.summary} for run in runs]
        print(json.dumps({"runs": listed, "comparisons": comparisons, "seeds": seeds}, indent=2))
    else:
        show(runs, comparisons, seeds)
    return 0


def show(runs: Sequence[Run], comparisons: Sequence[Mapping], seeds: Sequence[Mapping]) -> None:
    """Prints each comparison with the first run, and the seeds."""
    for run, comparison in zip(runs[1:], comparisons, strict=True):
        before, after = (f"{100 * comparison[key]:.1f} %" for key in ("ex_before", "ex_after"))
        print(f"{printable(runs[0].name)} → {printable(run.name)}: EX {before} → {after}, {verdict(comparison)}")
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
    for group in seeds:
        members = ", ".join(
            f"{printable(name)} ({seed})" for name, seed in zip(group["runs"], group["seeds"], strict=True)
        )
        print(f"{len(group['seeds'])} seeds of one recipe: {members}")
        for key, label, unit in (("ex.ft", "EX", "%"), ("ex.gain", "gain", "points")):
            print(f"  {label:<4} {spread_text(group[key], unit)}")


def left_out(comparison: Mapping) -> str:
    """What a reader has to know about the questions compared."""
    notes = []
    if comparison["left_out"]:
        notes.append(f"{comparison['left_out']} left out, without a verdict in both")
    if not comparison["same_databases"]:
        notes.append("filled differently for the two")
    if note := caution(comparison["databases"]):
        notes.append(note)
    return "".join(f"; {note}" for note in notes)


def spread_text(spread: Mapping[str, float], unit: str) -> str:
    """Mean and spread over seeds."""
    mean, sd, least, most = (100 * spread[key] for key in ("mean", "sd", "min", "max"))
    return f"mean {mean:.1f} {unit}, standard deviation {sd:.1f} points, {least:.1f} to {most:.1f} {unit}"
