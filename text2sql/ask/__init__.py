"""Asking a database of one's own: its schema in the prompt, the model's SQL run where it can only read."""

import json
import re
from typing import Any

# What makes a terminal act, hides text or turns its direction round: control characters, bidirectional marks and
# overrides, line and paragraph separators, lone surrogates.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    """Text from a database or a model with its control characters escaped (`\\x1b`), apart from those in `keep`."""
    return _STEERING.sub(
        lambda match: match[0] if match[0] in keep else match[0].encode("unicode_escape").decode(), text
    )


def printable_json(value: Any) -> str:
    """A value as one line of JSON in which no character steers the terminal; what JSON lacks becomes text."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def one_line(error: object) -> str:
    """The text of an error, from whatever library, on one printable line of bearable length."""
    return printable(" ".join(str(error).split()))[:300]
