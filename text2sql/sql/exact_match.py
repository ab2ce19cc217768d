"""Exact match of a prediction with its gold, as text and as syntax trees."""

from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import exp

from text2sql.sql.tokens import tokens

PARSE_COST = 2**16  # tokens times 2 to the power of their depth: sqlglot's time on nested calls, in about 20 µs


def canonical(sql: str) -> str:
    """A text without white space and comments that separate nothing, its words in lower case."""
    return " ".join(
        token.text.lower() if token.kind == "word" else token.text
        for token in tokens(sql)
        if token.kind not in ("space", "comment")
    )


def em_text(gold: str, predicted: str, dialect: str | None = None) -> bool:
    """Whether two statements are the same text, white space and a final semicolon aside."""
    return gold == predicted or _words(gold, dialect) == _words(predicted, dialect)


@lru_cache(maxsize=1024)
def _words(sql: str, dialect: str | None) -> list[str]:
    found = [token.text for token in tokens(sql, dialect) if token.kind != "space"]
    while found and found[-1] == ";":
        found.pop()
    return found


def _folded(sql: str, dialect: str | None) -> list[str]:
    return [word.lower() if word[0] not in "'\"-/" else word for word in _words(sql, dialect)]


def em_ast(gold: str, predicted: str, dialect: str | None = None) -> bool:
    """Whether two statements have the same syntax tree by sqlglot; names are folded to lower case, literals are not.

    A name in double quotes stays as it is, because SQLite may read it as a literal. A statement that sqlglot cannot
    parse, or only in a time that doubles with every parenthesis, is equal only to the same tokens.
    """
    if _folded(gold, dialect) == _folded(predicted, dialect):
        return True
    if _literals(gold, dialect) != _literals(predicted, dialect):
        return False
    trees = [syntax_tree(sql, dialect) for sql in (gold, predicted)]
    return None not in trees and trees[0] == trees[1]


def syntax_tree(sql: str, dialect: str | None = None) -> exp.Expr | None:
    """A statement's syntax tree, names in lower case but for those in double quotes; shared, so not to be changed.

    None where sqlglot cannot parse it, or only in a time that doubles with every parenthesis.
    """
    return None if _parse_cost(_words(sql, dialect)) > PARSE_COST else _tree(sql, dialect or "sqlite")


def _parse_cost(words: list[str]) -> int:
    depth, cost = 0, 0
    for word in words:
        depth += (word == "(") - (word == ")")
        cost += 2 ** min(max(depth, 0), 32)
    return cost


def _literals(sql: str, dialect: str | None) -> list[str]:
    return sorted(word for word in _words(sql, dialect) if word[0] == "'")


@lru_cache(maxsize=256)  # a gold has many predictions
def _tree(sql: str, dialect: str) -> Any:
    quoted = '"' in sql

    def fold(node: Any) -> Any:
        if isinstance(node, exp.Identifier) and not (quoted and node.args.get("quoted")):
            return exp.to_identifier(node.this.lower(), quoted=False)
        return node

    try:
        return sqlglot.parse_one(sql.strip().rstrip(";"), dialect=dialect).transform(fold, copy=False)
    except MemoryError:
        raise
    except Exception:  # sqlglot's own errors, RecursionError on deep nesting, and what odd input may raise besides
        return None
