"""Decides whether a predicted answer is the gold answer (docs/evaluation.md states the policy in words).

Answers are bags of rows. Where the gold query orders its rows, rows that tie on its sort keys may swap, and where its
LIMIT cuts through a tie every legal cut is right; both are found out by ranking the gold's rows, without its LIMIT,
by its own sort keys in SQLite itself.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import exp

from text2sql.sqlexec.extract import Token, tokens
from text2sql.sqlexec.sandbox import DEFAULT_LIMITS, Answer, Connection, Failure, Limits, query

POLICY_VERSION = 1
TOLERANCE = 1e-9  # relative, and absolute near zero, between numbers of which at least one is not an integer
PARSE_COST = 2**16  # tokens times 2 to the power of their depth: sqlglot's time on nested calls, in about 20 µs
SEARCH_CELLS = 10_000_000  # cells looked at for a permutation of columns before two answers are called different

Row = tuple[Any, ...]


# --- The gold query's form -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """One ORDER BY term of the gold: what it sorts by, and how (`COLLATE … DESC NULLS LAST`)."""

    key: str
    direction: str


@dataclass(frozen=True)
class Plan:
    """A gold query taken apart at its top level; `body` is the query without ORDER BY and LIMIT.

    No part but `sql` holds comments, so that one can stand behind another.
    """

    sql: str
    body: str
    select_end: int | None  # in `body`: where the select list ends; None for VALUES
    compound: bool
    distinct: bool
    order: tuple[Order, ...]
    limited: bool
    offset: str | None  # an expression


def plan(sql: str) -> Plan:
    """Finds the top-level clauses of a query by its tokens outside parentheses, literals and comments."""
    text, sql = sql, "".join(" " if token.kind == "comment" else token.text for token in tokens(sql))
    top = list(_outside_parentheses(sql))
    words = [token.text.lower() if token.kind == "word" else token.text for token in top]
    order = next((i for i in range(len(words) - 1) if words[i] == "order" and words[i + 1] == "by"), None)
    limit = next((i for i, word in enumerate(words) if word == "limit"), None)
    end = len(sql) if not top or top[-1].text != ";" else top[-1].start
    clauses = [top[i].start for i in (order, limit) if i is not None]
    body = sql[: min(clauses, default=end)]

    select = next((i for i, word in enumerate(words) if word == "select"), None)
    select_end = None
    if select is not None:
        stops = ("from", "where", "group", "having", "window", "order", "limit", "union", "intersect", "except")
        after = (
            top[i].start
            for i in range(select + 1, len(top))
            if words[i] in stops and not (words[i] == "from" and words[i - 1] == "distinct")  # IS DISTINCT FROM
        )
        select_end = min(next(after, end), len(body))

    terms: tuple[Order, ...] = ()
    if order is not None:
        stop = top[limit].start if limit is not None else end
        terms = tuple(_order(term) for term in _split(sql[top[order + 1].end : stop]))
    return Plan(
        sql=text,
        body=body,
        select_end=select_end,
        compound=any(word in ("union", "intersect", "except") for word in words) or select is None,
        distinct=select is not None and words[select + 1 : select + 2] == ["distinct"],
        order=terms,
        limited=limit is not None,
        offset=None if limit is None else _offset(sql[top[limit].end : end]),
    )


def _outside_parentheses(sql: str) -> Iterable[Token]:
    depth = 0
    for token in tokens(sql):
        if token.text == ")":
            depth -= 1
        if depth == 0 and token.kind != "space":
            yield token
        if token.text == "(":
            depth += 1


def _split(text: str) -> list[str]:
    """The parts of a list at its commas."""
    commas = [token.start for token in _outside_parentheses(text) if token.text == ","]
    return [text[a:b] for a, b in zip([0, *(comma + 1 for comma in commas)], [*commas, len(text)], strict=True)]


def _order(term: str) -> Order:
    top = list(_outside_parentheses(term))
    count = len(top)
    words = [token.text.lower() for token in top]
    if count > 2 and words[count - 2] == "nulls":
        count -= 2
    if count > 1 and words[count - 1] in ("asc", "desc"):
        count -= 1
    if count > 2 and words[count - 2] == "collate":
        count -= 2
    end = top[count].start if count < len(top) else len(term)
    key, direction = term[:end].strip(), term[end:].strip()
    if words[:count] == ["(", ")"] and not re.match(r"\(\s*(select|with|values)\b", key, re.IGNORECASE):
        inner = _order(key[1:-1])  # parentheses change nothing: `(2)` is an ordinal and `(a)` may be an alias
        return Order(inner.key, f"{inner.direction} {direction}".strip())
    return Order(key, direction)


def _offset(text: str) -> str | None:
    """The offset in what follows LIMIT: `n OFFSET m` or `m, n`."""
    parts = _split(text)
    if len(parts) == 2:
        return parts[0]
    offset = next((token.end for token in _outside_parentheses(text) if token.text.lower() == "offset"), None)
    return None if offset is None else text[offset:]


# --- The gold's legal answers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slice:
    """Part of an answer: any `take` of these rows, in any order."""

    rows: list[Row]
    take: int


@dataclass(frozen=True)
class Gold:
    """What the gold query answers on one database, and every other answer that is as right."""

    answer: Answer
    slices: list[Slice]  # in the order in which an answer must hold them

    @property
    def ambiguous(self) -> bool:
        """Whether LIMIT picks some of several different rows that tie."""
        return any(part.take < len(part.rows) and len(set(part.rows)) > 1 for part in self.slices)


def answer_gold(connection: Connection, gold: Plan, limits: Limits = DEFAULT_LIMITS) -> Gold | Failure:
    """Runs a gold query and finds its legal answers.

    Where its rows cannot be ranked (they are too many without LIMIT; DISTINCT rows sorted by what is not selected),
    the order in which SQLite returns them counts as the only right one.
    """
    answer = query(connection, gold.sql, limits)
    if isinstance(answer, Failure):
        return answer
    rows = answer.rows
    if not gold.order and not gold.limited:
        return Gold(answer, [Slice(rows, len(rows))])
    if (len(rows) > 1 and gold.order) or (rows and gold.limited):
        slices = _ranked_slices(connection, gold, answer, limits)
        if slices is not None and _fits(slices, rows):
            return Gold(answer, slices)
    if not gold.order:
        return Gold(answer, [Slice(rows, len(rows))])
    return Gold(answer, [Slice([row], 1) for row in rows])


def _ranked_slices(connection: Connection, gold: Plan, answer: Answer, limits: Limits) -> list[Slice] | None:
    """The groups of tied rows of the gold without LIMIT, and how many of each its LIMIT takes; None if unknown."""
    ranked = _ranked_rows(connection, gold, answer, limits)
    if ranked is None:
        return None
    skipped = 0
    if gold.offset is not None:
        offset = query(connection, f"SELECT CAST(({gold.offset}) AS INTEGER)", limits)
        if isinstance(offset, Failure):
            return None
        skipped = max(0, offset.rows[0][0])
    wanted = len(answer.rows) if gold.limited else len(ranked)
    slices = []
    groups: dict[int, list[Row]] = {}
    for *row, rank in ranked:
        groups.setdefault(rank, []).append(tuple(row))
    for rows in groups.values():
        take = min(len(rows) - skipped, wanted) if skipped < len(rows) else 0
        skipped = max(0, skipped - len(rows))
        wanted -= take
        if take:
            slices.append(Slice(rows, take))
    return slices if wanted == 0 else None


def _ranked_rows(connection: Connection, gold: Plan, answer: Answer, limits: Limits) -> list[Row] | None:
    """The rows of the gold without LIMIT in the order of its sort keys, each with its rank as a last cell."""
    selected = [f"c{number}" for number in range(1, answer.columns + 1)]
    keys, added = [], []
    for term in gold.order:
        column = _column_of(term.key, gold, answer.names)
        if column is None:
            added.append(term.key)
        keys.append(f"{selected[column] if column is not None else f'k{len(added)}'} {term.direction}")
    body = gold.body
    if added:
        if gold.compound or gold.distinct or gold.select_end is None:
            return None
        body = body[: gold.select_end] + "".join(f", {key}" for key in added) + " " + body[gold.select_end :]
    names = [*selected, *(f"k{number}" for number in range(1, len(added) + 1))]
    rank = f"DENSE_RANK() OVER (ORDER BY {', '.join(keys)})" if keys else "1"
    ranked = query(
        connection,
        f"WITH _gold({', '.join(names)}) AS ({body}) SELECT {', '.join(selected)}, {rank} AS _rank "
        "FROM _gold ORDER BY _rank",
        limits,
    )
    if isinstance(ranked, Answer):
        return ranked.rows
    return _ranked_by_aliases(connection, gold, answer, limits) if added else None


def _ranked_by_aliases(connection: Connection, gold: Plan, answer: Answer, limits: Limits) -> list[Row] | None:
    """As `_ranked_rows`, for sort keys that are expressions of the select list's aliases."""
    keys = []
    for term in gold.order:
        column = _column_of(term.key, gold, answer.names)
        key = term.key if column is None else f"`{answer.names[column].replace('`', '``')}`"
        keys.append(f"{key} {term.direction}")
    rank = f"DENSE_RANK() OVER (ORDER BY {', '.join(keys)})"
    ranked = query(connection, f"SELECT *, {rank} AS _rank FROM ({gold.body}) ORDER BY _rank", limits)
    return ranked.rows if isinstance(ranked, Answer) and ranked.columns == answer.columns + 1 else None


def _column_of(key: str, gold: Plan, titles: Sequence[str]) -> int | None:
    """The result column that a sort key stands for, by SQLite's rules: an ordinal, a name, a selected expression."""
    parts = [token for token in tokens(key) if token.kind != "space"]
    if (ordinal := _ordinal(parts)) is not None:
        return ordinal - 1
    name = _name(parts[-1]) if parts else None
    lowered = [title.lower() for title in titles]
    if len(parts) == 1 and name in lowered:
        return lowered.index(name)
    items = _select_items(gold)
    if len(items) == len(titles) and (normal := canonical(key)) in items:
        return items.index(normal)
    qualified = len(parts) == 3 and parts[1].text == "."
    if qualified and (gold.distinct or gold.compound) and lowered.count(name or "") == 1:
        return lowered.index(name or "")
    return None


def _ordinal(parts: Sequence[Token]) -> int | None:
    """The column number that a sort key is to SQLite: an integer, also behind signs and in parentheses."""
    *before, number = [part.text for part in parts if part.text != ")"] or [""]
    if not set(before) <= {"(", "+", "-"} or not re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", number):
        return None
    value = int(number, 16 if number[:2] in ("0x", "0X") else 10)
    return -value if before.count("-") % 2 else value


def _name(token: Token) -> str | None:
    if token.kind == "word":
        return token.text.lower()
    if token.kind == "name":
        return token.text[1:-1].replace(token.text[0] * 2, token.text[0]).lower()
    return None


def _select_items(gold: Plan) -> list[str]:
    """The first select list's expressions in canonical form, without aliases; not aligned where it holds a star."""
    if gold.select_end is None:
        return []
    head = gold.body[: gold.select_end]
    select = next(token for token in _outside_parentheses(head) if token.text.lower() == "select")
    items = []
    for item in _split(head[select.end :]):
        top = list(_outside_parentheses(item))
        if top and top[0].text.lower() in ("distinct", "all"):
            item = item[top[0].end :]
        alias = next((token.start for token in _outside_parentheses(item) if token.text.lower() == "as"), None)
        items.append(canonical(item if alias is None else item[:alias]))
    return [] if any(item.endswith("*") for item in items) else items


def canonical(sql: str) -> str:
    """A text without white space and comments that separate nothing, its words in lower case."""
    return " ".join(
        token.text.lower() if token.kind == "word" else token.text
        for token in tokens(sql)
        if token.kind not in ("space", "comment")
    )


# --- Comparing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """How a predicted answer stands to the gold's on one database."""

    ex: bool  # under one permutation of the columns, the same for all rows
    ex_strict: bool  # column by column as they stand
    ex_set: bool  # as BIRD compares: sets of rows, order and multiplicity ignored
    empty: bool  # the gold has no row


def compare(gold: Gold, predicted: Answer) -> Verdict:
    """The verdict of policy version 1 on one pair of answers."""
    rows, expected = predicted.rows, gold.answer
    if rows == expected.rows and predicted.columns == expected.columns:
        return Verdict(True, True, True, not rows)
    ex_set = set(expected.rows) == set(rows)
    if expected.columns != predicted.columns or len(rows) != len(expected.rows):
        return Verdict(False, False, ex_set, not expected.rows)
    strict = _fits(gold.slices, rows)
    ex = strict or (expected.columns > 1 and _fits_permuted(gold.slices, rows))
    return Verdict(ex, strict, ex_set, not expected.rows)


def _fits(slices: Sequence[Slice], rows: list[Row]) -> bool:
    """Whether the rows, in their order, are one of the gold's legal answers. Their number is the gold's."""
    start = 0
    for part in slices:
        if not _drawn_from(part.rows, rows[start : start + part.take]):
            return False
        start += part.take
    return start == len(rows)


def _drawn_from(pool: list[Row], rows: list[Row]) -> bool:
    """Whether each of the rows equals a different row of the pool (P4, P6, P7)."""
    # Python's equality of tuples is exact on SQLite's values: 1 == 1.0 and inf == inf, but 1 != '1' != b'1' != None.
    if not Counter(rows) - Counter(pool):
        return True
    if not any(isinstance(cell, float) for row in (*pool, *rows) for cell in row):
        return False
    return _drawn_within_tolerance(pool, rows)


def _drawn_within_tolerance(pool: list[Row], rows: list[Row]) -> bool:
    """Bipartite matching of rows to pool rows that are equal within tolerance.

    Being close is not transitive, so that counting rounded values would be wrong at some border. Rows are divided by
    their exact cells, then each is tried with those that are near it in the most varied inexact column.
    """
    width = len(rows[0])
    inexact = [i for i in range(width) if any(isinstance(row[i], float) for row in (*pool, *rows))]

    def exact_part(row: Row) -> Row:
        return tuple(("number",) if i in inexact and _number(cell) else cell for i, cell in enumerate(row))

    parts: dict[Row, tuple[list[Row], list[Row]]] = {}
    for row in pool:
        parts.setdefault(exact_part(row), ([], []))[0].append(row)
    for row in rows:
        parts.setdefault(exact_part(row), ([], []))[1].append(row)
    return all(_matched(own, wanted) for own, wanted in parts.values() if wanted)


def _matched(pool: list[Row], rows: list[Row]) -> bool:
    """Whether every row can be given a pool row of its own that is close to it. All agree in their exact cells."""
    if len(pool) < len(rows):
        return False
    numeric = [i for i, cell in enumerate(rows[0]) if _number(cell)]
    if not numeric:
        return True
    if len(pool) == len(rows):  # in nearly all cases sorting pairs them
        ordered = [sorted(table, key=lambda row: [row[i] for i in numeric]) for table in (pool, rows)]
        if all(map(_close_rows, *ordered)):
            return True
    varied = max(numeric, key=lambda i: len({row[i] for row in pool}))
    pool = sorted(pool, key=lambda row: row[varied])
    keys = [row[varied] for row in pool]
    near = [[i for i in _window(keys, row[varied]) if _close_rows(pool[i], row)] for row in rows]
    return _saturating(near)


def _window(keys: list, number: float) -> range:
    """The places in sorted keys that may be close to the number."""
    slack = 0 if math.isinf(number) else 2 * TOLERANCE * max(1.0, abs(number))
    return range(bisect_left(keys, number - slack), bisect_right(keys, number + slack))


def _saturating(near: list[list[int]]) -> bool:
    """Whether every left node can be matched to one of its neighbours, all different (augmenting paths)."""
    owner: dict[int, int] = {}
    for start in range(len(near)):
        came_from: dict[int, int | None] = {}  # right node -> right node from whose owner it was reached
        queue: list[tuple[int, int | None]] = [(start, None)]
        free = None
        for left, previous in queue:
            for right in near[left]:
                if right in came_from:
                    continue
                came_from[right] = previous
                if right not in owner:
                    free = right
                    break
                queue.append((owner[right], right))
            if free is not None:
                break
        if free is None:
            return False
        while free is not None:
            previous = came_from[free]
            owner[free] = start if previous is None else owner[previous]
            free = previous
    return True


def _close_rows(a: Row, b: Row) -> bool:
    return all(map(_close, a, b))


def _close(a: Any, b: Any) -> bool:
    """Whether two cells are one value: numbers within TOLERANCE unless both are integers, all else exactly."""
    if isinstance(a, float) or isinstance(b, float):
        return _number(a) and _number(b) and math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(a) is type(b) and a == b


def _number(cell: Any) -> bool:
    return isinstance(cell, (int, float))


# --- One permutation of the columns ----------------------------------------------------------------------------------


def _fits_permuted(slices: Sequence[Slice], rows: list[Row]) -> bool:
    """Whether the rows are a legal answer with their columns in some other order.

    Columns are assigned one after the other; an assignment is given up as soon as the rows cut down to the columns
    assigned so far cannot be drawn from the gold's. Columns that are equal throughout are tried once. Inexact numbers
    take part as classes of close values, and a whole assignment is then checked in earnest.
    """
    if not rows:
        return True
    classes = _Classes([row for part in slices for row in part.rows], rows)
    wanted = [(number, tuple(map(classes, row))) for number, part in enumerate(slices) for row in part.rows]
    given = [
        (number, tuple(map(classes, row)))
        for number, row in zip((n for n, part in enumerate(slices) for _ in range(part.take)), rows, strict=True)
    ]
    width = len(rows[0])
    wanted_columns = [[row[i] for _, row in wanted] for i in range(width)]
    given_columns = [tuple(row[i] for _, row in given) for i in range(width)]
    # Telling columns first: they leave the fewest ways to go on.
    order = sorted(range(width), key=lambda i: -len(set(wanted_columns[i])))
    cells = 0

    def search(depth: int, wanted_ids: list[int], given_ids: list[int], chosen: list[int]) -> bool:
        nonlocal cells
        if depth == width:
            return not classes.inexact or _fits(slices, _permuted(rows, order, chosen))
        ids: dict[tuple[int, Any], int] = {}
        column = wanted_columns[order[depth]]
        extended = [ids.setdefault(pair, len(ids)) for pair in zip(wanted_ids, column, strict=True)]
        counts = Counter(extended)
        for values in dict.fromkeys(given_columns[i] for i in range(width) if i not in chosen):
            cells += len(values)
            if cells > SEARCH_CELLS:
                return False
            pairs = [ids.get(pair, -1) for pair in zip(given_ids, values, strict=True)]
            if -1 in pairs or Counter(pairs) - counts:
                continue
            candidate = next(i for i in range(width) if i not in chosen and given_columns[i] == values)
            if search(depth + 1, extended, pairs, [*chosen, candidate]):
                return True
        return False

    return search(0, [number for number, _ in wanted], [number for number, _ in given], [])


def _permuted(rows: list[Row], order: list[int], chosen: list[int]) -> list[Row]:
    """The rows with their column chosen[k] at place order[k]."""
    source = [chosen[order.index(place)] for place in range(len(order))]
    return [tuple(row[i] for i in source) for row in rows]


class _Classes:
    """Maps cells to classes: cells that are one value share a class (close numbers may share one needlessly)."""

    def __init__(self, *tables: list[Row]) -> None:
        numbers = sorted({c for rows in tables for row in rows for c in row if _number(c)})
        self.inexact = any(isinstance(number, float) for number in numbers)
        self.classes: dict[Any, Any] = {}
        if not self.inexact:
            return
        representative = None
        previous = None
        for number in numbers:
            if previous is None or not math.isclose(previous, number, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                representative = number
            self.classes[number] = representative
            previous = number

    def __call__(self, cell: Any) -> Any:
        return self.classes.get(cell, cell) if _number(cell) else cell


# --- Exact match -----------------------------------------------------------------------------------------------------


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
    if any(_parse_cost(_words(sql, dialect)) > PARSE_COST for sql in (gold, predicted)):
        return False
    trees = [_tree(sql, dialect or "sqlite") for sql in (gold, predicted)]
    return trees[0] is not None and trees[0] == trees[1]


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
