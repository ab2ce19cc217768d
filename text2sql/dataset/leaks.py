"""What leaks from evaluation into training, and duplicates within a split, however they are written."""

import hashlib
import heapq
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from text2sql.sql.context import schema_of

# Two questions are near-duplicates when their sets of character trigrams overlap by this Jaccard index or more.
# At 0.9 a longer question may differ in one short word or a digit; a changed name or verb keeps two questions apart.
NEAR = 0.9


class Leak(NamedTuple):
    """A training row that gives an evaluation row away."""

    train: str  # ids
    eval: str
    kind: str  # one of LEAKS


# From the plainest kind to the widest; a training row is counted once, under the first that fits.
LEAKS = ("question_exact", "question_normalised", "sql", "question_near")


class Texts(NamedTuple):
    id: str
    context: str
    question: str
    answer: str


def find_leaks(train: Iterable[Texts], evaluation: Iterable[Texts]) -> list[Leak]:
    """The training rows that give an evaluation row away, each once, under the first kind of LEAKS that fits.

    question_exact: the same question on the same context, letter for letter. question_normalised: the same words on
    the same schema, whatever the case, punctuation and rows. sql: the same SQL on the same schema. question_near:
    questions whose character trigrams have a Jaccard index of NEAR or more, on any schema.
    """
    exact: dict[tuple, str] = {}
    normalised: dict[tuple, str] = {}
    sql: dict[tuple, str] = {}
    questions = []
    for row in evaluation:
        schema = normal_schema(row.context)
        exact.setdefault((row.question, row.context), row.id)
        normalised.setdefault((normal_question(row.question), schema), row.id)
        sql.setdefault((normal_sql(row.answer), schema), row.id)
        questions.append((row.id, row.question))
    near = NearDuplicates(questions)
    leaks = []
    for row in train:
        schema = normal_schema(row.context)
        matches = {
            "question_exact": exact.get((row.question, row.context)),
            "question_normalised": normalised.get((normal_question(row.question), schema)),
            "sql": sql.get((normal_sql(row.answer), schema)),
        }
        if not any(matches.values()):
            matches["question_near"] = near.find(row.question)
        leaks += [Leak(row.id, match, kind) for kind, match in matches.items() if match is not None][:1]
    return leaks


class NearDuplicates:
    """Finds, among given texts, one whose character trigrams overlap another text's by NEAR or more.

    Exact, by prefix filtering (Chaudhuri et al. 2006, Bayardo et al. 2007): in any fixed order of trigrams, two sets
    of Jaccard index t or more share one within their first |x| - ceil(t |x|) + 1, so only texts that share such a
    trigram are compared. The rarest come first, which keeps those few.
    """

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        """texts: pairs of id and text."""
        sets = [(id, trigrams(text)) for id, text in texts]
        self.frequency = Counter(gram for _, grams in sets for gram in grams)
        self.index: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
        for id, grams in sets:
            for gram in self.prefix(grams):
                self.index[gram].append((id, grams))

    def find(self, text: str) -> str | None:
        """The id of a near-duplicate of this text, or None."""
        grams = trigrams(text)
        for gram in self.prefix(grams):
            for id, others in self.index.get(gram, ()):
                if NEAR * len(grams) <= len(others) <= len(grams) / NEAR:
                    shared = len(grams & others)
                    if shared >= NEAR * (len(grams) + len(others) - shared):
                        return id
        return None

    def prefix(self, grams: frozenset[str]) -> list[str]:
        size = len(grams) - math.ceil(NEAR * len(grams)) + 1
        return heapq.nsmallest(size, grams, key=lambda gram: (self.frequency[gram], gram))


def trigrams(text: str) -> frozenset[str]:
    words = f" {normal_question(text)} "
    return frozenset(words[start : start + 3] for start in range(max(1, len(words) - 2)))


def count_duplicates(rows: Iterable[Texts]) -> dict[str, int]:
    """How many rows repeat an earlier one of the split: its question (normalised) or its SQL, on the same schema."""
    seen: dict[str, set[bytes]] = {"question": set(), "sql": set()}
    total = 0
    for row in rows:
        total += 1
        schema = normal_schema(row.context)
        seen["question"].add(digest(normal_question(row.question), schema))
        seen["sql"].add(digest(normal_sql(row.answer), schema))
    return {kind: total - len(keys) for kind, keys in seen.items()}


def digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "backslashreplace"), digest_size=16).digest()


WORDS = re.compile(r"\w+")
# A token of SQL that white space cannot change: a literal or quoted name, a comment, a word or number, a sign.
TOKENS = re.compile(
    r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\])|--[^\n]*|/\*.*?\*/|(\w+|[^\w\s])""", re.DOTALL
)


def normal_question(question: str) -> str:
    """The words of a question in one case and form, without punctuation."""
    return " ".join(WORDS.findall(unicodedata.normalize("NFKC", question).casefold()))


def normal_sql(sql: str) -> str:
    """SQL with words folded, literals untouched, comments and the last semicolon gone, one space between tokens."""
    tokens = [literal or word.casefold() for literal, word in TOKENS.findall(sql) if literal or word]
    return " ".join(tokens).rstrip("; ")


def normal_schema(context: str) -> str:
    """The normal form of a context's schema, whatever its rows."""
    return normal_sql(schema_of(context))
