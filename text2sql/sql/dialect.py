"""SQL of another dialect as SQLite runs it, with the same meaning; what has no such form is named, never guessed.

sqlglot parses the source dialect; `sqlite_generator` writes SQLite 3.40, in which much of what sqlglot would leave
as it is does not exist (CONCAT, YEAR, LEFT, INTERVAL …) or means something else (CAST AS DATE, LIKE).

- Dialect `sqlite` or None: the text runs as it is, untouched.
- Clock functions become `clock.NOW`, the one instant at which all SQL runs. Functions of chance
  (RAND, UUID) are untranslatable.
- Dates are text: `YYYY-MM-DD` or `YYYY-MM-DD HH:MM:SS`. Adding days or longer keeps a value's form; adding a month
  to a month's last days gives the target month's last day, as MySQL and PostgreSQL do.
- Identifiers are quoted with backticks, because SQLite reads an unknown "name" as a string and would hide the error.
- LIKE ignores ASCII case in SQLite and MySQL; for dialects where it does not, it becomes GLOB. `=` compares text
  exactly, whatever collation a MySQL server might have been set up with.
"""

import functools
import itertools
import logging
import re
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError, UnsupportedError
from sqlglot.tokens import TokenType

from text2sql.base.errors import UserError
from text2sql.sql.dialect_names import dialect_name, known, unknown_dialect
from text2sql.sql.dump import Copied, plain_sql, without_copies
from text2sql.sql.spelling import literal, quoted
from text2sql.sql.sqlite_generator import SQLITE_FUNCTIONS, NoForm, Target, generate

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # its warnings come back as reasons


@dataclass(frozen=True)
class Untranslatable:
    """Why a text has no SQLite form. `outcome` is `syntax` where the text is no SQL of its own dialect."""

    reason: str
    outcome: str = "dialect"


# Words before a parenthesis that call no function.
_NOT_FUNCTIONS = frozenset(
    (
        "all and any as between by case cast check collate conflict do default distinct else end escape "
        "except exists filter foreign from glob group having if in index intersect into is join key like "
        "limit not offset on or order over partition primary references replace select set then union unique "
        "using values when where window with"
    ).split()
)


def _foreign_function(sql: str, defined: set[str]) -> str | None:
    """The first name in `sql` that is called like a function and is none of SQLite's."""
    tokens = Target().tokenize(sql)
    for token, following in itertools.pairwise(tokens):
        if following.token_type == TokenType.L_PAREN and token.token_type not in (
            TokenType.IDENTIFIER,
            TokenType.STRING,
        ):
            name = token.text.lower()
            if name.isidentifier() and name not in SQLITE_FUNCTIONS | _NOT_FUNCTIONS | defined:
                return token.text
    return None


def is_sqlite(dialect: str | None) -> bool:
    """Whether texts of this dialect run as they are."""
    return not dialect or dialect_name(dialect) == "sqlite"


def _check_dialect(dialect: str) -> None:
    if not known(dialect):
        raise UserError(unknown_dialect(dialect))


def to_sqlite(sql: str, dialect: str | None) -> str | Untranslatable:
    """One query of `dialect` (a sqlglot name) as SQLite, or why it has no SQLite form.

    The text itself for sqlite. A text that does not parse gives Untranslatable with outcome `syntax`.
    Raises UserError for a dialect that sqlglot does not know.
    """
    if not dialect or is_sqlite(dialect):
        return sql
    dialect = dialect_name(dialect)
    trees = _parse(sql, dialect)
    if isinstance(trees, Untranslatable):
        return trees
    if len(trees) != 1:
        return Untranslatable(f"expected one statement, found {len(trees)}", "syntax")
    return _write(trees[0], dialect)


def _parse(sql: str, dialect: str) -> list[exp.Expr] | Untranslatable:
    """The trees of a script's statements. Raises UserError for a dialect that sqlglot does not know."""
    _check_dialect(dialect)
    try:
        return [_unqualified(tree) for tree in sqlglot.parse(sql, dialect=dialect) if tree is not None]
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError) as error:
        return Untranslatable(_one_line(error), "syntax")


_CATALOGS = frozenset(("information_schema", "pg_catalog", "sys", "mysql", "performance_schema"))


def _unqualified(tree: exp.Expr) -> exp.Expr:
    """The tree with tables and columns named without their schema: `public.shop` and `shop` are one table.

    A system's own catalogs keep theirs, because no table of a script stands for them.
    """
    for node in tree.find_all(exp.Table, exp.Column):
        if node.args.get("db") and node.text("db").lower() not in _CATALOGS:
            node.set("db", None)
            node.set("catalog", None)
    return tree


def _write(tree: exp.Expr, dialect: str) -> str | Untranslatable:
    if isinstance(tree, exp.Command):
        return Untranslatable(f"{tree.name.upper()} has no SQLite form")
    defined = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    defined |= {table.name.lower() for table in tree.find_all(exp.Table)}
    try:
        text = generate(tree, dialect)
    except NoForm as error:
        return Untranslatable(str(error))
    except (UnsupportedError, RecursionError, SqlglotError, ValueError, AttributeError, TypeError, KeyError) as error:
        return Untranslatable(_one_line(error))
    name = _foreign_function(text, defined)
    return Untranslatable(f"the function {name} has no SQLite form") if name else text


def _one_line(error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or type(error).__name__
    return " ".join(text.split())[:300]


# DDL ----------------------------------------------------------------------------------------------------------------

_AFFINITY = [
    (exp.DataType.INTEGER_TYPES | {exp.DataType.Type.SERIAL, exp.DataType.Type.BIGSERIAL,
                                   exp.DataType.Type.SMALLSERIAL, exp.DataType.Type.YEAR}, "INTEGER"),
    ({exp.DataType.Type.BOOLEAN}, "BOOLEAN"),
    ({exp.DataType.Type.DATE, exp.DataType.Type.DATE32}, "DATE"),
    ({exp.DataType.Type.TIME, exp.DataType.Type.TIMETZ}, "TIME"),
    (exp.DataType.TEMPORAL_TYPES, "DATETIME"),
    (exp.DataType.FLOAT_TYPES, "REAL"),
    ({exp.DataType.Type.DECIMAL, exp.DataType.Type.UDECIMAL, exp.DataType.Type.BIGDECIMAL, exp.DataType.Type.MONEY},
     "NUMERIC"),
    ({exp.DataType.Type.BLOB, exp.DataType.Type.BINARY, exp.DataType.Type.VARBINARY, exp.DataType.Type.LONGBLOB},
     "BLOB"),
]  # fmt: skip


def _sqlite_type(kind: exp.DataType | None) -> str:
    for types, name in _AFFINITY:
        if kind is not None and kind.this in types:
            return name
    return "TEXT"


def _name(identifier: exp.Expr | str) -> str:
    return quoted(identifier if isinstance(identifier, str) else identifier.name, "`")


def _names_of(node: exp.Expr) -> str:
    columns = node.this.expressions if isinstance(node.this, exp.Schema) else node.expressions
    return ", ".join(_name(column.find(exp.Identifier) or column) for column in columns)


def _reference(reference: exp.Expr) -> str:
    target = reference.this
    table = target.this if isinstance(target, exp.Schema) else target
    columns = f" ({', '.join(_name(c) for c in target.expressions)})" if isinstance(target, exp.Schema) else ""
    return f"REFERENCES {_name(table)}{columns}"


def _column(column: exp.ColumnDef, dialect: str) -> str:
    kind = column.args.get("kind")
    parts = [_name(column.this), _sqlite_type(kind)]
    enum = isinstance(kind, exp.DataType) and kind.is_type("enum")
    constraints = [c.kind for c in column.constraints]
    if any(isinstance(c, exp.PrimaryKeyColumnConstraint) for c in constraints):
        parts.append("PRIMARY KEY")
    for c in constraints:
        if isinstance(c, exp.NotNullColumnConstraint) and not c.args.get("allow_null"):
            parts.append("NOT NULL")
        elif isinstance(c, exp.UniqueColumnConstraint):
            parts.append("UNIQUE")
        elif isinstance(c, exp.CheckColumnConstraint):
            parts.append(f"CHECK ({generate(c.this.copy(), dialect)})")
        elif isinstance(c, exp.DefaultColumnConstraint) and not isinstance(c.this, exp.Uuid):
            parts.append(f"DEFAULT ({generate(c.this.copy(), dialect)})")
        elif isinstance(c, exp.Reference):
            parts.append(_reference(c))
        elif isinstance(c, exp.ComputedColumnConstraint):
            parts.append(f"AS ({generate(c.this.copy(), dialect)}) STORED")
    if enum and kind is not None:
        parts.append(f"CHECK ({_name(column.this)} IN ({', '.join(literal(v.name) for v in kind.expressions)}))")
    return " ".join(parts)


def _table(tree: exp.Create, dialect: str) -> str:
    schema = tree.this
    if not isinstance(schema, exp.Schema):
        return generate(tree, dialect)
    lines, late = [], []
    for part in schema.expressions:
        if isinstance(part, exp.ColumnDef):
            lines.append(_column(part, dialect))
            continue
        for rule in part.expressions if isinstance(part, exp.Constraint) else [part]:
            if isinstance(rule, exp.PrimaryKey):
                late.append(f"PRIMARY KEY ({_names_of(rule)})")
            elif isinstance(rule, exp.UniqueColumnConstraint):
                late.append(f"UNIQUE ({_names_of(rule)})")
            elif isinstance(rule, exp.ForeignKey):
                late.append(f"FOREIGN KEY ({_names_of(rule)}) {_reference(rule.args['reference'])}")
            elif isinstance(rule, exp.CheckColumnConstraint):
                late.append(f"CHECK ({generate(rule.this.copy(), dialect)})")
    exists = "IF NOT EXISTS " if tree.args.get("exists") else ""
    return f"CREATE TABLE {exists}{_name(schema.this)} ({', '.join(lines + late)})"


# Statements of a dump that say who owns what, how numbers are given out, or that keys are checked later.
_NO_SCHEMA = re.compile(
    r"\s*(?:SEQUENCE|VIEW|TYPE|SCHEMA|FUNCTION|DATABASE|DEFAULT|EXTENSION|INDEX|DOMAIN)\b"
    r"|.*?\b(?:OWNER\s+TO|(?:DISABLE|ENABLE)\s+(?:KEYS|TRIGGER|ROW)|ADD\s+GENERATED|SET\s+DEFAULT|REPLICA\s+IDENTITY"
    r"|CLUSTER\s+ON|SET\s+STATISTICS|AUTO_INCREMENT|CHECK\s+CONSTRAINT)\b",
    re.IGNORECASE | re.DOTALL,
)
_TABLE_OR_VIEW = re.compile(
    r"\s*(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED|MATERIALIZED|EXTERNAL)\s+)*(?:TABLE|VIEW)\b",
    re.IGNORECASE,
)


_DATE_COLUMN = re.compile(r"[\"`\[]?(\w+)[\"`\]]?\s+(?:date|datetime|timestamp\w*)\b", re.IGNORECASE)


@functools.lru_cache(maxsize=128)  # many questions are about one schema
def _date_columns(script: str) -> frozenset[str]:
    return frozenset(name.lower() for name in _DATE_COLUMN.findall(script))


def subtracts_dates(sql: str, script: str, dialect: str | None) -> bool:
    """Whether a query of another dialect takes one date from another: two columns that its script declares as dates or
    times, or the largest or smallest of such. Their texts would be taken for years in SQLite."""
    if not dialect or is_sqlite(dialect) or "-" not in sql or not (dates := _date_columns(script)):
        return False
    try:
        tree = sqlglot.parse_one(sql, read=dialect_name(dialect))
    except SqlglotError:
        return False  # `to_sqlite` says what is wrong

    def is_date(side: Any) -> bool:
        while isinstance(side, exp.Paren | exp.Max | exp.Min):
            side = side.this
        return isinstance(side, exp.Column) and side.name.lower() in dates

    return any(is_date(found.left) and is_date(found.right) for found in tree.find_all(exp.Sub))


def to_sqlite_ddl(context: str, dialect: str | None) -> str | Untranslatable:
    """A script of DDL and rows (or a dump) of `dialect` as a SQLite script, or why it has no SQLite form.

    Types become the nearest of INTEGER, REAL, NUMERIC, TEXT, BLOB, BOOLEAN, DATE, DATETIME, TIME; ENUM becomes a CHECK;
    keys, NOT NULL, UNIQUE, CHECK, DEFAULT and generated columns stay, also those that ALTER TABLE adds; the rows of
    COPY … FROM stdin become INSERTs; comments, engines, character sets, plain indexes, ON UPDATE and ON DELETE go.
    Statements that hold no table, view or row (SET, USE, COMMENT ON, CREATE INDEX, sequences, owners …) go. What would
    change the rows or the tables otherwise (UPDATE, DELETE, ALTER TABLE … DROP) is named. The text itself for sqlite.
    """
    if not dialect or is_sqlite(dialect):
        return context
    dialect = dialect_name(dialect)
    script = plain_sql(context, dialect)
    script, copies = without_copies(script) if dialect == "postgres" else (script, [])
    trees = _parse(script, dialect)
    if isinstance(trees, Untranslatable):
        return trees
    tables = {tree.this.this.name.lower(): tree for tree in trees if _is_table(tree)}
    if len(tables) < sum(map(_is_table, trees)):
        return Untranslatable("two tables of one name (in different schemas, maybe) have no SQLite form")
    for number, tree in enumerate(trees, 1):
        if isinstance(tree, exp.Alter) and not _add_constraints(tree, tables):
            return Untranslatable(f"ALTER TABLE in a context has no SQLite form (statement {number})")
    statements = []
    for number, tree in enumerate(trees, 1):
        text = _statement(tree, dialect)
        if isinstance(text, Untranslatable):
            return Untranslatable(f"{text.reason} (statement {number})", text.outcome)
        if text:
            statements.append(text)
    statements += [text for copied in copies for text in _inserts(copied, tables)]
    return ";\n".join(statements) + (";" if statements else "")


def _is_table(tree: exp.Expr) -> bool:
    return isinstance(tree, exp.Create) and tree.kind == "TABLE" and isinstance(tree.this, exp.Schema)


def _add_constraints(tree: exp.Alter, tables: dict[str, exp.Expr]) -> bool:
    """Adds the keys and checks of an ALTER TABLE to its CREATE TABLE. False where it does anything else."""
    for action in tree.args.get("actions") or ():
        if isinstance(action, exp.AddConstraint):
            created = tables.get(tree.this.name.lower())
            if created is None:
                return False
            for rule in action.expressions:
                created.this.append("expressions", rule.copy())
        elif not (isinstance(action, exp.AlterColumn) and action.args.get("default")) and not isinstance(
            action, exp.ModifyColumn
        ):
            return False
    return True


def _statement(tree: exp.Expr, dialect: str) -> str | Untranslatable | None:
    """A statement of a script in SQLite; None for one that holds no table, view or row."""
    if isinstance(tree, exp.Command):
        name, rest = tree.name.upper(), tree.text("expression")
        if name == "REPLACE":
            replaced = _parse(f"INSERT {rest}", dialect)
            if isinstance(replaced, Untranslatable):
                return replaced
            (tree,) = replaced
            tree.set("alternative", "REPLACE")
            return _write(tree, dialect)
        if name == "ALTER" and not _NO_SCHEMA.match(rest):
            return Untranslatable("ALTER TABLE in a context has no SQLite form")
        if (name == "CREATE" and _TABLE_OR_VIEW.match(rest)) or name in ("INSERT", "GO"):
            return Untranslatable(f"{name} {' '.join(rest.split())[:40]} … is not understood")
        return None
    match tree:
        case exp.Create() if tree.kind == "TABLE":
            try:
                return _table(tree, dialect)
            except (NoForm, SqlglotError) as error:
                return Untranslatable(_one_line(error))
        case exp.Create() if tree.kind == "INDEX" and tree.args.get("unique"):
            return generate(tree, dialect)
        case exp.Create() if tree.kind == "VIEW":
            return _write(tree, dialect)
        case exp.Insert():
            return _write(tree, dialect)
        case exp.Copy() | exp.Merge() | exp.Update() | exp.Delete():  # the rows would be others
            return Untranslatable(f"{tree.key.upper()} in a context has no SQLite form")
    return None


def _inserts(copied: Copied, tables: dict[str, exp.Expr]) -> list[str]:
    """The rows of a COPY as INSERTs; text fits a column of any type in SQLite, apart from truth values."""
    table = tables.get(copied.table.lower())
    defined = [part for part in (table.this.expressions if table else ()) if isinstance(part, exp.ColumnDef)]
    kinds = {column.name.lower(): _sqlite_type(column.args.get("kind")) for column in defined}
    columns = copied.columns or list(kinds)
    boolean = [kinds.get(name.lower()) == "BOOLEAN" for name in columns]
    truth = {"t": "1", "f": "0"}
    head = f"INSERT INTO {_name(copied.table)} ({', '.join(map(_name, columns))}) VALUES"
    lines = [
        "("
        + ", ".join(
            truth.get(cell or "", "NULL") if is_boolean else literal(cell)
            for cell, is_boolean in zip(row, boolean, strict=False)
        )
        + ")"
        for row in copied.rows
    ]
    return [f"{head} {', '.join(lines[start : start + 500])}" for start in range(0, len(lines), 500)]
