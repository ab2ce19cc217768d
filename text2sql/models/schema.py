"""What of a database's schema a prompt shows: all of it or the tables nearest to the question, as DDL or M-Schema.

Training, evaluation and `ask` come here with the same thing, a script of DDL, and so show the same.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from text2sql.base.errors import UserError
from text2sql.base.text import one_line
from text2sql.sql.ddl import Column, Table, commented, keys_of, text_of

NEIGHBOUR = 0.7  # share of its neighbour's relevance that a table gets through a foreign key
SHORTEST = 4  # letters of a part of a word that a question's word may be
UNRELATED = 1024  # tokens of a cut schema beyond which only related tables are added: reading takes time
NO_ROOM = "the question leaves no room for a schema in the prompt; ask in fewer words"
# Declared types of which no value is shown: their form is known, or tells nothing.
_NO_TEXT = re.compile(
    r"int|serial|num|dec|real|float|doub|money|bool|bit|bin|blob|byte|date|time|year|json|xml|uuid|vector|geo|\[\]",
    re.IGNORECASE,
)

Values = Callable[[Table, Sequence[Column]], Mapping[str, Sequence[str]]]  # SQL literals of columns, by name
Format = Literal["ddl", "m-schema"]


def text_columns(table: Table) -> list[Column]:
    """The columns whose values are words as far as their types tell: those of a prompt's values."""
    return [column for column in table.columns if not _NO_TEXT.search(column.type)]


# How a schema is written ------------------------------------------------------------------------------------------


def written(part: Table | str, values: Values | None, style: Format) -> str:
    """One part of a script as the prompt shows it, a table with values beside its text columns."""
    if isinstance(part, str):
        return f"{part};"
    shown = values(part, columns) if values and (columns := text_columns(part)) else {}
    if style == "m-schema":
        return m_schema(part, shown)
    return f"{part.with_values(shown) if shown else part.statement};"


def m_schema(table: Table, values: Mapping[str, Sequence[str]]) -> str:
    """A table in M-Schema (github.com/XGenerationLab/M-Schema): a column a line, with type, comment, key and examples.

    What has no columns to list is shown as DDL.
    """
    if not table.columns:
        return f"{table.statement};"
    lines = []
    for column in table.columns:
        parts = [f"{column.name}:{column.type.partition('(')[0].strip().upper()}"]
        parts += [_phrase(column.comment)] if column.comment else []
        parts += ["Primary Key"] if column.name in table.primary_key else []
        examples = ", ".join(map(text_of, values.get(column.name, ())))
        parts += [f"Examples: [{examples}]"] if examples else []
        lines.append(f"({', '.join(parts)})")
    about = f", {_phrase(table.comment)}" if table.comment else ""
    return "\n".join([f"# Table: {table.name}{about}", "[", ",\n".join(lines), "]"])


def _phrase(comment: str) -> str:
    return commented(comment)[3:-3]


def assembled(parts: Sequence[Table | str], pieces: Sequence[str], style: Format, name: str | None) -> str:
    """The schema that parts of a script make, each of them `written` already; `name` is the database's."""
    if style == "ddl":
        return "\n".join(pieces)
    tables = [part for part in parts if isinstance(part, Table)]
    shown = {key for table in tables for key in keys_of(table.name)}
    links = [
        f"{table.name}.{one}={parent}.{other}"
        for table in tables
        for own, parent, theirs in table.foreign_keys
        if not shown.isdisjoint(keys_of(parent))
        for one, other in zip(own, theirs, strict=False)
    ]
    head = [f"【DB_ID】 {name}"] if name else []
    return "\n".join([*head, "【Schema】", *pieces, *(["【Foreign keys】", *links] if links else [])])


# What is near to a question --------------------------------------------------------------------------------------


def nearest_places(tables: Sequence[Table], asked: str, count: int) -> list[int]:
    """The places, in the schema's order, of the `count` tables to show for a question."""
    return taken(nearest(tables, asked)[0], neighbours(tuple(tables)), count)


def taken(order: Sequence[int], links: Sequence[set[int]], count: int) -> list[int]:
    """The first `count` places of an order, sorted, each with what joins it to those before it.

    Where a foreign key (`links`) leads from a place to no place before it, but over one more table to one of them, that
    table is taken too: a join needs it.
    """
    kept: list[int] = []
    for place in order:
        if len(kept) >= count:
            break
        if place in kept:
            continue
        kept.append(place)
        if not links[place].isdisjoint(kept):
            continue
        bridges = (links[place] & links[other] for other in kept[:-1])
        if len(kept) < count and (bridge := next(filter(None, bridges), None)):
            kept.append(min(bridge))
    return sorted(kept)


@lru_cache(maxsize=256)
def neighbours(tables: tuple[Table, ...]) -> list[set[int]]:
    """For each table the places of those that a foreign key joins it to, in either direction."""
    places: dict[str, int] = {}
    for place, table in enumerate(tables):
        for key in keys_of(table.name):
            places.setdefault(key, place)
    links: list[set[int]] = [set() for _ in tables]
    for place, table in enumerate(tables):
        for _, parent, _ in table.foreign_keys:
            other = next((places[key] for key in keys_of(parent) if key in places), place)
            if other != place:
                links[place].add(other)
                links[other].add(place)
    return links


def nearest(tables: Sequence[Table], asked: str) -> tuple[list[int], int]:
    """The tables' places, the one nearest to the question first, and how many are related to it at all.

    A table counts for each term of the question that its names answer to, more for rare ones and for those in its own
    name; a table at the other end of a foreign key counts for NEIGHBOUR as much. Equal ones keep their order.
    """
    words = terms(asked)
    names = [answering(table.name) & words for table in tables]
    found = [table_terms(table) & words for table in tables]
    spread = Counter(term for name, others in zip(names, found, strict=True) for term in name | others)
    weight = {term: math.log(1 + len(tables) / count) for term, count in spread.items()}
    own = [
        2 * sum(weight[term] for term in name) + sum(weight[term] for term in others - name)
        for name, others in zip(names, found, strict=True)
    ]
    scores = [
        max([own[place], *(own[place] + NEIGHBOUR * own[other] for other in others)])
        for place, others in enumerate(neighbours(tuple(tables)))
    ]
    order = sorted(range(len(tables)), key=lambda place: (-scores[place], place))
    return order, sum(score > 0 for score in scores)


@lru_cache(maxsize=4096)
def table_terms(table: Table) -> frozenset[str]:
    """What a table answers to beside its name; a view to all of its statement."""
    if not table.columns:
        return answering(f"{table.comment} {table.statement}")
    return answering(" ".join([table.comment, *(f"{column.name} {column.comment}" for column in table.columns)]))


@lru_cache(maxsize=16384)
def answering(text: str) -> frozenset[str]:
    """The terms of a question that a text answers to: its own, and the longer beginnings and ends of its words.

    Names run words together (`countrylanguage`, `Highschooler`), and questions inflect them (to weigh, the weight).
    """
    found = terms(text)
    ends = {piece for word in found for size in range(SHORTEST, len(word)) for piece in (word[:size], word[-size:])}
    return found | ends


def terms(text: str) -> frozenset[str]:
    """What two texts can share: English words without their plural, and pairs of neighbouring Korean syllables.

    Korean words carry particles without a space (`고객이`), so that whole words would not meet.
    """
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower()
    found = {singular(word) for word in re.findall(r"[^\W\d_가-힣]{2,}|\d{2,}", text)}
    for run in re.findall("[가-힣]+", text):
        found |= {run[place : place + 2] for place in range(len(run) - 1)} or {run}
    return frozenset(found)


def singular(word: str) -> str:
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("ss", "ss"), ("s", "")):
        if len(word) > 3 and word.endswith(ending):
            return word[: -len(ending)] + instead
    return word


# What a model has room for ----------------------------------------------------------------------------------------


def fit(
    tables: Sequence[Table],
    asked: str,
    write: Callable[[Table, bool], str],
    assemble: Callable[[Sequence[Table], Sequence[str]], str],
    *,
    tokens: Callable[[str], int],
    own_size: Callable[[str], int],
    room: int,
    total: int,
) -> tuple[str, list[str]]:
    """A part of a schema for a question whose prompt has room for `room` tokens, and a line about all that was cut.

    write: a table as the prompt shows it, with or without values; assemble: the schema of tables and how each is
    written; tokens: length of the prompt with a schema; own_size: of a piece of a schema alone; total: how many tables
    the whole schema has. The tables nearest to the question are taken, in the schema's order, those that have nothing
    to do with it only up to UNRELATED tokens; where not even the nearest fits, it is cut to its keys and the columns
    nearest to the question. Raises UserError when nothing fits.
    """
    order, related = nearest(tables, asked)
    most, used = room - tokens(assemble([], [])), 0
    kept: dict[int, str] = {}
    for rank, place in enumerate(order):
        if 0 < related <= rank:
            most = min(most, UNRELATED)
        if own_size(write(tables[place], False)) > most - used:
            continue  # before its values are read from the database
        piece = write(tables[place], True)
        size = own_size(piece + "\n")
        if used + size <= most:
            kept[place], used = piece, used + size

    def schema() -> str:
        places = sorted(kept)
        return assemble([tables[place] for place in places], [kept[place] for place in places])

    while kept and tokens(schema()) > room:  # the pieces' lengths do not add up to the token
        kept.popitem()
    notes = []
    first = tables[order[0]]
    if order[0] not in kept and first.columns:
        columns = cut_columns(first, asked, lambda table: tokens(assemble([table], [write(table, True)])), room)
        narrow = first.narrowed(columns)
        kept = {order[0]: write(narrow, True)}
        notes.append(f"{len(columns)} of {len(first.columns)} columns of {one_line(first.name)}")
    if not kept:
        raise UserError(NO_ROOM)
    if len(kept) < total:
        notes.append(tables_line([one_line(tables[place].name) for place in order if place in kept], total))
    return schema(), notes


def tables_line(names: Sequence[str], count: int) -> str:
    """How many of `count` tables are shown, and the first of them by name."""
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} of {count} tables, those nearest to the question ({listed})"


def cut_columns(table: Table, asked: str, size: Callable[[Table], int], room: int) -> list[Column]:
    """As many of the table's columns as there is room for: keys first, then those nearest to the question."""
    words = terms(asked)
    keys = {*table.primary_key, *(name for own, _, _ in table.foreign_keys for name in own)}
    order = sorted(
        range(len(table.columns)),
        key=lambda place: (
            table.columns[place].name not in keys,
            -len(words & answering(f"{table.columns[place].name} {table.columns[place].comment}")),
            place,
        ),
    )
    fits, too_many = 0, len(order) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        chosen = [table.columns[place] for place in sorted(order[:middle])]
        fits, too_many = (middle, too_many) if size(table.narrowed(chosen)) <= room else (fits, middle)
    if fits == 0:
        raise UserError(NO_ROOM)
    return [table.columns[place] for place in sorted(order[:fits])]
