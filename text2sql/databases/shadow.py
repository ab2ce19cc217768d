"""A database of another engine in SQLite's terms, so that it can be filled, and a filling in that engine's own again.

The shadow is a schema with the same tables, keys and conditions. Each column has the SQLite type that its values are
drawn by, and a way to make a value of its own type of any that was drawn: what is no date becomes some date, a text too
long for its column another text, the same one for the same value, so that keys still find each other.
"""

import datetime as dt
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import filterfalse
from typing import Any, NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.databases.filler import Filler
from text2sql.databases.schema import ForeignKey, Schema, read_schema
from text2sql.databases.values import NOW_DAY, number_in
from text2sql.engines.catalogue import Column, Table
from text2sql.engines.protocol import Engine
from text2sql.engines.sqlite import Failure, build
from text2sql.sql.spelling import Value, literal, quoted

_JSON = re.compile(r"json_valid\(`[^`]+`\)")  # how MariaDB says that a column is JSON
SHORT = 12  # characters of a column that the made-up texts may not fit into
Make = Callable[[Value], Any]  # a drawn value, not NULL, as a cell of `engines.cells`


class Form(NamedTuple):
    """How a column is drawn and made. `check` is a condition on `{}` that drawn values meet."""

    type: str
    make: Make
    check: str = ""


class Shadow(NamedTuple):
    """`schema` is what SQLite reads of `script`. `tables` and `forms` (by table, column) go by the shadow's names."""

    script: str
    schema: Schema
    tables: dict[str, Table]
    forms: dict[tuple[str, str], Form]


def shadow_of(tables: Sequence[Table], dialect: str, fields: Sequence[str] = ()) -> Shadow | Failure:
    """The shadow of an engine's tables. fields: what JSON documents hold. A Failure where SQLite has no such tables."""
    bare = Counter(table.name.lower() for table in tables)
    names = {
        (table.schema, table.name): table.name if bare[table.name.lower()] == 1 else f"{table.schema}.{table.name}"
        for table in tables
    }
    forms = {
        (names[table.schema, table.name], column.name): _form(column, table, fields)
        for table in tables
        for column in table.columns
        if not column.made
    }
    script = "".join(_create(table, names, forms, dialect) for table in tables)
    schema = read_schema(script)
    if isinstance(schema, Failure):
        return schema
    return Shadow(script, schema, {names[table.schema, table.name]: table for table in tables}, forms)


def _create(table: Table, names: dict, forms: dict[tuple[str, str], Form], dialect: str) -> str:
    own = names[table.schema, table.name]
    columns = [column for column in table.columns if not column.made]
    there = {column.name for column in columns}
    parts = []
    for column in columns:
        form = forms[own, column.name]
        check = f" CHECK ({form.check.format(quoted(column.name))})" if form.check else ""
        parts.append(f"{quoted(column.name)} {form.type}{' NOT NULL' if column.not_null else ''}{check}")
    for key in filter(there.issuperset, table.keys):
        listed = ", ".join(map(quoted, key))
        parts.append(f"{'PRIMARY KEY' if key == table.primary_key else 'UNIQUE'} ({listed})")
    for link in table.links:
        if link.parent in names and there.issuperset(link.columns):
            own_columns, theirs = (", ".join(map(quoted, part)) for part in (link.columns, link.parent_columns))
            parts.append(f"FOREIGN KEY ({own_columns}) REFERENCES {quoted(names[link.parent])} ({theirs})")
    for check in filterfalse(_JSON.fullmatch, table.checks):
        condition = _condition(check, dialect)
        if condition and not isinstance(build(f"CREATE TABLE t ({', '.join([*parts, condition])})"), Failure):
            parts.append(condition)
    return f"CREATE TABLE {quoted(own)} ({', '.join(parts)});\n"


def _condition(check: str, dialect: str) -> str:
    """A CHECK in SQLite's words, without the casts that an engine adds; empty where it cannot be read."""

    def plain(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Cast):
            return node.this.transform(plain)
        if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
            listed = node.expression.find(exp.Array)
            if listed is not None:
                return exp.In(
                    this=node.this.transform(plain), expressions=[e.transform(plain) for e in listed.expressions]
                )
        return node

    try:
        return f"CHECK ({sqlglot.parse_one(check, dialect=dialect).transform(plain).sql('sqlite')})"
    except (SqlglotError, RecursionError, ValueError):
        return ""


# --- Values ----------------------------------------------------------------------------------------------------------


def _form(column: Column, table: Table, fields: Sequence[str]) -> Form:
    name = column.type.lower()
    if f"json_valid(`{column.name}`)" in table.checks:
        name = "json"
    if name.endswith("[]"):
        return _form(column._replace(type=column.type[:-2]), table, fields)
    if column.labels:
        return Form("TEXT", str, f"{{}} IN ({', '.join(map(literal, column.labels))})")
    size = [int(number) for number in re.findall(r"\d+", name)]
    for pattern, form in (
        (r"bool|tinyint\(1\)", Form("BOOLEAN", lambda value: bool(_number(value)))),
        (r"jsonb?", Form("TEXT", lambda value: json.dumps(dict.fromkeys(fields or ["value"], value), default=str))),
        (r"interval", Form("INTEGER", lambda value: dt.timedelta(days=int(_number(value))))),
        (r"(timestamp|datetime)", Form("DATETIME", _moment)),
        (r"date", Form("DATE", lambda value: _moment(value).date())),
        (r"time", Form("TIME", _time)),
        (r"uuid", Form("TEXT", lambda value: str(_uuid(value)))),
        (
            r"(inet|cidr)",
            Form("INTEGER", _address),
        ),
        (r"(bytea|blob|\w*binary|(tiny|medium|long)blob)", Form("BLOB", _bytes)),
        (r"bit", Form("INTEGER", _bits(size[0] if size else 1))),
        (r"year", Form("INTEGER", _whole, "{} BETWEEN 1901 AND 2155")),
        (r"tinyint", Form("INTEGER", _whole, "{} BETWEEN 0 AND 127")),
        (r"(u?(small|medium|big|huge)?int(eger)?\d*|\w*serial\d*|oid)", _whole_form(name)),
        (r"(numeric|decimal)", _decimal(size)),
        (r"(real|double|float|money)", Form("REAL", lambda value: float(_number(value)))),
        (r"(\w*char|character varying|character|\w*text|string|name|tsvector|xml|citext)", _text_form(name, size)),
    ):
        if re.match(rf"{pattern}(?![a-z])", name):
            return form
    return Form("TEXT", lambda value: None)  # a type that nothing is made for


def _stable(value: Value) -> int:
    return int.from_bytes(hashlib.sha256(repr(value).encode("utf-8", "backslashreplace")).digest()[:4], "big")


def _number(value: Value) -> float:
    found = number_in(value)
    return found if found is not None else _stable(value) % 97


def _whole(value: Value) -> int:
    return int(_number(value))


def _whole_form(name: str) -> Form:
    unsigned = "unsigned" in name or name.startswith("u")
    small = "{} BETWEEN -32768 AND 32767" if "small" in name else ""
    return Form("INTEGER", _whole, "{} BETWEEN 0 AND 32767" if unsigned else small)


def _decimal(size: list[int]) -> Form:
    precision, scale = (*size, 0)[:2] if size else (0, 0)
    if size and not scale:
        return Form("INTEGER", _whole, f"abs({{}}) < 1e{min(precision, 15)}")
    step = Decimal(1).scaleb(-scale) if size else Decimal("0.000001")
    check = f"abs({{}}) < {10 ** (precision - scale) - 1}" if 0 < precision - scale < 12 else ""
    return Form("REAL", lambda value: Decimal(repr(_number(value))).quantize(step), check)


def _text_form(name: str, size: list[int]) -> Form:
    length = size[0] if size else 0
    if not length or length > 10_000:
        return Form("TEXT", str)
    return Form(
        "TEXT", lambda value: _fitting(str(value), length), f"length({{}}) <= {length}" if length >= SHORT else ""
    )


def _fitting(text: str, length: int) -> str:
    """The text, or another one that fits and goes with it."""
    if len(text) <= length:
        return text
    digits = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    number = _stable(text)
    return "".join(digits[number // len(digits) ** place % len(digits)] for place in range(min(length, 6)))


def _moment(value: Value) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(str(value))
    except ValueError:
        return NOW_DAY - dt.timedelta(days=_stable(value) % 2_000)


def _time(value: Value) -> dt.time:
    try:
        return dt.time.fromisoformat(str(value))
    except ValueError:
        return (dt.datetime.min + dt.timedelta(minutes=_stable(value) % 1_440)).time()


def _uuid(value: Value) -> str:
    text = hashlib.md5(str(value).encode("utf-8", "backslashreplace"), usedforsecurity=False).hexdigest()
    given = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(value).lower())
    return given[0] if given else "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _bytes(value: Value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")


def _bits(length: int) -> Make:
    return lambda value: format(_whole(value) % 2**length, f"0{length}b")


def _address(value: Value) -> str:
    return f"10.0.{_whole(value) // 256 % 256}.{_whole(value) % 256}"


# --- A filling as a script -------------------------------------------------------------------------------------------


def script_of(filler: Filler, shadow: Shadow, engine: Engine, context: str) -> str:
    """A filling as the engine builds it: the context, then the rows, parents before their children."""
    filler.drop_dangling()
    statements = [context.strip().rstrip(";")]
    whole = "search_path" in context.lower()  # a dump's, which leaves no schema to look bare names up in
    for name in filler.parents_first():
        table = shadow.tables[name]
        columns = [column for column in table.columns if not column.made]
        schema = table.schema or ("public" if whole else "")
        into = ".".join(map(engine.spell_name, filter(None, (schema, table.name))))
        over = " OVERRIDING SYSTEM VALUE" if any(column.identity for column in columns) else ""
        listed = ", ".join(engine.spell_name(column.name) for column in columns)
        forms = [(column, shadow.forms[name, column.name]) for column in columns]
        for rows in _parents_first(filler, name, shadow, at_once=engine.name == "postgres"):
            values = ",\n".join(
                f"({', '.join(_spelled(rows, place, column, form, engine) for column, form in forms)})"
                for place in range(len(rows))
            )
            statements.append(f"INSERT INTO {into} ({listed}){over} VALUES\n{values}")
    filler.connection.close()
    return ";\n".join(statements) + ";\n"


def _parents_first(filler: Filler, name: str, shadow: Shadow, at_once: bool) -> list[list[dict[str, Value]]]:
    """A table's rows in a shuffled order, in parts: what refers to another row of the table comes in a later one.

    at_once: whether the engine looks at references when a statement has ended. Where it does not, one of the
    rows that refer to each other in a circle refers to nothing, if it may.
    """
    rows = list(filler.rows[name])
    filler.rng.shuffle(rows)
    table = shadow.schema.tables[name.lower()]  # ordinary fillings have further rules
    links = [link for link in table.foreign_keys if link.parent == name]
    if not links or at_once:
        return [rows] if rows else []
    parts: list[list[dict[str, Value]]] = []
    there: set[tuple] = set()
    nullable = [c for link in links for c in link.columns if not table.columns[c].not_null]
    while rows:
        ready = [row for row in rows if all(_refers(row, link) <= there for link in links)]
        if not ready and nullable:  # a circle is cut at its first row
            ready = [rows[0] | dict.fromkeys(nullable)]
            del rows[0]
        ready = ready or rows
        parts.append(ready)
        there |= {(link, tuple(row[key] for key in link.parent_columns)) for link in links for row in ready}
        rows = [row for row in rows if not any(row is other for other in ready)]
    return parts


def _refers(row: dict[str, Value], link: ForeignKey) -> set[tuple]:
    """What a row refers to by a foreign key."""
    value = tuple(row[column] for column in link.columns)
    return set() if None in value else {(link, value)}


def _spelled(rows: list[dict[str, Value]], place: int, column: Column, form: Form, engine: Engine) -> str:
    value = rows[place][column.name]
    if value is None:
        return "NULL"
    cell = form.make(value)
    if not column.type.endswith("[]") or cell is None:
        return engine.spell_value(cell)
    before = rows[place - 1][column.name]
    cells = [cell] if place % 2 == 0 or before is None else [cell, form.make(before)]
    if engine.name == "postgres":  # as text, which can be an array of anything
        return engine.spell_value("{" + ",".join(json.dumps(str(cell), ensure_ascii=False) for cell in cells) + "}")
    return engine.spell_value(tuple(cells))
