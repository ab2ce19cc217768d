"""The tokens of SQL."""

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = r"""
    (?P<literal>   '(?:[^']|'')*+' )
  | (?P<name>      "(?:[^"]|"")*+" | `(?!``)(?:[^`]|``)*+` | \[[^][\n]*+\] )
  | (?P<comment>   --[^\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<stop>      ``` | ~~~ | <\|\w+\|> | </\w+> )
  | (?P<open>      ['"`].* )
  | (?P<space>     \s+ )
  | (?P<word>      [^\W\d][\w$]* )
  | (?P<number>    (?:\d[\w.]*|\.\d[\w.]*)(?:(?<=[eE])[+-]\d+)? )
  | (?P<operator>  <=|>=|<>|!=|==|\|\||<<|>>|->>|->|::|. )
"""
_TOKENS = re.compile(_TOKEN, re.VERBOSE | re.DOTALL)
# MySQL and its kin: a backslash takes the next character along, in both kinds of quotes.
_TOKENS_BACKSLASH = re.compile(
    _TOKEN.replace("[^']|''", r"[^'\\]|\\.|''").replace('[^"]|""', r'[^"\\]|\\.|""'),
    re.VERBOSE | re.DOTALL,
)
_BACKSLASH_DIALECTS = {"mysql", "doris", "starrocks", "singlestore", "bigquery", "clickhouse", "databricks", "hive"}


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
    pattern = _TOKENS_BACKSLASH if (dialect or "").lower() in _BACKSLASH_DIALECTS else _TOKENS
    for match in pattern.finditer(sql, start, end):
        yield Token(match.lastgroup or "", match[0], match.start(), match.end())
