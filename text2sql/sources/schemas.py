"""Schemas as DDL: read from a SQLite file, made from Spider's tables.json, named where a source has no name."""

import hashlib
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.text import first_line
from text2sql.sql.spelling import spelled

# A table's name, behind the name of its schema where it has one
CREATED = re.compile(
    r"""\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?
    (?:(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|\w+)\.)*("[^"]+"|`[^`]+`|\[[^\]]+\]|[^\s(]+)""",
    re.IGNORECASE | re.VERBOSE,
)

# Spider's column types; AI Hub's schema files use the same words and a few more, which stay as they are.
TYPES = {"text": "TEXT", "number": "NUMERIC", "time": "DATETIME", "boolean": "BOOLEAN", "others": "TEXT"}


def name_of_schema(context: str) -> str:
    """A db_id for a context that has none: its table names in lower case, sorted, joined by `+`.

    Contexts over the same tables thereby share a db_id, so that a hold-out by db_id never puts two cuts of one schema
    on both sides. A long name is shortened by a hash; a context without tables is named by its hash alone.
    """
    names = sorted({name.strip('"`[]').lower() for name in CREATED.findall(context)})
    joined = "+".join(names)
    if 0 < len(joined) <= 60:
        return joined
    digest = hashlib.sha256((joined or context).encode("utf-8", "backslashreplace")).hexdigest()[:10]
    return f"{joined[:49]}~{digest}" if joined else f"schema~{digest}"


def schema_of_database(path: str | Path) -> str:
    """The DDL of a SQLite file: its CREATE TABLE and CREATE VIEW statements in their own order, one after another.

    Raises UserError when the file is missing or is no SQLite database.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such database; give the path of a SQLite file")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            statements = connection.execute(
                "SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql IS NOT NULL "
                "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY rowid"
            ).fetchall()
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path}: not a SQLite database ({error})") from error
    return "\n".join(f"{sql.strip().rstrip(';')};" for (sql,) in statements)


def is_sqlite_file(path: Path) -> bool:
    """Whether a file is an SQLite database, by its first bytes. Raises UserError when it is missing."""
    try:
        with open(path, "rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such database; give an SQLite file, an SQL script, or a folder of them") from error


def read_script_file(path: Path) -> str:
    """The text of an SQL script. Raises UserError for a file that is no text, or holds no statement of SQL."""
    try:
        script = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: neither an SQLite database nor an SQL script in UTF-8 ({first_line(error)})"
        ) from error
    if not CREATED.search(script):
        raise UserError(f"{path}: holds no CREATE TABLE; give an SQLite file, an SQL script, or a folder of them")
    return script


DATABASES = (".sqlite", ".db", ".sqlite3")  # how the names of SQLite files end
FILES_OF = (*(f"{{0}}{suffix}" for suffix in DATABASES), "{0}.sql")


def database_in(folder: Path, name: str) -> Path | None:
    """The SQLite file or script of a database in a folder of them, beside the others or in a folder of its name."""
    for parent in (folder, folder / name):
        for form in FILES_OF:
            if (file := parent / form.format(name)).is_file():
                return file
    script = folder / name / "schema.sql"
    return script if script.is_file() else None


def names_in(folder: Path) -> list[str]:
    """The names of the databases in a folder of them."""
    suffixes = {Path(form).suffix for form in FILES_OF}
    found = {file.stem for depth in ("*", "*/*") for file in folder.glob(depth) if file.suffix in suffixes}
    return sorted(found)


def ddl_of_spider(schema: dict) -> str:
    """CREATE TABLE statements from one entry of Spider's tables.json, with types, primary and foreign keys.

    Column numbers in `primary_keys` and `foreign_keys` count over the whole database; column 0 is `*`. A primary key
    of several columns is a list in the releases that have them.
    """
    columns = schema["column_names_original"]
    tables = schema["table_names_original"]
    types = schema["column_types"]
    primary = [number for key in schema["primary_keys"] for number in (key if isinstance(key, list) else [key])]
    statements = []
    for table, name in enumerate(tables):
        if name.lower().startswith("sqlite_"):  # SQLite's own bookkeeping, which slipped into some schemas
            continue
        own = [number for number, (owner, _) in enumerate(columns) if owner == table]
        lines = [f"{spelled(columns[n][1])} {TYPES.get(types[n].lower(), types[n].upper())}" for n in own]
        if key := [number for number in primary if number in own]:
            lines.append(f"PRIMARY KEY ({', '.join(spelled(columns[n][1]) for n in key)})")
        for child, parent in schema["foreign_keys"]:
            if child in own:
                owner, column = columns[parent]
                lines.append(
                    f"FOREIGN KEY ({spelled(columns[child][1])}) REFERENCES {spelled(tables[owner])}({spelled(column)})"
                )
        statements.append(f"CREATE TABLE {spelled(name)} (\n  " + ",\n  ".join(lines) + "\n);")
    return "\n".join(statements)
