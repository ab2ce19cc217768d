"""What a context defines: its tables, their columns, keys and foreign keys, read back from SQLite itself.

Asking the engine instead of parsing the DDL means that whatever SQLite accepts is understood as SQLite understands it.
"""

import re
import sqlite3
from dataclasses import dataclass, field, replace

from text2sql.engines.sqlite import Connection, Failure, build
from text2sql.sql.spelling import quoted


@dataclass(frozen=True)
class Column:
    """`kind` is integer, real, text, boolean, date, datetime, time or blob, from the declared type."""

    name: str
    type: str
    kind: str
    not_null: bool


@dataclass(frozen=True)
class ForeignKey:
    """`columns` of the table that holds it refer to `parent_columns` of `parent`, in this order."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Names are spelled as in the DDL. `keys` are the column sets that hold no two equal rows, primary key first."""

    name: str
    columns: dict[str, Column]
    primary_key: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[ForeignKey, ...]


@dataclass
class Schema:
    """`tables` by lower-case name. `before` and `after` are the statements to run before and after adding rows.

    A foreign key to a table or column that the context does not define forbids nothing and is left out. What a foreign
    key refers to in a table that declares no key is that table's key; `undeclared` are such keys, by table name.
    `rows` holds up to 50 values of each column that the context's own INSERTs bring, by (table, column).
    """

    tables: dict[str, Table]
    before: list[str]
    after: list[str]
    rows: dict[tuple[str, str], list] = field(default_factory=dict)
    undeclared: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def add_key(self, name: str, columns: tuple[str, ...]) -> None:
        """No two rows of the table are to be alike in the columns."""
        table = self.tables[name.lower()]
        if columns not in table.keys:
            self.tables[name.lower()] = replace(table, keys=(*table.keys, columns))
            self.undeclared.append((table.name, columns))

    def identifies(self, table: str, column: str) -> bool:
        """Whether the column says which row is meant: a key, part of one, or a reference. Names as in the DDL."""
        found = self.tables[table.lower()]
        return any(column in columns for columns in (*found.keys, *(link.columns for link in found.foreign_keys)))

    def column(self, table: str, name: str) -> Column | None:
        """The column by names in any case."""
        found = self.tables.get(table.lower())
        columns = found.columns.items() if found else ()
        return next((column for key, column in columns if key.lower() == name.lower()), None)


def opened(script: str) -> Connection:
    """The database of a script made here, which must build. Raises RuntimeError where it does not."""
    connection = build(script)
    if isinstance(connection, Failure):
        raise RuntimeError(f"a generated database does not build: {connection.error}")
    return connection


def read_schema(context: str) -> Schema | Failure:
    """The schema that a SQLite script of DDL (and INSERTs) builds, or why it builds none."""
    connection = build(context)
    if isinstance(connection, Failure):
        return connection
    connection.set_authorizer(None)
    try:
        return _read(connection)
    except sqlite3.Error as error:  # a view over a missing table, say
        return Failure("schema", str(error))
    finally:
        connection.close()


def kind_of(declared: str) -> str:
    """The kind of value that a declared type asks for."""
    name = declared.upper()
    for pattern, kind in (
        (r"BOOL", "boolean"),
        (r"DATETIME|TIMESTAMP", "datetime"),
        (r"DATE", "date"),
        (r"TIME", "time"),
        (r"INT|SERIAL|YEAR", "integer"),
        (r"REAL|FLOA|DOUB|NUM|DEC|MONEY", "real"),
        (r"BLOB|BINARY", "blob"),
    ):
        if re.search(pattern, name):
            return kind
    return "text"


def _read(connection: sqlite3.Connection) -> Schema:
    objects = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!' "
        "ORDER BY rowid"
    ).fetchall()
    names = {name.lower(): name for kind, name, _ in objects if kind == "table"}
    tables, rows = {}, {}
    for name in names.values():
        described = connection.execute(f"PRAGMA table_info({quoted(name)})").fetchall()  # without generated columns
        key = tuple(row[1] for row in sorted(described, key=lambda row: row[5]) if row[5])
        columns = {
            row[1]: Column(row[1], row[2] or "", kind_of(row[2] or ""), bool(row[3] or row[5])) for row in described
        }
        keys = [key] if key else []
        for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({quoted(name)})").fetchall():
            if unique and not partial:
                parts = [row[2] for row in connection.execute(f"PRAGMA index_info({quoted(index)})")]
                if None not in parts and tuple(parts) not in keys:
                    keys.append(tuple(parts))
        tables[name.lower()] = Table(name, columns, key, tuple(keys), ())
        for column in columns:
            given = connection.execute(f"SELECT DISTINCT {quoted(column)} FROM {quoted(name)} LIMIT 50").fetchall()
            if given:
                rows[name, column] = [value for (value,) in given if value is not None]
    schema = Schema(tables, [], [], rows)
    for table in list(tables.values()):
        links = tuple(_foreign_keys(connection, schema, table))
        tables[table.name.lower()] = replace(table, foreign_keys=links)
    keyless = {table.name for table in tables.values() if not table.keys}
    for link in [link for table in tables.values() for link in table.foreign_keys if link.parent in keyless]:
        schema.add_key(link.parent, link.parent_columns)
    schema.before = [sql for kind, _, sql in objects if kind == "table"]
    schema.after = [sql for kind, _, sql in objects if kind != "table"]
    return schema


def _foreign_keys(connection: sqlite3.Connection, schema: Schema, table: Table) -> list[ForeignKey]:
    grouped: dict[int, list] = {}
    for row in connection.execute(f"PRAGMA foreign_key_list({quoted(table.name)})").fetchall():
        grouped.setdefault(row[0], []).append(row)
    links = []
    for group in sorted(grouped):
        parts = sorted(grouped[group], key=lambda row: row[1])
        parent = schema.tables.get(parts[0][2].lower())
        if parent is None:
            continue
        targets = [row[4] for row in parts]
        if None in targets:  # REFERENCES parent, without columns: its primary key
            targets = list(parent.primary_key)
        columns = [c for row in parts if (c := schema.column(table.name, row[3]))]
        parents = [c for name in targets if (c := schema.column(parent.name, name))]
        if not len(columns) == len(parents) == len(parts):
            continue
        link = ForeignKey(tuple(c.name for c in columns), parent.name, tuple(c.name for c in parents))
        if not (link.parent == table.name and link.columns == link.parent_columns) and link not in links:
            links.append(link)  # a key that refers to itself holds always
    return links
