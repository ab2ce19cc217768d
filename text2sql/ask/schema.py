"""A database's schema as DDL for the prompt: read once, cut to what the prompt has room for."""

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import CompileError, SAWarning, SQLAlchemyError

from text2sql.base.errors import UserError
from text2sql.base.text import one_line
from text2sql.sql import spelling

COMMENT_LENGTH = 200  # characters of one comment that the prompt shows
NEIGHBOUR = 0.5  # share of its neighbour's relevance that a table gets through a foreign key
UNRELATED = 1024  # tokens of a cut schema beyond which only related tables are added: reading takes time


@dataclass(frozen=True)
class Column:
    """Name and type as SQL; `values` are samples as SQL literals."""

    name: str
    type: str = ""
    comment: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table or view. `ddl` is its own statement where the database keeps it; `spelled` writes names as SQL."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = ()  # (columns, parent, its columns)
    comment: str = ""
    ddl: str | None = None
    spelled: Callable[[str], str] = field(default=spelling.spelled, compare=False)

    @cached_property
    def statement(self) -> str:
        """The DDL that the prompt shows: the database's own, or one in the form of the training contexts."""
        if self.ddl is not None:
            return f"{self.ddl.strip().rstrip(';')};"
        return self.written(self.columns)

    def written(self, columns: Sequence[Column]) -> str:
        """CREATE TABLE on one line with these of its columns; comments and sample values stand beside them."""
        names = {column.name for column in columns}
        single = {own[0]: (parent, theirs) for own, parent, theirs in self.foreign_keys if len(own) == 1}
        parts = []
        for column in columns:
            words = [self.spelled(column.name), column.type]
            if self.primary_key == (column.name,):
                words.append("PRIMARY KEY")
            if column.name in single:
                words.append(self.reference(*single[column.name]))
            notes = [column.comment, "e.g. " + ", ".join(column.values) if column.values else ""]
            parts.append(" ".join(word for word in [*words, commented("; ".join(filter(None, notes)))] if word))
        if len(self.primary_key) > 1 and names.issuperset(self.primary_key):
            parts.append(f"PRIMARY KEY ({self.listed(self.primary_key)})")
        for own, parent, theirs in self.foreign_keys:
            if len(own) > 1 and names.issuperset(own):
                parts.append(f"FOREIGN KEY ({self.listed(own)}) {self.reference(parent, theirs)}")
        about = commented(self.comment)
        return f"CREATE TABLE {self.spelled(self.name)} ({about + ' ' if about else ''}{', '.join(parts)});"

    def reference(self, parent: str, columns: Sequence[str]) -> str:
        return f"REFERENCES {self.spelled(parent)}" + (f"({self.listed(columns)})" if columns else "")

    def listed(self, names: Iterable[str]) -> str:
        return ", ".join(map(self.spelled, names))


def commented(text: str) -> str:
    """A text as an SQL comment that ends where it should; empty for none."""
    text = " ".join(text.replace("*/", "* /").replace("/*", "/ *").split())[:COMMENT_LENGTH]
    return f"/* {text} */" if text else ""


def read_tables(engine: Engine, spelled: Callable[[str], str] = spelling.spelled) -> tuple[list[Table], list[str]]:
    """The tables and views of the engine's default schema, and a line about each view that cannot be read."""
    warnings.simplefilter("ignore", SAWarning)  # a type it does not know: the column then stands without one
    inspector = sqlalchemy.inspect(engine)
    tables: list[Table] = []
    broken: list[str] = []
    columns = inspector.get_multi_columns(kind=ObjectKind.TABLE)
    keys = inspector.get_multi_pk_constraint(kind=ObjectKind.TABLE)
    links = inspector.get_multi_foreign_keys(kind=ObjectKind.TABLE)
    has_comments = engine.dialect.supports_comments
    comments = dict(inspector.get_multi_table_comment(kind=ObjectKind.TABLE)) if has_comments else {}
    for place, found in columns.items():
        tables.append(
            Table(
                name=place[1],
                columns=tuple(read_column(column, engine) for column in found),
                primary_key=tuple(keys[place]["constrained_columns"] if keys.get(place) else ()),
                foreign_keys=tuple(
                    (tuple(key["constrained_columns"]), key["referred_table"], tuple(key["referred_columns"]))
                    for key in links.get(place, ())
                ),
                comment=(comments[place]["text"] if place in comments else None) or "",
                spelled=spelled,
            )
        )
    for name in inspector.get_view_names():
        try:
            found = inspector.get_columns(name)
        except SQLAlchemyError as error:
            broken.append(f"the view {one_line(name)} cannot be read and is left out ({one_line(error.args[0])})")
            continue
        tables.append(
            Table(name, tuple(read_column(column, engine) for column in found), comment="view", spelled=spelled)
        )
    return tables, broken


def read_column(found: ReflectedColumn, engine: Engine) -> Column:
    """A column as SQLAlchemy describes it."""
    try:
        kind = found["type"].compile(dialect=engine.dialect)
    except CompileError:  # a type that SQLAlchemy does not know
        kind = ""
    kind = re.sub(r" (CHARACTER SET|COLLATE) \S+", "", kind)
    return Column(found["name"], "" if kind == "NULL" else kind, found.get("comment") or "")


# What fits -------------------------------------------------------------------------------------------------------


def fit(
    tables: Sequence[Table], question: str, tokens: Callable[[str], int], room: int, own_size: Callable[[str], int]
) -> tuple[str, list[str]]:
    """The context for a question, and a line about each kind of thing that was cut from it.

    tokens: length of the prompt with a context; own_size: of a piece of a context alone; room: what the prompt may
    have. Where not all fits, the tables nearest to the question are taken, in the schema's order, those that have
    nothing to do with it only up to UNRELATED tokens; where not even the nearest fits, it is cut to its keys and the
    columns nearest to the question. Raises UserError when nothing fits.
    """
    everything = "\n".join(table.statement for table in tables)
    if tokens(everything) <= room:
        return everything, []
    order, related = nearest(tables, question)
    most, used = room - tokens(""), 0
    kept: dict[int, str] = {}
    for rank, place in enumerate(order):
        if 0 < related <= rank:
            most = min(most, UNRELATED)
        size = own_size(tables[place].statement + "\n")
        if used + size <= most:
            kept[place], used = tables[place].statement, used + size
    while kept and tokens(joined(kept)) > room:  # the pieces' lengths do not add up to the token
        kept.popitem()
    notes = []
    if order[0] not in kept:
        first = tables[order[0]]
        columns = cut_columns(first, question, tokens, room)
        kept = {order[0]: first.written(columns)}
        notes.append(f"{len(columns)} of {len(first.columns)} columns of {one_line(first.name)}")
    if len(kept) < len(tables):
        named = [one_line(tables[place].name) for place in order if place in kept]
        shown = ", ".join(named[:5]) + (", …" if len(named) > 5 else "")
        notes.append(f"{len(kept)} of {len(tables)} tables, those nearest to the question ({shown})")
    return joined(kept), notes


def joined(kept: dict[int, str]) -> str:
    return "\n".join(kept[place] for place in sorted(kept))


def cut_columns(table: Table, question: str, tokens: Callable[[str], int], room: int) -> list[Column]:
    """As many of the table's columns as there is room for: keys first, then those nearest to the question."""
    asked = terms(question)
    keys = {*table.primary_key, *(name for own, _, _ in table.foreign_keys for name in own)}
    order = sorted(
        range(len(table.columns)),
        key=lambda place: (
            table.columns[place].name not in keys,
            -len(asked & terms(table.columns[place].name + " " + table.columns[place].comment)),
            place,
        ),
    )
    fits, too_many = 0, len(order) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        chosen = [table.columns[place] for place in sorted(order[:middle])]
        fits, too_many = (middle, too_many) if tokens(table.written(chosen)) <= room else (fits, middle)
    if fits == 0:
        raise UserError("the question leaves no room for a schema in the prompt; ask in fewer words")
    return [table.columns[place] for place in sorted(order[:fits])]


def nearest(tables: Sequence[Table], question: str) -> tuple[list[int], int]:
    """The tables' places, the one nearest to the question first, and how many are related to it at all.

    A table counts for each term that it shares with the question, more for rare ones and for those in its name; a
    table at the other end of a foreign key counts for half as much. Equal ones keep their order.
    """
    asked = terms(question)
    names = [terms(table.name) & asked for table in tables]
    found = [
        asked & terms(" ".join([table.comment, *(f"{c.name} {c.comment} {' '.join(c.values)}" for c in table.columns)]))
        for table in tables
    ]
    spread = Counter(term for name, others in zip(names, found, strict=True) for term in name | others)
    weight = {term: math.log(1 + len(tables) / count) for term, count in spread.items()}
    own = [
        2 * sum(weight[term] for term in name) + sum(weight[term] for term in others - name)
        for name, others in zip(names, found, strict=True)
    ]
    scores = list(own)
    places = {table.name: place for place, table in enumerate(tables)}
    for place, table in enumerate(tables):
        for _, parent, _ in table.foreign_keys:
            if (other := places.get(parent)) is not None and other != place:
                scores[place] = max(scores[place], own[place] + NEIGHBOUR * own[other])
                scores[other] = max(scores[other], own[other] + NEIGHBOUR * own[place])
    order = sorted(range(len(tables)), key=lambda place: (-scores[place], place))
    return order, sum(score > 0 for score in scores)


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


def with_values(tables: Sequence[Table], sample: Callable[[Table], dict[str, tuple[str, ...]]]) -> list[Table]:
    """The tables with sample values beside their columns; `sample` gives them for one table, by column name."""
    valued = []
    for table in tables:
        values = sample(table)
        columns = tuple(replace(column, values=values.get(column.name, ())) for column in table.columns)
        valued.append(replace(table, columns=columns, ddl=None) if values else table)
    return valued
