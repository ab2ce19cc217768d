"""Labels a source may lack: how complex a query is, and the language of a question."""

import re
import unicodedata

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
# The domain of questions made from a user's database (`sources/database.py`): they train and never evaluate.
GENERATED = "generated"

HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
# A language by the letters that it alone is written with, or is the first to be thought of with; from the surest sign.
SCRIPTS = {
    "ja": re.compile(r"[\u3041-\u30ff]"),
    "zh": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "th": re.compile(r"[\u0e01-\u0e5b]"),
    "ar": re.compile(r"[\u0621-\u06d3]"),
    "he": re.compile(r"[\u05d0-\u05ea]"),
    "el": re.compile(r"[\u0391-\u03c9]"),
    "hi": re.compile(r"[\u0904-\u0939]"),
}
VIETNAMESE = re.compile(
    r"[\u0102\u0103\u0110\u0111\u01a0\u01a1\u01af\u01b0\u1ea0-\u1ef9]"
)  # written in no other language
MARKED = re.compile(r"[\u00c0-\u024f\u1ea0-\u1ef9]")  # Latin letters with marks
LETTER = re.compile(r"[^\W\d_]")
SHARE = 0.1  # of a question's letters: a foreign name in an English question is fewer


def language_of(question: str) -> str:
    """The language of a question by its script: `ko` with any Hangul, another with more than a name in its letters.

    Else `en`: languages in plain Latin letters are not told apart.
    """
    if HANGUL.search(question):
        return "ko"
    if question.isascii():
        return "en"
    letters = len(LETTER.findall(question))
    for language, script in SCRIPTS.items():
        if len(script.findall(question)) > SHARE * letters:
            return language
    question = unicodedata.normalize("NFC", question)
    return "vi" if VIETNAMESE.search(question) and len(MARKED.findall(question)) > SHARE * letters else "en"


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
