"""Show what happened to the data: the funnel from rows read to rows selected, rejects and leaks.

python -m text2sql data
python -m text2sql data --rejects syntax
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.dataset.account import LABELS, account, find_rejects
from text2sql.dataset.verdict import RULES


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rejects", metavar="REASON", help="show examples of one reason: a rule or a class of error")
    parser.add_argument("--limit", type=int, default=5, help="how many examples (default: 5)")
    parser.add_argument("--folder", type=Path, default=Path("data"), help="the data stages' outputs (default: data)")


def run(args: argparse.Namespace) -> int:
    console = Console()
    if args.rejects:
        show_rejects(console, args.folder, args.rejects, args.limit)
    else:
        show_account(console, args.folder)
    return 0


# Of each label, what fits on 80 columns: the rows left after all rules are `valid`.
SHOWN = {"read": "read", "valid": RULES[-1], "leaked": "leaked", "train": "train", "eval": "eval"}


def show_account(console: Console, folder: Path) -> None:
    """Prints what became of the rows, table by table."""
    accounted = account(folder)
    console.print(table_of("Read and validated", ["rows", "train", "test"], rows_read(accounted)))
    rejects = [[rule, name, n] for rule, classes in accounted["rejects"].items() for name, n in classes.items()]
    console.print(table_of("Rejects", ["rule", "class", "rows"], rejects) if rejects else "No rejects\n")
    selected = accounted["selected"]
    steps = list(dict.fromkeys(step for counts in selected.values() for step in counts))
    rows = [[step, *(counts.get(step) for counts in selected.values())] for step in steps]
    console.print(table_of(f"Selected (split: {accounted['split']})", ["rows", *selected], rows))
    for label in LABELS:
        rows = [[value, *(counts[step] for step in SHOWN.values())] for value, counts in accounted[label].items()]
        console.print(table_of(f"By {label}", [label, *SHOWN], rows))
    leaks = [[kind, rows] for kind, rows in accounted["leaks"].items()]
    console.print(table_of("Training rows removed as leaks", ["kind", "rows"], leaks))
    console.print(table_of("Databases", list(accounted["databases"]), [list(accounted["databases"].values())]))
    repeats = [[split, *kinds.values()] for split, kinds in accounted["duplicates"].items()]
    console.print(table_of("Repeats within a split", ["split", "question", "sql"], repeats))
    for note in accounted["notes"]:
        console.print(f"note: {note}", markup=False)


def rows_read(accounted: Mapping) -> list[list]:
    """The rows of the first table: from what the source holds to what passed every rule."""
    source, read = accounted["source"], accounted["read"]
    left_out = {split: source[split]["left_out"] for split in read}
    rows = []
    if any(left_out.values()):
        rows += [["in the source", *(read[split]["read"] + sum(left_out[split].values()) for split in read)]]
        reasons = list(dict.fromkeys(reason for split in left_out.values() for reason in split))
        rows += [[f"left out: {reason}", *(left_out[split].get(reason) for split in read)] for reason in reasons]
    rows += [[step, *(read[split][step] for split in read)] for step in ("read", *RULES)]
    changed = list(dict.fromkeys(reason for split in read for reason in source[split]["changed"]))
    rows += [[f"of these: {reason}", *(source[split]["changed"].get(reason) for split in read)] for reason in changed]
    rows += [[f"gold error kept: {name}", None, n] for name, n in accounted["gold_errors"].items()]
    if any(accounted["golds"].values()):
        for step in ("read", "kept"):
            rows += [[f"golds of rows with several, {step}", *(accounted["golds"][split].get(step) for split in read)]]
    return rows


def table_of(title: str, header: list[str], rows: list[list]) -> Table:
    """A table of counts; text stands left in the first column and in that of classes."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(header):
        left = number == 0 or name == "class"
        table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else escape(cell or "") for cell in row))
    return table


def show_rejects(console: Console, folder: Path, reason: str, limit: int) -> None:
    """Prints examples of one reason. Raises UserError when no reject has it."""
    total, rows = find_rejects(folder, reason, limit)
    if not rows:
        funnel = read_json(folder / "funnel.json")
        reasons = {
            name for split in funnel.values() for rule, classes in split["rejects"].items() for name in (rule, *classes)
        }
        raise UserError(f"no reject has the reason {reason!r}; there are {', '.join(sorted(reasons)) or 'none'}")
    for row in rows:
        console.rule(f"{row['split']} {row['id']} · {row['rule']} · {row['error_class']}")
        for name in ("message", "question", "context", "answer"):
            console.print(f"{name}: {row[name]}", markup=False, highlight=False)
    console.rule(f"{len(rows)} of {total}")
