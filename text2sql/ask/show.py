"""Replies: for people the SQL and a table, for programs JSON or CSV."""

import csv
import sys
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from text2sql.ask.cells import as_json, as_text
from text2sql.ask.session import Reply
from text2sql.base.text import printable, printable_json
from text2sql.engines.sqlite import Answer, Failure

READABLE = 16  # characters that a column should have before the table is turned on its side
CELL = 1_000  # characters of a cell that the table shows
ROWS = 10_000  # of a result that are fetched, and compared where there are several candidates


def say(line: str) -> None:
    """A remark, on stderr, beside what is asked for."""
    print(printable(line), file=sys.stderr)


def show(reply: Reply, limit: int) -> None:
    """Prints a reply for people."""
    console = Console(highlight=False)
    console.print(printable(reply.sql, keep="\n\t"), markup=False, soft_wrap=True)
    if isinstance(reply.answer, Answer):
        cut = print_table(console, reply.answer, limit)
        console.file.flush()
        if cut:
            say(f"{cut:,} cells are cut to {CELL:,} characters; --json or --csv shows them whole")
        remark(reply, limit)


def remark(reply: Reply, limit: int) -> None:
    """What the reader of an answer should know about it."""
    answer = reply.answer
    assert isinstance(answer, Answer)
    if answer.more or len(answer.rows) > limit:
        count = f"more than {len(answer.rows):,}" if answer.more else f"{len(answer.rows):,}"
        hint = "; --limit shows more" if limit < len(answer.rows) else ""
        say(f"the first {min(limit, len(answer.rows)):,} of {count} rows{hint}")
    if reply.samples > 1:
        agreed = f"{reply.agreed} of {reply.samples} candidates have this result"
        say(agreed if reply.agreed else f"none of {reply.samples} candidates finds anything")
    if reply.unsure:
        say(f"unsure: {reply.unsure}")


def print_table(console: Console, answer: Answer, limit: int) -> int:
    """The rows as a table; one field a line where the columns would be too narrow to read. How many cells were cut."""
    names = [printable(name) for name in answer.names]
    whole = [[cell_text(cell) for cell in row] for row in answer.rows[:limit]]
    rows = [[cell if len(cell) <= CELL else f"{cell[: CELL - 1]}…" for cell in row] for row in whole]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    if sum(min(width, READABLE) + 3 for width in widths) + 1 > console.width:
        table = Table(show_header=False)
        table.add_column(overflow="fold", max_width=max(console.width // 3, 1))
        table.add_column(overflow="fold")
        for row in rows:
            for name, cell in zip(names, row, strict=True):
                table.add_row(Text(name), Text(cell))
            table.add_section()
    else:
        table = Table()
        for place, name in enumerate(names):
            numeric = all(isinstance(row[place], int | float | Decimal | None) for row in answer.rows[:limit])
            table.add_column(Text(name), overflow="fold", justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*map(Text, row))
    console.print(table)
    if not rows:
        console.print("no rows")
    return sum(len(cell) > CELL for row in whole for cell in row)


def cell_text(cell: Any) -> str:
    """A cell as text that does nothing but show."""
    return "NULL" if cell is None else printable(as_text(cell))


def print_json(reply: Reply, limit: int) -> None:
    """Prints a reply for programs: one line of JSON."""
    value: dict[str, Any] = {"question": reply.question, "sql": reply.sql, "cut": reply.cut}
    if reply.tried:
        value |= {"tried": [{"sql": sql, "error": error} for sql, error in reply.tried]}
    if isinstance(reply.answer, Failure):
        value |= {"error": reply.answer.error, "outcome": reply.answer.outcome}
    elif reply.answer is not None:
        rows = [[as_json(cell) for cell in row] for row in reply.answer.rows[:limit]]
        more = reply.answer.more or len(reply.answer.rows) > limit
        value |= {"columns": list(reply.answer.names), "rows": rows, "more": more}
        if reply.samples > 1:
            value |= {"agreed": reply.agreed, "samples": reply.samples, "unsure": reply.unsure is not None}
    print(printable_json(value), flush=True)


def print_csv(reply: Reply, limit: int) -> None:
    """Prints a reply's rows as CSV below their columns' names, NULL as nothing; the SQL goes to stderr."""
    say(reply.sql)
    if not isinstance(reply.answer, Answer):
        return
    seen = (lambda text: printable(text, keep="\n")) if sys.stdout.isatty() else str
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(seen, reply.answer.names))
    writer.writerows([seen(as_text(cell)) for cell in row] for row in reply.answer.rows[:limit])
    sys.stdout.flush()
    remark(reply, limit)
