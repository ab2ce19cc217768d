"""Cells of a server's answer: numbers and booleans as such, everything else as the server writes it."""

import json
import math
from typing import Any


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


def as_text(cell: Any) -> str:
    """A cell as text, bytes as hexadecimal digits; the empty text for NULL is the caller's to replace."""
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case bytes() | memoryview():
            return cell.hex()
    return str(cell)


def as_json(cell: Any) -> Any:
    """A cell as JSON: documents and arrays as what they hold, other types that JSON lacks as text."""
    match cell:
        case Written():
            return as_json(cell.value)
        case list():
            return [as_json(item) for item in cell]
        case dict():
            return {key: as_json(item) for key, item in cell.items()}
        case float() if not math.isfinite(cell):
            return str(cell)
        case None | bool() | int() | float() | str():
            return cell
    return as_text(cell)
