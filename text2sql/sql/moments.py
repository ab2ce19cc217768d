"""Texts that stand for dates and instants, in the one form in which SQLite keeps them here."""

import datetime
import re

_PARTS = re.compile(
    r"\s*(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ]\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?\s*"
    r"(Z|[+-]\d{2}(?::?\d{2})?)?\s*"
)
_TIME = re.compile(r"\s*(\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?\s*")
_PLAIN = re.compile(r"\s*(\d{4})(\d{2})(\d{2})\s*")


def as_moment(text: str, form: str) -> str | None:
    """A text as `YYYY-MM-DD` (form `date`) or `YYYY-MM-DD HH:MM:SS`, with its fraction; None for what is no date.

    An offset from UTC is taken off an instant; a date takes no notice of the time behind it.
    """
    found = _PARTS.fullmatch(text) or _PLAIN.fullmatch(text)
    if found is None:
        return None
    parts: list[str | None] = [*found.groups(), *[None] * 8]
    year, month, day, hour, minute, second, fraction, zone = (part or "" for part in parts[:8])
    try:
        moment = datetime.datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError:
        return None
    if form == "date":
        return f"{moment:%Y-%m-%d}" if int(year) >= 1000 else None
    if zone and zone != "Z":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        offset = datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        moment = moment - offset if zone[0] == "+" else moment + offset
    rest = fraction[:6].rstrip("0")
    return f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{rest}" if rest else "")


def as_time(text: str) -> str | None:
    """A text as `HH:MM:SS`, with its fraction; None for what is no time of day."""
    found = _TIME.fullmatch(text)
    if found is None or int(found[1]) > 24:
        return None
    return f"{int(found[1]):02}:{found[2]}:{found[3] or '00'}{(found[4] or '').rstrip('0').rstrip('.')}"
