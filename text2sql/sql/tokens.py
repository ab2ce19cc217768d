"""The tokens of SQL, and where a statement ends."""

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

_LITERAL = "'(?:[^']|'')*+'"
_NAME = r'"(?:[^"]|"")*+" | `(?!``)(?:[^`]|``)*+` | \[[^][\n]*+\]'
_COMMENT = r"--[^\n]* | /\*.*?(?:\*/|\Z)"
_TOKEN = rf"""
    (?P<literal>   {_LITERAL} )
  | (?P<name>      {_NAME} )
  | (?P<comment>   {_COMMENT} )
  | (?P<stop>      ``` | ~~~ | <\|\w+\|> | </\w+> )
  | (?P<open>      ['"`].* )
  | (?P<space>     \s+ )
  | (?P<word>      [^\W\d][\w$]* )
  | (?P<number>    (?:\d[\w.]*|\.\d[\w.]*)(?:(?<=[eE])[+-]\d+)? )
  | (?P<operator>  <=|>=|<>|!=|==|\|\||<<|>>|->>|->|::|. )
"""
# Everything up to the semicolon that ends a statement. In PostgreSQL $tag$ quotes a text, a function's body for one.
_STATEMENT = rf"""
    (?: [^;'"`[/$-]++ | {_LITERAL} | {_NAME} | {_COMMENT} | (?<!\w)(?P<tag>\$\w*\$).*?(?P=tag) | (?P<open>['"`].*)
      | [^;] )*+
"""
_BACKSLASH_DIALECTS = {"mysql", "doris", "starrocks", "singlestore", "bigquery", "clickhouse", "databricks", "hive"}


def _patterns(text: str) -> tuple[re.Pattern, re.Pattern]:
    """The pattern as it is, and for MySQL and its kin, where a backslash takes the next character along in quotes."""
    escaping = text.replace("[^']|''", r"[^'\\]|\\.|''").replace('[^"]|""', r'[^"\\]|\\.|""')
    return re.compile(text, re.VERBOSE | re.DOTALL), re.compile(escaping, re.VERBOSE | re.DOTALL)


_TOKENS, _STATEMENTS = _patterns(_TOKEN), _patterns(_STATEMENT)


def _of_dialect(patterns: tuple[re.Pattern, re.Pattern], dialect: str | None) -> re.Pattern:
    return patterns[(dialect or "").lower() in _BACKSLASH_DIALECTS]


class Token(NamedTuple):
    """One token of a text; `kind` is a group of the pattern above, `start` and `end` its place."""

    kind: str
    text: str
    start: int
    end: int


def tokens(sql: str, dialect: str | None = None, start: int = 0, end: int = sys.maxsize) -> Iterator[Token]:
    """The tokens of a text from `start` to `end`, white space and comments included.

    An unpaired quote, with all that follows it, is a token of kind `open`.
    """
    for match in _of_dialect(_TOKENS, dialect).finditer(sql, start, end):
        yield Token(match.lastgroup or "", match[0], match.start(), match.end())


def statement_pattern(dialect: str | None = None) -> re.Pattern:
    """Matches, from where a statement begins, up to the semicolon that ends it or the end of the script.

    Semicolons in literals, quoted names and comments end nothing. The group `open` is an unpaired quote with the rest
    of the script.
    """
    return _of_dialect(_STATEMENTS, dialect)
