"""Fail where a change makes the model worse: exit code 1 and one line.

python -m text2sql gate --min-gain-lo 0 --max-drop 0.02 main HEAD

Reads git alone. A run without figures, or with those of other parameters, does not pass.
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="experiment or git revision before the change")
    parser.add_argument("head", metavar="HEAD", help="experiment or git revision after it")
    parser.add_argument(
        "--min-gain-lo", type=float, metavar="SHARE", help="least lower bound of HEAD's gain over its base model"
    )
    parser.add_argument(
        "--max-drop", type=float, metavar="SHARE", help="most that EX after fine-tuning may fall from BASE to HEAD"
    )


def run(args: argparse.Namespace) -> int:
    from text2sql.base.errors import UserError
    from text2sql.base.text import printable
    from text2sql.experiments.paired import EVALUATION, load_comparable
    from text2sql.experiments.runs import checksum, load_run, require_figures

    if args.min_gain_lo is None and args.max_drop is None:
        raise UserError("gate: nothing to hold to; give --min-gain-lo, --max-drop or both")
    head = require_figures(load_run(args.head))
    passed, failed = [], []
    if args.min_gain_lo is not None:
        lo = head.summary["ex.lo"]
        said = f"gain's lower bound {lo:+.4f}, least {args.min_gain_lo:+.4f}"
        (passed if lo >= args.min_gain_lo else failed).append(said)
    if args.max_drop is not None:
        base = require_figures(load_run(args.base))
        load_comparable(base, head)
        if checksum(base, EVALUATION) != checksum(head, EVALUATION):
            raise UserError(
                f"gate: {printable(args.base)} and {printable(args.head)} answered different evaluation questions; "
                "--max-drop cannot compare them"
            )
        before, after = base.summary["ex.ft"], head.summary["ex.ft"]
        said = f"EX after fine-tuning {before:.4f} → {after:.4f}, most drop {args.max_drop:.4f}"
        drop = round(before - after, 6)  # the digits that metrics hold
        (passed if drop <= args.max_drop else failed).append(said)
    if failed:
        raise UserError(f"gate: {'; '.join(failed)}")
    print(f"gate passed: {'; '.join(passed)}")
    return 0
