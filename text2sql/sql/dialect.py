"""SQL of another dialect as SQLite runs it, with the same meaning; what has no such form is named, never guessed.

sqlglot parses the source dialect; `sqlite_generator` writes SQLite 3.40, in which much of what sqlglot would leave
as it is does not exist (CONCAT, YEAR, LEFT, INTERVAL …) or means something else (CAST AS DATE, LIKE).

- Dialect `sqlite` or None: the text runs as it is, untouched.
- Clock functions become `clock.NOW`, the one instant at which all SQL runs. Functions of chance
  (RAND, UUID) are untranslatable.
- What an operator means depends on the types of its sides (`types`): those that the setup declares. A division, a
  date less a date, `+` in T-SQL whose types are not known are named.
- Dates are text: `YYYY-MM-DD` or `YYYY-MM-DD HH:MM:SS`, which the setup's rows are brought to; a comparison of the two
  takes a date for its midnight. Adding a month to a month's last days gives the target month's last day, as MySQL and
  PostgreSQL do. An answer shows midnight as its date, because `ex` tells no difference.
- Identifiers are quoted with backticks, because SQLite reads an unknown "name" as a string and would hide the error.
- LIKE ignores ASCII case in SQLite and MySQL; for dialects where it does not, it becomes GLOB. Texts of MySQL and SQL
  Server are compared without regard to case, as by their default collations; where the setup has letters beyond ASCII
  that have two cases, that has no SQLite form.
- `public.shop`, `dbo.shop`, `shopping.shop` and `shop` are one table, in DDL, rows and queries alike.
"""

import contextlib
import functools
import itertools
import logging
import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError, UnsupportedError
from sqlglot.tokens import TokenType

from text2sql.base.errors import UserError
from text2sql.sql.context import statements
from text2sql.sql.ddl import plain
from text2sql.sql.dialect_names import dialect_name, known, unknown_dialect
from text2sql.sql.dump import Copied, plain_sql, without_copies
from text2sql.sql.grouping import ungrouped
from text2sql.sql.moments import as_moment, as_time
from text2sql.sql.shown import show
from text2sql.sql.spelling import literal, quoted
from text2sql.sql.sqlite_generator import SQLITE_FUNCTIONS, TRUTH, NoForm, Target, generate
from text2sql.sql.tokens import tokens
from text2sql.sql.types import CASE_BLIND, NOTHING, T, Types, annotate, kind, scale_of, types_of

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


def to_sqlite(sql: str, dialect: str | None, types: Types = NOTHING) -> str | Untranslatable:
    """One query of `dialect` (a sqlglot name) as SQLite, or why it has no SQLite form.

    types: of the tables that it asks, by `declared`. The text itself for sqlite. A text that does not parse gives
    Untranslatable with outcome `syntax`, one that its own engine would refuse for its types `schema`.
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
    return _write(trees[0], dialect, types, shown=True)


def _parse(sql: str, dialect: str) -> list[exp.Expr] | Untranslatable:
    """The trees of a script's statements. Raises UserError for a dialect that sqlglot does not know."""
    _check_dialect(dialect)
    if dialect == "postgres" and (found := _PERCENT_FORMAT.search(sql)):  # sqlglot would take %Y for YYYY
        return Untranslatable(f"the format {found[1]!r} has no SQLite form")
    try:
        return [_unqualified(tree) for tree in sqlglot.parse(sql, dialect=dialect) if tree is not None]
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError) as error:
        return Untranslatable(_one_line(error), "syntax")


_PERCENT_FORMAT = re.compile(
    r"\bto_char\s*\((?:[^()']|'[^']*'|\((?:[^()']|'[^']*'|\([^()]*\))*\))*,\s*'([^']*%[^']*)'\s*\)",
    re.IGNORECASE,
)
_CATALOGS = frozenset(("information_schema", "pg_catalog", "sys", "mysql", "performance_schema"))


def _unqualified(tree: exp.Expr) -> exp.Expr:
    """The tree with tables and columns named without their schema: `public.shop` and `shop` are one table.

    A system's own catalogs keep theirs, because no table of a script stands for them. N'…' is a text like any other.
    """
    for node in list(tree.find_all(exp.Table, exp.Column, exp.National)):
        if isinstance(node, exp.National):
            node.replace(exp.Literal.string(node.name))
        elif node.args.get("db") and node.text("db").lower() not in _CATALOGS:
            node.set("db", None)
            node.set("catalog", None)
    return tree


_BEFORE_TABLE = frozenset("from join into table update references exists".split())


def without_database(script: str) -> str:
    """MySQL's text with tables named without their database, as `_unqualified` does: `shopping.shop` is `shop`.

    For a server on which each setup has a database of its own, whatever the text calls it.
    """
    words = [token for token in tokens(script, "mysql") if token.kind not in ("space", "comment")]
    named = [plain(word.text).lower() if word.kind != "literal" else "" for word in words]
    dotted = [at for at in range(1, len(words) - 2) if words[at + 1].text == "." and words[at].kind in ("word", "name")]
    at_table = {at for at in dotted if words[at - 1].text.lower() in _BEFORE_TABLE}
    databases = {named[at] for at in at_table} - _CATALOGS
    if not databases:
        return script
    others = {named[at + 2] for at in at_table}  # a table of its database's name qualifies columns
    gone = [
        at
        for at in dotted
        if named[at] in databases
        and words[at - 1].text != "."
        and (at in at_table or named[at] not in others or (at + 3 < len(words) and words[at + 3].text == "."))
    ]
    pieces, start = [], 0
    for at in gone:
        pieces.append(script[start : words[at].start])
        start = words[at + 1].end
    return "".join([*pieces, script[start:]])


def _write(tree: exp.Expr, dialect: str, types: Types, shown: bool = False) -> str | Untranslatable:
    if isinstance(tree, exp.Command):
        return Untranslatable(f"{tree.name.upper()} has no SQLite form")
    defined = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    defined |= {table.name.lower() for table in tree.find_all(exp.Table)}
    try:
        tree = _without_distinct_on(tree)
        if not isinstance(tree, exp.Insert) or not isinstance(tree.expression, exp.Values):
            annotate(tree, types, dialect)
        if shown and (column := ungrouped(tree, types, dialect)) is not None:
            if dialect != "mysql":
                return Untranslatable(f"{column.name} is shown, and neither grouped by nor aggregated", "schema")
            if tree.find(exp.Max, exp.Min):  # beside which SQLite shows the row of the largest or smallest
                return Untranslatable(f"{column.name}, neither grouped by nor aggregated, has no SQLite form")
        if shown:
            show(tree, dialect)
        text = generate(tree, dialect, types)
    except NoForm as error:
        missing = _missing(tree, types)
        return Untranslatable(missing, "schema") if missing else Untranslatable(str(error), error.outcome)
    except (UnsupportedError, RecursionError, SqlglotError, ValueError, AttributeError, TypeError, KeyError) as error:
        return Untranslatable(_one_line(error))
    name = _foreign_function(text, defined)
    return Untranslatable(f"the function {name} has no SQLite form") if name else text


def _without_distinct_on(tree: exp.Expr) -> exp.Expr:
    """The tree with the first row of each group numbered in place of DISTINCT ON; order and LIMIT hold for those rows.

    Raises NoForm where it selects `*`.
    """
    for select in list(tree.find_all(exp.Select)):
        groups = distinct.args.get("on") if (distinct := select.args.get("distinct")) else None
        if groups is None:
            continue
        if select.is_star:
            raise NoForm("DISTINCT ON beside * has no SQLite form")
        shown = [item.unalias() for item in select.expressions]
        names = [item.alias_or_name for item in select.expressions]

        def meant(of: exp.Expr, names: list[str] = names, shown: list[exp.Expr] = shown) -> exp.Expr:
            """What a number or a name of the select list stands for."""
            if of.is_int and 0 < int(of.name) <= len(shown):
                return shown[int(of.name) - 1].copy()
            bare = isinstance(of, exp.Column) and not of.table and of.name in names
            return shown[names.index(of.name)].copy() if bare else of.copy()

        order = select.args.get("order")
        keys = [key.copy() for key in order.expressions] if order else []
        for key in keys:
            key.set("this", meant(key.this))
        first = exp.Window(
            this=exp.RowNumber(),
            partition_by=[meant(group) for group in groups.expressions],
            order=exp.Order(expressions=[key.copy() for key in keys]) if keys else None,
        )
        columns = [*shown, *(key.this for key in keys), first]
        inner = select.copy()
        for part in ("distinct", "order", "limit", "offset"):
            inner.set(part, None)
        inner.set("expressions", [exp.alias_(column.copy(), f"c{n}") for n, column in enumerate(columns)])
        outer = exp.select(*(exp.alias_(exp.column(f"c{n}", "_t"), name) if name else exp.column(f"c{n}", "_t")
                             for n, name in enumerate(names)))  # fmt: skip
        outer = outer.from_(inner.subquery("_t")).where(f"_t.c{len(columns) - 1} = 1")
        for n, key in enumerate(keys, len(names)):
            key.set("this", exp.column(f"c{n}", "_t"))
        outer.set("order", exp.Order(expressions=keys) if keys else None)
        for part in ("limit", "offset"):
            outer.set(part, select.args.get(part))
        if select is tree:
            tree = outer
        else:
            select.replace(outer)
    return tree


_PSEUDO_COLUMNS = frozenset(("rownum",))  # Oracle's, of every table


def _missing(tree: exp.Expr, types: Types) -> str | None:
    """The first table or column of a query that its setup does not have: why a type is not known."""
    if not types.tables:
        return None
    defined = {cte.alias.lower() for cte in tree.find_all(exp.CTE)} | set(types.tables)
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and table.name.lower() not in defined:
            return f"no such table: {table.name}"
    columns = {name for table in types.tables.values() for name in table}
    aliases = {alias.alias.lower() for alias in tree.find_all(exp.Alias, exp.CTE, exp.TableAlias)}
    aliases |= {name.lower() for alias in tree.find_all(exp.TableAlias) for name in alias.alias_column_names}
    for column in tree.find_all(exp.Column):
        known = column.name.lower() in columns | aliases | _PSEUDO_COLUMNS
        if not known and isinstance(column.this, exp.Identifier):
            return f"no such column: {column.name}"
    return None


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


def _sqlite_type(declared: exp.DataType | None, dialect: str = "") -> str:
    for types, name in _AFFINITY:
        if declared is not None and declared.this in types:
            return name
    return "TEXT COLLATE NOCASE" if dialect in CASE_BLIND else "TEXT"


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
    collations = [c.this.name.lower() for c in column.find_all(exp.CollateColumnConstraint)]
    exact = any(name.endswith(("_bin", "_cs", "binary")) or "_cs_" in name for name in collations)
    parts = [_name(column.this), _sqlite_type(kind, "" if exact else dialect)]
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


KEPT_CHARACTERS = 16 * 2**20  # of scripts and their translations that a process keeps


class _Kept:
    """A function of a script and its dialect that keeps what it gave last: many questions are about one schema."""

    def __init__(self, function: Callable[[str, str], Any]) -> None:
        self.function, self.given, self.size = function, OrderedDict[tuple[str, str], Any](), 0

    def __call__(self, script: str, dialect: str) -> Any:
        key = (script, dialect)
        if key not in self.given:
            self.given[key] = self.function(script, dialect)
            self.size += 2 * len(script)
            while self.size > KEPT_CHARACTERS and len(self.given) > 1:
                self.size -= 2 * len(self.given.popitem(last=False)[0][0])
        self.given.move_to_end(key)
        return self.given[key]


_types = _Kept(types_of)


def declared(script: str, dialect: str | None) -> Types:
    """`types.types_of`, kept for the next question about the script."""
    return _types(script, dialect or "sqlite")


def to_sqlite_ddl(context: str, dialect: str | None) -> str | Untranslatable:
    """A script of DDL and rows (or a dump) of `dialect` as a SQLite script, or why it has no SQLite form.

    Types become the nearest of INTEGER, REAL, NUMERIC, TEXT, BLOB, BOOLEAN, DATE, DATETIME, TIME; ENUM becomes a CHECK;
    keys, NOT NULL, UNIQUE, CHECK, DEFAULT and generated columns stay, also those that ALTER TABLE adds; the rows of
    COPY … FROM stdin become INSERTs; comments, engines, character sets, plain indexes, ON UPDATE and ON DELETE go.
    Statements that hold no table, view or row (SET, USE, COMMENT ON, CREATE INDEX, sequences, owners …) go. What would
    change the rows or the tables otherwise (UPDATE, DELETE, ALTER TABLE … DROP) is named. The text itself for sqlite.
    """
    return _translated(context, dialect_name(dialect)) if dialect and not is_sqlite(dialect) else context


def _translate(context: str, dialect: str) -> str | Untranslatable:
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
    types = declared(context, dialect)
    statements = []
    for number, tree in enumerate(trees, 1):
        text = _statement(tree, dialect, types)
        if isinstance(text, Untranslatable):
            return Untranslatable(f"{text.reason} (statement {number})", text.outcome)
        if text:
            statements.append(text)
    statements += [text for copied in copies for text in _inserts(copied, types, dialect)]
    return ";\n".join(statements) + (";" if statements else "")


_translated = _Kept(_translate)


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


_VERBS = {"truncatetable": "TRUNCATE", "loaddata": "LOAD DATA"}


def _statement(tree: exp.Expr, dialect: str, types: Types) -> str | Untranslatable | None:
    """A statement of a script in SQLite; None for one that holds no table, view or row."""
    if isinstance(tree, exp.Command):
        name, rest = tree.name.upper(), tree.text("expression")
        if name == "REPLACE":
            replaced = _parse(f"INSERT {rest}", dialect)
            if isinstance(replaced, Untranslatable):
                return replaced
            (tree,) = replaced
            assert isinstance(tree, exp.Insert)
            tree.set("alternative", "REPLACE")
            return _rows(tree, dialect, types)
        if name == "ALTER" and not _NO_SCHEMA.match(rest):
            return Untranslatable("ALTER TABLE in a context has no SQLite form")
        if (name == "CREATE" and _TABLE_OR_VIEW.match(rest)) or name in ("INSERT", "GO", "RENAME", "TRUNCATE", "LOAD"):
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
            return _write(tree, dialect, types)
        case exp.Insert():
            return _rows(tree, dialect, types)
        case exp.Copy() | exp.Merge() | exp.Update() | exp.Delete() | exp.TruncateTable() | exp.LoadData():
            return Untranslatable(f"{_VERBS.get(tree.key, tree.key.upper())} in a context has no SQLite form")
        case exp.Drop() if tree.kind in ("TABLE", "VIEW") and not tree.args.get("exists"):
            return Untranslatable(f"DROP {tree.kind} in a context has no SQLite form")
    return None


# What `_statement` keeps of the statements that bring no rows
_KEPT = re.compile(
    r"(?:create\s+(?:or\s+replace\s+)?(?:(?:global|local|temp|temporary|unlogged|materialized|external)\s+)*(?:table|view)"
    r"|create\s+unique\s+index|alter\s+table\b.*\badd\b)\b",
    re.IGNORECASE | re.DOTALL,
)
_NAMED_BY_TWO = frozenset(("create", "alter", "comment", "drop", "lock", "unlock"))


@functools.lru_cache(maxsize=64)  # rows of one schema follow each other
def left_out(script: str, dialect: str) -> tuple[str, ...]:
    """The names of a script's statements that its translation leaves out, each time that one stands there."""
    try:
        found = statements(plain_sql(script, dialect), dialect)
    except ValueError:  # an unpaired quote: the translation says so
        return ()
    names = []
    for statement in found:
        words = re.findall(r"[A-Za-z_]+", statement[:200])
        if words and not _KEPT.match(statement):
            names.append(" ".join(words[: 1 + (words[0].lower() in _NAMED_BY_TWO)]).upper())
    return tuple(names)


def _rows(tree: exp.Insert, dialect: str, types: Types) -> str | Untranslatable:
    """An INSERT, its values as the columns' types keep them."""
    target, values = tree.this, tree.expression
    table = target.this if isinstance(target, exp.Schema) else target
    columns = types.tables.get(table.name.lower(), {})
    named = [c.name.lower() for c in target.expressions] if isinstance(target, exp.Schema) else list(columns)
    kinds = [columns.get(name) for name in named]
    try:
        for row in values.expressions if isinstance(values, exp.Values) else ():
            if isinstance(row, exp.Tuple):
                cells = itertools.zip_longest(row.expressions, kinds[: len(row.expressions)])
                row.set("expressions", [_kept(cell, declared, dialect, types) for cell, declared in cells])
    except NoForm as error:
        return Untranslatable(str(error), error.outcome)
    return _write(tree, dialect, types)


def _kept(cell: exp.Expr, column: exp.DataType | None, dialect: str, types: Types) -> exp.Expr:
    """A value as a column of a type keeps it: dates in one form, numbers with the column's digits."""
    of = kind(column)
    if of is None or isinstance(cell, exp.Null | exp.Boolean | exp.Placeholder) or cell.name.upper() == "DEFAULT":
        return cell
    assert column is not None
    number = cell.this if isinstance(cell, exp.Neg) else cell
    if isinstance(number, exp.Literal):
        return _kept_literal(number.name, isinstance(cell, exp.Neg), cell, column, of)
    select = exp.Select(expressions=[cell])
    annotate(select, types, dialect)
    (cell,) = select.expressions
    if kind(cell) == of and of not in ("d", "f"):
        return cell
    if of in ("day", "t", "i") or (of == "d" and scale_of(column) is not None):
        return exp.Cast(this=cell, to=column.copy())
    return cell


def _kept_literal(text: str, negative: bool, cell: exp.Expr, column: exp.DataType, of: str) -> exp.Expr:
    """A literal as a column keeps it."""
    if of in ("day", "t", "time"):
        if not cell.is_string:
            return cell
        moment = as_time(text) if of == "time" else as_moment(text, "date" if of == "day" else "datetime")
        if moment is None and not re.match(r"\s*\d{4}-", text):  # MySQL's 0000-00-00 is a text that stands first
            raise NoForm(f"{text!r} as a {'time' if of == 'time' else 'date'} has no SQLite form")
        return exp.Literal.string(moment or text)
    if of == "b" and cell.is_string:
        truth = TRUTH.get(text.strip().lower())
        return cell if truth is None else exp.Boolean(this=truth == "1")
    if of not in ("i", "d", "f"):
        return cell
    try:
        value = -Decimal(text.strip()) if negative else Decimal(text.strip())
    except InvalidOperation:
        return cell
    digits = scale_of(column) if of == "d" else 0
    if of == "f":
        if column.this is not T.FLOAT:
            return cell
        with contextlib.suppress(OverflowError):
            value = Decimal(repr(struct.unpack("f", struct.pack("f", float(value)))[0]))
    elif digits is not None and -value.as_tuple().exponent > digits:  # type: ignore[operator]
        value = value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    else:
        return cell
    return exp.Literal.number(format(value, "f"))


def _inserts(copied: Copied, types: Types, dialect: str) -> list[str]:
    """The rows of a COPY as INSERTs."""
    known = types.tables.get(copied.table.lower(), {})
    columns = copied.columns or list(known)
    kinds = [known.get(name.lower()) for name in columns]
    head = f"INSERT INTO {_name(copied.table)} ({', '.join(map(_name, columns))}) VALUES"
    lines = [
        "(" + ", ".join(_copied_cell(cell, column) for cell, column in zip(row, kinds, strict=False)) + ")"
        for row in copied.rows
    ]
    return [f"{head} {', '.join(lines[start : start + 500])}" for start in range(0, len(lines), 500)]


def _copied_cell(cell: str | None, column: exp.DataType | None) -> str:
    """A cell of a COPY; text fits a column of any type in SQLite, apart from truth values."""
    of = kind(column)
    if cell is None or of is None or column is None:
        return literal(cell)
    kept = _kept_literal(cell, False, exp.Literal.string(cell), column, of)
    return ("1" if kept.this else "0") if isinstance(kept, exp.Boolean) else literal(kept.name)
