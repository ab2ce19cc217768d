"""Names and values as SQL text."""

import math
import re

Value = int | float | str | bytes | None

# Words that cannot stand as a bare name: no fallback in SQLite's grammar (sqlite.org/lang_keywords.html).
_RESERVED = frozenset(
    "add all alter and as autoincrement between case check collate commit constraint create default deferrable delete "
    "distinct drop else escape except exists foreign from group having in index insert intersect into is isnull join "
    "limit not nothing notnull null on or order primary references returning select set table then to transaction "
    "union unique update using values when where".split()
)
_PLAIN = re.compile(r"[^\W\d]\w*")


def quoted(name: str, mark: str = '"') -> str:
    """A name in quotes; `mark` is the standard's double quote, or a backtick.

    SQLite reads an unknown "name" as a string and hides the error; an unknown `name` it reports.
    """
    return mark + name.replace(mark, mark * 2) + mark


def spelled(name: str) -> str:
    """A name as a person writes it: bare where it is a plain word, else in double quotes."""
    return name if _PLAIN.fullmatch(name) and name.lower() not in _RESERVED else quoted(name)


def literal(value: Value) -> str:
    """A value as SQLite's SQL writes it.

    SQLite has no name for infinity, but reads 9e999 so; NaN it keeps as NULL; a script ends at a NUL character.
    """
    if value is None or value != value:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str):
        if "\0" in value:
            return f"CAST({literal(value.encode('utf-8', 'surrogatepass'))} AS TEXT)"
        return "'" + value.replace("'", "''") + "'"
    if math.isinf(value):
        return "9e999" if value > 0 else "-9e999"
    return repr(value)
