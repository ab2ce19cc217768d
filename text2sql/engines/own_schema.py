"""A server's schema as a script of DDL: what the login may read, in the form of the training contexts."""

import warnings
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import Engine, Inspector
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import CompileError, SAWarning

from text2sql.base.errors import UserError
from text2sql.base.text import one_line
from text2sql.sql.ddl import Table, commented, keys_of, read_script
from text2sql.sql.spelling import literal

# (table, column) of all that the login may read in a schema. A partition's rows are its parent's, which stands for it.
POSTGRES_RIGHTS = """
    SELECT c.relname, a.attname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT')"""
MYSQL_COLUMNS = """
    SELECT table_name, column_name, column_type, column_comment FROM information_schema.columns
    WHERE table_schema = :schema AND FIND_IN_SET('select', privileges) ORDER BY table_name, ordinal_position"""
MYSQL_KEYS = """
    SELECT table_name, constraint_name, column_name, referenced_table_schema, referenced_table_name,
    referenced_column_name FROM information_schema.key_column_usage
    WHERE table_schema = :schema AND (constraint_name = 'PRIMARY' OR referenced_table_name IS NOT NULL)
    ORDER BY table_name, constraint_name, ordinal_position"""
MYSQL_TABLES = (
    "SELECT table_name, table_type, table_comment FROM information_schema.tables WHERE table_schema = :schema"
)


class Column(NamedTuple):
    """A column's name, its type as SQL, and what is said of it."""

    name: str
    type: str
    comment: str


class Link(NamedTuple):
    """A foreign key; `schema` is the parent's where it is not that of the table."""

    columns: list[str]
    schema: str | None
    parent: str
    theirs: list[str]


class Found(NamedTuple):
    """What a login may read of a schema, by the tables' names; `about` is what is said of them."""

    columns: dict[str, list[Column]]
    keys: dict[str, list[str]]
    links: dict[str, list[Link]]
    about: dict[str, str]
    broken: list[str]  # a line about each view that cannot be read


def read_server(engine: Engine, schema: str | None = None) -> tuple[str, list[str]]:
    """The tables and views of a schema (by default the login's) as a script of CREATE TABLE statements, a line each,
    and a line about each view that cannot be read.

    Names stand as the engine writes them; comments, and an enum's labels, beside what they describe. Raises
    SQLAlchemyError, and UserError where there is no such schema.
    """
    inspector = sqlalchemy.inspect(engine)
    if schema is not None and schema not in inspector.get_schema_names():
        raise UserError(f"--schema {one_line(schema)}: there is no such schema, or the login may not see it")
    found = (read_postgres if engine.dialect.name == "postgresql" else read_mysql)(engine, inspector, schema)
    quote = quoter(engine)
    return "\n".join(statement(name, found, quote, schema) for name in found.columns), found.broken


def read_postgres(engine: Engine, inspector: Inspector, schema: str | None) -> Found:
    """What SQLAlchemy reads of a schema, less what the login may not."""
    warnings.simplefilter("ignore", SAWarning)  # a type it does not know: the column then stands without one
    readable: dict[str, set[str]] = {}
    with engine.connect() as session:
        rights = session.execute(sqlalchemy.text(POSTGRES_RIGHTS), {"schema": schema or inspector.default_schema_name})
        for table, column in rights:
            readable.setdefault(table, set()).add(column)
    if not readable:  # to SQLAlchemy no names would mean all
        return Found({}, {}, {}, {}, [])
    names, anything = sorted(readable), ObjectKind.ANY
    columns = {
        name: [Column(one["name"], *described(one, engine)) for one in its if one["name"] in readable[name]]
        for (_, name), its in inspector.get_multi_columns(schema=schema, kind=anything, filter_names=names).items()
    }
    keys = {
        name: key["constrained_columns"]
        for (_, name), key in inspector.get_multi_pk_constraint(schema=schema, filter_names=names).items()
        if key
    }
    links = {
        name: [
            Link(one["constrained_columns"], one["referred_schema"], one["referred_table"], one["referred_columns"])
            for one in its
            if one["referred_schema"] != schema or one["referred_table"] in readable
        ]
        for (_, name), its in inspector.get_multi_foreign_keys(schema=schema, filter_names=names).items()
    }
    kinds = dict.fromkeys(inspector.get_view_names(schema), "view")
    kinds |= dict.fromkeys(inspector.get_materialized_view_names(schema), "materialized view")
    comments = inspector.get_multi_table_comment(schema=schema, kind=anything, filter_names=names)
    about = {name: "; ".join(filter(None, [kinds.get(name), said["text"]])) for (_, name), said in comments.items()}
    return Found(columns, keys, links, about, [])


def described(column: ReflectedColumn, engine: Engine) -> tuple[str, str]:
    """A column's type, empty where SQLAlchemy does not know it, and its comment with the labels of its enum."""
    kind = column["type"]
    try:
        name = kind.compile(dialect=engine.dialect)
    except CompileError:
        name = ""
    labels = getattr(getattr(kind, "item_type", kind), "enums", ())  # of an array, its items'
    may_be = "one of " + ", ".join(map(literal, labels)) if labels else ""
    return "" if name == "NULL" else name, "; ".join(filter(None, [column.get("comment"), may_be]))


def read_mysql(engine: Engine, inspector: Inspector, schema: str | None) -> Found:
    """The information schema's own words, which hold what the login may read: SHOW CREATE TABLE, from which SQLAlchemy
    reads, is denied to a login that may not read every column.
    """
    found = Found({}, {}, {}, {}, [])
    here = schema or inspector.default_schema_name
    with engine.connect() as session:
        ask = lambda query: session.execute(sqlalchemy.text(query), {"schema": here}).all()  # noqa: E731
        for table, column, kind, comment in ask(MYSQL_COLUMNS):
            found.columns.setdefault(table, []).append(Column(column, kind, comment))
        for (table, name), rows in groupby(ask(MYSQL_KEYS), key=lambda row: (row[0], row[1])):
            _, _, own, parents, parent, theirs = zip(*rows, strict=True)
            if name == "PRIMARY":
                found.keys[table] = list(own)
            elif parents[0] != here or parent[0] in found.columns:
                link = Link(list(own), None if parents[0] == here else parents[0], parent[0], list(theirs))
                found.links.setdefault(table, []).append(link)
        for table, kind, comment in ask(MYSQL_TABLES):
            is_view = kind.endswith("VIEW")
            found.about[table] = "view" if is_view else comment
            if is_view and table not in found.columns:
                found.broken.append(f"the view {one_line(table)} cannot be read and is left out")
    return found


def statement(name: str, found: Found, quote: Callable[[str], str], schema: str | None) -> str:
    """CREATE TABLE on one line, with the keys that the login may read."""
    may = {column.name for column in found.columns[name]}
    key = found.keys.get(name, [])
    links = [link for link in found.links.get(name, ()) if may.issuperset(link.columns)]
    references = {
        tuple(link.columns): f"REFERENCES {qualified(quote, link.schema, link.parent)}"
        f"({', '.join(map(quote, link.theirs))})"
        for link in links
    }
    parts = []
    for column in found.columns[name]:
        primary = "PRIMARY KEY" if key == [column.name] else ""
        words = [
            quote(column.name),
            column.type,
            primary,
            references.get((column.name,), ""),
            commented(column.comment),
        ]
        parts.append(" ".join(filter(None, words)))
    if len(key) > 1 and may.issuperset(key):
        parts.append(f"PRIMARY KEY ({', '.join(map(quote, key))})")
    parts += [f"FOREIGN KEY ({', '.join(map(quote, own))}) {to}" for own, to in references.items() if len(own) > 1]
    about = commented(found.about.get(name) or "")
    return f"CREATE TABLE {qualified(quote, schema, name)} ({about + ' ' if about else ''}{', '.join(parts)});"


def qualified(quote: Callable[[str], str], schema: str | None, name: str) -> str:
    return ".".join(map(quote, filter(None, [schema, name])))


def quoter(engine: Engine) -> Callable[[str], str]:
    """How the engine writes a name: in quotes where it must.

    SQLAlchemy doubles each % for drivers that read it as a parameter's place; in a prompt it is what it is.
    """
    quote = engine.dialect.identifier_preparer.quote
    doubled = engine.dialect.paramstyle in ("format", "pyformat")
    return lambda name: quote(name).replace("%%", "%") if doubled else quote(name)


def only(script: str, dialect: str, names: Sequence[str]) -> str:
    """The script with the named tables alone. Raises UserError for a name that is none of theirs."""
    parts: Sequence[Table] = tables_of(script, dialect)
    known = {key: table for table in reversed(parts) for key in keys_of(table.name)}
    if unknown := [name for name in names if name.lower() not in known]:
        raise UserError(
            f"--tables: there is no table {one_line(unknown[0])}, or the login may not read it;"
            f" there are {', '.join(one_line(table.name) for table in parts[:10])}{', …' if len(parts) > 10 else ''}"
        )
    chosen = {id(known[name.lower()]) for name in names}
    return "\n".join(f"{table.statement};" for table in parts if id(table) in chosen)


def tables_of(script: str, dialect: str) -> list[Table]:
    """A script's tables. Raises UserError at an unpaired quote, which no database's own script has."""
    try:
        return read_script(script, dialect).tables
    except ValueError as error:
        raise UserError(f"--db: its schema cannot be read as SQL ({error})") from error
