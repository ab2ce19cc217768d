"""A server that speaks OpenAI's API: its address, and its key, which stands in the environment and nowhere else."""

import email.utils
import os
import time
from typing import Any
from urllib.parse import urlsplit

from text2sql.base.errors import UserError

KEY_VARIABLE = "OPENAI_API_KEY"
TRANSIENT = {408, 409, 425, 429}  # statuses that may pass, and 5xx


class NoAnswer(Exception):
    """An attempt that may be repeated. `wait`: seconds that the server asked for, if it did."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


def read_key() -> str | None:
    """The key in the environment, None where there is none.

    Raises UserError, which does not show the key, for one that no HTTP header can carry.
    """
    key = os.environ.get(KEY_VARIABLE, "")
    if not all("!" <= letter <= "~" for letter in key):
        raise UserError(f"{KEY_VARIABLE}: holds a blank, a line break or a letter that no key has; copy the key again")
    return key or None


def key_for(address: str, setting: str) -> str | None:
    """The key to send to the server at `address`. Raises UserError when OpenAI itself is asked and there is none.

    setting: name of the parameter that holds the address.
    """
    key = read_key()
    if key is None and urlsplit(address).hostname == "api.openai.com":
        raise UserError(f"{KEY_VARIABLE} is not set; export the key, or point {setting} at a server that needs none")
    return key


def bad_address(address: str) -> str | None:
    """What is wrong with a server's address (`https://host/v1`), None when nothing is."""
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https") or not host:
        return "is no http:// or https:// address"
    if parts.username is not None:
        return f"holds a user name or key; keys belong into {KEY_VARIABLE}"
    if parts.query or parts.fragment or not all("!" <= letter <= "~" for letter in address):
        return "holds more than host and path"
    if parts.path.rstrip("/").endswith("/completions"):
        return "names one call; end it before /chat/completions"
    return None


def check_address(address: str, setting: str) -> None:
    """Raises UserError naming the parameter `setting` when its address cannot be a server's.

    The address is not shown: it may hold a key.
    """
    if problem := bad_address(address):
        raise UserError(f"{setting}: the address {problem}; write it like http://localhost:8000/v1")


def strike_out(text: str, key: str | None) -> str:
    """The text without the key: servers like to repeat it in what they say about it."""
    return text.replace(key, "[key]") if key and len(key) >= 8 else text


def retry_after(headers: Any) -> float | None:
    """Seconds that the headers ask to wait: retry-after-ms, or retry-after in seconds or as a date."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "retry-after" not in headers:
            return None
        return max(0.0, float(headers["retry-after"]))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (ValueError, TypeError, KeyError):
        return None
