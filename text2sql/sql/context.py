"""What of a script is schema, and what is rows: the one answer for validation, prompts, leaks, filling and scoring.

Rows come by statements that begin with INSERT, REPLACE or COPY … FROM, or with WITH and insert behind it. What stands
in a comment, a literal, a trigger or a routine inserts nothing when the script runs. All other statements are schema.
"""

import re
from collections.abc import Iterator

from text2sql.sql.tokens import statement_pattern, tokens

# White space, comments and a MySQL dump's change of delimiter, then the first word of a statement.
_FIRST_WORD = re.compile(
    r"(?:[\s\ufeff]++|--[^\n]*+|/\*(?>.*?\*/)|(?i:delimiter)\s++\S++(?=\s))*+(?P<word>[^\W\d]\w*+)?", re.DOTALL
)
_ROUTINE = re.compile(
    r"create\s+(?:or\s+replace\s+|temp(?:orary)?\s+|constraint\s+|definer\s*=\s*\S+\s+)*"
    r"(?:trigger|procedure|function|event)\b",
    re.IGNORECASE,
)
_QUOTED_BODY = re.compile(r"(?<!\w)\$\w*\$")
_COPY_FROM = re.compile(r"copy\s+(?!\().*?\bfrom\b(?P<stdin>\s+stdin\b)?", re.IGNORECASE | re.DOTALL)
_END_OF_DATA = re.compile(r"^\\\.[^\S\n]*$", re.MULTILINE)


def _statements(script: str, dialect: str | None) -> Iterator[tuple[int, int] | None]:
    """The place of each statement of a script, from its first word up to its semicolon; None for one that brings rows.

    A trigger or routine with its body is one statement, and so is COPY … FROM stdin with its lines of data. Raises
    ValueError at an unpaired quote.
    """
    match_at = statement_pattern(dialect).match
    end = -1
    while end < len(script):
        first = _FIRST_WORD.match(script, end + 1)
        assert first is not None  # both patterns match the empty text too
        word = (first["word"] or "").lower()
        if word in ("insert", "replace"):
            yield None  # before its values are read: who asks only whether there are rows has the answer
        statement = match_at(script, end + 1)
        assert statement is not None
        if statement["open"] is not None:
            raise ValueError("unpaired quote")
        start, end = first.end() - len(word), statement.end()
        if word == "create" and _ROUTINE.match(script, start, end) and not _QUOTED_BODY.search(script, start, end):
            end = _end_of_body(script, start, end, dialect)
        elif word == "with" and _inserts(script, start, end, dialect):
            yield None
            continue
        elif word == "copy" and (copy := _COPY_FROM.match(script, start, end)):
            data = _END_OF_DATA.search(script, end) if copy["stdin"] else None
            end = data.end() if data else len(script) if copy["stdin"] else end
            yield None
            continue
        if word not in ("insert", "replace") and start < end:
            yield start, end


def _words(script: str, start: int, end: int, dialect: str | None) -> list[str]:
    return [token.text.lower() for token in tokens(script, dialect, start, end) if token.kind == "word"]


def _end_of_body(script: str, start: int, end: int, dialect: str | None) -> int:
    """Where a trigger or routine ends: behind the END of its outermost BEGIN, if it has one."""
    depth = _words(script, start, end, dialect).count("begin")
    while depth > 0 and end < len(script):
        start = end + 1
        statement = statement_pattern(dialect).match(script, start)
        end = statement.end() if statement else end
        words = _words(script, start, end, dialect)
        closes = words[:1] == ["end"] and not {"if", "case", "loop", "repeat", "while"} & set(words[1:2])
        depth += words.count("begin") - closes
    return end


def _inserts(script: str, start: int, end: int, dialect: str | None) -> bool:
    """Whether INSERT INTO, REPLACE INTO, INSERT OR … INTO stands anywhere in a statement."""
    words = _words(script, start, end, dialect)
    return any(word in ("insert", "replace") and "into" in words[at + 1 : at + 4] for at, word in enumerate(words))


def _trimmed(text: str, dialect: str | None) -> str:
    """A statement without the white space and comments behind it."""
    if "--" in text or "/*" in text:
        text = text[: max(token.end for token in tokens(text, dialect) if token.kind not in ("space", "comment"))]
    return text.rstrip()


def schema_of(context: str, dialect: str | None = None) -> str:
    """The statements of a script that bring no rows, each as written, one after another.

    `dialect` (a sqlglot name) decides whether backslashes escape quotes. A script with an unpaired quote is returned
    whole: a prompt then shows more than needed, never less.
    """
    try:
        found = statements(context, dialect)
    except ValueError:
        return context
    return ";\n".join(found) + ";" if found else ""


def statements(context: str, dialect: str | None = None) -> list[str]:
    """A script's statements that bring no rows, each without its semicolon. Raises ValueError at an unpaired quote."""
    return [_trimmed(context[place[0] : place[1]], dialect) for place in _statements(context, dialect) if place]


def brings_rows(context: str, dialect: str | None = None) -> bool:
    """Whether a script inserts rows, and so is a database to score on as it is. An unpaired quote ends the search."""
    text = context.upper()  # most scripts without rows hold none of these words: contexts come by the million
    if "INSERT" not in text and "REPLACE" not in text and "COPY" not in text:
        return False
    try:
        return None in _statements(context, dialect)
    except ValueError:
        return False
