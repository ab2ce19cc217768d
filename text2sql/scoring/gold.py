"""What the gold allows: its form, and every answer that is right.

Where the gold query orders its rows, rows that tie on its sort keys may swap, and where its LIMIT cuts through a tie
every legal cut is right; both are found out by ranking the gold's rows, without its LIMIT, by its own sort keys on
the engine itself."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from text2sql.engines.protocol import Database
from text2sql.engines.sqlite import DEFAULT_LIMITS, Answer, Failure, Limits
from text2sql.scoring.matching import Row, Slice, fits
from text2sql.sql.exact_match import canonical
from text2sql.sql.tokens import Token, tokens


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


# Words that begin what follows the rows' order. Elsewhere than here, the second and third may be names.
_LIMITS = {"postgres": ("limit", "offset", "fetch"), "duckdb": ("limit", "offset", "fetch")}


def plan(sql: str, dialect: str | None = None) -> Plan:
    """Finds the top-level clauses of a query by its tokens outside parentheses, literals and comments."""
    text, sql = sql, "".join(" " if token.kind == "comment" else token.text for token in tokens(sql))
    top = list(_outside_parentheses(sql))
    words = [token.text.lower() if token.kind == "word" else token.text for token in top]
    order = next((i for i in range(len(words) - 1) if words[i] == "order" and words[i + 1] == "by"), None)
    limits = _LIMITS.get(dialect or "", ("limit",))
    limit = next((i for i, word in enumerate(words) if word in limits), None)
    end = len(sql) if not top or top[-1].text != ";" else top[-1].start
    clauses = [top[i].start for i in (order, limit) if i is not None]
    body = sql[: min(clauses, default=end)]

    select = next((i for i, word in enumerate(words) if word == "select"), None)
    select_end = None
    if select is not None:
        stops = ("from", "where", "group", "having", "window", "order", *limits, "union", "intersect", "except")
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
        offset=None if limit is None else _offset(sql[top[limit].start : end]),
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
    """The offset in what limits the rows: `LIMIT n OFFSET m` in any order, `LIMIT m, n`, `OFFSET m ROWS FETCH …`."""
    top = list(_outside_parentheses(text))
    words = [token.text.lower() for token in top]
    if "offset" in words:
        begin = words.index("offset") + 1
        stop = next((i for i in range(begin, len(words)) if words[i] in ("limit", "fetch", "row", "rows")), len(words))
        return text[top[begin].start : top[stop - 1].end] if begin < stop else None
    parts = _split(text[top[0].end :])
    return parts[0] if len(parts) == 2 else None


@dataclass(frozen=True)
class Gold:
    """What the gold query answers on one database, and every other answer that is as right."""

    answer: Answer
    slices: list[Slice]  # in the order in which an answer must hold them

    @property
    def ambiguous(self) -> bool:
        """Whether LIMIT picks some of several different rows that tie."""
        return any(part.take < len(part.rows) and len(set(part.rows)) > 1 for part in self.slices)


def answer_gold(database: Database, gold: Plan, limits: Limits = DEFAULT_LIMITS) -> Gold | Failure:
    """Runs a gold query and finds its legal answers.

    Where its rows cannot be ranked (they are too many without LIMIT; DISTINCT rows sorted by what is not selected),
    the order in which the engine returns them counts as the only right one.
    """
    answer = database.query(gold.sql, limits)
    if isinstance(answer, Failure):
        return answer
    rows = answer.rows
    if not gold.order and not gold.limited:
        return Gold(answer, [Slice(rows, len(rows))])
    if (len(rows) > 1 and gold.order) or (rows and gold.limited):
        slices = _ranked_slices(database, gold, answer, limits)
        if slices is not None and fits(slices, rows):
            return Gold(answer, slices)
    if not gold.order:
        return Gold(answer, [Slice(rows, len(rows))])
    return Gold(answer, [Slice([row], 1) for row in rows])


def _ranked_slices(database: Database, gold: Plan, answer: Answer, limits: Limits) -> list[Slice] | None:
    """The groups of tied rows of the gold without LIMIT, and how many of each its LIMIT takes; None if unknown."""
    ranked = _ranked_rows(database, gold, answer, limits)
    if ranked is None:
        return None
    skipped = 0
    if gold.offset is not None and gold.offset.strip().isdecimal():
        skipped = int(gold.offset)
    elif gold.offset is not None:
        offset = database.query(f"SELECT CAST(({gold.offset}) AS INTEGER)", limits)
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


def _ranked_rows(database: Database, gold: Plan, answer: Answer, limits: Limits) -> list[Row] | None:
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
    ranked = database.query(
        f"WITH _gold({', '.join(names)}) AS ({body}) SELECT {', '.join(selected)}, {rank} AS _rank "
        "FROM _gold ORDER BY _rank",
        limits,
    )
    if isinstance(ranked, Answer):
        return ranked.rows
    return _ranked_by_aliases(database, gold, answer, limits) if added else None


def _ranked_by_aliases(database: Database, gold: Plan, answer: Answer, limits: Limits) -> list[Row] | None:
    """As `_ranked_rows`, for sort keys that are expressions of the select list's aliases."""
    keys = []
    for term in gold.order:
        column = _column_of(term.key, gold, answer.names)
        key = term.key if column is None else f"`{answer.names[column].replace('`', '``')}`"
        keys.append(f"{key} {term.direction}")
    rank = f"DENSE_RANK() OVER (ORDER BY {', '.join(keys)})"
    ranked = database.query(f"SELECT *, {rank} AS _rank FROM ({gold.body}) AS _gold ORDER BY _rank", limits)
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
