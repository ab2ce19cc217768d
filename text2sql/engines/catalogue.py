"""What a built database holds: tables, columns, keys, as its engine's own catalogue tells it.

Asking the engine instead of parsing the DDL means that whatever it accepts is understood as it understands it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from text2sql.engines.duckdb import DuckDBDatabase
from text2sql.engines.protocol import Database
from text2sql.engines.sqlite import Failure


class Column(NamedTuple):
    """`type` is the engine's word for it, a domain's that of the type beneath; `labels` are an enum's."""

    name: str
    type: str
    not_null: bool
    made: bool = False  # by the engine, from other columns
    identity: bool = False  # numbered by the engine, unless it is overruled
    labels: tuple[str, ...] = ()


class Link(NamedTuple):
    """A foreign key to the table `parent` (schema, name)."""

    columns: tuple[str, ...]
    parent: tuple[str, str]
    parent_columns: tuple[str, ...]


class Table(NamedTuple):
    """`schema` is empty where it is the one that a bare name is looked up in. `keys` hold no two equal rows, the
    primary key first; `checks` are conditions in the engine's dialect."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    links: tuple[Link, ...]
    checks: tuple[str, ...]


def read_tables(database: Database) -> list[Table] | Failure:
    """The base tables of a database of DuckDB, PostgreSQL or MySQL, in an order that does not change."""
    read = {"duckdb": _duckdb, "postgres": _postgres, "mysql": _mysql}[getattr(database, "dialect", "")]
    try:
        return read(database)
    except _Refused as refused:
        return refused.failure


class _Refused(Exception):
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


def _asked(ask: Callable[[str], Any], sql: str) -> list[tuple]:
    answer = ask(sql)
    if isinstance(answer, Failure):
        raise _Refused(answer)
    return answer.rows


def _tables(
    columns: Iterable[tuple[str, str, Column]],
    keys: Sequence[tuple[str, str, bool, tuple[str, ...]]],
    links: Sequence[tuple[str, str, Link]],
    checks: Sequence[tuple[str, str, str]],
) -> list[Table]:
    """Tables of (schema, table, …) lists; a key's flag says that it is the primary one."""
    found = []
    for (schema, name), listed in groupby(columns, key=lambda row: row[:2]):
        place = (schema, name)
        own = sorted((row for row in keys if row[:2] == place), key=lambda row: not row[2])
        primary = own[0][3] if own and own[0][2] else ()
        found.append(
            Table(
                schema,
                name,
                tuple(column for *_, column in listed),
                primary,
                tuple(dict.fromkeys(key for *_, key in own)),
                tuple(link for *of, link in links if tuple(of) == place),
                tuple(check for *of, check in checks if tuple(of) == place),
            )
        )
    return found


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

_SCHEMA = "CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname END"
_OWN = (
    "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'clock', 'pg_toast')"
)
_PG_COLUMNS = f"""
SELECT {_SCHEMA}, c.relname, a.attname, 
  format_type(b.oid, CASE WHEN b.oid = t.oid THEN a.atttypmod ELSE t.typtypmod END),
  a.attnotnull OR t.typnotnull, a.attgenerated::text <> '', a.attidentity::text <> '',
  ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = b.oid ORDER BY enumsortorder)
FROM {_OWN} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
ORDER BY c.oid, a.attnum"""


def _names(numbers: str, relation: str) -> str:
    return (
        f"ARRAY(SELECT attname::text FROM unnest({numbers}) WITH ORDINALITY AS k(number, place)"
        f" JOIN pg_attribute ON attrelid = {relation} AND attnum = number ORDER BY place)"
    )


_PG_KEYS = f"""
SELECT {_SCHEMA}, c.relname, i.indisprimary, {_names("i.indkey::int2[]", "c.oid")}
FROM {_OWN} JOIN pg_index i ON i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indexrelid"""
_PG_LINKS = f"""
SELECT {_SCHEMA}, c.relname, {_names("o.conkey", "c.oid")},
  CASE fn.nspname WHEN 'public' THEN '' ELSE fn.nspname END, f.relname, {_names("o.confkey", "f.oid")}
FROM {_OWN} JOIN pg_constraint o ON o.conrelid = c.oid AND o.contype = 'f'
JOIN pg_class f ON f.oid = o.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace ORDER BY o.oid"""
_PG_CHECKS = f"""
SELECT {_SCHEMA}, c.relname, pg_get_expr(o.conbin, o.conrelid), NULL FROM {_OWN}
JOIN pg_constraint o ON o.conrelid = c.oid AND o.contype = 'c'
UNION ALL
SELECT {_SCHEMA}, c.relname, pg_get_expr(o.conbin, 0), a.attname FROM {_OWN}
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_constraint o ON o.contypid = a.atttypid AND o.contype = 'c' ORDER BY 1, 2, 3, 4"""


def _postgres(database: Database) -> list[Table]:
    ask = lambda sql: _asked(database.query, sql)  # noqa: E731
    columns = [(schema, table, Column(*rest)) for schema, table, *rest in ask(_PG_COLUMNS)]
    links = [(s, t, Link(own, (parent, name), theirs)) for s, t, own, parent, name, theirs in ask(_PG_LINKS)]
    checks = [  # a domain's speak of VALUE
        (schema, table, re.sub(r"\bVALUE\b", '"' + column.replace('"', '""') + '"', check) if column else check)
        for schema, table, check, column in ask(_PG_CHECKS)
    ]
    return _tables(columns, ask(_PG_KEYS), links, checks)


# --- DuckDB ----------------------------------------------------------------------------------------------------------

_ENUM_LABEL = re.compile(r"'((?:[^']|'')*)'")
_GENERATED = re.compile(r'(?:"((?:[^"]|"")+)"|(\w+)) [^,()]*(?:\([^()]*\))?[^,()]* GENERATED ALWAYS AS')


def _duckdb(database: Database) -> list[Table]:
    assert isinstance(database, DuckDBDatabase)
    here = f"database_name = '{database.name}' AND NOT internal"
    ask = lambda sql: _asked(database.ask, sql)  # noqa: E731
    schema = "CASE schema_name WHEN 'main' THEN '' ELSE schema_name END"
    made = {
        (place, table, (match[1] or match[2]).replace('""', '"'))
        for place, table, sql in ask(f"SELECT {schema}, table_name, sql FROM duckdb_tables() WHERE {here}")
        for match in _GENERATED.finditer(sql)
    }
    columns = [
        (place, table, Column(name, kind, not nullable, (place, table, name) in made, labels=_labels(kind)))
        for place, table, name, kind, nullable in ask(
            f"SELECT {schema}, c.table_name, column_name, data_type, is_nullable FROM duckdb_columns() c"
            f" SEMI JOIN duckdb_tables() t USING (table_oid, database_name) WHERE {here}"
            " ORDER BY table_oid, column_index"
        )
    ]
    constraints = ask(
        f"SELECT {schema}, table_name, constraint_type, constraint_column_names, referenced_table,"
        f" referenced_column_names, expression FROM duckdb_constraints()"
        f" WHERE database_name = '{database.name}' ORDER BY table_oid, constraint_index"
    )
    named = {"PRIMARY KEY": True, "UNIQUE": False}
    keys = [(s, t, named[kind], own) for s, t, kind, own, *_ in constraints if kind in named]
    for place, table, expressions in ask(
        f"SELECT {schema}, table_name, expressions FROM duckdb_indexes()"
        f" WHERE database_name = '{database.name}' AND is_unique ORDER BY index_oid"
    ):
        keys.append((place, table, False, tuple(name.strip(" '\"") for name in expressions.strip("[]").split(","))))
    links = [  # a parent stands in the same schema
        (s, t, Link(own, (s, parent), theirs))
        for s, t, kind, own, parent, theirs, _ in constraints
        if kind == "FOREIGN KEY"
    ]
    checks = [(s, t, check) for s, t, kind, *_, check in constraints if kind == "CHECK"]
    return _tables(columns, keys, links, checks)


def _labels(kind: str) -> tuple[str, ...]:
    """The labels in the name of an enum's type."""
    listed = _ENUM_LABEL.findall(kind) if kind.lower().startswith("enum(") else []
    return tuple(label.replace("''", "'") for label in listed)


# --- MySQL -----------------------------------------------------------------------------------------------------------


def _mysql(database: Database) -> list[Table]:
    name = getattr(database, "name", "")
    ask = lambda sql: [tuple(map(_text, row)) for row in _asked(database.query, sql)]  # noqa: E731
    here = f"table_schema = '{name}'"
    columns = [
        ("", table, Column(column, kind, null == "NO", "GENERATED" in extra.upper(), labels=_labels(kind)))
        for table, column, kind, null, extra in ask(
            "SELECT c.table_name, c.column_name, c.column_type, c.is_nullable, c.extra"
            " FROM information_schema.columns c JOIN information_schema.tables t"
            " ON t.table_schema = c.table_schema AND t.table_name = c.table_name"
            f" WHERE c.{here} AND t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position"
        )
    ]
    unique = ask(
        f"SELECT table_name, index_name, column_name FROM information_schema.statistics WHERE {here} AND non_unique = 0"
        " ORDER BY table_name, index_name, seq_in_index"
    )
    keys = [
        ("", table, index == "PRIMARY", tuple(row[2] for row in rows))
        for (table, index), rows in groupby(unique, key=lambda row: row[:2])
    ]
    used = ask(
        "SELECT table_name, constraint_name, column_name, referenced_table_name, referenced_column_name"
        f" FROM information_schema.key_column_usage WHERE {here} AND referenced_table_name IS NOT NULL"
        " ORDER BY table_name, constraint_name, ordinal_position"
    )
    links = []
    for (table, _), rows in groupby(used, key=lambda row: row[:2]):
        _, _, own, parents, theirs = zip(*rows, strict=True)
        links.append(("", table, Link(own, ("", parents[0]), theirs)))
    checks = [
        ("", table, check)
        for table, check in ask(
            "SELECT t.table_name, c.check_clause FROM information_schema.check_constraints c"
            " JOIN information_schema.table_constraints t ON t.constraint_schema = c.constraint_schema"
            " AND t.constraint_name = c.constraint_name AND t.constraint_type = 'CHECK'"
            f" WHERE c.constraint_schema = '{name}' ORDER BY t.table_name, c.constraint_name"
        )
    ]
    return _tables(columns, keys, links, checks)


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
