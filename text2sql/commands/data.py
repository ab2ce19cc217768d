"""Show what happened to the data: the funnel from rows read to rows selected, rejects and leaks.

python -m text2sql data
python -m text2sql data --rejects syntax
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.dataset.account import LABELS, STEPS, account, find_rejects


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


def show_account(console: Console, folder: Path) -> None:
    """Prints what became of the rows, table by table."""
    accounted = account(folder)
    for title, part in (("Read and validated", "read"), (f"Selected (split: {accounted['split']})", "selected")):
        splits = accounted[part]
        steps = list(dict.fromkeys(step for counts in splits.values() for step in counts))
        rows = [[step, *(counts.get(step) for counts in splits.values())] for step in steps]
        console.print(table_of(title, ["rows", *splits], rows))
    rejects = [[rule, name, n] for rule, classes in accounted["rejects"].items() for name, n in classes.items()]
    console.print(table_of("Rejects", ["rule", "class", "rows"], rejects))
    for label in LABELS:
        rows = [[value, *(counts[step] for step in STEPS)] for value, counts in accounted[label].items()]
        console.print(table_of(f"By {label}", [label, *STEPS], rows))
    for title in ("leaks", "databases"):
        console.print(table_of(title.capitalize(), list(accounted[title]), [list(accounted[title].values())]))
    repeats = [[split, *kinds.values()] for split, kinds in accounted["duplicates"].items()]
    console.print(table_of("Repeats within a split", ["split", "question", "sql"], repeats))
    for note in accounted["notes"]:
        console.print(f"note: {note}", markup=False)


def table_of(title: str, header: list[str], rows: list[list]) -> Table:
    """A table of counts; text stands left in the first column and in that of classes."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number == 0 or name == "class" else "right")
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
