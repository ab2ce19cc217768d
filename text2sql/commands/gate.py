"""Fail where a change makes the model worse: exit code 1 and one line.

python -m text2sql gate --min-gain-lo 0 --max-drop 0.02 main HEAD

Reads git alone. A run without figures, or with those of other parameters, code or inputs, does not pass; what could not
be checked is said.
"""

import argparse

from text2sql.base.errors import UserError
from text2sql.base.text import printable
from text2sql.experiments.differences import cause, differences, elsewhere, unrecorded
from text2sql.experiments.paired import (
    arm_details,
    conclude_between,
    estimate_between,
    figure,
    interval_about,
    load_comparable,
)
from text2sql.experiments.runs import DONE, Run, named_runs, require_figures, same_questions, unchecked


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="experiment or git revision before the change")
    parser.add_argument("head", metavar="HEAD", help="experiment or git revision after it")
    parser.add_argument(
        "--min-gain-lo",
        type=float,
        metavar="SHARE",
        help="least lower bound of HEAD's gain over its best untrained",
    )
    parser.add_argument(
        "--max-drop", type=float, metavar="SHARE", help="most that the trained arm's EX may fall from BASE to HEAD"
    )


def run(args: argparse.Namespace) -> int:
    if args.min_gain_lo is None and args.max_drop is None:
        raise UserError("gate: no limit to check; give --min-gain-lo, --max-drop or both")
    base, head = named_runs(args.base, args.head)
    require_figures(head)
    for arm in head.arms:
        arm_details(head, arm)  # raises where the figures are not of one run
    passed: list[str] = []
    failed: list[str] = []
    if args.min_gain_lo is not None:
        lo = figure(head, "ex.lo")
        about = interval_about(head)
        said = f"gain's lower bound {lo:+.4f}{f' on {about}' if about else ''}, least {args.min_gain_lo:+.4f}"
        (passed if lo >= args.min_gain_lo else failed).append(said)
    if args.max_drop is not None:
        require_figures(base)
        load_comparable(base, head)
        if not same_questions(base, head):
            raise UserError(
                f"gate: {printable(args.base)} and {printable(args.head)} answered different evaluation questions; "
                "--max-drop cannot compare them"
            )
        before, after = (figure(run, f"ex.{run.arm}") for run in (base, head))
        said = f"EX after fine-tuning {before:.4f} → {after:.4f}, most drop {args.max_drop:.4f}"
        if before != after:
            names = printable(args.base), printable(args.head)
            conclusion = conclude_between([base], [head], estimate_between([base], [head]), names=names)
            said += f" ({conclusion.claim.rstrip('.')})"
        drop = round(before - after, 6)  # the digits that metrics hold
        (passed if drop <= args.max_drop else failed).append(said)
    open_points = not_checked(base, head, gain=args.min_gain_lo is not None, drop=args.max_drop is not None)
    notes = "".join(f"; not checked: {point}" for point in open_points)
    if failed:
        raise UserError(f"gate: {'; '.join(failed)}{notes}")
    print(f"gate passed: {'; '.join(passed)}{notes}")
    return 0


def not_checked(base: Run, head: Run, *, gain: bool, drop: bool) -> list[str]:
    """What the gate cannot tell, or was not asked for."""
    points = []
    if not gain:
        points.append("the gain over the best untrained arm (no --min-gain-lo)")
    if not drop:
        points.append("EX against the run before (no --max-drop)")
    if folders := unchecked(head):
        points.append(f"whether {', '.join(map(printable, folders))} changed since the run (git holds a part of it)")
    if base.state != DONE:
        return points
    found = differences(base, head)
    if base.ex != head.ex and (why := cause(base, head, found)):
        points.append(f"the model by itself ({why})")
    if there := elsewhere(found):
        points.append(f"the two on one machine ({there})")
    if nameless := unrecorded(base, head):
        points.append(f"on which machine {' and '.join(map(printable, nameless))} ran (not recorded)")
    return points
