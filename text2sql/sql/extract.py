"""Finds the SQL in what a model wrote: cut out, never rewritten.

Of what stands behind a model's reasoning: the first fenced block that holds a statement, else the text from the first
line that begins one; of that the first statement. Where it ends is decided by SQLite's own rules for literals, names
and comments. The same extractor serves every arm, and whether it had to cut anything is a result of its own
(`format_valid`).

Any text may come, so the time must grow no faster than its length: repetitions are possessive (`*+`) where giving back
could not help, none crosses lines that are searched for their own sake, and no part of the text is read once for every
line, fence or quote before it.
"""

import re
import sqlite3
from dataclasses import dataclass
from functools import cache
from itertools import islice

from text2sql.sql import reasoning
from text2sql.sql.tokens import Token, tokens

_BEGINS = r"""(?:
    select\b(?!\s+(?:the|this|that|these|those|only|any|some|one|both|your|our|from|rows?|columns?|records?|data
                   |all\s+(?:the|of|rows?|columns?|records?))\b(?!\s*(?:[,.(=<>]|as\b|from\b)))
  | with\s+(?:recursive\s+)?[^\s(]+\s*(?:\(|as\b)
  | values\s*\(
  | explain\s+(?:query\s+plan\s+)?(?:select|with|values|insert|update|delete|replace)\b
  | insert\s+(?:or\s+\w+\s+)?into\b | replace\s+into\b | update\s+(?:or\s+\w+\s+)?\S+\s+set\b | delete\s+from\b
  | create\s+(?:(?:or\s+replace|temp|temporary|unique|virtual)\s+)*(?:table|view|index|trigger|database)\b
  | drop\s+(?:table|view|index|trigger|database|schema)\b | alter\s+(?:table|database)\b | truncate\s+table\b
  | attach\s+(?:database\s+)?['"] | detach\s+\S+\s*(?:;|$) | pragma\s+\w+ | vacuum\b | reindex\b | analyze\s*(?:;|$)
  | (?:begin|commit|rollback)\s*(?:(?:deferred|immediate|exclusive)\s*)?(?:transaction\s*)?(?:;|$)
  | savepoint\s+\w+\s*(?:;|$)
)"""
# White space and comments before a statement belong to it.
_SKIPPED = r"(?:\s++|\ufeff|--[^\n]*+(?:\n|\Z)|/\*(?>.*?\*/))*+"
_MARKER = r"(?:(?:my)?sql(?:ite)?>[ \t]*+|[-*•][ \t]++|\d++[.)][ \t]++|<[^<>\s]{1,30}>[ \t]*+)"  # prompt, list, tag
_LABEL_WORDS = "sql|query|statement|answer|output|response|solution|쿼리|답변?|정답|질의"
_LABEL = rf"(?:(?:a|[^\n:：]{{0,80}}?(?:{_LABEL_WORDS}))[*_` \t]*+[:：][*_ \t]*+)"
_AT_START = re.compile(rf"{_SKIPPED}\(*+\s*+{_BEGINS}", re.VERBOSE | re.IGNORECASE | re.DOTALL)
_AT_LINE = re.compile(
    rf"^\ufeff?+[ \t>]*+{_MARKER}*+{_LABEL}?(?P<tick>`?)(?P<sql>(?:\(++\s*+)?{_BEGINS})",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_AFTER_COLON = re.compile(rf"[:：][*_ \t]*+(?P<tick>`?)(?P<sql>{_BEGINS})", re.VERBOSE | re.IGNORECASE)
_INLINE = re.compile(rf"`(?P<sql>{_BEGINS}[^`]*+)`", re.VERBOSE | re.IGNORECASE)
_FENCE = re.compile(r"(?:```|~~~)[ \t]*(?P<tag>(?!(?:select|with|values)\b)[A-Za-z0-9_+-]*)", re.IGNORECASE)
_EMPTY_LINE = re.compile(r"\n[ \t\r]*+\n")
_FULL_STOP = re.compile(r"(?<=[\w)'\"])\.(?=\s|\Z)")
TRIES = 20  # how many fences are read token by token, colons looked behind, and cuts tried, in one text

# A line that begins with one of these goes on with the statement above it, as does any line after one of the others.
_CONTINUING = frozenset(
    re.findall(
        r"\w+",
        """
        from where group order having limit offset join left inner right full cross natural outer on using and or not
        union intersect except window as when then else end between in like glob is isnull notnull asc desc nulls
        collate escape over filter partition rows range groups select values case with exists
        """,
    )
)
_DEMANDING = _CONTINUING - {"end", "asc", "desc", "isnull", "notnull"} | {"distinct", "all", "by", "cast", "recursive"}


@dataclass(frozen=True)
class Extracted:
    """The statement, or why there is none to run: outcome is None, `no_sql` or `truncated`."""

    sql: str | None
    format_valid: bool
    outcome: str | None = None


def extract(text: str, truncated: bool = False, dialect: str | None = None) -> Extracted:
    """The first statement in a model's text.

    `truncated` says that generation stopped at the token limit: a statement that runs to the end of such a text is
    not taken for whole. Without it, one that breaks off inside a literal or a parenthesis, or that SQLite calls
    incomplete, counts as truncated too. `dialect` (a sqlglot name) decides whether backslashes escape quotes.
    """
    for first, last in reasoning.answers(text)[:TRIES]:
        answer = text[first:last]
        start, end = _locate(answer, dialect)
        if start is not None:
            break
    else:
        return Extracted(None, False, "truncated" if truncated else "no_sql")
    sql, ended, balanced = _first_statement(answer, start, end, dialect)
    ended = ended or last < len(text)
    if not ended and (truncated or not balanced or _syntax_error(sql) == "incomplete input"):
        return Extracted(sql, False, "truncated")
    return Extracted(sql, text.strip().removesuffix(";").rstrip() == sql)


def _locate(text: str, dialect: str | None) -> tuple[int | None, int]:
    """Where the statement begins, and the end of the text that it lies in."""
    fences = list(_FENCE.finditer(text))
    raw = _AT_START.match(text)
    if raw and (not fences or not fences[0]["tag"]):
        return 0, len(text)  # a bare fence after a statement closes one that the prompt opened
    position = 0
    for number, fence in enumerate(fences):
        if fence.start() < position:
            continue
        position = _closing_fence(text, fence, number < TRIES)
        block = text[fence.end() : position]
        if _AT_START.match(block):
            return fence.end(), len(text)
        if line := _AT_LINE.search(block):
            return fence.end() + line.start("sql"), len(text)
    if line := _AT_LINE.search(text):
        end = text.find("`", line.start("sql")) if line["tick"] else -1
        return line.start("sql"), len(text) if end < 0 else end
    if inline := _INLINE.search(text):
        return inline.start("sql"), inline.end("sql")
    return _behind_prose(text, dialect)


def _behind_prose(text: str, dialect: str | None) -> tuple[int | None, int]:
    """The first statement behind a colon in the middle of a line, up to the sentence's full stop.

    In lower case a verb may begin so (`do this: select a row`); it counts where SQLite's grammar takes what follows and
    it says from where.
    """
    for match in islice(_AFTER_COLON.finditer(text), TRIES):
        start = match.start("sql")
        stop = (re.compile("`") if match["tick"] else _FULL_STOP).search(text, start)
        end = len(text) if stop is None else stop.start()
        if match["sql"].split()[0].isupper():
            return start, end
        sql, _, _ = _first_statement(text, start, end, dialect)
        if re.search(r"\bfrom\b", sql) and _syntax_error(sql) in (None, "incomplete input"):
            return start, end
    return None, 0


def _closing_fence(text: str, fence: re.Match, careful: bool) -> int:
    """Where the block that `fence` opens ends: at the next fence, outside literals if `careful`, or with the text."""
    for token in tokens(text, start=fence.end()) if careful else ():
        if token.kind == "stop" and token.text == fence[0][:3]:
            return token.start
    closing = text.find(fence[0][:3], fence.end())
    return len(text) if closing < 0 else closing


def _first_statement(text: str, start: int, end: int, dialect: str | None) -> tuple[str, bool, bool]:
    """The statement at `start` without its semicolon; whether anything but the end of the text marks its end; whether
    all its quotes and parentheses are closed."""
    depth, begun, previous = 0, False, ""
    cuts: list[int] = []  # where prose seems to follow, if the text up to the end proves not to be SQL
    gap = ""  # since the previous token
    paragraph = False  # whether the last cut is behind an empty line: then no later line is of the statement
    finish, ended = end, end < len(text)
    for token in tokens(text, dialect, start, end):
        if token.kind in ("space", "comment"):
            gap += token.text if token.kind == "space" else "-"
            continue
        if token.kind == "stop" or (token.text == ";" and begun):
            finish, ended = token.start, True
            break
        begins_line = begun and depth == 0 and "\n" in gap
        if begins_line and not paragraph and len(cuts) < TRIES and not _goes_on(previous, token):
            cuts.append(token.start)
            paragraph = _EMPTY_LINE.search(gap) is not None
        if token.kind == "open":
            depth = 1
            break
        depth += (token.text == "(") - (token.text == ")")
        begun, previous, gap = begun or token.text != ";", token.text, ""
    if cuts and not _grammatical(text[start:finish]):
        longest = next((cut for cut in reversed(cuts) if _grammatical(text[start:cut])), cuts[0])
        finish, ended = longest, True
    return text[start:finish].strip(), ended, depth <= 0


def _goes_on(previous: str, token: Token) -> bool:
    """Whether a token at the beginning of a line goes on with the statement whose last token is `previous`."""
    if previous.lower() in _DEMANDING or (previous and not previous[-1].isalnum() and previous[-1] not in "_)'\"`]*"):
        return True
    if token.kind == "word":  # `Where` or `And` with a capital is how a sentence begins
        return token.text.lower() in _CONTINUING and (token.text.isupper() or token.text.islower())
    return token.kind == "operator" and token.text not in "#*-\\:!?[{@"


def _grammatical(sql: str) -> bool:
    return _syntax_error(sql) is None


def _syntax_error(sql: str) -> str | None:
    """SQLite's complaint about the form of a statement, whatever its tables; None where the form is right."""
    try:
        _parser().execute("EXPLAIN " + sql)
    except sqlite3.OperationalError as error:
        message = str(error)
        malformed = ("syntax error", "unrecognized token", "incomplete input", "stack overflow", "too large")
        return message if any(words in message for words in malformed) else None
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:  # not authorized, NUL, surrogates, two statements
        return None if "authorized" in str(error) else str(error)
    return None


@cache
def _parser() -> sqlite3.Connection:
    """An empty database on which statements are only explained, never run."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    return connection
