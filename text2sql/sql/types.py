"""The types of a query's expressions, by the declared types of its setup's columns and the rules of its dialect.

sqlglot annotates (scopes, subqueries, set operations, functions); what it says too coarsely for a translation is said
here: a literal 1.5 is a DECIMAL, the scale of decimals, a mean of integers, a date less a date. Names are compared
without their case, as SQLite does.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import TypeAnnotator
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from text2sql.sql.ddl import read_script
from text2sql.sql.dialect_names import dialect_name

T = exp.DType
INTEGER = exp.DataType.INTEGER_TYPES | {T.SERIAL, T.BIGSERIAL, T.SMALLSERIAL, T.YEAR}
EXACT = {T.DECIMAL, T.UDECIMAL, T.BIGDECIMAL, T.MONEY, T.SMALLMONEY, T.DECIMAL32, T.DECIMAL64, T.DECIMAL128}
FLOAT = set(exp.DataType.FLOAT_TYPES)
TEXT = set(exp.DataType.TEXT_TYPES) | {T.BPCHAR, T.ENUM, T.TINYTEXT, T.MEDIUMTEXT, T.LONGTEXT}
DATE = {T.DATE, T.DATE32}
TIME = {T.TIME, T.TIMETZ}
INSTANT = set(exp.DataType.TEMPORAL_TYPES) - DATE - TIME
WIDE = {T.BIGINT, T.UBIGINT, T.BIGSERIAL}
# One letter for a kind: all that most decisions need
KINDS = {**dict.fromkeys(INSTANT, "t"), **dict.fromkeys(INTEGER, "i"), **dict.fromkeys(EXACT, "d"),
         **dict.fromkeys(FLOAT, "f"), **dict.fromkeys(TEXT, "s"), **dict.fromkeys(DATE, "day"),
         **dict.fromkeys(TIME, "time"), T.BOOLEAN: "b", T.BIT: "b", T.INTERVAL: "interval", T.NULL: "null"}  # fmt: skip
NUMBERS = ("i", "d", "f")
MOMENTS = ("day", "t")

COUNTS_DAYS = {"postgres", "duckdb", "redshift", "oracle", "snowflake"}  # a date less a date is a number of days
CASE_BLIND = {"mysql", "tsql", "doris", "starrocks", "singlestore", "fabric"}  # by their default collations


class Types(NamedTuple):
    """What a setup declares: the types of its tables' columns, all names in lower case."""

    tables: dict[str, dict[str, exp.DataType]]
    cased: bool = False  # whether letters beyond ASCII that have two cases stand in it: SQLite folds none of them
    keys: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # the columns of tables' primary keys
    blanks: bool = False  # whether a text ends in blanks: MySQL's collations pass over them


NOTHING = Types({})


def types_of(script: str, dialect: str | None) -> Types:
    """The types that a script of DDL declares. What cannot be read has no type."""
    dialect = dialect_name(dialect or "sqlite")
    tables, keys = {}, {}
    for table in read_script(script, dialect).tables:
        columns = {column.name.lower(): column_type(column.type, dialect) for column in table.columns}
        name = table.name.rpartition(".")[2].lower()
        tables[name], keys[name] = columns, tuple(key.lower() for key in table.primary_key)
    blanks = dialect in CASE_BLIND and any(t.endswith(" '") and t.strip("' ") for t in _LITERAL.findall(script))
    return Types(tables, two_cases(script), keys, blanks)


_LITERAL = re.compile(r"'(?:[^'\\]|\\.|'')*+'", re.DOTALL)


def two_cases(script: str) -> bool:
    """Whether letters beyond ASCII that have two cases stand in a text."""
    return not script.isascii() and any(c > "\x7f" and c.lower() != c.upper() for c in set(script))


@functools.lru_cache(maxsize=4096)
def column_type(text: str, dialect: str) -> exp.DataType:
    """A type as a column's declaration writes it."""
    try:
        kind = exp.DataType.build(text, dialect=dialect, udt=True) if text else None
    except (SqlglotError, ValueError, AttributeError):
        kind = None
    if kind is None:
        return exp.DataType.build("unknown")
    if kind.is_type(T.FLOAT) and dialect == "tsql" and "real" not in text.lower():
        return exp.DataType.build("double")
    if dialect == "sqlite" and text.upper().startswith("FLOAT"):  # as `dialect` spells single precision
        return exp.DataType(this=T.FLOAT)
    if dialect == "mysql" and kind.this in EXACT and not kind.expressions:
        return decimal(0)
    return kind


def kind(node: exp.Expr | exp.DataType | None) -> str | None:
    """i integer, d decimal, f float, s text, b boolean, day, t instant, time, interval, null; None: not known."""
    type_ = node if isinstance(node, exp.DataType) else node.type if node is not None else None
    return KINDS.get(type_.this) if type_ is not None else None


def scale(node: exp.Expr) -> int | None:
    """Digits behind the point of an integer or decimal, where they are known."""
    if kind(node) in ("i", "b"):
        return 0
    return scale_of(node.type)


def scale_of(type_: exp.DataType | None) -> int | None:
    """Digits behind the point of a decimal type, where they are known."""
    if type_ is None or type_.this not in EXACT:
        return None
    parts = [part.name for part in type_.expressions]
    if len(parts) == 1:
        return 0
    return int(parts[1]) if len(parts) == 2 and parts[1].isdigit() else None


def decimal(digits: int | None) -> exp.DataType:
    return exp.DataType.build(f"DECIMAL(65, {digits})" if digits is not None else "DECIMAL")


# --- The annotation -------------------------------------------------------------------------------------------------


def annotate(tree: exp.Expr, types: Types, dialect: str) -> None:
    """Gives each expression of a query its type (`node.type`); the tree is left as it is otherwise."""
    copy = tree.copy()
    pairs = list(zip(tree.walk(), copy.walk(), strict=True))
    for _, node in pairs:
        if isinstance(node, exp.Identifier):
            node.set("this", node.name.lower())
    aliases, sources = _resolve(copy, types)
    asked = {table.name for table in copy.find_all(exp.Table)} & types.tables.keys()
    schema = MappingSchema({name: dict(types.tables[name]) for name in asked}, dialect=dialect, normalize=False)
    try:
        TypeAnnotator(schema, expression_metadata=_metadata(dialect)).annotate(copy)
    except (SqlglotError, KeyError, ValueError, AttributeError, TypeError, IndexError, RecursionError):
        return  # untyped: what depends on a type is named
    for own, annotated in pairs:
        own._type = aliases.get(id(annotated), annotated).type
        if id(annotated) in sources:
            own.meta["source"], own.meta["table"] = sources[id(annotated)]


def _resolve(tree: exp.Expr, types: Types) -> tuple[dict[int, exp.Expr], dict[int, tuple[str, str | None]]]:
    """Writes its table before each bare column. Gives, by the column's id, the expressions that aliases stand for, and
    where other columns come from: the source's name in the query, and the table whose own column it is.
    """
    aliases: dict[int, exp.Expr] = {}
    sources: dict[int, tuple[str, str | None]] = {}
    try:
        scopes = traverse_scope(tree)
    except (SqlglotError, RecursionError):
        return aliases, sources
    for scope in scopes:
        names = {_alias(e): e.this for e in getattr(scope.expression, "expressions", ()) if isinstance(e, exp.Alias)}
        for column in scope.find_all(exp.Column):
            if column.table in scope.selected_sources:
                sources[id(column)] = _origin(column.table, scope)
            if column.table or isinstance(column.this, exp.Star):
                continue
            clause = column.find_ancestor(exp.Order, exp.Group, exp.Having, exp.Select, exp.Window, exp.Where)
            as_alias = names.get(column.name) if isinstance(clause, exp.Order | exp.Group | exp.Having) else None
            source = _source_of(column.name, scope, types)
            if as_alias is not None and (source is None or isinstance(clause, exp.Order)):
                if not any(node is column for node in as_alias.walk()):
                    expression = as_alias.copy()
                    aliases[id(column)] = expression
                    column.replace(expression)
                    for inner in expression.find_all(exp.Column):
                        if not inner.table and (found := _source_of(inner.name, scope, types)):
                            inner.set("table", exp.to_identifier(found))
            elif source is not None:
                column.set("table", exp.to_identifier(source))
                if source in scope.selected_sources:
                    sources[id(column)] = _origin(source, scope)
    return aliases, sources


def _origin(source: str, scope: Scope) -> tuple[str, str | None]:
    found = scope.sources.get(source)
    return source, found.name.lower() if isinstance(found, exp.Table) else None


def bare(node: exp.Expr) -> exp.Expr:
    """An expression without the parentheses around it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _alias(node: exp.Expr) -> str:
    return node.alias.lower()


def _source_of(name: str, scope: Scope | None, types: Types) -> str | None:
    """The source of a scope, or of one around it, that has a column."""
    while scope is not None:
        for source, found in scope.selected_sources.items():
            if name in _columns(found[1], types):
                return source
        scope = None if scope.is_cte or scope.is_derived_table else scope.parent
    return None


def _columns(source: exp.Expr | Scope, types: Types) -> Iterable[str]:
    if not isinstance(source, Scope):
        return types.tables.get(source.name.lower(), ())
    expression = source.expression
    columns = source.outer_columns or [
        name for select in getattr(expression, "selects", ()) for name in _named(select, source, types)
    ]
    return [column.lower() for column in columns]


def _named(select: exp.Expr, scope: Scope, types: Types) -> Iterable[str]:
    if isinstance(select, exp.Star) or (isinstance(select, exp.Column) and select.is_star):
        wanted = select.table if isinstance(select, exp.Column) else ""
        sources = [found[1] for name, found in scope.selected_sources.items() if wanted in ("", name)]
        return [name for source in sources for name in _columns(source, types)]
    return [select.alias_or_name]


# --- What is typed otherwise than sqlglot does ----------------------------------------------------------------------

Annotator = Callable[[TypeAnnotator, Any], Any]


def _returns(rule: Callable[[Any, str], exp.DataType | None], dialect: str) -> dict[str, Annotator]:
    def annotator(self: TypeAnnotator, node: exp.Expr) -> exp.Expr:
        return self._set_type(node, rule(node, dialect) or T.UNKNOWN)

    return {"annotator": annotator}


def _of(kind_: exp.DType) -> exp.DataType:
    return exp.DataType(this=kind_)


def _literal(node: exp.Literal, dialect: str) -> exp.DataType | None:
    if node.is_string:
        return _of(T.VARCHAR)
    text = node.name.lower()
    if text.isdigit():
        return _of(T.INT if int(text) < 2**31 else T.BIGINT)
    if dialect in ("bigquery", "sqlite") or ("e" in text and dialect not in ("postgres", "redshift")):
        return _of(T.DOUBLE)
    exponent = Decimal(text).as_tuple().exponent
    return decimal(max(0, -exponent) if isinstance(exponent, int) else None)


def _combined(nodes: Iterable[exp.Expr | None], dialect: str) -> exp.DataType | None:
    """The one type of alternatives (COALESCE, CASE, UNION): NULL and, beside other types, text literals give way."""
    found = [n for n in nodes if n is not None and n.type is not None and not isinstance(bare(n), exp.Null)]
    typed = [n for n in found if not bare(n).is_string or dialect == "mysql"] or found
    kinds = {kind(n) for n in typed}
    if None in kinds or not kinds:
        return None
    if len(kinds) == 1:
        if kinds == {"d"}:
            scales = [scale(n) for n in typed]
            return decimal(None if None in scales else max(s for s in scales if s is not None))
        return next((n.type for n in typed if _is_wide(n)), typed[0].type)
    if kinds <= {"i", "d", "f", "b"}:
        return _number(typed)
    if kinds == set(MOMENTS):
        return next(n.type for n in typed if kind(n) == "t")
    return _of(T.VARCHAR) if dialect == "mysql" else None


def _is_wide(node: exp.Expr) -> bool:
    return node.type is not None and node.type.this in WIDE


def _number(nodes: list[exp.Expr]) -> exp.DataType:
    kinds = {kind(n) for n in nodes}
    if "f" in kinds:
        return _of(T.DOUBLE)
    if "d" in kinds:
        scales = [scale(n) for n in nodes]
        return decimal(None if None in scales else max(s for s in scales if s is not None))
    return _of(T.BIGINT if any(_is_wide(n) for n in nodes) else T.INT)


def _arithmetic(node: exp.Binary, dialect: str) -> exp.DataType | None:
    left, right = bare(node.this), bare(node.expression)
    kinds = [kind(left), kind(right)]
    for side, other in ((0, 1), (1, 0)):  # a text that is a literal takes the other's type
        if kinds[side] == "s" and (left, right)[side].is_string and kinds[other] in (*NUMBERS, *MOMENTS):
            kinds[side] = kinds[other] if dialect != "mysql" else "f"
        if kinds[side] == "null":
            kinds[side] = kinds[other]
    if dialect == "tsql" and kinds == ["s", "s"] and isinstance(node, exp.Add):
        return _of(T.VARCHAR)
    if "interval" in kinds or set(kinds) & set(MOMENTS):
        return _of_moments(node, kinds, dialect)
    if dialect == "mysql":
        kinds = ["f" if k == "s" else "i" if k == "b" else k for k in kinds]
    if not set(kinds) <= set(NUMBERS):
        return None
    if isinstance(node, exp.IntDiv):
        return _of(T.BIGINT)
    if "f" in kinds:
        single = all(side.type is not None and side.type.this is T.FLOAT for side in (left, right))
        return _of(T.FLOAT if single and dialect == "postgres" else T.DOUBLE)
    scales = [scale(left) if kinds[0] != "f" else None, scale(right) if kinds[1] != "f" else None]
    if isinstance(node, exp.Div):
        return _quotient(kinds, scales, dialect, (left, right))
    if kinds == ["i", "i"]:
        return _of(T.BIGINT if any(_is_wide(side) for side in (left, right)) else T.INT)
    if None in scales:
        return decimal(None)
    one, two = (s or 0 for s in scales)
    return decimal(one + two if isinstance(node, exp.Mul) else max(one, two))


def _quotient(kinds: list, scales: list, dialect: str, sides: tuple[exp.Expr, exp.Expr]) -> exp.DataType | None:
    if dialect == "mysql":
        return decimal(None if scales[0] is None else scales[0] + 4)
    if dialect in ("bigquery", "duckdb", "clickhouse"):
        return _of(T.DOUBLE)
    if kinds == ["i", "i"] and dialect not in ("snowflake", "oracle"):
        return _of(T.BIGINT if any(_is_wide(side) for side in sides) else T.INT)
    return decimal(None)


def _of_moments(node: exp.Binary, kinds: list, dialect: str) -> exp.DataType | None:
    if "interval" in kinds:
        other = kinds[0] if kinds[1] == "interval" else kinds[1]
        if other == "interval":
            return _of(T.INTERVAL)
        of = node.this if kinds[1] == "interval" else node.expression
        interval = node.expression if kinds[1] == "interval" else node.this
        if other in MOMENTS and not bare(of).is_string:
            return _of(T.DATE) if other == "day" and keeps_days(interval, dialect) else _of(T.TIMESTAMP)
        if other == "s" and bare(of).is_string and dialect == "postgres":
            return None
        return _of(T.INTERVAL) if other in NUMBERS else None
    if dialect == "mysql":
        return None
    if isinstance(node, exp.Sub) and kinds == ["day", "day"] and dialect in COUNTS_DAYS:
        return _of(T.BIGINT if dialect == "duckdb" else T.INT)
    if isinstance(node, exp.Sub) and set(kinds) <= set(MOMENTS):
        return _of(T.INTERVAL)
    if set(kinds) == {"day", "i"}:
        return _of(T.DATE)
    return None


_OF_TIME = ("HOUR", "MINUTE", "SECOND", "MICROSECOND", "MILLISECOND")


def keeps_days(interval: exp.Expr, dialect: str) -> bool:
    """Whether a date and this interval give a date again (in PostgreSQL and DuckDB they give a timestamp)."""
    unit = interval.args.get("unit")
    if unit is None or dialect in ("postgres", "duckdb", "redshift"):
        return False
    return not unit.name.upper().rstrip("S").endswith(_OF_TIME)


def _sum(node: exp.Sum, dialect: str) -> exp.DataType | None:
    of = _argument(node)
    match kind(of):
        case "i" | "b":
            if dialect == "mysql":
                return decimal(0)
            if dialect == "postgres":
                return decimal(0) if _is_wide(of) else _of(T.BIGINT)
            return of.type if kind(of) == "i" else _of(T.INT)
        case "d":
            return decimal(scale(of))
        case "f":
            return of.type if dialect == "postgres" else _of(T.DOUBLE)
        case "s" if dialect == "mysql":
            return _of(T.DOUBLE)
        case "interval":
            return of.type
    return None


def _avg(node: exp.Avg, dialect: str) -> exp.DataType | None:
    of = _argument(node)
    match kind(of):
        case "i" | "d" | "b":
            if dialect == "tsql":
                return of.type if kind(of) == "i" else decimal(None)
            if dialect == "mysql":
                digits = scale(of)
                return decimal(None if digits is None else digits + 4)
            return decimal(None) if dialect in ("postgres", "redshift", "snowflake", "oracle") else _of(T.DOUBLE)
        case "f" | "s":
            return _of(T.DOUBLE) if kind(of) == "f" or dialect == "mysql" else None
        case "interval":
            return of.type
    return None


def _spread(node: exp.Expr, dialect: str) -> exp.DataType | None:
    """Variances: MariaDB shows them with four digits more than their decimals have."""
    of = scale(node.this)
    return decimal(of + 4) if dialect == "mysql" and of is not None else _of(T.DOUBLE)


def _argument(node: exp.Expr) -> exp.Expr:
    of = node.this
    return bare(of.expressions[0] if isinstance(of, exp.Distinct) and of.expressions else of)


def _round(node: exp.Expr, dialect: str) -> exp.DataType | None:
    of, digits = kind(node.this), node.args.get("decimals")
    places = int(digits.name) if digits is not None and digits.is_int and not isinstance(digits, exp.Neg) else 0
    if of == "i":
        if dialect == "postgres":
            return _of(T.DOUBLE) if digits is None else decimal(places)
        return node.this.type
    if of == "d":
        known = scale_of(node.this.type)
        return decimal(places if known is None or dialect == "postgres" else min(places, known))
    return _of(T.DOUBLE) if of == "f" or (of == "s" and dialect == "mysql") else None


def _whole(node: exp.Expr, dialect: str) -> exp.DataType | None:
    of = kind(node.this)
    if of == "i":
        return _of(T.DOUBLE) if dialect in ("postgres", "redshift") else node.this.type
    if of == "d":
        return _of(T.BIGINT) if dialect in ("mysql",) else decimal(0)
    return _of(T.DOUBLE) if of == "f" or (of == "s" and dialect == "mysql") else None


def _abs(node: exp.Abs, dialect: str) -> exp.DataType | None:
    if kind(node.this) in NUMBERS:
        return node.this.type
    return _of(T.DOUBLE) if dialect == "mysql" else None


def _shifted(node: exp.Expr, dialect: str) -> exp.DataType | None:
    """DATE_ADD and the like."""
    of = bare(node.this)
    unit = (node.text("unit") or "DAY").upper()
    if isinstance(node.expression, exp.Interval):
        unit = node.expression.text("unit").upper() or "DAY"
    by_time = unit.rstrip("S").endswith(_OF_TIME)
    match kind(of):
        case "day":
            return _of(T.TIMESTAMP if by_time else T.DATE)
        case "t":
            return of.type
    return None


def _anonymous(node: exp.Anonymous, dialect: str) -> exp.DataType | None:
    name = node.name.upper()
    if name in ("NOW", "SYSDATE", "GETDATE"):
        return _of(T.TIMESTAMP)
    if name in ("ADDDATE", "SUBDATE") and node.expressions:
        return node.expressions[0].type if kind(node.expressions[0]) in MOMENTS else None
    if name in ("WEEKDAY", "UNIX_TIMESTAMP", "FIELD", "ISNULL", "INSTR"):
        return _of(T.INT)
    return None


def _metadata_of(dialect: str) -> dict:
    def rule(function: Callable) -> dict[str, Annotator]:
        return _returns(function, dialect)

    def alternatives(*keys: str) -> dict[str, Annotator]:
        def parts(node: exp.Expr, dialect: str) -> exp.DataType | None:
            found: list[exp.Expr | None] = []
            for key in keys:
                part = node.args.get(key)
                found += part if isinstance(part, list) else [part]
            return _combined(found, dialect)

        return rule(parts)

    def case(node: exp.Case, dialect: str) -> exp.DataType | None:
        return _combined([*(i.args["true"] for i in node.args["ifs"]), node.args.get("default")], dialect)

    def subquery(node: exp.Expr, dialect: str) -> exp.DataType | None:
        selects = getattr(node, "selects", None) or getattr(node.unnest(), "selects", None)
        return selects[0].type if selects else None

    arithmetic = rule(_arithmetic)
    boolean = {"returns": T.BOOLEAN if dialect != "mysql" else T.INT}
    own: dict[type[exp.Expr], dict[str, Any]] = {
        exp.Literal: rule(_literal),
        **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.IntDiv), arithmetic),
        exp.Neg: rule(lambda node, _: node.this.type),
        exp.Sum: rule(_sum),
        exp.Avg: rule(_avg),
        **dict.fromkeys(
            (exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop), rule(_spread)),
        exp.Round: rule(_round),
        exp.Trunc: rule(_round),
        exp.Ceil: rule(_whole),
        exp.Floor: rule(_whole),
        exp.Count: {"returns": T.BIGINT if dialect != "tsql" else T.INT},
        exp.Coalesce: alternatives("this", "expressions"),
        exp.Greatest: alternatives("this", "expressions"),
        exp.Least: alternatives("this", "expressions"),
        exp.If: alternatives("true", "false"),
        exp.Case: rule(case),
        exp.Nullif: rule(lambda node, _: node.this.type),
        exp.Max: rule(lambda node, _: _argument(node).type),
        exp.Min: rule(lambda node, _: _argument(node).type),
        exp.AnyValue: rule(lambda node, _: node.this.type),
        exp.Subquery: rule(subquery),
        exp.Lag: rule(lambda node, _: node.this.type),
        exp.Lead: rule(lambda node, _: node.this.type),
        exp.Abs: rule(_abs),
        exp.Extract: {"returns": T.DECIMAL if dialect == "postgres" else T.INT},
        exp.TimestampTrunc: {"returns": T.TIMESTAMP} if dialect in ("postgres", "redshift") else rule(_shifted),
        exp.DateTrunc: {"returns": T.TIMESTAMP} if dialect in ("postgres", "redshift") else rule(_shifted),
        **dict.fromkeys((exp.DateAdd, exp.DateSub, exp.TsOrDsAdd, exp.TimestampAdd, exp.TimestampSub), rule(_shifted)),
        exp.UnixToTime: {"returns": T.TIMESTAMP},
        exp.StrToTime: {"returns": T.TIMESTAMP},
        exp.CurrentTimestamp: {"returns": T.TIMESTAMP},
        exp.Anonymous: rule(_anonymous),
        exp.Hex: {"returns": T.VARCHAR},
        exp.Replace: {"returns": T.VARCHAR},
        exp.Left: {"returns": T.VARCHAR},
        exp.Right: {"returns": T.VARCHAR},
        exp.Pad: {"returns": T.VARCHAR},
        exp.Reverse: {"returns": T.VARCHAR},
        exp.SplitPart: {"returns": T.VARCHAR},
        exp.SubstringIndex: {"returns": T.VARCHAR},
        **{part: {"returns": T.INT} for part in (exp.Week, exp.WeekOfYear, exp.Year, exp.Month, exp.Day, exp.DateDiff)},
        **dict.fromkeys(
            (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.And, exp.Or, exp.Not, exp.Is, exp.Like, exp.ILike,
             exp.In, exp.Between, exp.Exists, exp.Boolean, exp.Xor, exp.NullSafeEQ, exp.NullSafeNEQ), boolean),
    }  # fmt: skip
    base = sqlglot.Dialect.get_or_raise(dialect).EXPRESSION_METADATA
    return {**base, **own}


_metadata = functools.lru_cache(maxsize=16)(_metadata_of)
