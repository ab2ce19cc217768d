"""The cells of answers: what each SQL type is in Python, whichever engine it comes from.

| SQL | Python | equal when |
|---|---|---|
| NULL | None | both are |
| integers of any width | int | the same number |
| NUMERIC, DECIMAL | Decimal | the same number: 1.50 is 1.5 and 1; with a float within the comparator's tolerance |
| REAL, DOUBLE | float, the shortest decimal that the column's width tells apart | within tolerance |
| NaN, of any type | NAN | both are, as PostgreSQL and DuckDB say |
| BOOLEAN | bool | the same; as 0 and 1 only where a comparison is not strict |
| text, ENUM, UUID, XML, ranges, bits | str as the engine writes it, CHAR(n) without its padding | every character |
| binary | bytes | every byte |
| DATE | datetime.date | the same day; as its midnight only where a comparison is not strict |
| TIMESTAMP, with time zone in UTC | datetime.datetime without a zone | the same instant |
| TIME | datetime.time | the same time of day |
| INTERVAL | datetime.timedelta, a month as 30 days (as PostgreSQL compares them) | the same length |
| arrays | tuple | the same cells in the same order |
| JSON | Json | the same value: white space, the order of keys and the spelling of numbers do not matter |
| STRUCT, MAP | Json of its fields | the same value |
| dates that Python cannot hold (BC, infinity) | str | every character |

The kind of a column is "boolean", "date", "timestamp" or "other"; `compare` asks for it where two of them meet.
"""

import datetime
import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

BOOLEAN, DATE, TIMESTAMP, OTHER = "boolean", "date", "timestamp", "other"
EPOCH = datetime.datetime(1970, 1, 1)


@dataclass(frozen=True)
class NotANumber:
    """NaN, which Python's own would not equal."""

    def __str__(self) -> str:
        return "NaN"


NAN = NotANumber()


@dataclass(frozen=True)
class Json:
    """A JSON value, as text in one spelling of its own."""

    text: str

    def __str__(self) -> str:
        return self.text


def number(value: float | Decimal) -> float | Decimal | NotANumber:
    """A float or decimal; the infinities of decimals are those of floats."""
    if value != value:
        return NAN
    if isinstance(value, Decimal) and value.is_infinite():
        return math.inf if value > 0 else -math.inf
    return value


def utc(value: datetime.datetime) -> datetime.datetime:
    """An instant in UTC, without its zone."""
    return value if value.tzinfo is None else value.astimezone(datetime.UTC).replace(tzinfo=None)


def json_cell(value: Any) -> Json:
    """The cell of a JSON value: a text, or what Python's json makes of one, with cells of any kind in it.

    Raises ValueError for a text that is not JSON, RecursionError for one that is too deep.
    """
    if isinstance(value, (str, bytes)):
        value = json.loads(value, parse_float=Decimal, parse_constant=str)
    return Json(_json(value))


def _json(value: Any) -> str:
    if isinstance(value, dict):
        items = sorted((str(key), _json(item)) for key, item in value.items())
        return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{item}" for key, item in items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, Json):
        return value.text
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    if isinstance(exact, Decimal) and exact.is_finite():
        if exact == 0:
            return "0"
        text = format(exact, "f") if abs(exact.adjusted()) < 400 else str(exact)
        return text.rstrip("0").rstrip(".") if "." in text and "E" not in text else text
    plain = value is None or isinstance(value, (bool, int, str))
    return json.dumps(value if plain else str(value), ensure_ascii=False)


def array(value: Any) -> Any:
    """An array as nested tuples; what stands in it are cells already."""
    return tuple(array(item) for item in value) if isinstance(value, list) else value


def spell(value: Any) -> str:
    """A cell as SQL text in the standard's spelling, which PostgreSQL and DuckDB read as they stand.

    Raises TypeError for a cell that has no literal.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case float():
            return repr(value) if math.isfinite(value) else f"CAST('{value}' AS DOUBLE PRECISION)"
        case NotANumber():
            return "CAST('NaN' AS DOUBLE PRECISION)"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case datetime.datetime():
            return f"TIMESTAMP '{value}'"
        case datetime.date():
            return f"DATE '{value}'"
        case datetime.time():
            return f"TIME '{value}'"
        case datetime.timedelta():
            micro = value // datetime.timedelta(microseconds=1)
            return f"INTERVAL '{micro} microseconds'"
        case tuple():
            return f"ARRAY[{', '.join(map(spell, value))}]"
        case Json():
            return f"CAST({spell(value.text)} AS JSON)"
    raise TypeError(f"a cell of type {type(value).__name__} has no literal")


# --- Cells as a server writes them, for people ---


class Written(str):
    """A cell as the server writes it, which is also the value of a JSON document or an array."""

    value: Any

    def __new__(cls, text: str, value: Any) -> "Written":
        cell = super().__new__(cls, text)
        cell.value = value
        return cell


def document(text: str) -> str:
    """The cell of a JSON document; the text alone where Python cannot hold it."""
    try:
        return Written(text, json.loads(text))
    except (ValueError, RecursionError):
        return text
