"""Say what gain an evaluation can detect, or how many questions a gain takes.

python -m text2sql power                                            # of the questions selected
python -m text2sql power --questions 128 --databases 18 --flips 0.11
python -m text2sql power --gain 0.05 --databases 40 --between 0.1

Detected means: in four runs of five the 95 % interval leaves out 0. docs/statistics.md has the formulas.
"""

import argparse
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.dataset.clusters import databases_of
from text2sql.dataset.parts import judged_sizes
from text2sql.dataset.rows import read_rows
from text2sql.scoring.stats import FEWEST, FLIPS, databases_needed, least_gain, questions_needed

SELECTED, SELECTION = Path("data/selected/eval.parquet"), Path("data/selection.json")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--questions", type=int, metavar="N", help=f"how many, spread evenly (default: those of {SELECTED})"
    )
    parser.add_argument("--databases", type=int, metavar="N", help="that the questions are about")
    parser.add_argument(
        "--flips",
        type=float,
        default=FLIPS,
        metavar="SHARE",
        help="of questions that one arm answers right and the other wrong (default: %(default)s; "
        "0.1 for two similar recipes, the gain or more for a large one)",
    )
    parser.add_argument(
        "--between",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="standard deviation of the gain between databases (default: %(default)s, the same in all)",
    )
    parser.add_argument("--gain", type=float, metavar="SHARE", help="print how many questions detect this gain instead")


def run(args: argparse.Namespace) -> int:
    if not 0 < args.flips <= 1 or not 0 <= args.between <= 1:
        raise UserError("power: --flips and --between are shares, such as 0.2 for 20 %; flips above 0")
    for name, value in (("questions", args.questions), ("databases", args.databases)):
        if value is not None and value < 1:
            raise UserError(f"power: --{name} {value} is not at least 1")
    print(least(args) if args.gain is None else needed(args))
    return 0


def least(args: argparse.Namespace) -> str:
    """The least gains that the questions can be expected to detect."""
    sizes = database_sizes(args.questions, args.databases)
    found = least_gain(sizes, args.flips, args.between)
    lines = [
        f"{counted(sum(sizes), 'question')} about {counted(len(sizes), 'database')}; {assumptions(args)}",
        f"least gain on {'this database' if len(sizes) == 1 else 'these databases'}: {100 * found.these:.1f} points",
    ]
    if found.alike is not None:
        lines.append(f"least gain on databases like these: {100 * found.alike:.1f} points")
    if len(sizes) < FEWEST:
        lines.append(f"nothing is concluded about other databases below {FEWEST} databases")
    return "\n".join(lines)


def needed(args: argparse.Namespace) -> str:
    """How many questions detect the gain, or why none do. Raises UserError where the gain cannot be."""
    if args.questions is not None:
        raise UserError("power: --gain asks for the number of questions; leave out --questions")
    if not 0 < args.gain <= args.flips:
        raise UserError(
            f"power: a gain of {args.gain:g} takes --flips of {args.gain:g} or more, for each gain is a flip"
        )
    databases = args.databases or len(database_sizes(None, None))
    about = f"a gain of {100 * args.gain:g} points on {counted(databases, 'database')}"
    kind = "databases like these" if databases >= FEWEST else "these databases only"
    count = questions_needed(args.gain, args.flips, databases, args.between)
    if count is None:
        enough = databases_needed(args.gain, args.between)
        return (
            f"{about}: no number of questions detects it; {assumptions(args)}\n"
            f"at least {counted(enough, 'database')} are needed, whatever the number of questions"
        )
    return f"{about}: {counted(count, 'question')}, for a conclusion about {kind}; {assumptions(args)}"


def database_sizes(questions: int | None, databases: int | None) -> list[int]:
    """Questions of each database: as given, spread evenly, or those of the selected table's test part. Raises
    UserError."""
    if questions is None:
        if databases is not None:
            raise UserError("power: --databases says how --questions are spread; give both, or --gain")
        if not SELECTED.exists():
            raise UserError(f"power: no {SELECTED} here; run `dvc repro select`, or give --questions and --databases")
        rows = read_rows(SELECTED)
        return sorted(judged_sizes(rows, databases_of(rows), read_json(SELECTION)))
    databases = 1 if databases is None else databases
    if databases > questions:
        raise UserError(f"power: {questions} questions cannot be about {databases} databases")
    return [questions // databases + (place < questions % databases) for place in range(databases)]


def assumptions(args: argparse.Namespace) -> str:
    """What the figures assume."""
    between = f"{100 * args.between:g} points" if args.between else "none"
    return f"flips {100 * args.flips:g} %, spread of the gain between databases: {between}"


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
