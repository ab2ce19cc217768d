"""Cells of any type as the text (or null) that the table of questions holds: the one place where that is decided."""

import json
import math
import re
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

WHOLE = re.compile(r"\s*([+-]?\d+)\.0+\s*")
IDS = ("id", "db_id")
LANGUAGE = re.compile(r"\s*([A-Za-z]{2})(?:[-_]\w+)?\s*")
# A text that is one code block and nothing else.
FENCED = re.compile(r"\s*(```+|~~~+)[\w+-]*[^\S\n]*\n?((?:(?!```|~~~).)*?)\s*\1\s*", re.DOTALL)


def cell_of(column: str, value: Any) -> str | None:
    """A cell of one of our columns as text or null.

    An id that a spreadsheet or a table with gaps made a float (`1.0`) is the whole number again. A language is a code
    (`ko`, `ko-KR`); what else stands under that name is none, and the question's script decides.
    """
    text = text_of(value)
    if text is None:
        return None
    if column in IDS and (whole := WHOLE.fullmatch(text)):
        return whole[1]
    if column == "language":
        code = LANGUAGE.fullmatch(text)
        return code[1].lower() if code else None
    return text


def text_of(value: Any) -> str | None:
    """A value as text: NaN is null, numbers that are whole have no point, lists and objects are JSON."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return None if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
        case Decimal():
            whole = value.to_integral_value()
            return None if value.is_nan() else format(whole if value == whole else value, "f")
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8") if is_utf8(value) else value.hex()
        case list() | tuple() | dict():
            return json.dumps(value, ensure_ascii=False, default=text_of)
    if value != value:  # pandas' NaT, numpy's NaN
        return None
    return str(value)


def sqls_of(cell: str | None) -> list[str]:
    """The queries in a cell: each text of a JSON list, else the cell's one text; none in an empty cell."""
    if not cell or not cell.strip():
        return []
    if cell.lstrip().startswith("["):
        try:
            texts = json.loads(cell)
        except ValueError:
            return [cell]
        if all(isinstance(text, str | None) for text in texts):
            return [text for text in texts if text and text.strip()]
    return [cell]


def is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def unfenced(sql: str) -> str | None:
    """What stands in the code fence around a text; None where the text is not one code block."""
    found = FENCED.fullmatch(sql)
    return found[2].strip() if found else None
