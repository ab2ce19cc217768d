"""A generator of SQLite's SQL: sqlglot syntax trees of any dialect, written as SQLite 3.40 runs them.

One method or table line per construct. What has no SQLite form raises `NoForm`, whose message is the reason.
"""

import re
from typing import ClassVar

from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ErrorLevel

from text2sql.sql.clock import NOW
from text2sql.sql.spelling import literal


class NoForm(Exception):
    """A construct that SQLite lacks; the message is the reason."""


# The SQL functions of a plain SQLite 3.40 build that queries may use (chance, files and internals left out).
SQLITE_FUNCTIONS = frozenset(
    (
        "abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce cos cosh count cume_dist "
        "date datetime degrees dense_rank exp first_value floor format glob group_concat hex ifnull iif instr "
        "json json_array json_array_length json_each json_extract json_group_array json_group_object "
        "json_insert json_object json_patch json_quote json_remove json_replace json_set json_tree json_type "
        "json_valid julianday lag last_value lead length like likelihood likely ln log log10 log2 lower ltrim "
        "max min mod nth_value ntile nullif percent_rank pi pow power printf quote radians rank replace round "
        "row_number rtrim sign sin sinh sqrt strftime substr substring sum tan tanh time total trim trunc "
        "typeof unicode unixepoch unlikely upper"
    ).split()
)
_ROUNDING_CASTS = {"bigquery", "mysql", "postgres", "snowflake"}  # of numbers to integers
_CASE_BLIND_LIKE = {"mysql", "tsql", "doris", "starrocks", "singlestore", "fabric"}
_UNITS = {"DAY": ("days", 1), "WEEK": ("days", 7), "MONTH": ("months", 1), "QUARTER": ("months", 3),
          "YEAR": ("years", 1), "DECADE": ("years", 10), "HOUR": ("hours", 1), "MINUTE": ("minutes", 1),
          "SECOND": ("seconds", 1)}  # fmt: skip
_SHORT_UNITS = {"MIN": "MINUTE", "SEC": "SECOND", "HR": "HOUR", "MON": "MONTH", "YR": "YEAR",
                "D": "DAY", "H": "HOUR", "M": "MINUTE", "S": "SECOND", "Y": "YEAR", "W": "WEEK"}  # fmt: skip
_MONTHS = "January February March April May June July August September October November December".split()
_DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]


def _integer(form: str, x: str) -> str:
    return f"CAST(strftime('{form}', {x}) AS INTEGER)"


def _names(form: str, x: str, names: list[str], first: int) -> str:
    cases = " ".join(f"WHEN {number} THEN '{name}'" for number, name in enumerate(names, first))
    return f"CASE {_integer(form, x)} {cases} END"


def _shortened(names: list[str], node: exp.Expr) -> list[str]:
    return [name[:3] for name in names] if node.args.get("abbreviated") else names


_HOUR12 = "((CAST(strftime('%H', {x}) AS INTEGER) + 11) % 12 + 1)"
# What strftime of other systems (Python's letters, as sqlglot normalises them) has and SQLite's lacks.
_FORMATS = {
    "B": lambda x: _names("%m", x, _MONTHS, 1),
    "b": lambda x: _names("%m", x, [name[:3] for name in _MONTHS], 1),
    "A": lambda x: _names("%w", x, _DAYS, 0),
    "a": lambda x: _names("%w", x, [name[:3] for name in _DAYS], 0),
    "y": lambda x: f"substr(strftime('%Y', {x}), 3)",
    "-m": lambda x: _integer("%m", x),
    "-d": lambda x: _integer("%d", x),
    "e": lambda x: _integer("%d", x),
    "-H": lambda x: _integer("%H", x),
    "-M": lambda x: _integer("%M", x),
    "-S": lambda x: _integer("%S", x),
    "-j": lambda x: _integer("%j", x),
    "I": lambda x: f"printf('%02d', {_HOUR12.format(x=x)})",
    "-I": lambda x: _HOUR12.format(x=x),
    "p": lambda x: f"CASE WHEN {_integer('%H', x)} < 12 THEN 'AM' ELSE 'PM' END",
    "T": lambda x: f"strftime('%H:%M:%S', {x})",
    "F": lambda x: f"strftime('%Y-%m-%d', {x})",
    "u": lambda x: f"(({_integer('%w', x)} + 6) % 7 + 1)",
}
_PLAIN_FORMATS = set("dHjJmMSwWYs%")


def _time_format(x: str, form: str) -> str:
    """`x` written by a strftime format with Python's letters, as a concatenation of what SQLite can write."""
    parts, plain = [], ""
    for piece in re.findall(r"%-?.|[^%]+|%$", form, flags=re.DOTALL):
        if not piece.startswith("%") or piece[1:] in _PLAIN_FORMATS:
            plain += piece
        elif piece[1:] in _FORMATS:
            parts += [f"strftime({literal(plain)}, {x})"] if plain else []
            parts.append(_FORMATS[piece[1:]](x))
            plain = ""
        else:
            raise NoForm(f"the date format {piece} has no SQLite form")
    parts += [f"strftime({literal(plain)}, {x})"] if plain or not parts else []
    return parts[0] if len(parts) == 1 else "(" + " || ".join(parts) + ")"


def _unit(unit: exp.Expr | str | None) -> str:
    name = (unit.name if isinstance(unit, exp.Expr) else unit or "DAY").upper()
    name = name.split("(")[0]
    name = _SHORT_UNITS.get(name, name)
    name = name[:-1] if name.endswith("S") and name[:-1] in _UNITS else name
    return _SHORT_UNITS.get(name.rstrip("S"), name)


def _form(node: exp.Expr) -> str | None:
    """`date` or `datetime` where the expression's form is known from the text, else None."""
    node = node.unnest()
    if isinstance(node, exp.Cast):
        return {"DATE": "date"}.get(
            node.to.this.name, "datetime" if node.to.is_type(*exp.DataType.TEMPORAL_TYPES) else None
        )
    if isinstance(node, (exp.CurrentDate, exp.TsOrDsToDate, exp.Date, exp.LastDay)):
        return "date"
    if isinstance(node, (exp.CurrentTimestamp, exp.CurrentDatetime, exp.UtcTimestamp, exp.Localtimestamp)):
        return "datetime"
    if isinstance(node, exp.Anonymous) and node.name.upper() in ("NOW", "SYSDATE"):
        return "datetime"
    if isinstance(node, exp.Literal) and node.is_string:
        return "date" if len(node.name) <= 10 else "datetime"
    return None


def _is_text(node: exp.Expr) -> bool:
    """Whether the expression's text shows that it is one."""
    node = node.unnest()
    if isinstance(node, exp.Add):
        return _is_text(node.this) or _is_text(node.expression)
    if isinstance(node, exp.Cast):
        return node.to.is_type(*exp.DataType.TEXT_TYPES)
    return node.is_string or isinstance(node, (exp.Concat, exp.Upper, exp.Lower, exp.Trim, exp.Substring))


def _shift(x: str, form: str | None, amount: str, sign: str, unit: str) -> str:
    """`x` moved by `amount` units. `amount` is SQL; whole numbers are written into the modifier."""
    if unit not in _UNITS:
        raise NoForm(f"the interval unit {unit} has no SQLite form")
    word, factor = _UNITS[unit]
    number = amount.strip("'").strip()
    if re.fullmatch(r"-?\d+", number):
        modifier = f"'{int(number) * factor * (-1 if sign == '-' else 1):+d} {word}'"
    else:
        modifier = f"((({amount}) * {factor * (-1 if sign == '-' else 1)}) || ' {word}')"
    if word in ("hours", "minutes", "seconds"):
        return f"datetime({x}, {modifier})"
    if word == "days":
        date = f"date({x}, {modifier})"
    else:  # the 31st plus a month overflows into the month after; the target month's last day bounds it
        date = f"min(date({x}, {modifier}), date({x}, 'start of month', {modifier}, '+1 month', '-1 day'))"
    stamp = f"{date} || ' ' || time({x})"
    if form:
        return date if form == "date" else f"({stamp})"
    return f"CASE WHEN length({x}) > 10 THEN {stamp} ELSE {date} END"


def _months_between(a: str, b: str) -> str:
    """Whole months from a to b, rounded toward zero."""

    def count(x: str) -> str:
        return f"({_integer('%Y', x)} * 12 + {_integer('%m', x)})"

    def rest(x: str) -> str:
        return f"strftime('%d %H:%M:%S', {x})"

    months = f"{count(b)} - {count(a)}"
    return (
        f"({months} - CASE WHEN datetime({b}) >= datetime({a}) THEN {rest(b)} < {rest(a)} "
        f"ELSE -({rest(b)} > {rest(a)}) END)"
    )


class _Generator(SQLite.Generator):  # type: ignore[misc, valid-type]
    """SQLite as this project runs it. One method or table line per construct; `self.source` is the dialect read."""

    source = ""

    def arg(self, node: exp.Expr, key: str = "this") -> str:
        return self.sql(node, key)

    # dates ----------------------------------------------------------------------------------------------------
    def part(self, node: exp.Expr, name: str, of: exp.Expr) -> str:
        if isinstance(of, exp.TsOrDsToDate):
            of = of.this
        name, of = _SHORT_UNITS.get(name.upper(), name.upper()), of.unnest()
        if isinstance(of, exp.Sub) and name in ("EPOCH", "DAY") and not isinstance(of.expression, exp.Interval):
            a, b = self.arg(of), self.arg(of, "expression")
            seconds = f"({_integer('%s', a)} - {_integer('%s', b)})"
            return seconds if name == "EPOCH" else f"({seconds} / 86400)"
        x = self.sql(of)
        of_instants = isinstance(of, exp.Sub) and not isinstance(of.expression, exp.Interval)  # else it is a date
        if of_instants or isinstance(of, exp.Interval) or (isinstance(of, exp.Anonymous) and of.name.upper() == "AGE"):
            raise NoForm(f"{name} of an interval has no SQLite form")
        simple = {"YEAR": "%Y", "MONTH": "%m", "DAY": "%d", "DAYOFMONTH": "%d", "HOUR": "%H", "MINUTE": "%M",
                  "SECOND": "%S", "DOY": "%j", "DAYOFYEAR": "%j", "EPOCH": "%s", "DOW": "%w"}  # fmt: skip
        if name in simple:
            return _integer(simple[name], x)
        if name == "QUARTER":
            return f"(({_integer('%m', x)} + 2) / 3)"
        if name == "ISODOW":
            return f"(({_integer('%w', x)} + 6) % 7 + 1)"
        if name == "YEAR_MONTH":
            return _integer("%Y%m", x)
        raise NoForm(f"{name} of a date has no SQLite form")

    def shifted(self, node: exp.Expr, sign: str, unit: str | None = None) -> str:
        of, amount = node.this, node.expression
        if of.is_number:  # T-SQL counts days from 1900
            raise NoForm("a number in place of a date has no SQLite form")
        if isinstance(amount, exp.Interval):
            return self.by_interval(of, amount, sign)
        return _shift(self.sql(of), _form(of), self.sql(amount), sign, unit or _unit(node.args.get("unit")))

    def by_interval(self, of: exp.Expr, interval: exp.Interval, sign: str) -> str:
        amount, x, form = interval.this, self.sql(of), _form(of)
        if interval.args.get("unit") is None:
            if not isinstance(amount, exp.Literal):
                raise NoForm("an interval of unknown unit has no SQLite form")
            pieces = re.findall(r"(-?\d+)\s*([A-Za-z]+)", amount.name)
            if not pieces or re.sub(r"(-?\d+)\s*([A-Za-z]+)", "", amount.name).strip():
                raise NoForm(f"the interval '{amount.name}' has no SQLite form")
            for number, unit in pieces:
                x = _shift(x, form, number, sign, _unit(unit))
                form = "datetime" if _UNITS[_unit(unit)][0] in ("hours", "minutes", "seconds") else form
            return x
        return _shift(x, form, self.sql(amount), sign, _unit(interval.args["unit"]))

    def add_sql(self, node: exp.Add) -> str:
        if self.source == "tsql" and any(map(_is_text, (node.this, node.expression))):
            return f"({self.arg(node)} || {self.arg(node, 'expression')})"
        if isinstance(node.expression, exp.Interval):
            return self.by_interval(node.this, node.expression, "+")
        if isinstance(node.this, exp.Interval):
            return self.by_interval(node.expression, node.this, "+")
        if _form(node.this) and not node.this.is_string:
            if _form(node.this) == "date" and node.expression.is_number and self.source == "postgres":
                return _shift(self.sql(node.this), "date", self.sql(node.expression), "+", "DAY")
            raise NoForm("arithmetic on a date without an interval has no SQLite form")
        return self.perhaps_dates(node, "+")

    def sub_sql(self, node: exp.Sub) -> str:
        if isinstance(node.expression, exp.Interval):
            return self.by_interval(node.this, node.expression, "-")
        forms = [None if side.is_string else _form(side) for side in (node.this, node.expression)]
        if self.source == "postgres" and forms[0] == "date" and node.expression.is_number:
            return _shift(self.sql(node.this), "date", self.sql(node.expression), "-", "DAY")
        if self.source == "postgres" and "date" in forms and "datetime" not in forms:
            a, b = self.arg(node), self.arg(node, "expression")
            return f"CAST(julianday(date({a})) - julianday(date({b})) AS INTEGER)"
        if any(forms):
            raise NoForm("the difference of two instants has no SQLite form")
        return self.perhaps_dates(node, "-")

    def perhaps_dates(self, node: exp.Add | exp.Sub, sign: str) -> str:
        """A sum or difference of columns, which may hold dates: text at run time, unlike any number."""
        plain = self.binary(node, sign)
        if self.source not in ("bigquery", "postgres") or not isinstance(node.this, exp.Column):
            return plain
        a, b = self.arg(node), self.arg(node, "expression")
        if node.expression.is_int:
            return f"(CASE WHEN typeof({a}) = 'text' THEN {_shift(a, 'date', b, sign, 'DAY')} ELSE {plain} END)"
        if isinstance(node.expression, exp.Column) and sign == "-":  # of instants: in days, for lack of intervals
            both = f"typeof({a}) = 'text' AND typeof({b}) = 'text'"
            return f"(CASE WHEN {both} THEN julianday({a}) - julianday({b}) ELSE {plain} END)"
        return plain

    def datediff_sql(self, node: exp.DateDiff) -> str:
        a, b = self.arg(node), self.arg(node, "expression")
        unit = _unit(node.args.get("unit"))
        if unit == "DAY":
            return f"CAST(julianday(date({a})) - julianday(date({b})) AS INTEGER)"
        if unit == "YEAR":
            return f"({_integer('%Y', a)} - {_integer('%Y', b)})"
        if unit == "MONTH":
            return f"(({_integer('%Y', a)} - {_integer('%Y', b)}) * 12 + {_integer('%m', a)} - {_integer('%m', b)})"
        raise NoForm(f"DATEDIFF in {unit} has no SQLite form")

    def timestampdiff_sql(self, node: exp.TimestampDiff) -> str:
        b, a, unit = self.arg(node), self.arg(node, "expression"), _unit(node.args.get("unit"))
        seconds = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "WEEK": 604800}.get(unit)
        if seconds:
            return f"((CAST(strftime('%s', {b}) AS INTEGER) - CAST(strftime('%s', {a}) AS INTEGER)) / {seconds})"
        months = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}.get(unit)
        if not months:
            raise NoForm(f"TIMESTAMPDIFF in {unit} has no SQLite form")
        return f"({_months_between(a, b)} / {months})" if months > 1 else _months_between(a, b)

    def truncated(self, node: exp.Expr) -> str:
        x, unit = self.arg(node), _unit(node.args.get("unit"))
        if unit == "WEEK":
            return f"date({x}, '-6 days', 'weekday 1')"
        if unit == "QUARTER":
            return f"date({x}, 'start of month', '-' || (({_integer('%m', x)} - 1) % 3) || ' months')"
        forms = {"DAY": "%Y-%m-%d", "MONTH": "%Y-%m-01", "YEAR": "%Y-01-01", "HOUR": "%Y-%m-%d %H:00:00",
                 "MINUTE": "%Y-%m-%d %H:%M:00", "SECOND": "%Y-%m-%d %H:%M:%S"}  # fmt: skip
        if unit not in forms:
            raise NoForm(f"date_trunc to {unit} has no SQLite form")
        return f"strftime('{forms[unit]}', {x})"

    def timetostr_sql(self, node: exp.TimeToStr) -> str:
        x = node.this.this if isinstance(node.this, (exp.TsOrDsToTimestamp, exp.TsOrDsToDate)) else node.this
        form = node.args.get("format")
        if not isinstance(form, exp.Literal):
            raise NoForm("a date format that is no literal has no SQLite form")
        letters = re.sub(r"%-?[A-Za-z]", "", form.name)
        if self.source != "mysql" and (letters == form.name or re.search("[A-Za-z]{2}", letters)):
            raise NoForm(f"the format {form.name!r} has no SQLite form")  # of a number, or only half understood
        return _time_format(self.sql(x), form.name)

    def strtodate_sql(self, node: exp.Expr) -> str:
        forms = {"%Y-%m-%d": "date", "%Y-%m-%d %H:%M:%S": "datetime", "%Y-%m-%d %T": "datetime"}
        form = node.args.get("format")
        if not isinstance(form, exp.Literal) or form.name not in forms:
            raise NoForm("a text read as a date by another format than YYYY-MM-DD has no SQLite form")
        return f"{forms[form.name]}({self.arg(node)})"

    def interval_sql(self, node: exp.Interval) -> str:
        raise NoForm("an interval apart from date arithmetic has no SQLite form")

    # types ----------------------------------------------------------------------------------------------------
    def cast_sql(self, node: exp.Cast, safe_prefix: str | None = None) -> str:
        if node.args.get("safe"):  # SQLite makes 0 of a text that is no number
            raise NoForm("a cast that gives NULL where it fails has no SQLite form")
        x, to = self.arg(node), node.to
        if to.is_type("date"):
            return f"date({x})"
        if to.is_type("time", "timetz"):
            return f"time({x})"
        if to.is_type(*exp.DataType.TEMPORAL_TYPES):
            return f"datetime({x})"
        if to.is_type(*exp.DataType.INTEGER_TYPES, "boolean"):
            if to.is_type("boolean"):
                true = "'true', 't', 'yes', 'y', 'on', '1'"
                return f"(CASE WHEN lower({x}) IN ({true}) THEN 1 WHEN {x} IS NOT NULL THEN 0 END)"
            return f"CAST(round({x}) AS INTEGER)" if self.source in _ROUNDING_CASTS else f"CAST({x} AS INTEGER)"
        if to.is_type("decimal", "numeric", "bigdecimal") and to.expressions:
            scale = to.expressions[1].name if len(to.expressions) > 1 else "0"
            return f"round(CAST({x} AS REAL), {scale})"
        if to.is_type(*exp.DataType.REAL_TYPES):
            return f"CAST({x} AS REAL)"
        if to.is_type(*exp.DataType.TEXT_TYPES):
            length = to.expressions[0].name if to.expressions else ""
            return f"substr(CAST({x} AS TEXT), 1, {length})" if length.isdigit() else f"CAST({x} AS TEXT)"
        if to.is_type("binary", "varbinary", "blob"):
            return f"CAST({x} AS BLOB)"
        raise NoForm(f"a cast to {to.sql(self.source)} has no SQLite form")

    # text -----------------------------------------------------------------------------------------------------
    def like_sql(self, node: exp.Like) -> str:
        pattern, negated = node.expression, " NOT" if node.args.get("negate") else ""
        if isinstance(pattern, (exp.Any, exp.All)):
            raise NoForm("LIKE ANY and LIKE ALL have no SQLite form")
        x, escaped = self.arg(node), isinstance(node.parent, exp.Escape)
        sensitive = not isinstance(node, exp.ILike) and self.source not in _CASE_BLIND_LIKE
        if isinstance(pattern, exp.Literal):
            if not sensitive or not re.search("[A-Za-z]", pattern.name):
                backslash = " ESCAPE '\\'" if "\\" in pattern.name and not escaped else ""
                return f"{x}{negated} LIKE {self.sql(pattern)}{backslash}"
            if not escaped:
                return f"{x}{negated} GLOB {literal(_glob(pattern.name))}"
        if not sensitive:
            return f"{x}{negated} LIKE {self.sql(pattern)}"
        if escaped:
            raise NoForm("a case-sensitive LIKE with ESCAPE has no SQLite form")
        glob = self.sql(pattern)
        for plain, form in (("[", "[[]"), ("*", "[*]"), ("?", "[?]"), ("%", "*"), ("_", "?")):
            glob = f"replace({glob}, '{plain}', '{form}')"
        return f"{x}{negated} GLOB {glob}"

    ilike_sql = like_sql

    def concat_sql(self, node: exp.Concat) -> str:
        parts = [self.sql(part) for part in node.expressions]
        if node.args.get("coalesce"):  # PostgreSQL's CONCAT skips NULL, MySQL's is NULL
            parts = [p if e.is_string else f"coalesce({p}, '')" for p, e in zip(parts, node.expressions, strict=True)]
        parts = [self.wrapped(part, e) for part, e in zip(parts, node.expressions, strict=True)]
        return f"CAST({parts[0]} AS TEXT)" if len(parts) == 1 else "(" + " || ".join(parts) + ")"

    def wrapped(self, sql: str, node: exp.Expr) -> str:
        return f"({sql})" if isinstance(node, (exp.Binary, exp.Case, exp.If, exp.Unary)) else sql

    def concatws_sql(self, node: exp.ConcatWs) -> str:
        separator, *parts = (self.sql(part) for part in node.expressions)
        joined = " || ".join(f"coalesce({separator} || {self.wrapped(p, e)}, '')"
                             for p, e in zip(parts, node.expressions[1:], strict=True))  # fmt: skip
        return f"substr({joined}, length({separator}) + 1)"

    def groupconcat_sql(self, node: exp.GroupConcat) -> str:
        x, separator = node.this, node.args.get("separator")
        if node.find(exp.Order):
            raise NoForm("an order inside GROUP_CONCAT has no SQLite 3.40 form")
        if isinstance(x, exp.Distinct):
            if separator and separator.name != ",":
                raise NoForm("GROUP_CONCAT(DISTINCT …) with a separator has no SQLite form")
            return f"group_concat({self.sql(x)})"
        return f"group_concat({self.sql(x)}{', ' + self.sql(separator) if separator else ''})"

    def count_sql(self, node: exp.Count) -> str:
        distinct = node.this
        if isinstance(distinct, exp.Distinct) and len(distinct.expressions) > 1:
            joined = " || char(31) || ".join(self.sql(part) for part in distinct.expressions)
            return f"count(DISTINCT {joined})"
        return self.function_fallback_sql(node)

    def left_sql(self, node: exp.Left) -> str:
        return f"substr({self.arg(node)}, 1, {self.arg(node, 'expression')})"

    def right_sql(self, node: exp.Right) -> str:
        x, n = self.arg(node), self.arg(node, "expression")
        return f"substr({x}, -{n})" if n.isdigit() and int(n) else f"substr({x}, max(length({x}) - ({n}) + 1, 1))"

    def substringindex_sql(self, node: exp.SubstringIndex) -> str:
        x, d = self.arg(node), self.arg(node, "delimiter")
        if node.args["count"].name != "1" or isinstance(node.args["count"], exp.Neg):
            raise NoForm("SUBSTRING_INDEX beyond the first part has no SQLite form")
        return f"CASE WHEN instr({x}, {d}) > 0 THEN substr({x}, 1, instr({x}, {d}) - 1) ELSE {x} END"

    def splitpart_sql(self, node: exp.SplitPart) -> str:
        x, d = self.arg(node), self.arg(node, "delimiter")
        if node.args["part_index"].name != "1":
            raise NoForm("split_part beyond the first part has no SQLite form")
        return f"CASE WHEN instr({x}, {d}) > 0 THEN substr({x}, 1, instr({x}, {d}) - 1) ELSE {x} END"

    def pad_sql(self, node: exp.Pad) -> str:
        n, fill = node.expression, node.args.get("fill_pattern") or exp.Literal.string(" ")
        if not (n.is_int and fill.is_string and fill.name):
            raise NoForm("LPAD and RPAD with other than literal arguments have no SQLite form")
        x, length = f"CAST({self.arg(node)} AS TEXT)", int(n.name)
        padding = literal((fill.name * length)[:length])
        rest = f"substr({padding}, 1, {length} - length({x}))"
        padded = f"{rest} || {x}" if node.args.get("is_left") else f"{x} || {rest}"
        return f"CASE WHEN length({x}) >= {length} THEN substr({x}, 1, {length}) ELSE {padded} END"

    def length_sql(self, node: exp.Length) -> str:
        x = self.arg(node)
        return f"length(CAST({x} AS BLOB))" if node.args.get("binary") else f"length({x})"

    def strposition_sql(self, node: exp.StrPosition) -> str:
        if node.args.get("position") or node.args.get("occurrence"):
            raise NoForm("LOCATE with a start has no SQLite form")
        return f"instr({self.arg(node)}, {self.arg(node, 'substr')})"

    # numbers --------------------------------------------------------------------------------------------------
    def variance(self, node: exp.Expr, sample: bool, root: bool) -> str:
        x = self.arg(node)
        if isinstance(node.this, exp.Distinct):
            raise NoForm("a variance over DISTINCT values has no SQLite form")
        n, mean_square = f"count({x})", f"(avg(1.0 * ({x}) * ({x})) - avg({x}) * avg({x}))"
        value = f"max({mean_square}, 0.0)" + (f" * {n} / nullif({n} - 1, 0)" if sample else "")
        return f"sqrt({value})" if root else f"({value})"

    def trunc_sql(self, node: exp.Trunc) -> str:
        x, decimals = self.arg(node), node.args.get("decimals")
        if decimals is None or decimals.name == "0":
            return f"trunc({x})"
        if not isinstance(decimals, exp.Literal):
            raise NoForm("TRUNCATE to a negative or computed number of digits has no SQLite form")
        return f"(trunc(({x}) * 1e{decimals.name}) / 1e{decimals.name})"

    def round_sql(self, node: exp.Round) -> str:
        if isinstance(node.args.get("decimals"), exp.Neg):  # SQLite rounds to units
            raise NoForm("ROUND to a negative number of digits has no SQLite form")
        return self.function_fallback_sql(node)

    def any_sql(self, node: exp.Any) -> str:
        raise NoForm("a comparison with ANY or SOME has no SQLite form")

    def national_sql(self, node: exp.National) -> str:
        return literal(node.name)

    def column_sql(self, node: exp.Column) -> str:
        if self.source == "oracle" and node.name.upper() == "ROWNUM" and not node.this.quoted:
            raise NoForm("ROWNUM has no SQLite form")
        return super().column_sql(node)

    def xor_sql(self, node: exp.Xor) -> str:
        return f"((NOT ({self.arg(node)})) <> (NOT ({self.arg(node, 'expression')})))"

    def week_sql(self, node: exp.Week) -> str:
        if self.source != "mysql" or node.args.get("mode"):
            return self.none(node)
        x = self.sql(node.this.this if isinstance(node.this, exp.TsOrDsToDate) else node.this)
        return f"(({_integer('%j', x)} + 6 - {_integer('%w', x)}) / 7)"  # mode 0: week 1 begins on the first Sunday

    def intdiv_sql(self, node: exp.IntDiv) -> str:
        return f"CAST((1.0 * {self.arg(node)}) / {self.arg(node, 'expression')} AS INTEGER)"

    # what SQLite lacks ------------------------------------------------------------------------------------------
    def none(self, node: exp.Expr) -> str:
        raise NoForm(f"{node.sql_name() if isinstance(node, exp.Func) else node.key.upper()} has no SQLite form")

    def anonymous_sql(self, node: exp.Anonymous) -> str:
        name, args = node.name.upper(), node.expressions
        sqls = [self.sql(arg) for arg in args]
        if name in ("NOW", "SYSDATE", "GETDATE"):
            return literal(NOW)
        if name in ("ADDDATE", "SUBDATE") and len(args) == 2:
            sign = "+" if name == "ADDDATE" else "-"
            if isinstance(args[1], exp.Interval):
                return self.by_interval(args[0], args[1], sign)
            return _shift(sqls[0], _form(args[0]), sqls[1], sign, "DAY")
        if name == "WEEKDAY" and len(args) == 1:
            return f"(({_integer('%w', sqls[0])} + 6) % 7)"
        if name == "UNIX_TIMESTAMP" and len(args) < 2:
            return _integer("%s", sqls[0] if sqls else literal(NOW))
        if name == "FROM_UNIXTIME" and len(args) == 1:
            return f"datetime({sqls[0]}, 'unixepoch')"
        if name == "FIELD" and len(args) > 1:
            cases = " ".join(f"WHEN {value} THEN {number}" for number, value in enumerate(sqls[1:], 1))
            return f"CASE {sqls[0]} {cases} ELSE 0 END"
        if name in ("ISNULL",) and len(args) == 1:
            return f"({sqls[0]} IS NULL)"
        if name.lower() in SQLITE_FUNCTIONS and name.lower() not in ("date", "datetime", "time", "format", "printf"):
            return f"{name.lower()}({', '.join(sqls)})"
        raise NoForm(f"the function {name} has no SQLite form")

    def distinct_sql(self, node: exp.Distinct) -> str:
        if node.args.get("on"):
            raise NoForm("DISTINCT ON has no SQLite form")
        return super().distinct_sql(node)

    def query_modifiers(self, node: exp.Expr, *sqls: str) -> str:
        limit = node.args.get("limit")
        options = limit.args.get("limit_options") if limit else None
        if options and options.args.get("with_ties"):
            raise NoForm("WITH TIES has no SQLite form")
        return super().query_modifiers(node, *sqls)

    def group_sql(self, node: exp.Group) -> str:
        if any(node.args.get(key) for key in ("rollup", "cube", "grouping_sets", "totals")):
            raise NoForm("ROLLUP, CUBE and GROUPING SETS have no SQLite form")
        return super().group_sql(node)

    TRANSFORMS: ClassVar[dict] = {
        **{k: v for k, v in SQLite.Generator.TRANSFORMS.items()
           if k not in (exp.Concat, exp.ConcatWs, exp.Count, exp.ILike, exp.DateDiff, exp.GroupConcat, exp.Trunc,
                        exp.StrPosition, exp.Distinct, exp.TimeToStr, exp.Cast, exp.Length)},
        exp.CurrentDate: lambda self, e: literal(NOW[:10]),
        exp.CurrentTime: lambda self, e: literal(NOW[11:]),
        exp.TsOrDsToDate: lambda self, e: f"date({self.arg(e)})",
        exp.TsOrDsToTimestamp: lambda self, e: self.arg(e),
        exp.Date: lambda self, e: self.none(e) if e.args.get("expressions") else f"date({self.arg(e)})",
        exp.Timestamp: lambda self, e: f"datetime({self.arg(e)})",
        exp.UnixToTime: lambda self, e: f"datetime({self.arg(e)}, 'unixepoch')",
        exp.LastDay: lambda self, e: f"date({self.arg(e)}, 'start of month', '+1 month', '-1 day')",
        exp.Dayname: lambda self, e: _names("%w", self.sql(e.this), _shortened(_DAYS, e), 0),
        exp.Monthname: lambda self, e: _names("%m", self.sql(e.this), _shortened(_MONTHS, e), 1),
        exp.DayOfWeek: lambda self, e: f"({self.part(e, 'DOW', e.this)} + 1)",
        exp.Extract: lambda self, e: self.part(e, e.name, e.expression),
        exp.DateAdd: lambda self, e: self.shifted(e, "+"),
        exp.TsOrDsAdd: lambda self, e: self.shifted(e, "+"),
        exp.TimestampAdd: lambda self, e: self.shifted(e, "+"),
        exp.DatetimeAdd: lambda self, e: self.shifted(e, "+"),
        exp.DateSub: lambda self, e: self.shifted(e, "-"),
        exp.TimestampSub: lambda self, e: self.shifted(e, "-"),
        exp.DatetimeSub: lambda self, e: self.shifted(e, "-"),
        exp.TsOrDsDiff: lambda self, e: self.datediff_sql(e),
        exp.TimestampTrunc: lambda self, e: self.truncated(e),
        exp.DateTrunc: lambda self, e: self.truncated(e),
        exp.StrToDate: lambda self, e: self.strtodate_sql(e),
        exp.StrToTime: lambda self, e: self.strtodate_sql(e),
        exp.Stddev: lambda self, e: self.variance(e, self.source != "mysql", True),
        exp.StddevSamp: lambda self, e: self.variance(e, True, True),
        exp.StddevPop: lambda self, e: self.variance(e, False, True),
        exp.Variance: lambda self, e: self.variance(e, self.source != "mysql", False),
        exp.VariancePop: lambda self, e: self.variance(e, False, False),
        **{kind: (lambda self, e: literal(NOW)) for kind in
           (exp.CurrentTimestamp, exp.CurrentDatetime, exp.UtcTimestamp, exp.Localtimestamp)},
        **{kind: (lambda self, e, name=name: self.part(e, name, e.this)) for kind, name in
           ((exp.Year, "YEAR"), (exp.Month, "MONTH"), (exp.Day, "DAY"), (exp.DayOfMonth, "DAY"), (exp.Hour, "HOUR"),
            (exp.Minute, "MINUTE"), (exp.Second, "SECOND"), (exp.Quarter, "QUARTER"), (exp.DayOfYear, "DOY"))},
        **{kind: (lambda self, e: self.none(e)) for kind in
           (exp.Rand, exp.Randn, exp.Uuid, exp.RegexpLike, exp.RegexpILike, exp.SimilarTo, exp.All, exp.Lateral,
            exp.Qualify, exp.Pivot, exp.ArrayAgg, exp.Array, exp.Unnest, exp.Explode)},
    }  # fmt: skip


def _glob(pattern: str) -> str:
    """A LIKE pattern (backslash escapes) as a GLOB pattern."""
    out, escaped = "", False
    for letter in pattern:
        if letter == "\\" and not escaped:
            escaped = True
            continue
        out += f"[{letter}]" if letter in "*?[" else {"%": "*", "_": "?"}.get(letter, letter) if not escaped else letter
        escaped = False
    return out


class Target(SQLite):
    """SQLite with backticked identifiers, and double-quoted ones read as well."""

    class Tokenizer(SQLite.Tokenizer):
        IDENTIFIERS: ClassVar[list] = ["`", '"', ("[", "]")]

    Generator = _Generator


def generate(tree: exp.Expr, dialect: str) -> str:
    generator = _Generator(dialect=Target(), unsupported_level=ErrorLevel.RAISE, comments=False)
    generator.source = dialect
    return generator.generate(tree, copy=False)
