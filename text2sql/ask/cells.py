"""Cells of a server's answer: numbers and booleans as such, everything else as the server writes it."""

import math
from typing import Any

from text2sql.engines.cells import Written


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
