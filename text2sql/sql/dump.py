"""What stands in a dump beside plain SQL: batches, meta-commands, conditional comments, COPY's data."""

import re
from typing import NamedTuple

from text2sql.sql.tokens import tokens

_GO = re.compile(r"^[^\S\n]*GO(?:[^\S\n]+\d+)?[^\S\n]*;?[^\S\n]*(?:--[^\n]*)?$", re.IGNORECASE | re.MULTILINE)
_ROUTINE = re.compile(r"\s*(?:create|alter)\s+(?:or\s+alter\s+)?(?:proc|procedure|trigger|function)\b", re.IGNORECASE)
# Words that begin a statement of SQL Server where they begin a line, unless the statement before goes on with them
_BEGINS = frozenset("create insert alter drop set use print exec execute declare truncate update delete".split())
_GOES_ON = {"alter": {"drop", "alter", "set"}, "update": {"set"}, "merge": {"insert", "update", "delete", "set"}}
_META_COMMAND = re.compile(r"^\\(?:restrict|unrestrict|connect|c|encoding|set)\b[^\n]*$", re.MULTILINE)
_ROUTINES = re.compile(
    r"^DELIMITER\s+(?!;\s*$)\S+\s*$.*?(?:^DELIMITER\s+;\s*$|\Z)", re.IGNORECASE | re.MULTILINE | re.DOTALL
)
_CONDITIONAL = re.compile(r"/\*!\d{5,6}\s(.*?)\*/", re.DOTALL)
_COPY = re.compile(
    r"^COPY\s+(?P<table>[^\s(]+)\s*(?:\((?P<columns>[^)]*)\))?\s*FROM\s+stdin\b[^;\n]*;[^\S\n]*\n"
    r"(?P<lines>.*?)^\\\.[^\S\n]*$",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\s.,"]+)')
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Copied(NamedTuple):
    """The rows of one COPY … FROM stdin; a cell is its text, or None for NULL."""

    table: str  # without its schema
    columns: list[str]  # empty: all of the table's, in its order
    rows: list[list[str | None]]


def plain_sql(script: str, dialect: str) -> str:
    """A script with what only its own client reads made SQL, or gone.

    tsql: a line GO ends a statement, and so does the first word of another at a line's start; a batch that makes a
    procedure, trigger or function goes. mysql: what a conditional comment `/*!40101 … */` holds is part of the script,
    as for the server; triggers and routines between changes of the delimiter go. postgres: psql's backslash lines go.
    """
    match dialect:
        case "tsql":
            return ";\n".join(_with_semicolons(batch) for batch in _GO.split(script) if not _ROUTINE.match(batch))
        case "mysql":
            return _CONDITIONAL.sub(r"\1", without_routines(script))
        case "postgres":
            return _META_COMMAND.sub("", script)
    return script


def _with_semicolons(batch: str) -> str:
    """A batch of SQL Server, whose statements need no semicolon between them, with one before each."""
    pieces, start, depth, first, fresh = [], 0, 0, "", True
    for token in tokens(batch):
        if token.kind in ("space", "comment"):
            fresh = fresh or "\n" in token.text
            continue
        word = token.text.lower() if token.kind == "word" else ""
        if word in _BEGINS and fresh and depth == 0 and first and word not in _GOES_ON.get(first, ()):
            pieces.append(batch[start : token.start])
            start, first = token.start, ""
        depth += (token.text == "(") - (token.text == ")")
        first, fresh = "" if token.text == ";" else first or word or " ", False
    return ";".join([*pieces, batch[start:]])


def without_routines(script: str) -> str:
    """A MySQL script without what stands between changes of the delimiter, which its client reads and no server."""
    return _ROUTINES.sub("", script)


def without_copies(script: str) -> tuple[str, list[Copied]]:
    """A PostgreSQL script without its COPY … FROM stdin, and their rows (postgresql.org/docs, COPY, text format)."""
    copies = [
        Copied(
            names_in(found["table"])[-1],
            names_in(found["columns"] or ""),
            [[cell_of(cell) for cell in line.split("\t")] for line in found["lines"].split("\n")[:-1]],
        )
        for found in _COPY.finditer(script)
    ]
    return _COPY.sub("", script) if copies else script, copies


def names_in(text: str) -> list[str]:
    """The names in a dotted name or a list of columns, without their quotes."""
    return [quoted.replace('""', '"') or bare for quoted, bare in _NAME.findall(text)]


def cell_of(text: str) -> str | None:
    return None if text == "\\N" else _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match) -> str:
    mark = match[1]
    if mark[0] == "x" and len(mark) > 1:
        return chr(int(mark[1:], 16))
    return chr(int(mark, 8)) if mark[0] in "01234567" else _ESCAPES.get(mark, mark)
