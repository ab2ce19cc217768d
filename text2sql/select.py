"""Which valid rows train the model and which evaluate it, so that the second tell something about the first.

In this order: the split (the source's own, or whole databases held out), the filters (domains, complexities,
languages), the evaluation rows, then the training rows that do not leak into them. Sizes are drawn in proportion from
every domain × complexity. The same tables, parameters and seed give the same rows in the same order, whatever else
the tables hold: a row's chance hangs on the seed and its id alone, so a larger sample contains a smaller one but for
rounding. Tables stream; what stays in memory is labels, not texts.
"""

import hashlib
import heapq
import math
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from text2sql.errors import UserError
from text2sql.params import SelectParams
from text2sql.rows import read_batches, table_writer

# Two questions are near-duplicates when their sets of character trigrams overlap by this Jaccard index or more.
# At 0.9 a longer question may differ in one short word or a digit; a changed name or verb keeps two questions apart.
NEAR = 0.9


class Label(NamedTuple):
    """What selection needs to know of a row without its texts."""

    table: str  # the valid table it stands in
    position: int
    id: str
    db_id: str
    domain: str | None
    complexity: str | None
    language: str | None


class Leak(NamedTuple):
    """A training row that gives an evaluation row away."""

    train: str  # ids
    eval: str
    kind: str  # one of LEAKS


# From the plainest kind to the widest; a training row is counted once, under the first that fits.
LEAKS = ("question_exact", "question_normalised", "sql", "question_near")


def select_tables(valid: Mapping[str, Path], selected: Mapping[str, Path], params: SelectParams) -> dict:
    """Reads the valid `train` and `test` tables, writes the selected `train` and `eval` tables.

    Returns the counts: how the splits were told apart (source, databases, queries), rows after each step and databases
    for both, leaks by kind with every removed pair of ids, duplicates within each split, and notes where fewer rows
    were there than asked for. Raises UserError when a filter names a value that no row has, or when no row is left to
    train on or to evaluate with.
    """
    from tqdm import tqdm

    labels = {table: read_labels(table, path) for table, path in valid.items()}
    everything = [label for table in labels.values() for label in table]
    how = "source"
    train, evaluation = labels.values()
    if params.split == "holdout" or not evaluation:
        how, train, evaluation = hold_out(valid, everything, params.holdout, params.seed)
    counts = {"train": {"available": len(train)}, "eval": {"available": len(evaluation)}}

    check_filters(everything, params)
    train, evaluation = filtered(train, params), filtered(evaluation, params)
    counts["train"]["filtered"], counts["eval"]["filtered"] = len(train), len(evaluation)

    evaluation = sample(evaluation, params.eval_size, params.seed)
    if not evaluation:
        raise UserError("select: no evaluation row is left; widen the filters of select, or raise select.holdout")
    candidates = tqdm(texts(valid, train), "look for leaks", total=len(train), unit=" rows", mininterval=0.5)
    leaks = find_leaks(candidates, texts(valid, evaluation))
    leaked = {leak.train for leak in leaks}
    removed = [label for label in train if label.id in leaked]
    train = [label for label in train if label.id not in leaked]
    counts["train"]["without_leaks"] = len(train)

    train = sample(train, params.train_size, params.seed)
    if not train:
        raise UserError("select: no training row is left; widen the filters of select, or set select.split to holdout")
    chosen = {"train": train, "eval": evaluation}
    for split, rows in chosen.items():
        counts[split]["selected"] = len(rows)
        copy_rows(valid, rows, selected[split])
    return {
        "split": how,
        **counts,
        "databases": count_databases(train, evaluation),
        "leaks": {kind: sum(leak.kind == kind for leak in leaks) for kind in LEAKS} | {"removed": len(leaks)},
        "duplicates": {split: count_duplicates(texts(valid, rows)) for split, rows in chosen.items()},
        "notes": shortfalls(counts, params),
        "leaked_by": {
            name: dict(Counter(getattr(label, name) or "none" for label in removed).most_common())
            for name in ("domain", "complexity", "language")
        },
        "leaked": [leak._asdict() for leak in leaks],
    }


def read_labels(table: str, path: Path) -> list[Label]:
    """The labels of a table's rows, in its order."""
    labels: list[Label] = []
    columns = [name for name in Label._fields if name not in ("table", "position")]
    for batch in read_batches(path, columns):
        cells = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        # Labels repeat from row to row: keep one copy of each.
        labels += [
            Label(table, position, row_id, *(text and sys.intern(text) for text in rest))
            for position, (row_id, *rest) in enumerate(cells, len(labels))
        ]
    return labels


def hold_out(
    valid: Mapping[str, Path], labels: Sequence[Label], share: float, seed: int
) -> tuple[str, list[Label], list[Label]]:
    """Splits by whole databases: about `share` of them, of each domain alike and at least one, go to evaluation.

    Where all rows are about one database, whole queries are held out: rows of equal SQL (normalised) stay together.
    Returns what was held out (`databases` or `queries`), the training rows and the evaluation rows.
    """
    kind, units = "databases", [label.db_id for label in labels]
    if len(set(units)) == 1:
        kind, units = "queries", [normal_sql(row.answer) for row in texts(valid, labels)]
    domains = {unit: label.domain for unit, label in zip(reversed(units), reversed(labels), strict=True)}
    wanted = min(max(1, round(share * len(domains))), len(domains) - 1)
    held = set(proportional(sorted(domains), wanted, seed, stratum=domains.get, name=str)) if wanted > 0 else set()
    sides: tuple[list[Label], list[Label]] = ([], [])
    for unit, label in zip(units, labels, strict=True):
        sides[unit in held].append(label)
    return kind, *sides


def check_filters(labels: Sequence[Label], params: SelectParams) -> None:
    """Raises UserError for a wanted domain, complexity or language that no row has."""
    for key, field in (("domains", "domain"), ("complexities", "complexity"), ("languages", "language")):
        there = {getattr(label, field) for label in labels} - {None}
        for value in getattr(params, key):
            if value not in there:
                raise UserError(f"select.{key}: no row has {value!r}; there are {', '.join(sorted(there)) or 'none'}")


def filtered(labels: Iterable[Label], params: SelectParams) -> list[Label]:
    """The rows whose labels are wanted; an empty list of wanted values takes all."""
    return [
        label
        for label in labels
        if (not params.domains or label.domain in params.domains)
        and (not params.complexities or label.complexity in params.complexities)
        and (not params.languages or label.language in params.languages)
    ]


def sample(labels: list[Label], size: int | None, seed: int) -> list[Label]:
    """`size` rows in proportion from each domain × complexity; all of them when there are no more than that."""
    if size is None or len(labels) <= size:
        return labels
    chosen = set(proportional(labels, size, seed, stratum=lambda x: (x.domain, x.complexity), name=lambda x: x.id))
    return [label for label in labels if label in chosen]


def proportional(
    items: Sequence, size: int, seed: int, stratum: Callable[..., Hashable], name: Callable[..., str]
) -> list:
    """`size` of the items, from each stratum its share (largest remainders), within a stratum by seeded chance."""
    strata = defaultdict(list)
    for item in items:
        strata[stratum(item)].append(item)
    keys = sorted(strata, key=str)
    shares = {key: size * len(strata[key]) / len(items) for key in keys}
    quota = {key: math.floor(share) for key, share in shares.items()}
    by_remainder = sorted(keys, key=lambda key: (quota[key] - shares[key], chance(seed, str(key))))
    for key in by_remainder[: size - sum(quota.values())]:
        quota[key] += 1
    return [
        item for key in keys for item in sorted(strata[key], key=lambda item: chance(seed, name(item)))[: quota[key]]
    ]


def chance(seed: int, name: str) -> bytes:
    """A pseudo-random number that hangs on the seed and the name alone."""
    return hashlib.blake2b(f"{seed}:{name}".encode("utf-8", "backslashreplace"), digest_size=16).digest()


class Texts(NamedTuple):
    id: str
    context: str
    question: str
    answer: str


def texts(valid: Mapping[str, Path], labels: Iterable[Label]) -> Iterator[Texts]:
    """The texts of the labelled rows, streamed in the tables' order."""
    wanted = {(label.table, label.position) for label in labels}
    for table, path in valid.items():
        position = 0
        for batch in read_batches(path, Texts._fields):
            for cells in zip(*(batch.column(name).to_pylist() for name in Texts._fields), strict=True):
                if (table, position) in wanted:
                    yield Texts(*cells)
                position += 1


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


def count_databases(train: Iterable[Label], evaluation: Iterable[Label]) -> dict[str, int]:
    ours, theirs = {label.db_id for label in train}, {label.db_id for label in evaluation}
    return {"train": len(ours), "eval": len(theirs), "shared": len(ours & theirs)}


def shortfalls(counts: Mapping[str, Mapping[str, int]], params: SelectParams) -> list[str]:
    """A line for each split with fewer rows than asked for."""
    asked = {"train": params.train_size, "eval": params.eval_size}
    return [
        f"select.{split}_size: {size} rows asked for, {counts[split]['selected']} are there, all of them used"
        for split, size in asked.items()
        if size is not None and counts[split]["selected"] < size
    ]


WORDS = re.compile(r"\w+")
# A token of SQL that white space cannot change: a literal or quoted name, a comment, a word or number, a sign.
TOKENS = re.compile(
    r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\])|--[^\n]*|/\*.*?\*/|(\w+|[^\w\s])""", re.DOTALL
)
INSERTS = re.compile(
    r"""\b(?:INSERT|REPLACE)\b[\s\w]{0,30}\bINTO\b(?:'(?:[^']|'')*'|"(?:[^"]|"")*"|[^;'"])*;?""", re.IGNORECASE
)


def normal_question(question: str) -> str:
    """The words of a question in one case and form, without punctuation."""
    return " ".join(WORDS.findall(unicodedata.normalize("NFKC", question).casefold()))


def normal_sql(sql: str) -> str:
    """SQL with words folded, literals untouched, comments and the last semicolon gone, one space between tokens."""
    tokens = [literal or word.casefold() for literal, word in TOKENS.findall(sql) if literal or word]
    return " ".join(tokens).rstrip("; ")


def normal_schema(context: str) -> str:
    """The normal form of a context's DDL: `normal_sql` of what is left without its INSERTs."""
    return normal_sql(INSERTS.sub(" ", context))


def copy_rows(valid: Mapping[str, Path], labels: Iterable[Label], path: Path) -> None:
    """Writes the labelled rows, in the tables' order, to one table."""
    import pyarrow as pa

    positions = defaultdict(set)
    for label in labels:
        positions[label.table].add(label.position)
    with table_writer(path) as writer:
        for table, source in valid.items():
            start = 0
            for batch in read_batches(source):
                mask = [position in positions[table] for position in range(start, start + batch.num_rows)]
                start += batch.num_rows
                if any(mask):
                    writer.write_batch(batch.filter(pa.array(mask)))
