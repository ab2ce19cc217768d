"""Text that came from elsewhere, made safe to show: one line, no control of the terminal, a bearable length."""

import json
import re
from typing import Any

# What makes a terminal act, hides text or turns its direction round: control characters, bidirectional marks and
# overrides, line and paragraph separators, lone surrogates.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: Any, keep: str = "") -> str:
    """Text from a database or a model with its control characters escaped (`\\x1b`), apart from those in `keep`."""
    return _STEERING.sub(
        lambda match: match[0] if match[0] in keep else match[0].encode("unicode_escape").decode(), str(text)
    )


def printable_json(value: Any) -> str:
    """A value as one line of JSON in which no character steers the terminal; what JSON lacks becomes text."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def in_lines(name: str, width: int) -> str:
    """A name in lines of at most `width` characters where it can be broken: behind a space, `,`, `/`, `_`, and behind
    `-` and `.` where no number goes on.

    For tables of the terminal, which would cut a longer name within a word.
    """
    lines = [""]
    for part in re.split(r"(?<=[ ,/_])|(?<=[-.])(?=[^\W\d])", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def one_line(error: object, length: int = 300) -> str:
    """The text of an error, from whatever library, on one printable line; its class where it has no words."""
    words = " ".join(str(error).split())
    if not words and isinstance(error, BaseException):
        words = type(error).__name__
    return printable(words)[:length]


def first_line(error: Exception) -> str:
    """An error's message up to its first sentence or line end, on one printable line; its class where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(lines[0].partition(". ")[0], 160)
