"""Labels a source may lack: how complex a query is, and the language of a question."""

import re

import sqlglot
from sqlglot import exp

# In the order of gretel's classes; a query belongs to the last one that fits it.
COMPLEXITIES = (
    "basic SQL",
    "aggregation",
    "single join",
    "multiple_joins",
    "subqueries",
    "window functions",
    "set operations",
    "CTEs",
)
UNPARSED = "unparsed"

HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")


def language_of(question: str) -> str:
    """`ko` for a text with any Hangul, else `en`."""
    return "ko" if HANGUL.search(question) else "en"


def complexity_of(sql: str, dialect: str = "sqlite") -> str:
    """One of COMPLEXITIES, by what the parsed query contains; `unparsed` where sqlglot cannot read it.

    The classes are those of gretelai/synthetic_text_to_sql, taken from the strongest feature: a CTE, a set operation,
    a window function, a subquery, two or more joins (comma joins count), one join, an aggregate or GROUP BY.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect=dialect)
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError):
        return UNPARSED
    joins = selects = 0
    found = set()
    for node in tree.walk():
        if isinstance(node, exp.Join):
            joins += 1
        elif isinstance(node, exp.Select):
            selects += 1
        elif isinstance(node, exp.With):
            found.add("CTEs")
        elif isinstance(node, exp.SetOperation):
            found.add("set operations")
        elif isinstance(node, exp.Window):
            found.add("window functions")
        elif isinstance(node, exp.AggFunc | exp.Group):
            found.add("aggregation")
    if selects > 1:
        found.add("subqueries")
    if joins:
        found.add("single join" if joins == 1 else "multiple_joins")
    return max(found, key=COMPLEXITIES.index, default="basic SQL")
