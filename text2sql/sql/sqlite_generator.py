"""A generator of SQLite's SQL: sqlglot syntax trees of any dialect, written as SQLite 3.40 runs them.

One method or table line per construct. What has no SQLite form raises `NoForm`, whose message is the reason.
"""

import re
from typing import ClassVar

from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ErrorLevel

from text2sql.sql.clock import NOW
from text2sql.sql.moments import as_moment
from text2sql.sql.spelling import literal
from text2sql.sql.types import CASE_BLIND, COUNTS_DAYS, MOMENTS, NOTHING, NUMBERS, T, Types, bare, kind, scale


class NoForm(Exception):
    """A construct that SQLite lacks; the message is the reason."""

    outcome = "dialect"


class Mistyped(NoForm):
    """What the dialect's own engine refuses because of its types, and SQLite would not."""

    outcome = "schema"


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
_ROUNDING_CASTS = {"bigquery", "duckdb", "mysql", "postgres", "redshift", "snowflake"}  # of numbers to integers
_STRICT = {"postgres", "redshift", "duckdb", "bigquery"}  # do not compare texts with numbers
_TYPED_DIVISION = {"postgres", "redshift", "tsql", "presto", "trino", "athena", "sqlite", "fabric"}
_ZERO_FAILS = {
    "postgres",
    "redshift",
    "tsql",
    "bigquery",
    "snowflake",
    "oracle",
    "presto",
    "trino",
    "duckdb",
}  # DuckDB's / aside, which is infinite
_DECIMAL_SCALE = {"mysql": 0, "tsql": 0, "snowflake": 0, "duckdb": 3}  # of DECIMAL without its digits
_UNITS = {"DAY": ("days", 1), "WEEK": ("days", 7), "MONTH": ("months", 1), "QUARTER": ("months", 3),
          "YEAR": ("years", 1), "DECADE": ("years", 10), "HOUR": ("hours", 1), "MINUTE": ("minutes", 1),
          "SECOND": ("seconds", 1)}  # fmt: skip
_SHORT_UNITS = {"MIN": "MINUTE", "SEC": "SECOND", "HR": "HOUR", "MON": "MONTH", "YR": "YEAR",
                "D": "DAY", "H": "HOUR", "M": "MINUTE", "S": "SECOND", "Y": "YEAR", "W": "WEEK"}  # fmt: skip
_MONTHS = "January February March April May June July August September October November December".split()
_DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]


# SQLite has no function that only fails with a message, but shows a path into JSON that it cannot read
_NO_DATE = "json_extract('{}', 'this text as a date has no SQLite form')"
_BY_ZERO = "json_extract('{}', 'division by zero')"
_NO_INTEGER = "json_extract('{}', 'this text is no integer')"
TRUTH = {**dict.fromkeys(("t", "true", "yes", "y", "on", "1"), "1"),
         **dict.fromkeys(("f", "false", "no", "n", "off", "0"), "0")}  # fmt: skip
_SPOKEN = {"i": "a number", "d": "a number", "f": "a number", "s": "a text", "b": "a truth value", "day": "a date",
           "t": "an instant", "time": "a time", "interval": "an interval", "null": "NULL",
           "": "a value of unknown type"}  # fmt: skip


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
    "N": lambda x: f"substr({_names('%m', x, _MONTHS, 1)} || '         ', 1, 9)",  # PostgreSQL fills names with blanks
}
_POSTGRES_NAMES = {"FMMonth": "%B", "Month": "%N", "Mon": "%b", "FMMon": "%b"}
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
    """How the text of a date (`date`) or instant (`datetime`) is written, where that is known."""
    node = bare(node)
    if node.is_string:
        return "date" if len(node.name) <= 10 else "datetime"
    return {"day": "date", "t": "datetime"}.get(kind(node) or "")


def _moment_kind(node: exp.Expr, other: exp.Expr) -> str | None:
    """An expression's kind; a date that is written as a text, beside a date or instant, is a date again."""
    text = bare(node)
    if isinstance(text, exp.TimeToStr) and kind(other) in MOMENTS and isinstance(text.args.get("format"), exp.Literal):
        form = re.sub(r"(?<=-)01\b", "%d", text.args["format"].name).replace("%T", "%H:%M:%S")
        form = re.sub(r"00:00:00$", "%H:%M:%S", form)
        return {"%Y-%m-%d": "day", "%Y-%m-%d %H:%M:%S": "t"}.get(form, kind(node))
    return kind(node)


def _shift(x: str, form: str | None, amount: str, sign: str, unit: str) -> str:
    """`x` moved by `amount` units, in a form (None: that of `x`). `amount` is SQL, or a whole number."""
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
        stamp = f"datetime({x}, {modifier})"
    else:  # the 31st plus a month overflows into the month after; the target month's last day bounds it
        date = f"min(date({x}, {modifier}), date({x}, 'start of month', {modifier}, '+1 month', '-1 day'))"
        stamp = f"({date} || ' ' || time({x}))"
    if form:
        return date if form == "date" else stamp
    return f"CASE WHEN length({x}) > 10 THEN {stamp} ELSE {date} END"


def _digits(decimals: exp.Expr | None) -> int | None:
    """The digits that ROUND keeps; None where they are computed."""
    if decimals is None:
        return 0
    negative = isinstance(decimals, exp.Neg)
    number = decimals.this if isinstance(decimals, exp.Neg) else decimals
    return (-1 if negative else 1) * int(number.name) if number.is_int and number.name.isdigit() else None


def _never_zero(divisor: exp.Expr) -> bool:
    """Whether a divisor is a number other than 0, or NULL in place of 0."""
    divisor = bare(divisor)
    while isinstance(divisor, exp.Cast):
        divisor = bare(divisor.this)
    return isinstance(divisor, exp.Nullif) or (divisor.is_number and divisor.name.strip("0.") != "")


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
    types: Types = NOTHING

    def arg(self, node: exp.Expr, key: str = "this") -> str:
        return self.sql(node, key)

    # dates ----------------------------------------------------------------------------------------------------
    def part(self, node: exp.Expr, name: str, of: exp.Expr) -> str:
        if isinstance(of, exp.TsOrDsToDate):
            of = of.this
        name, of = _SHORT_UNITS.get(name.upper(), name.upper()), bare(of)
        if isinstance(of, exp.Sub) and name in ("EPOCH", "DAY") and kind(of) == "interval":
            if not {kind(of.this), kind(of.expression)} <= set(MOMENTS):
                raise NoForm(f"{name} of an interval has no SQLite form")
            a, b = self.arg(of), self.arg(of, "expression")
            seconds = f"({_integer('%s', a)} - {_integer('%s', b)})"
            return seconds if name == "EPOCH" else f"({seconds} / 86400)"
        if (
            kind(of) == "interval"
            or isinstance(of, exp.Interval)
            or (isinstance(of, exp.Anonymous) and of.name.upper() == "AGE")
        ):
            raise NoForm(f"{name} of an interval has no SQLite form")
        if kind(of) in NUMBERS and self.source in _STRICT:  # a date less a date, for one
            raise Mistyped(f"{name} of a number")
        if kind(of) in NUMBERS:
            raise NoForm(f"{name} of a number has no SQLite form")
        x = self.shiftable(of)
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
        if of.is_number or kind(of) in NUMBERS:  # T-SQL counts days from 1900
            raise NoForm("a number in place of a date has no SQLite form")
        if isinstance(amount, exp.Interval):
            return self.by_interval(node, of, amount, sign)
        unit = unit or _unit(node.args.get("unit"))
        return _shift(self.shiftable(of), _form(node) or _form(of), self.sql(amount), sign, unit)

    def shiftable(self, of: exp.Expr) -> str:
        if of.is_string:
            if of.name.startswith("0"):  # calendars differ about the first years
                raise NoForm("a date before the year 1000 has no SQLite form")
            text = as_moment(of.name, "datetime" if ":" in of.name else "date")
            if text is None:
                raise NoForm(f"{of.name!r} as a date has no SQLite form")
            return literal(text)
        if kind(of) == "s" and not bare(of).is_string:
            x = self.sql(of)
            return f"CASE WHEN length({x}) > 10 THEN {self.of_text(of, 'datetime')} ELSE {self.of_text(of, 'date')} END"
        return self.sql(of)

    def by_interval(self, node: exp.Expr, of: exp.Expr, interval: exp.Interval, sign: str) -> str:
        amount, x, form = interval.this, self.shiftable(of), _form(node) or _form(of)
        if kind(of) in NUMBERS or kind(of) in ("time", "interval"):
            raise NoForm(f"an interval and {_SPOKEN[kind(of) or '']} have no SQLite form")
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
        if amount.is_string and not re.fullmatch(r"\s*-?\d+\s*", amount.name):
            raise NoForm(f"the interval '{amount.name}' has no SQLite form")
        return _shift(x, form, self.sql(amount), sign, _unit(interval.args["unit"]))

    # arithmetic -----------------------------------------------------------------------------------------------
    def add_sql(self, node: exp.Add) -> str:
        return self.sum_or_difference(node, "+")

    def sub_sql(self, node: exp.Sub) -> str:
        return self.sum_or_difference(node, "-")

    def sum_or_difference(self, node: exp.Add | exp.Sub, sign: str) -> str:
        """`+` and `-` of numbers, texts (T-SQL), and moments in time, by the types of both sides."""
        left, right = bare(node.this), bare(node.expression)
        kinds = (kind(left), kind(right))
        if isinstance(right, exp.Interval):
            return self.by_interval(node, node.this, right, sign)
        if isinstance(left, exp.Interval) and sign == "+":
            return self.by_interval(node, node.expression, left, sign)
        if self.source == "tsql" and sign == "+" and "s" in kinds:
            if kinds == ("s", "s"):
                return f"({self.as_text(node.this)} || {self.as_text(node.expression)})"
            raise NoForm("the sum of a text and what is none has no SQLite form")
        if set(kinds) & {*MOMENTS, "time", "interval"}:
            return self.of_moments(node, sign, kinds)
        if self.source == "mysql" or set(kinds) & set(NUMBERS) or "null" in kinds:
            self.refuse_single(node)
            return self.binary(node, sign)
        if None in kinds:
            raise NoForm(
                f"{'the sum' if sign == '+' else 'the difference'} of values of unknown type has no SQLite form"
            )
        raise Mistyped(f"{_SPOKEN[kinds[0] or '']} {sign} {_SPOKEN[kinds[1] or '']}")

    def of_moments(self, node: exp.Add | exp.Sub, sign: str, kinds: tuple[str | None, str | None]) -> str:
        sides = [side if not bare(side).is_string else None for side in (node.this, node.expression)]
        days = self.source in COUNTS_DAYS
        if kind(node) == "day" and days and "i" in kinds:
            date, number = (node.this, node.expression) if kinds[0] == "day" else (node.expression, node.this)
            return _shift(self.sql(date), "date", self.wrapped(self.sql(number), number), sign, "DAY")
        if sign == "-" and days and (kinds == ("day", "day") or (None in sides and "day" in kinds)):
            a, b = (self.moment(side, "date") for side in (node.this, node.expression))
            return f"CAST(julianday({a}) - julianday({b}) AS INTEGER)"
        raise NoForm(f"{_SPOKEN[kinds[0] or '']} {sign} {_SPOKEN[kinds[1] or '']} has no SQLite form")

    def moment(self, node: exp.Expr, form: str, as_kind: str | None = None) -> str:
        """A date or instant, or a text that stands for one (of kind `as_kind`), in a form."""
        if bare(node).is_string:
            text = as_moment(bare(node).name, form)
            if text is None:
                raise NoForm(f"{bare(node).name!r} as a date has no SQLite form")
            return literal(text)
        own = _form(node) or {"day": "date", "t": "datetime"}.get(as_kind or "")
        return self.sql(node) if own == form else f"{form}({self.sql(node)})"

    def div_sql(self, node: exp.Div) -> str:
        left, right = bare(node.this), bare(node.expression)
        kinds = {"i" if kind(side) == "b" else kind(side) for side in (left, right)} - {"null"}
        if kinds & {*MOMENTS, "time", "interval"}:
            raise NoForm("a division of dates, times or intervals has no SQLite form")
        if self.source in _TYPED_DIVISION:
            if len(kinds) == 2 and "s" in kinds and any(side.is_string for side in (left, right)):
                kinds -= {"s"}
            if kinds == {"i"}:
                return f"{self.sql(node.this)} / {self.divisor(node)}"
            if not kinds & {"d", "f"}:
                if None in kinds:
                    raise NoForm("a division of values of unknown type has no SQLite form")
                raise Mistyped("a division of what are no numbers")
        self.refuse_single(node)
        a = self.sql(node.this)
        if self.source == "duckdb" and not _never_zero(right):
            b = self.sql(node.expression)
            return f"CASE WHEN {b} = 0 AND {a} <> 0 THEN ({a}) * 9e999 ELSE CAST({a} AS REAL) / {b} END"
        return f"CAST({a} AS REAL) / {self.divisor(node)}"

    def mod_sql(self, node: exp.Mod) -> str:
        if self.source == "duckdb" and "f" in (kind(node.this), kind(node.expression)):
            raise NoForm("the remainder of a float, which may be NaN, has no SQLite form")
        if {kind(node.this), kind(node.expression)} & {"d", "f", None}:
            return f"mod({self.sql(node.this)}, {self.divisor(node)})"
        return f"{self.sql(node.this)} % {self.divisor(node)}"

    def mul_sql(self, node: exp.Mul) -> str:
        self.refuse_single(node)
        return self.binary(node, "*")

    def divisor(self, node: exp.Binary) -> str:
        """What is divided by: 0 fails as it does there, where SQLite's quotient would be NULL."""
        x = self.sql(node.expression)
        if self.source not in _ZERO_FAILS or _never_zero(node.expression):
            return x
        return f"CASE WHEN {x} = 0 AND {self.sql(node.this)} IS NOT NULL THEN {_BY_ZERO} ELSE {x} END"

    def refuse_single(self, node: exp.Binary) -> None:
        """Single precision has no SQLite form where it is kept up: in DuckDB, and in PostgreSQL among its own."""
        single = [side.type is not None and side.type.this is T.FLOAT for side in (node.this, node.expression)]
        if (self.source == "duckdb" and any(single)) or (self.source == "postgres" and all(single)):
            raise NoForm("arithmetic in single precision has no SQLite form")

    def avg_sql(self, node: exp.Avg) -> str:
        if self.source == "tsql" and kind(node.this) is None:
            raise NoForm("a mean of values of unknown type has no SQLite form")
        if kind(node.this) in (*MOMENTS, "time", "interval"):
            raise NoForm("a mean of dates, times or intervals has no SQLite form")
        if kind(node.this) == "s" and self.source in _STRICT:
            raise Mistyped("a mean of texts")
        mean = self.function_fallback_sql(node)
        return f"CAST({mean} AS INTEGER)" if self.source == "tsql" and kind(node) == "i" else mean

    def sum_sql(self, node: exp.Sum) -> str:
        if kind(node.this) in (*MOMENTS, "time", "interval"):
            raise NoForm("a sum of dates, times or intervals has no SQLite form")
        if kind(node.this) in ("s", "b") and self.source in ("postgres", "redshift"):
            raise Mistyped(f"a sum of {'texts' if kind(node.this) == 's' else 'truth values'}")
        return self.function_fallback_sql(node)

    # comparison -----------------------------------------------------------------------------------------------
    def compared(self, node: exp.Binary, sign: str) -> str:
        if isinstance(node.expression, exp.Any | exp.All | exp.Tuple) or isinstance(node.this, exp.Tuple):
            return self.binary(node, sign)
        left, right = self.comparable(node.this, node.expression)
        return f"{left} {sign} {right}"

    def comparable(self, left: exp.Expr, right: exp.Expr) -> tuple[str, str]:
        """Both sides of a comparison, written so that SQLite compares what their types say."""
        one, two = self.as_compared(left, right), self.as_compared(right, left)
        if self.source in CASE_BLIND and kind(left) == kind(right) == "s":
            self.letters("text compared without regard to case", blanks=True)
            one, two = (literal(bare(side).name.rstrip(" ")) if bare(side).is_string else text
                        for side, text in ((left, one), (right, two)))  # fmt: skip
            if not (left.meta.get("table") or right.meta.get("table")):
                one = f"{self.wrapped(one, left)} COLLATE NOCASE"
        return one, two

    def as_compared(self, side: exp.Expr, other: exp.Expr) -> str:
        own, its, node = _moment_kind(side, other), _moment_kind(other, side), bare(side)
        if its in MOMENTS and (own in MOMENTS or node.is_string):
            return self.moment(side, "datetime" if "t" in (own, its) else "date", own)
        if its in MOMENTS and own not in (*MOMENTS, "null"):
            if own is None or self.source not in _STRICT:
                raise NoForm(f"{_SPOKEN[its]} compared with {_SPOKEN[own or '']} has no SQLite form")
            raise Mistyped(f"{_SPOKEN[its]} compared with {_SPOKEN[own]}")
        if own in MOMENTS or "interval" in (own, its):
            if "interval" in (own, its):
                raise NoForm("a comparison of intervals has no SQLite form")
            return self.sql(side)
        if self.source == "duckdb" and any(s.type is not None and s.type.this is T.FLOAT for s in (side, other)):
            raise NoForm("a comparison in single precision has no SQLite form")
        if its in NUMBERS and own == "s":
            return self.as_number(side, its == "i")
        if its == "b" and node.is_string and self.source != "mysql":
            truth = TRUTH.get(node.name.strip().lower())
            if truth is None:
                raise Mistyped(f"{node.name!r} is no truth value")
            return truth
        if {own, its} == {"b", "i"} and self.source in ("postgres", "redshift", "bigquery"):
            raise Mistyped("a truth value compared with a number")
        text = self.sql(side)
        digits = scale(side) if own == "d" else None
        if (
            digits
            and its in ("i", "d")
            and not isinstance(node, exp.Column | exp.Literal | exp.Round | exp.Cast | exp.Neg)
        ):
            return f"round({text}, {digits})"  # SQLite's sums of decimals are not exact
        return text

    def as_number(self, side: exp.Expr, integer: bool) -> str:
        """A text that is compared with a number."""
        node = bare(side)
        if node.is_string:
            number = re.match(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", node.name)
            whole = number is not None and not node.name[number.end() :].strip()
            if (
                whole
                and self.source in ("postgres", "redshift")
                and integer
                and not node.name.strip().lstrip("+-").isdigit()
            ):
                whole = False
            if not whole and self.source != "mysql":
                raise Mistyped(f"{node.name!r} is no number")
            return number[0].strip() if number else "0"
        if self.source == "mysql":
            return f"CAST({self.sql(side)} AS REAL)"
        if self.source in _STRICT:
            raise Mistyped("a text compared with a number")
        raise NoForm("a text compared with a number has no SQLite form")

    def letters(self, what: str, blanks: bool = False) -> None:
        """Refuses what depends on letters that SQLite does not fold, or on blanks that MySQL's collations pass over."""
        if self.types.cased:
            raise NoForm(f"{what} has no SQLite form beyond ASCII")
        if blanks and self.types.blanks and self.source in CASE_BLIND:
            raise NoForm(f"{what} has no SQLite form where blanks end a text")

    def between_sql(self, node: exp.Between) -> str:
        if node.args.get("symmetric"):
            raise NoForm("BETWEEN SYMMETRIC has no SQLite form")
        low, high = node.args["low"], node.args["high"]
        (x, a), (y, b) = self.comparable(node.this, low), self.comparable(node.this, high)
        if x == y:
            return f"{x} BETWEEN {a} AND {b}"
        return f"({x} >= {a} AND {y} <= {b})"

    def in_sql(self, node: exp.In) -> str:
        if isinstance(node.this, exp.Tuple) or not node.expressions:
            query = node.args.get("query")
            if query is not None and not isinstance(node.this, exp.Tuple):
                self.alike(node.this, query)
            return super().in_sql(node)
        pairs = [self.comparable(node.this, part) for part in node.expressions]
        if len({x for x, _ in pairs}) == 1:
            return f"{pairs[0][0]} IN ({', '.join(a for _, a in pairs)})"
        return "(" + " OR ".join(f"{x} = {a}" for x, a in pairs) + ")"

    def alike(self, left: exp.Expr, query: exp.Expr) -> None:
        """Refuses `left IN (query)` where the two sides would be compared by their texts."""
        kinds = (kind(left), kind(query))
        if set(kinds) & set(MOMENTS) and len(set(kinds)) > 1:
            raise NoForm(f"{_SPOKEN[kinds[0] or '']} among {_SPOKEN[kinds[1] or '']} has no SQLite form")
        if "s" in kinds and set(kinds) & set(NUMBERS):
            raise (Mistyped if self.source in _STRICT else NoForm)("a text compared with a number has no SQLite form")

    def ordered_sql(self, node: exp.Ordered) -> str:
        return super().ordered_sql(self.without_case(node))

    def without_case(self, node: exp.Ordered) -> exp.Ordered:
        of = node.this
        if self.source in CASE_BLIND and kind(of) == "s":
            self.letters("an order of texts", blanks=True)
        if self.source not in CASE_BLIND or kind(of) != "s" or of.meta.get("table") or of.is_string:
            return node
        node = node.copy()
        node.set("this", exp.Collate(this=node.this, expression=exp.var("NOCASE")))
        return node

    def of_case(self, node: exp.Func) -> str:
        around = node.parent
        others = [part for part in around.iter_expressions() if part is not node] if around else []
        if not (isinstance(around, exp.Predicate | exp.In) and all(o.is_string and o.name.isascii() for o in others)):
            self.letters(f"{node.sql_name()} of letters")
        return self.function_fallback_sql(node)

    # text from other types ------------------------------------------------------------------------------------
    def as_text(self, node: exp.Expr, in_concat: bool = False) -> str:
        """A value as its dialect writes it into a text."""
        text = self.wrapped(self.sql(node), bare(node))
        match kind(node):
            case "b" if self.source != "mysql" and self.source != "tsql":
                true, false = ("t", "f") if in_concat and self.source in ("postgres", "redshift") else ("true", "false")
                return f"CASE {text} WHEN 1 THEN '{true}' WHEN 0 THEN '{false}' END"
            case "d":
                digits = scale(node)
                if digits is None:
                    raise NoForm("a decimal of unknown digits as a text has no SQLite form")
                return f"CASE WHEN {text} IS NOT NULL THEN printf('%.{digits}f', {text}) END"
            case "f":
                raise NoForm("a number with a floating point as a text has no SQLite form")
            case "interval":
                raise NoForm("an interval as a text has no SQLite form")
        return text

    def dpipe_sql(self, node: exp.DPipe) -> str:
        return f"{self.as_text(node.this)} || {self.as_text(node.expression)}"

    def datediff_sql(self, node: exp.DateDiff) -> str:
        sides = (side.this if isinstance(side, exp.TsOrDsToDate) else side for side in (node.this, node.expression))
        a, b = map(self.shiftable, sides)
        unit = _unit(node.args.get("unit"))
        if unit == "DAY":
            return f"CAST(julianday(date({a})) - julianday(date({b})) AS INTEGER)"
        if unit == "YEAR":
            return f"({_integer('%Y', a)} - {_integer('%Y', b)})"
        if unit == "MONTH":
            return f"(({_integer('%Y', a)} - {_integer('%Y', b)}) * 12 + {_integer('%m', a)} - {_integer('%m', b)})"
        raise NoForm(f"DATEDIFF in {unit} has no SQLite form")

    def timestampdiff_sql(self, node: exp.TimestampDiff) -> str:
        b, a, unit = self.shiftable(node.this), self.shiftable(node.expression), _unit(node.args.get("unit"))
        seconds = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "WEEK": 604800}.get(unit)
        if seconds:
            return f"((CAST(strftime('%s', {b}) AS INTEGER) - CAST(strftime('%s', {a}) AS INTEGER)) / {seconds})"
        months = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}.get(unit)
        if not months:
            raise NoForm(f"TIMESTAMPDIFF in {unit} has no SQLite form")
        return f"({_months_between(a, b)} / {months})" if months > 1 else _months_between(a, b)

    def truncated(self, node: exp.Expr) -> str:
        x, unit = self.arg(node), _unit(node.args.get("unit"))
        midnight = " || ' 00:00:00'" if kind(node) == "t" else ""
        if unit == "WEEK":
            return f"(date({x}, '-6 days', 'weekday 1'){midnight})"
        if unit == "QUARTER":
            return f"(date({x}, 'start of month', '-' || (({_integer('%m', x)} - 1) % 3) || ' months'){midnight})"
        forms = {"DAY": "%Y-%m-%d", "MONTH": "%Y-%m-01", "YEAR": "%Y-01-01", "HOUR": "%Y-%m-%d %H:00:00",
                 "MINUTE": "%Y-%m-%d %H:%M:00", "SECOND": "%Y-%m-%d %H:%M:%S"}  # fmt: skip
        if unit not in forms:
            raise NoForm(f"date_trunc to {unit} has no SQLite form")
        form = forms[unit]
        return f"strftime('{form + ' 00:00:00' if midnight and len(form) < 9 else form}', {x})"

    def timetostr_sql(self, node: exp.TimeToStr) -> str:
        x = node.this.this if isinstance(node.this, (exp.TsOrDsToTimestamp, exp.TsOrDsToDate)) else node.this
        form = node.args.get("format")
        if not isinstance(form, exp.Literal):
            raise NoForm("a date format that is no literal has no SQLite form")
        if self.source == "postgres":
            form = exp.Literal.string(
                re.sub("|".join(_POSTGRES_NAMES), lambda name: _POSTGRES_NAMES[name[0]], form.name)
            )
        letters = re.sub(r"%-?[A-Za-z]", "", form.name)
        if self.source != "mysql" and (letters == form.name or re.search("[A-Za-z]{2}", letters)):
            raise NoForm(f"the format {form.name!r} has no SQLite form")  # of a number, or only half understood
        return _time_format(self.shiftable(x), form.name)

    def strtodate_sql(self, node: exp.Expr) -> str:
        forms = {"%Y-%m-%d": "date", "%Y-%m-%d %H:%M:%S": "datetime", "%Y-%m-%d %T": "datetime"}
        form = node.args.get("format")
        if not isinstance(form, exp.Literal) or form.name not in forms:
            raise NoForm("a text read as a date by another format than YYYY-MM-DD has no SQLite form")
        return self.read_moment(node.this, forms[form.name])

    def interval_sql(self, node: exp.Interval) -> str:
        raise NoForm("an interval apart from date arithmetic has no SQLite form")

    # types ----------------------------------------------------------------------------------------------------
    def cast_sql(self, node: exp.Cast, safe_prefix: str | None = None) -> str:
        if node.args.get("safe"):  # SQLite makes 0 of a text that is no number
            raise NoForm("a cast that gives NULL where it fails has no SQLite form")
        x, to = self.arg(node), node.to
        if to.is_type("datetime") and self.source in ("postgres", "redshift"):
            raise Mistyped("type datetime does not exist")
        if to.is_type("date"):
            return self.read_moment(node.this, "date")
        if to.is_type("time", "timetz"):
            return f"time({x})"
        if to.is_type(*exp.DataType.TEMPORAL_TYPES):
            return self.read_moment(node.this, "datetime")
        if to.is_type(*exp.DataType.INTEGER_TYPES, "boolean"):
            if to.is_type("boolean"):
                true = "'true', 't', 'yes', 'y', 'on', '1'"
                return f"(CASE WHEN lower({x}) IN ({true}) THEN 1 WHEN {x} IS NOT NULL THEN 0 END)"
            return self.as_integer(node.this, x)
        if to.is_type("decimal", "numeric", "bigdecimal") and (to.expressions or self.source in _DECIMAL_SCALE):
            digits = _DECIMAL_SCALE.get(self.source, 0)
            if to.expressions:
                digits = int(to.expressions[1].name) if len(to.expressions) > 1 else 0
            return f"round(CAST({x} AS REAL), {digits})"
        if to.is_type(*exp.DataType.REAL_TYPES):
            if node.this.type is not None and node.this.type.this is T.FLOAT and kind(node) == "d":
                return f"CASE WHEN {x} IS NOT NULL THEN CAST(printf('%.6g', {x}) AS REAL) END"
            return f"CAST({x} AS REAL)"
        if to.is_type(*exp.DataType.TEXT_TYPES):
            length, x = to.expressions[0].name if to.expressions else "", self.as_text(node.this)
            return f"substr(CAST({x} AS TEXT), 1, {length})" if length.isdigit() else f"CAST({x} AS TEXT)"
        if to.is_type("binary", "varbinary", "blob"):
            return f"{x} COLLATE BINARY" if self.source == "mysql" and kind(node.this) == "s" else f"CAST({x} AS BLOB)"
        raise NoForm(f"a cast to {to.sql(self.source)} has no SQLite form")

    def read_moment(self, node: exp.Expr, form: str) -> str:
        """What is cast to a date or instant. A text that is none, or one that only the dialect understands, fails."""
        x = self.sql(node)
        if bare(node).is_string:
            text = as_moment(bare(node).name, form)
            if text is None and self.source not in CASE_BLIND:
                raise NoForm(f"{bare(node).name!r} as a date has no SQLite form")
            return literal(text) if text else f"{form}({x})"
        if _form(node) == form:
            return x
        return self.of_text(node, form) if kind(node) == "s" else f"{form}({x})"

    def of_text(self, node: exp.Expr, form: str) -> str:
        x = self.sql(node)
        odd = f"{x} GLOB '[0-9]*[-/.][0-9]*'" if self.source == "mysql" else f"{x} IS NOT NULL"
        return f"CASE WHEN {form}({x}) IS NULL AND {odd} THEN {_NO_DATE} ELSE {form}({x}) END"

    def as_integer(self, of: exp.Expr, x: str) -> str:
        """A cast to an integer: rounded or cut off, as the dialect does with values of this type."""
        node = bare(of)
        if kind(of) in ("i", "b"):
            return x if kind(of) == "i" else f"CAST({x} AS INTEGER)"
        if kind(of) in (*MOMENTS, "time", "interval"):
            raise NoForm(f"{_SPOKEN[kind(of) or '']} as an integer has no SQLite form")
        if kind(of) == "s" and self.source not in CASE_BLIND - {"tsql", "fabric"}:
            if node.is_string and not re.fullmatch(r"\s*[-+]?\d+\s*", node.name):
                raise Mistyped(f"{node.name!r} is no integer")
            if not node.is_string:
                shown = f"trim({x})"
                digits = (
                    f"({shown} GLOB '[0-9]*' OR {shown} GLOB '[-+][0-9]*') AND substr({shown}, 2) NOT GLOB '*[^0-9]*'"
                )
                return f"CASE WHEN {digits} OR {x} IS NULL THEN CAST({x} AS INTEGER) ELSE {_NO_INTEGER} END"
        if self.source not in _ROUNDING_CASTS or (kind(of) == "s" and self.source == "mysql"):
            return f"CAST({x} AS INTEGER)"
        if kind(of) is None and self.source == "mysql" and not isinstance(node, exp.Literal):
            raise NoForm("a cast to an integer of a value of unknown type has no SQLite form")  # a text is cut off
        return f"CAST({self.rounded(of, x)} AS INTEGER)"

    def rounded(self, of: exp.Expr, x: str) -> str:
        """A number rounded to an integer: halves away from zero, or of floats to even where the dialect does so."""
        if kind(of) == "f" and self.source in ("mysql", "postgres", "redshift", "duckdb"):
            return f"(CASE WHEN abs(({x}) - trunc({x})) = 0.5 THEN 2 * round(({x}) / 2.0) ELSE round({x}) END)"
        return f"round({x})"

    # text -----------------------------------------------------------------------------------------------------
    def like_sql(self, node: exp.Like) -> str:
        pattern, negated = node.expression, " NOT" if node.args.get("negate") else ""
        if isinstance(pattern, (exp.Any, exp.All)):
            raise NoForm("LIKE ANY and LIKE ALL have no SQLite form")
        if self.source in ("tsql", "fabric") and "[" in pattern.name:
            raise NoForm("LIKE with a set of letters has no SQLite form")
        x, escaped = self.as_text(node.this), isinstance(node.parent, exp.Escape)
        if kind(node.this) not in ("s", None, "null") and self.source in _STRICT:
            raise Mistyped(f"LIKE of {_SPOKEN[kind(node.this) or '']}")
        sensitive = not isinstance(node, exp.ILike) and self.source not in CASE_BLIND
        if isinstance(pattern, exp.Cast) and self.source in CASE_BLIND:
            raise NoForm("LIKE of a binary pattern has no SQLite form")
        if not sensitive and not (self.source not in CASE_BLIND and pattern.is_string and pattern.name.isascii()):
            self.letters("LIKE without regard to case")
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
        parts = [self.as_text(part, in_concat=True) for part in node.expressions]
        if node.args.get("coalesce"):  # PostgreSQL's CONCAT skips NULL, MySQL's is NULL
            parts = [p if e.is_string else f"coalesce({p}, '')" for p, e in zip(parts, node.expressions, strict=True)]
        parts = [self.wrapped(part, e) for part, e in zip(parts, node.expressions, strict=True)]
        return f"CAST({parts[0]} AS TEXT)" if len(parts) == 1 else "(" + " || ".join(parts) + ")"

    def wrapped(self, sql: str, node: exp.Expr) -> str:
        return f"({sql})" if isinstance(node, (exp.Binary, exp.Case, exp.If, exp.Unary)) else sql

    def concatws_sql(self, node: exp.ConcatWs) -> str:
        separator, *parts = (self.as_text(part, in_concat=True) for part in node.expressions)
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
        if self.source in CASE_BLIND and isinstance(distinct, exp.Distinct) and "s" in map(kind, distinct.expressions):
            self.letters("a count of different texts", blanks=True)
            if len(distinct.expressions) == 1 and not distinct.expressions[0].meta.get("table"):
                return f"count(DISTINCT {self.sql(distinct.expressions[0])} COLLATE NOCASE)"
        if isinstance(distinct, exp.Distinct) and len(distinct.expressions) > 1:
            joined = " || char(31) || ".join(self.sql(part) for part in distinct.expressions)
            return f"count(DISTINCT {joined})"
        return self.function_fallback_sql(node)

    def left_sql(self, node: exp.Left) -> str:
        x, n = self.as_text(node.this), self.arg(node, "expression")
        if n.isdigit():
            return f"substr({x}, 1, {n})"
        less = f"length({x}) + ({n})" if self.source in ("postgres", "redshift", "duckdb") else "0"
        return f"substr({x}, 1, max(CASE WHEN ({n}) < 0 THEN {less} ELSE {n} END, 0))"

    def right_sql(self, node: exp.Right) -> str:
        x, n = self.as_text(node.this), self.arg(node, "expression")
        if n.isdigit():
            return f"substr({x}, -{n})" if int(n) else f"substr({x}, 1, 0)"
        if self.source in ("postgres", "redshift", "duckdb"):
            return f"substr({x}, CASE WHEN ({n}) < 0 THEN 1 - ({n}) ELSE max(length({x}) - ({n}) + 1, 1) END)"
        return f"substr({x}, length({x}) - min(max({n}, 0), length({x})) + 1)"

    def substring_sql(self, node: exp.Substring) -> str:
        start = node.args.get("start")
        if isinstance(start, exp.Neg) or (start is not None and start.name == "0"):
            if self.source != "mysql" and self.source not in ("snowflake", "oracle", "duckdb"):
                raise NoForm("SUBSTRING from before the first letter has no SQLite form")
            if start.name == "0":
                raise NoForm("SUBSTRING from 0 has no SQLite form")
        parts = [self.as_text(node.this), *(self.sql(node, key) for key in ("start", "length") if node.args.get(key))]
        return f"substr({', '.join(parts)})"

    def hex_sql(self, node: exp.Hex) -> str:
        x = self.arg(node)
        match kind(node.this):
            case "i":
                return f"CASE WHEN {x} IS NOT NULL THEN printf('%X', {x}) END"
            case "s":
                return f"CASE WHEN {x} IS NOT NULL THEN hex({x}) END"
        raise NoForm(f"HEX of {_SPOKEN[kind(node.this) or '']} has no SQLite form")

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
        x, length = f"CAST({self.as_text(node.this)} AS TEXT)", int(n.name)
        padding = literal((fill.name * length)[:length])
        rest = f"substr({padding}, 1, {length} - length({x}))"
        padded = f"{rest} || {x}" if node.args.get("is_left") else f"{x} || {rest}"
        return f"CASE WHEN length({x}) >= {length} THEN substr({x}, 1, {length}) ELSE {padded} END"

    def length_sql(self, node: exp.Length) -> str:
        x = self.as_text(node.this)
        if self.source == "tsql":  # which does not count the blanks at the end
            return f"length(rtrim({x}))"
        return f"length(CAST({x} AS BLOB))" if node.args.get("binary") else f"length({x})"

    def strposition_sql(self, node: exp.StrPosition) -> str:
        if node.args.get("position") or node.args.get("occurrence"):
            raise NoForm("LOCATE with a start has no SQLite form")
        x, part = self.as_text(node.this), self.arg(node, "substr")
        if self.source in CASE_BLIND:
            self.letters("a text found without regard to case")
            return f"instr(lower({x}), lower({part}))"
        return f"instr({x}, {part})"

    # numbers --------------------------------------------------------------------------------------------------
    def variance(self, node: exp.Expr, sample: bool, root: bool) -> str:
        x = self.arg(node)
        if isinstance(node.this, exp.Distinct):
            raise NoForm("a variance over DISTINCT values has no SQLite form")
        n, digits = f"count({x})", scale(node.this)
        if digits is None:
            mean_square = f"(avg(1.0 * ({x}) * ({x})) - avg({x}) * avg({x}))"
        else:  # in whole numbers, of which no digit is lost
            whole = f"CAST(round(({x}) * 1e{digits}) AS INTEGER)" if digits else f"({x})"
            both = f"sum({whole} * {whole}) * {n} - sum({whole}) * sum({whole})"
            mean_square = f"(1.0 * ({both}) / ({n} * {n}){f' / 1e{2 * digits}' if digits else ''})"
        value = f"max({mean_square}, 0.0)" + (f" * {n} / nullif({n} - 1, 0)" if sample else "")
        return f"sqrt({value})" if root else f"({value})"

    def trunc_sql(self, node: exp.Trunc) -> str:
        x, decimals = self.arg(node), node.args.get("decimals")
        if kind(node.this) in MOMENTS:
            return self.truncated(node)
        digits = _digits(decimals)
        if digits is None:
            raise NoForm("TRUNCATE to a computed number of digits has no SQLite form")
        if digits <= 0:
            return f"trunc({x})" if digits == 0 else f"(trunc(({x}) / 1e{-digits}) * 1{'0' * -digits})"
        # what the multiplication leaves of a float's last digits must not be cut off
        return f"(trunc(round(({x}) * 1e{digits}, 6)) / 1e{digits})"

    def round_sql(self, node: exp.Round) -> str:
        x, digits, of = self.arg(node), _digits(node.args.get("decimals")), kind(node.this)
        if of == "s" and not bare(node.this).is_string and self.source in _STRICT:
            raise Mistyped("ROUND of a text")
        if node.args.get("truncate") is not None and node.args["truncate"].name != "0":
            raise NoForm("ROUND that cuts off has no SQLite form")
        if digits is None:
            raise NoForm("ROUND to a computed number of digits has no SQLite form")
        if node.args.get("decimals") is not None and of == "f" and self.source == "postgres":
            raise Mistyped("function round(double precision, integer) does not exist")
        if digits < 0:
            if of == "f" and self.source != "bigquery":
                raise NoForm("ROUND of a float to a negative number of digits has no SQLite form")
            whole = f"round(({x}) / 1e{-digits}) * 1{'0' * -digits}"
            return f"CAST({whole} AS INTEGER)" if of == "i" else f"({whole})"
        if of == "i":  # SQLite would make a float of it
            return x
        if of == "f" and self.source == "mysql" and digits:
            return f"({self.rounded(node.this, f'({x}) * 1e{digits}')} / 1e{digits})"
        if digits == 0:
            return self.rounded(node.this, x) if self.source != "duckdb" else f"round({x})"
        return f"round({x}, {digits})"

    def from_sql(self, node: exp.From) -> str:
        table = node.this
        if isinstance(table, exp.Table) and table.name.lower() == "dual" and "dual" not in self.types.tables:
            return ""  # MySQL's and Oracle's name for no table
        return super().from_sql(node)

    def any_sql(self, node: exp.Any) -> str:
        raise NoForm("a comparison with ANY or SOME has no SQLite form")

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
        return f"CAST((1.0 * {self.arg(node)}) / {self.divisor(node)} AS INTEGER)"

    # what SQLite lacks ------------------------------------------------------------------------------------------
    def none(self, node: exp.Expr) -> str:
        raise NoForm(f"{node.sql_name() if isinstance(node, exp.Func) else node.key.upper()} has no SQLite form")

    def anonymous_sql(self, node: exp.Anonymous) -> str:
        name, args = node.name.upper(), node.expressions
        sqls = [self.sql(arg) for arg in args]
        if name == "SINGLE":
            digits = 6 if self.source == "mysql" else 7
            return f"CASE WHEN {sqls[0]} IS NOT NULL THEN CAST(printf('%.{digits}g', {sqls[0]}) AS REAL) END"
        if name in ("NOW", "SYSDATE", "GETDATE"):
            return literal(NOW)
        if name in ("ADDDATE", "SUBDATE") and len(args) == 2:
            sign = "+" if name == "ADDDATE" else "-"
            if isinstance(args[1], exp.Interval):
                return self.by_interval(node, args[0], args[1], sign)
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
        for key, words in (("with_ties", "WITH TIES"), ("percent", "a percentage of the rows")):
            if options and options.args.get(key):
                raise NoForm(f"{words} has no SQLite form")
        return super().query_modifiers(node, *sqls)

    def set_operations(self, expression: exp.SetOperation) -> str:
        for key in ("this", "expression"):
            side = expression.args[key]
            if isinstance(side, exp.Subquery):  # SQLite takes no parentheses around a part
                expression.set(key, exp.Select(expressions=[exp.Star()], from_=exp.From(this=side.copy())))
        return super().set_operations(expression)

    def alternatives(self, node: exp.Expr, parts: list[exp.Expr]) -> None:
        """MySQL makes texts of numbers beside texts; others refuse that."""
        kinds = {kind(part) for part in parts}
        if "s" not in kinds or not kinds & set(NUMBERS):
            return
        if self.source in _STRICT:
            for part in parts:
                if bare(part).is_string:
                    self.as_number(part, integer=False)
            return
        if self.source != "mysql":
            raise NoForm("a number or a text as the case may be has no SQLite form")
        for part in parts:
            if kind(part) in NUMBERS:
                text = exp.Cast(this=part.copy(), to=exp.DataType.build("TEXT"))
                text._type = text.to
                part.replace(text)

    def greatest_sql(self, node: exp.Greatest) -> str:
        return super().greatest_sql(self.extreme(node))

    def least_sql(self, node: exp.Least) -> str:
        return super().least_sql(self.extreme(node))

    def extreme(self, node: exp.Expr) -> exp.Expr:
        """GREATEST or LEAST of texts without regard to case: SQLite takes the first argument's collation."""
        kinds = {kind(part) for part in (node.this, *node.expressions)} - {"null"}
        if "s" not in kinds or self.source not in CASE_BLIND:
            return node
        if len(kinds) > 1:
            raise NoForm("the greatest or least of a text and another value has no SQLite form")
        self.letters("the greatest or least of texts", blanks=True)
        node = node.copy()
        node.set("this", exp.Collate(this=node.this, expression=exp.var("NOCASE")))
        return node

    def star_sql(self, node: exp.Star) -> str:
        if any(node.args.get(key) for key in ("except_", "except", "replace", "rename")):
            raise NoForm("* without or with other columns has no SQLite form")
        return super().star_sql(node)

    def coalesce_sql(self, node: exp.Coalesce) -> str:
        self.alternatives(node, [node.this, *node.expressions])
        return self.function_fallback_sql(node)

    def case_sql(self, node: exp.Case) -> str:
        default = node.args.get("default")
        self.alternatives(node, [*(part.args["true"] for part in node.args["ifs"]), *([default] if default else [])])
        return super().case_sql(node)

    def if_sql(self, node: exp.If) -> str:
        false = node.args.get("false")
        if not isinstance(node.parent, exp.Case):
            self.alternatives(node, [node.args["true"], *([false] if false else [])])
        return super().if_sql(node)

    def group_sql(self, node: exp.Group) -> str:
        if any(node.args.get(key) for key in ("rollup", "cube", "grouping_sets", "totals")):
            raise NoForm("ROLLUP, CUBE and GROUPING SETS have no SQLite form")
        return super().group_sql(node)

    TRANSFORMS: ClassVar[dict] = {
        **{k: v for k, v in SQLite.Generator.TRANSFORMS.items()
           if k not in (exp.Concat, exp.ConcatWs, exp.Count, exp.ILike, exp.DateDiff, exp.GroupConcat, exp.Trunc,
                        exp.StrPosition, exp.Distinct, exp.TimeToStr, exp.Cast, exp.Length, exp.Hex, exp.Div, exp.Mod,
                        exp.Mul, exp.DPipe, exp.Round, exp.Upper, exp.Lower, exp.Substring, exp.Coalesce, exp.Case,
                        exp.If, exp.Chr)},
        **{kind_: (lambda self, e, sign=sign: self.compared(e, sign)) for kind_, sign in
           ((exp.EQ, "="), (exp.NEQ, "<>"), (exp.LT, "<"), (exp.LTE, "<="), (exp.GT, ">"), (exp.GTE, ">="),
            (exp.NullSafeEQ, "IS"), (exp.NullSafeNEQ, "IS NOT"))},
        exp.Upper: lambda self, e: self.of_case(e),
        exp.Lower: lambda self, e: self.of_case(e),
        exp.Initcap: lambda self, e: self.none(e),
        exp.Chr: lambda self, e: self.none(e) if self.source == "mysql" else f"char({self.expressions(e, flat=True)})",
        exp.CurrentDate: lambda self, e: literal(NOW[:10]),
        exp.CurrentTime: lambda self, e: literal(NOW[11:]),
        exp.TsOrDsToDate: lambda self, e: self.read_moment(e.this, "date"),
        exp.TsOrDsToTimestamp: lambda self, e: self.arg(e),
        exp.Date: lambda self, e: self.none(e) if e.args.get("expressions") else self.read_moment(e.this, "date"),
        exp.Timestamp: lambda self, e: f"datetime({self.arg(e)})",
        exp.UnixToTime: lambda self, e: f"datetime({self.arg(e)}, 'unixepoch')",
        exp.LastDay: lambda self, e: f"date({self.arg(e)}, 'start of month', '+1 month', '-1 day')",
        exp.Dayname: lambda self, e: _names("%w", self.sql(e.this), _shortened(_DAYS, e), 0),
        exp.Monthname: lambda self, e: _names("%m", self.sql(e.this), _shortened(_MONTHS, e), 1),
        exp.DayOfWeek: lambda self, e: f"({self.part(e, 'DOW', e.this)} + {int(self.source != 'duckdb')})",
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
        exp.Variance: lambda self, e: self.variance(e, True, False),
        exp.VariancePop: lambda self, e: self.variance(e, False, False),
        **{kind: (lambda self, e: literal(NOW)) for kind in
           (exp.CurrentTimestamp, exp.CurrentDatetime, exp.UtcTimestamp, exp.Localtimestamp)},
        **{kind: (lambda self, e, name=name: self.part(e, name, e.this)) for kind, name in
           ((exp.Year, "YEAR"), (exp.Month, "MONTH"), (exp.Day, "DAY"), (exp.DayOfMonth, "DAY"), (exp.Hour, "HOUR"),
            (exp.Minute, "MINUTE"), (exp.Second, "SECOND"), (exp.Quarter, "QUARTER"), (exp.DayOfYear, "DOY"))},
        **{kind: (lambda self, e: self.none(e)) for kind in
           (exp.Rand, exp.Randn, exp.Uuid, exp.RegexpLike, exp.RegexpILike, exp.SimilarTo, exp.All, exp.Lateral,
            exp.Qualify, exp.Pivot, exp.ArrayAgg, exp.Array, exp.Unnest, exp.Explode, exp.Bracket, exp.Parameter,
            exp.Placeholder)},
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


def generate(tree: exp.Expr, dialect: str, types: Types = NOTHING) -> str:
    """A tree, annotated by `types.annotate`, as SQLite. Raises NoForm."""
    generator = _Generator(dialect=Target(), unsupported_level=ErrorLevel.RAISE, comments=False)
    generator.source, generator.types = dialect, types
    if isinstance(tree, exp.Subquery) and not any(tree.args.get(key) for key in ("alias", "order", "limit", "offset")):
        tree = tree.this
    return generator.generate(tree, copy=False)
