"""Whose error is it? What a server's refusal means for the request, the account and the run, and how long to wait.

Servers that speak one API agree on status codes and on little else: the same prompt is too long in a dozen wordings, an
empty account is 400, 402 or 429, a rate limit tells its end in a header, in the body or in a sentence. All of it is
read here, from the servers' documentation and from what they are known to send; tests/test_endpoint.py holds the forms.
"""

import email.utils
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from text2sql.base.text import one_line


class Kind(Enum):
    """Whose error it is."""

    TOO_LONG = auto()  # this request's: its prompt is longer than the model takes
    FILTERED = auto()  # this request's: a content filter, or an answer that the server could not form
    PASSING = auto()  # nobody's: it may be gone at the next attempt
    BUSY = auto()  # the limits': it passes with time, however often one asks
    KEY = auto()  # the account's: the key
    SPENT = auto()  # the account's: its money, or the quota of a day
    SETTING = auto()  # the configuration's: address, model
    UNSURE = auto()  # this request's or the configuration's: known once another request was answered


@dataclass(frozen=True)
class Failure:
    """One failed attempt: its HTTP status (of an error inside a 200, the one it names), the server's words, its marks
    (codes, types, names of parameters), and the seconds that the server asks to wait."""

    kind: Kind
    status: int
    said: str
    marks: str = ""
    wait: float | None = None

    def __str__(self) -> str:
        return f"HTTP {self.status}" + (f": {self.said}" if self.said else "")


class NoAnswer(Exception):
    """An attempt that may be repeated, or the last of them. `busy`: the server's limits were the reason.

    reason: a few words, equal for equal causes. said: the same with the server's words. wait: seconds asked for.
    """

    def __init__(self, reason: str, said: str | None = None, wait: float | None = None, busy: bool = False) -> None:
        super().__init__(said or reason)
        self.reason, self.wait, self.busy = reason, wait, busy


class Refused(Exception):
    """The server will not answer this request, whoever asks again; its text says why, in the server's words."""

    def __init__(self, failure: Failure) -> None:
        self.too_long = failure.kind is Kind.TOO_LONG
        what = "the prompt is longer than the model takes" if self.too_long else "refused by the server"
        super().__init__(f"{what} ({failure})")


def one_of(*patterns: str) -> re.Pattern[str]:
    """What matches any of the patterns, in any case of letters."""
    return re.compile("|".join(patterns), re.IGNORECASE)


TOO_LONG = one_of(
    r"context[ _-]?(length|window|size|limit)",
    r"(prompt|inputs?|request|payload|messages?|conversation)\b.{0,40}\btoo (long|large)",
    r"(prompt|input|request|payload)_too_(long|large)|string_above_max|max_prompt_tokens",
    r"too large for model|(longer|larger) than the (model|maximum|context)",
    r"too many (input |total )?tokens|tokens? (count |limit )?(of .{0,40})?exceed|input token count|`?inputs`? tokens",
    r"reduce the (length|size|prompt)",
    r"maximum (model|input|prompt|sequence|allowed) (input )?length|maximum number of (input )?tokens",
)
# Of a rate limit: this request alone is above what a minute allows.
NEVER_FITS = one_of(r"request too large", r"must be reduced", r"reduce your (message|request|prompt)")
FILTERED = one_of(
    r"content[ _-]?(filter|management policy|polic(y|ies))|responsible.?ai|moderation|\bflagged\b|data_?inspection",
    r"(inappropriate|harmful|sensitive|prohibited|unsafe)[ _](content|words?|information)",
    r"content exists risk|high risk",
    r"usage (guideline|polic)|safety (system|filter|reason|check|polic)|polic(y|ies)[ _]violation|invalid_prompt",
    r"(prompt|request|input|content) (was |is |has been )?(blocked|rejected)",
    r"json_validate_failed",  # no filter, but as little hope: the answer that the server formed fits no format
)
SPENT = one_of(
    r"insufficient[ _](quota|funds|balance|credits?)|credit balance|(not enough|out of) (credits?|balance)",
    r"billing[ _](hard[ _]limit|not[ _]active)|account is not active|payment[ _]required|exceeded your monthly",
    r"per[_-]?day",  # the name of a quota
)
KEY = one_of(
    r"api[ _-]?key[ _](not[ _]valid|invalid|expired|not found)",
    r"(invalid|incorrect|missing|wrong)[ _].{0,12}api[ _-]?key",
    r"account.{0,30}\b(deactivated|disabled|suspended)|unauthori[sz]ed|authentication_error",
)
BUSY = one_of(
    r"rate[ _-]?limit|resource_exhausted|overloaded|too many requests|capacity exceeded|server busy",
    r"loading model|model is loading|currently loading",
)
SETTING = one_of(
    r"model.{0,80}(not found|not exist|not loaded|no longer)|no models? (is |are )?loaded|unknown model",
    r"invalid_?model|model_not_found|deploymentnotfound|unexpected endpoint",
)

# Where the words of an error stand, and what marks its kind, in whatever depth of the body.
WORDS = ("message", "msg", "detail", "error", "errors", "title", "error_description")
MARKS = {"code", "type", "error_type", "param", "status", "reason", "quotaId", "finish_reason"}


def read_failure(status: int, headers: Mapping[str, str], body: Any) -> Failure:
    """What an HTTP error means. body: what the server sent, parsed where it is JSON, else its text."""
    said = one_line(words(body), 300)
    marks = " ".join(str(mark) for mark in find(body, MARKS))
    kind = kind_of(status, f"{said} {marks}", isinstance(body, str))
    wait = None if kind not in (Kind.BUSY, Kind.PASSING) else asked_wait(status, headers, body, said)
    return Failure(kind, status, said, marks, wait)


def failure_inside(completion: Any) -> Failure | None:
    """The error inside the body of a 200: of the whole answer, or of its first choice; None where there is none."""
    body = completion[0] if isinstance(completion, list) and completion else completion
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = body.get("error") or choice.get("error")
    if not error and choice.get("finish_reason") != "error":
        return None
    error = error or {"message": "finish_reason error"}
    code = error.get("code") if isinstance(error, dict) else None
    status = int(str(code)) if str(code).isdecimal() and 400 <= int(str(code)) < 600 else 502
    return read_failure(status, {}, {"error": error})


def kind_of(status: int, text: str, bare: bool) -> Kind:
    """Whose error an HTTP status with these words is. bare: no JSON, so perhaps from something before the server."""
    if status == 402 or SPENT.search(text):
        return Kind.SPENT
    if status == 429:
        return Kind.TOO_LONG if NEVER_FITS.search(text) else Kind.BUSY
    if TOO_LONG.search(text) or status == 413:
        return Kind.TOO_LONG
    if status < 500 and status not in (401, 404) and FILTERED.search(text):
        return Kind.FILTERED
    if status == 401 or (status < 500 and KEY.search(text)):
        return Kind.KEY
    if status in (498, 529) or BUSY.search(text):  # Groq's and Anthropic's words for no room
        return Kind.BUSY
    if status in (404, 405, 410) or 300 <= status < 400 or SETTING.search(text):
        return Kind.SETTING
    if status == 403 and not bare:  # with no JSON it is a firewall's, which may dislike the SQL of one prompt
        return Kind.SETTING
    if status in (408, 409, 425) or status >= 500:
        return Kind.PASSING
    return Kind.UNSURE


def words(body: Any) -> str:
    """What an error's body says to a reader."""
    if isinstance(body, str):
        return re.sub(r"<[^>]*>", " ", body)
    if isinstance(body, list):
        return "; ".join(words(part) for part in body[:3])
    if not isinstance(body, dict):
        return "" if body is None else str(body)
    said = next((words(body[name]) for name in WORDS if body.get(name)), "") or json.dumps(body)
    if isinstance(body.get("loc"), list):  # pydantic's, of servers written in Python
        said = f"{'.'.join(map(str, body['loc']))}: {said}"
    raw = body["metadata"].get("raw") if isinstance(body.get("metadata"), dict) else None
    return f"{said}: {raw}" if isinstance(raw, str) else said


def find(value: Any, names: set[str]) -> Iterator[Any]:
    """The scalar values of these keys, in any depth."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name in names and isinstance(part, str | int | float):
                yield part
            yield from find(part, names)
    elif isinstance(value, list):
        for part in value:
            yield from find(part, names)


def parsed(text: str) -> Any:
    """The JSON in a body, or its text where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# Waiting

_UNITS = {r"ms|milli\w*": 0.001, r"s|secs?|seconds?": 1.0, r"m|mins?|minutes?": 60.0, r"h|hrs?|hours?": 3600.0,
          r"d|days?": 86400.0}  # fmt: skip
_IN_WORDS = re.compile(
    r"(?:again|retry|wait|resets?|available)(?:\s+(?:in|after|for|at\s+least|about|again))*\s+"
    rf"((?:\d+(?:\.\d+)?\s*(?:{'|'.join(_UNITS)})(?![a-z])[\s,]*)+)",
    re.IGNORECASE,
)


def asked_wait(status: int, headers: Mapping[str, str], body: Any, said: str) -> float | None:
    """Seconds that a server asks to wait: Retry-After, Gemini's retryDelay, "try again in 15s", a limit's reset."""
    if (wait := retry_after(headers)) is not None:
        return wait
    for delay in find(body, {"retryDelay", "retry_after", "retry_after_seconds"}):
        if (wait := seconds(str(delay))) is not None:
            return wait
    if match := _IN_WORDS.search(said):
        return seconds(match[1])
    if status != 429:
        return None
    inside = {str(name): str(value) for part in nested(body, "headers") for name, value in part.items()}
    return reset_wait({**headers, **inside})


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers ask to wait: retry-after-ms, or retry-after in seconds or as a date."""
    if (value := number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, value / 1000)
    text = headers.get("retry-after")
    if text is None:
        return None
    if (wait := seconds(text)) is not None:
        return wait
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def reset_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limit that was reached is back, by headers like x-ratelimit-reset-requests.

    A server names the reset of each of its limits, of minutes and of days; the one that was reached is the one of which
    the smallest share remains.
    """
    known = {name.lower(): value for name, value in headers.items()}
    found: list[tuple[float, float]] = []  # (share that remains, seconds)
    for name, value in known.items():
        if "ratelimit" not in name or "reset" not in name or (wait := moment(value)) is None:
            continue
        remaining = number(known.get(name.replace("reset", "remaining")))
        limit = number(known.get(name.replace("reset", "limit")))
        found.append(((remaining or 0.0) / (limit or 1.0), wait))
    least = min((share for share, _ in found), default=0.0)
    return max((wait for share, wait in found if share == least), default=None)


def moment(text: str) -> float | None:
    """Seconds from now to a moment that is written as a duration (6m0s, 17ms, 20), a Unix time or an ISO date."""
    value = number(text)
    if value is not None and value > 1e9:  # a Unix time in seconds, or in milliseconds
        return max(0.0, (value / 1000 if value > 1e11 else value) - time.time())
    if (wait := seconds(text)) is not None:
        return wait
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - time.time())
    except ValueError:
        return None


def seconds(text: str) -> float | None:
    """A duration in seconds: 20, "20s", "1m30.5s", "2 minutes"; None where the text is none."""
    if (value := number(text)) is not None:
        return max(0.0, value)
    total, end = 0.0, 0
    for match in re.finditer(r"\s*,?\s*(\d+(?:\.\d+)?)\s*([a-z]+)", text.lower()):
        unit = next((size for names, size in _UNITS.items() if re.fullmatch(names, match[2])), None)
        if unit is None or match.start() != end:
            return None
        total, end = total + float(match[1]) * unit, match.end()
    return total if end and not text[end:].strip(" .,") else None


def number(text: str | None) -> float | None:
    """A finite number, None where the text is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < 1e15 else None


def nested(value: Any, name: str) -> Iterator[dict]:
    """The objects under this key, in any depth."""
    if isinstance(value, dict):
        if isinstance(value.get(name), dict):
            yield value[name]
        for part in value.values():
            yield from nested(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from nested(part, name)
