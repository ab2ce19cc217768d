"""What leaks from evaluation into training, and duplicates within a split, however they are written."""

import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from text2sql.sql.canonical import canonical_form
from text2sql.sql.context import schema_of
from text2sql.sql.golds import alternatives_in

# Two questions are near-duplicates when their sets of character trigrams overlap by this Jaccard index or more.
# At 0.9 a longer question may differ in one short word or a digit; a changed name or verb keeps two questions apart.
NEAR = 0.9


class Leak(NamedTuple):
    """A training row that gives an evaluation row away."""

    train: str  # ids
    eval: str
    kind: str  # one of LEAKS


# From the plainest kind to the widest; a training row is counted once, under the first that fits.
LEAKS = ("question_exact", "question_normalised", "sql", "sql_rewritten", "question_near")


class Texts(NamedTuple):
    id: str
    context: str
    question: str
    answer: str
    dialect: str = "sqlite"
    alternatives: str | None = None  # a cell of further golds

    @property
    def golds(self) -> tuple[str, ...]:
        return (self.answer, *alternatives_in(self.alternatives))


def find_leaks(train: Iterable[Texts], evaluation: Iterable[Texts]) -> list[Leak]:
    """The training rows that give an evaluation row away, each once, under the first kind of LEAKS that fits.

    question_exact: the same question on the same context, letter for letter. question_normalised: the same words on
    the same schema, whatever the case, punctuation and rows. sql: the same SQL on the same schema. sql_rewritten: the
    same SQL in its canonical form (`sql/canonical.py`); of several golds any counts. question_near: questions whose
    character trigrams have a Jaccard index of NEAR or more, on any schema. Schemas are the same up to the spelling of
    types (`normal_schema`).
    """
    exact: dict[tuple, str] = {}
    normalised: dict[tuple, str] = {}
    sql: dict[tuple, str] = {}
    rewritten = Rewritten()
    questions = []
    for row in evaluation:
        schema = normal_schema(row.context)
        exact.setdefault((row.question, row.context), row.id)
        normalised.setdefault((normal_question(row.question), schema), row.id)
        for gold in row.golds:
            sql.setdefault((normal_sql(gold), schema), row.id)
            rewritten.add(row._replace(answer=gold), schema)
        questions.append((row.id, row.question))
    near = NearDuplicates(questions)
    leaks = []
    for row in train:
        schema = normal_schema(row.context)
        matches = {
            "question_exact": exact.get((row.question, row.context)),
            "question_normalised": normalised.get((normal_question(row.question), schema)),
            "sql": first(sql.get((normal_sql(gold), schema)) for gold in row.golds),
        }
        if not any(matches.values()):
            matches["sql_rewritten"] = first(rewritten.find(row._replace(answer=gold), schema) for gold in row.golds)
        if not any(matches.values()):
            matches["question_near"] = near.find(row.question)
        leaks += [Leak(row.id, match, kind) for kind, match in matches.items() if match is not None][:1]
    return leaks


def first(found: Iterable[str | None]) -> str | None:
    return next((id for id in found if id is not None), None)


class Rewritten:
    """Finds, among given queries, one that is another up to the way it is written.

    Queries of one canonical form have the same literals, so only those of the same schema and literals are parsed.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple, list[Texts]] = defaultdict(list)  # by schema and literals, until somebody asks
        self.forms: dict[tuple, dict[str, str]] = {}  # the same, parsed: canonical form → id

    def add(self, row: Texts, schema: str) -> None:
        self.rows[schema, literals(row.answer, schema)].append(row)

    def find(self, row: Texts, schema: str) -> str | None:
        """The id of a query of the same canonical form, or None."""
        key = (schema, literals(row.answer, schema))
        if key not in self.rows:
            return None
        if key not in self.forms:
            forms = self.forms[key] = {}
            for other in self.rows[key]:
                if (form := canonical_form(other.answer, other.dialect, words_of(schema))) is not None:
                    forms.setdefault(form, other.id)
        form = form_of(normal_sql(row.answer), row.answer, row.dialect, schema)
        return None if form is None else self.forms[key].get(form)


@lru_cache(maxsize=4096)
def form_of(normal: str, sql: str, dialect: str, schema: str) -> str | None:
    return canonical_form(sql, dialect, words_of(schema))


@lru_cache(maxsize=1024)
def words_of(schema: str) -> frozenset[str]:
    return frozenset(WORDS.findall(schema))


def literals(sql: str, schema: str) -> tuple[str, ...]:
    """The literals of a query, sorted, apart from the number 1 (COUNT(1)); "x" is one where the schema has no x."""
    found = []
    for quoted, word in tokens_of(sql):
        if quoted[:1] == "'" or (quoted[:1] == '"' and quoted[1:-1].casefold() not in words_of(schema)):
            found.append(quoted[1:-1])
        elif word[:1].isdigit() and word != "1":
            found.append(word)
    return tuple(sorted(found))


class NearDuplicates:
    """Finds, among given texts, the first whose character trigrams overlap another text's by NEAR or more. Exact.

    Two sets of Jaccard index t or more share t / (1 + t) of their sizes' sum. What two texts share of the rarer
    trigrams is counted by lists of the texts that hold each; what they share of the FREQUENT most frequent (those of a
    template, say) by bits, and only where the rarer ones leave it possible. So the work for a text grows with the
    number of distinct texts by a few array operations, however alike they are.
    """

    FREQUENT = 256

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        """texts: pairs of id and text."""
        firsts: dict[frozenset[str], tuple[int, str]] = {}
        for number, (id, text) in enumerate(texts):
            firsts.setdefault(trigrams(text), (number, id))
        by_size = sorted(firsts.items(), key=lambda item: len(item[0]))
        self.ids = [id for _, (_, id) in by_size]
        self.order = np.array([number for _, (number, _) in by_size])
        self.sizes = np.array([len(grams) for grams, _ in by_size], np.int32)
        frequency = Counter(gram for grams, _ in by_size for gram in grams)
        self.bits = {gram: bit for bit, (gram, _) in enumerate(frequency.most_common(self.FREQUENT))}
        packed = np.array([self.packed(grams) for grams, _ in by_size], np.uint64).reshape(len(by_size), -1)
        self.words = [np.ascontiguousarray(word) for word in packed.T]
        self.frequent_sizes = np.bitwise_count(packed).sum(axis=1, dtype=np.int32)
        lists: dict[str, list[int]] = defaultdict(list)
        for place, (grams, _) in enumerate(by_size):
            for gram in grams:
                if gram not in self.bits:
                    lists[gram].append(place)
        self.lists = {gram: np.array(places, np.int32) for gram, places in lists.items()}
        self.search = lru_cache(maxsize=1024)(self._search)  # questions repeat; a set of trigrams takes 7 KiB
        self.thresholds: dict[int, tuple[int, int, np.ndarray]] = {}

    def packed(self, grams: frozenset[str]) -> np.ndarray:
        """The FREQUENT trigrams of a set as bits, in words of 64."""
        number = 0
        for gram in grams & self.bits.keys():
            number |= 1 << self.bits[gram]
        return np.frombuffer(number.to_bytes(self.FREQUENT // 8, "little"), np.uint64)

    def find(self, text: str) -> str | None:
        """The id of the first near-duplicate of this text, or None."""
        return self.search(trigrams(text))

    def _search(self, grams: frozenset[str]) -> str | None:
        size = len(grams)
        if size not in self.thresholds:
            self.thresholds[size] = self.threshold(size)
        low, high, needed = self.thresholds[size]
        shared = np.zeros(high - low, np.int32)
        for gram in grams & self.lists.keys():
            places = self.lists[gram]
            first, last = places.searchsorted((low, high))
            shared[places[first:last] - low] += 1
        own = self.packed(grams)
        left = needed - shared  # of the frequent ones
        near = np.flatnonzero(left <= sum(int(word).bit_count() for word in own))
        near = near[left[near] <= self.frequent_sizes[low + near]]
        left = left[near]
        for word, theirs in zip(own, self.words, strict=True):
            left -= np.bitwise_count(theirs[low + near] & word)
        near = low + near[left <= 0]
        return self.ids[near[np.argmin(self.order[near])]] if len(near) else None

    def threshold(self, size: int) -> tuple[int, int, np.ndarray]:
        """For a set of this size: from where to where the sets of like size stand, and what each must share with it."""
        low, high = self.sizes.searchsorted([math.ceil(NEAR * size - 1e-9), math.floor(size / NEAR + 1e-9) + 1])
        needed = np.ceil(NEAR / (1 + NEAR) * (size + self.sizes[low:high]) - 1e-9)
        return int(low), int(high), needed.astype(np.int32)


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


@lru_cache(maxsize=64)  # asked more than once for a row
def normal_question(question: str) -> str:
    """The words of a question in one case and form, without punctuation."""
    return " ".join(WORDS.findall(unicodedata.normalize("NFKC", question).casefold()))


@lru_cache(maxsize=64)
def tokens_of(sql: str) -> list[tuple[str, str]]:
    """The tokens of SQL as pairs, of which one is empty: a literal or quoted name as it stands, a word or sign."""
    return TOKENS.findall(sql)


def normal_sql(sql: str) -> str:
    """SQL with words folded, literals untouched, comments and the last semicolon gone, one space between tokens."""
    tokens = [literal or word.casefold() for literal, word in tokens_of(sql) if literal or word]
    return " ".join(tokens).rstrip("; ")


# One word for each kind of type, whatever a system calls it
TYPES = {
    spelling: kind
    for kind, spellings in {
        "integer": "int integer int2 int4 int8 bigint smallint tinyint mediumint serial bigserial",
        "text": "text varchar varchar2 nvarchar nvarchar2 char nchar character bpchar clob string longtext mediumtext",
        "number": "real float float4 float8 double decimal numeric number dec money",
        "boolean": "bool boolean bit",
        "timestamp": "timestamp datetime timestamptz datetime2",
    }.items()
    for spelling in spellings.split()
}
# What may stand behind a type without changing it: a size, a sign, the rest of a longer name
SIZES = re.compile(
    rf"\b({'|'.join(set(TYPES.values()))})(?: \( \d+(?: , \d+)? \))?(?: (?:varying|precision|unsigned|signed))?"
    r"(?: \( \d+ \))?(?: with(?:out)? time zone)?"
)
QUOTED_NAME = re.compile(r'"([^" ]+)"|`([^` ]+)`|\[([^\] ]+)\]')


@lru_cache(maxsize=1024)  # many rows are about one schema
def normal_schema(context: str) -> str:
    """The normal form of a context's schema, whatever its rows and the spelling of its names and types."""
    schema = QUOTED_NAME.sub(lambda name: (name[1] or name[2] or name[3]).casefold(), normal_sql(schema_of(context)))
    words = " ".join(TYPES.get(word, word) for word in schema.replace(" if not exists", "").split(" "))
    return SIZES.sub(r"\1", words)
