"""The values that go into columns: what golds compare a column with and its neighbours, and plain ones around them.

A row that satisfies `age > 20` proves little; 19, 20, 21, NULL and a tie prove that it is not `>=` or `< 20`.
"""

import calendar
import datetime as dt
import random
import re
from collections.abc import Sequence

from text2sql.sql.clock import NOW
from text2sql.sql.spelling import Value

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?$")
_NUMBER = re.compile(r"-?\d+(\.\d+)?$")
NOW_DAY = dt.datetime.fromisoformat(NOW)


def is_date(text: object) -> bool:
    """Whether a value is a date, or a date and time, as SQLite's date functions read it."""
    return isinstance(text, str) and bool(_DATE.match(text))


def number_in(value: object) -> float | None:
    """The number that a value is or, as a text, writes."""
    return float(value) if isinstance(value, (int, float, str)) and is_number(value) else None


def is_number(value: object) -> bool:
    """Whether a value is a number or a text that is one."""
    return isinstance(value, (int, float)) or (isinstance(value, str) and bool(_NUMBER.match(value.strip())))


def values_around(value: Value) -> list[Value]:
    """A constant and its neighbours: numbers one off, dates a day, a month and a year off, texts longer by an end,
    shorter by a letter, in other case."""
    if value is None or isinstance(value, bytes):
        return [value]
    if isinstance(value, (int, float)):
        return [value, value - 1, value + 1]
    if is_date(value):
        return [value, *_dates_around(value)]
    if _NUMBER.match(value):
        number = float(value) if "." in value else int(value)
        return [value, *(_as_written(n, value) for n in (number - 1, number + 1)), value + "0", value[:-1] or "0"]
    swapped = value.upper() if value != value.upper() else value.lower()
    texts = [value, value + "x", "x" + value, "x" + value + "y", value[:-1], value[1:], swapped, value.capitalize()]
    return list(dict.fromkeys([value, *filter(None, texts)]))


def _as_written(number: float, like: str) -> str:
    if "." in like:
        return f"{number:.{len(like.rpartition('.')[2])}f}"
    return f"{int(number):0{len(like)}d}" if like.startswith("0") else str(int(number))


def _dates_around(text: str) -> list[str]:
    match = _DATE.match(text)
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()) if match else [0] * 6
    try:
        instant = dt.datetime(year, month, day, hour, minute, second)
    except ValueError:
        return []
    if not 3 <= year <= 9997:
        return []
    form = "%Y-%m-%d" if len(text) <= 10 else "%Y-%m-%d %H:%M:%S"
    steps = [dt.timedelta(days=n) for n in (-1, 1, -31, 31, -366, 366)]
    steps += [dt.timedelta(seconds=n) for n in (-1, 1)] if len(text) > 10 else []
    near = [instant + step for step in steps]
    with_time = [] if len(text) > 10 else [text + " 15:30:00"]
    return [date.strftime(form) for date in near] + with_time


def values_for_pattern(pattern: str, many: str = "%", one: str = "_") -> list[str]:
    """Texts that match a LIKE (or GLOB) pattern and texts that miss it by an anchor, a letter or the case."""
    filled = [pattern.replace(one, "q").replace(many, fill) for fill in ("", "zz", " ")]
    core = filled[0]
    ends = [core + "zz", "zz" + core, "zz" + core + "zz", core[:-1], core[1:], core.swapcase(), core + "q"]
    return list(dict.fromkeys([core, *filter(None, filled + ends)]))


def values_through_function(constant: Value, kind: str) -> list[Value]:
    """Values for a column that stands inside a function or arithmetic compared with `constant`: dates of that year,
    month or day, dates so many days or years before now, texts of that length."""
    values: list[Value] = []
    number = number_in(constant)
    whole = int(number) if number is not None and abs(number) < 1e9 else None
    if kind in ("date", "datetime", "time", "text") and whole is not None:
        if 1000 <= whole <= 9998:
            values += [f"{whole}-06-14", f"{whole}-12-31", f"{whole + 1}-01-01", f"{whole - 1}-07-01"]
        if 1 <= whole <= 12:
            values += [f"2024-{whole:02d}-14", f"2024-{whole % 12 + 1:02d}-03", f"2023-{whole:02d}-28"]
        if 1 <= whole <= 31:
            values += [f"2024-05-{whole:02d}", f"2024-05-{whole % 31 + 1:02d}"]
        if 0 <= whole <= 4000:
            values += [(NOW_DAY - dt.timedelta(days=n)).strftime("%Y-%m-%d") for n in (whole - 1, whole, whole + 1)]
        if 0 < whole < 150:
            values += [f"{NOW_DAY.year - whole}-{day}" for day in ("06-14", "06-15", "06-16")]
    if isinstance(constant, str) and (match := re.match(r"(\d{4})-(\d{2})$", constant)):
        year, month = int(match[1]), int(match[2])
        if 1 <= month <= 12 and 1 <= year <= 9998:
            last = calendar.monthrange(year, month)[1]
            values += [f"{constant}-01", f"{constant}-{last}", f"{constant}-10"]
            values += [f"{year}-{month % 12 + 1:02d}-01", f"{year - 1}-{month:02d}-10"]
    if kind == "datetime":
        values += [f"{value} 09:30:00" for value in values if isinstance(value, str)]
    if kind == "text" and whole is not None and 0 < whole <= 40:
        values += [("abcdefghij" * 5)[: whole + n] for n in (-1, 0, 1)]
    if kind in ("integer", "real") and number is not None:
        values += [int(number / 2), int(number * 2)] if kind == "integer" else [number / 2, number * 2]
    return values


def plain_values(kind: str, rng: random.Random, size: int, words: Sequence[str]) -> Sequence[Value]:
    """About `size` ordinary values of a kind, some of them close together so that they tie and sort; texts of words."""
    if kind == "year":
        return rng.sample(range(1964, 2025), min(size, 60))
    if kind == "integer":
        return rng.sample(range(1, max(size * 2, 6)), size) if size < 20 else rng.sample(range(1, size * 20), size)
    if kind == "real":
        return [
            rng.randrange(1, size * 8) / 4 if rng.random() < 0.5 else float(rng.randrange(1, size * 3))
            for _ in range(size)
        ]
    if kind == "numeric text":
        return [str(rng.choice([7, 9, 10, 12, 80, 100, 101, 9.5, rng.randrange(1, size * 10)])) for _ in range(size)]
    if kind == "boolean":
        return [0, 1]
    if kind in ("date", "datetime"):
        days = [rng.choice([-1, 1, 3]) * rng.randrange(size * 40) // 2 for _ in range(size)]
        dates = [(NOW_DAY - dt.timedelta(days=day)).strftime("%Y-%m-%d") for day in days]
        if kind == "date":
            return dates
        return [f"{date} {rng.choice(['00:30:00', '09:30:00', '12:00:01', '18:05:07', '23:59:59'])}" for date in dates]
    if kind == "time":
        return [f"{rng.randrange(24):02d}:{rng.choice([0, 15, 30]):02d}:00" for _ in range(size)]
    if kind == "blob":
        return [bytes([rng.randrange(256)]) for _ in range(size)]
    texts = rng.sample(words, min(size, len(words)))
    if size > len(words) // 2:
        texts += [text.upper() for text in texts[:2]] + [f"{text} {n}" for n, text in enumerate(texts[:4])]
    return texts


def later_instant(start: Value, spans: list[float], kind: str, rng: random.Random) -> Value:
    """An instant some minutes, hours or days after `start`: as many as a gold compares a difference with, or a few."""
    if not isinstance(start, str) or not is_date(start):
        return start
    number = abs(rng.choice(spans)) if spans and rng.random() < 0.7 else rng.choice([0, 1, 2, 5, 30, 90])
    unit = rng.choice(["days"] if kind == "date" else ["days", "hours", "minutes", "minutes", "seconds"])
    try:
        moved = dt.datetime.fromisoformat(start) + dt.timedelta(**{unit: min(number, 10_000)})
    except (ValueError, OverflowError):  # no day of the calendar, or beyond its end
        return start
    return moved.strftime("%Y-%m-%d" if kind == "date" else "%Y-%m-%d %H:%M:%S")


def fresh_value(kind: str, number: int, words: Sequence[str]) -> Value:
    """The `number`-th of endlessly many values of a kind, for keys."""
    if kind in ("integer", "real"):
        return number
    if kind in ("date", "datetime"):
        day = (NOW_DAY - dt.timedelta(days=number)).strftime("%Y-%m-%d")
        return day if kind == "date" else f"{day} 10:{number % 60:02d}:00"
    if kind == "time":
        return f"{number // 60 % 24:02d}:{number % 60:02d}:00"
    if kind == "blob":
        return number.to_bytes(4, "big")
    if kind == "numeric text":
        return str(number)
    if kind == "boolean":
        return number % 2
    name, at, domain = words[number % len(words)].partition("@")
    return f"{name}{number}{at}{domain}" if at else f"{name} {number}"


def as_kind(value: Value, kind: str) -> Value:
    """`value` as a column of this kind keeps it, where that loses nothing."""
    if kind in ("text", "numeric text", "date", "datetime", "time") and isinstance(value, (int, float)):
        return str(value)
    if kind in ("integer", "real") and isinstance(value, str) and is_number(value):
        return float(value) if "." in value else int(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
