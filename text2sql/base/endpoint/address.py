"""Where a server is asked and with which key; the key stands in the environment and nowhere else."""

import ipaddress
import json
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from text2sql.base.errors import UserError
from text2sql.base.params import EndpointParams

KEY_VARIABLE = "OPENAI_API_KEY"  # the usual `key_env`; a server that is asked without it may need no key at all
KEY_HOLDER = "{key}"  # in the value of a header: the key's place, for servers that do not read Authorization
OPENAI = "api.openai.com"


@dataclass(frozen=True)
class Endpoint:
    """One model at one server: the section of params.yaml that describes it, by name and values.

    naming: the parameter that names the model, for error messages. transport: "chat" or "batch".
    """

    section: str
    params: EndpointParams
    model: str
    naming: str
    transport: str = "chat"

    @property
    def url(self) -> str:
        """The server's address without a slash at its end. Raises UserError where there is none, or a bad one."""
        setting = f"{self.section}.base_url"
        if self.params.base_url is None:
            raise UserError(f"{setting}: the server's address is missing; write it like http://localhost:8000/v1")
        check_address(self.params.base_url, setting)
        return self.params.base_url.rstrip("/")

    @property
    def place(self) -> str:
        """What tells one server from another: its address, query and headers, which hold no key."""
        return json.dumps([self.url, self.params.query, self.params.headers], sort_keys=True)


def read_key(variable: str) -> str | None:
    """The key in the environment variable, None where there is none.

    Raises UserError, which does not show the key, for one that no HTTP header can carry.
    """
    key = os.environ.get(variable, "")
    if not all("!" <= letter <= "~" for letter in key):
        raise UserError(f"{variable}: holds a blank, a line break or a letter that no key has; copy the key again")
    return key or None


def key_for(endpoint: Endpoint) -> str | None:
    """The key to send, None for a server that is asked without one.

    Raises UserError where a key is needed and missing, and where it would travel unencrypted to another machine.
    """
    params, section, address = endpoint.params, endpoint.section, urlsplit(endpoint.url)
    key = read_key(params.key_env) if params.key_env else None
    placed = any(KEY_HOLDER in value for value in params.headers.values())
    if key is None and params.key_env is None and placed:
        raise UserError(f"{section}.headers: {KEY_HOLDER} stands for a key, and {section}.key_env names none")
    if key is None and params.key_env and (placed or params.key_env != KEY_VARIABLE or address.hostname == OPENAI):
        raise UserError(
            f"{params.key_env} is not set; export the key, or point {section}.base_url at a server that needs none"
        )
    if key and address.scheme == "http" and not is_here(address.hostname or "") and not params.key_over_http:
        raise UserError(
            f"{section}.base_url: {params.key_env} would travel unencrypted to {address.hostname}; use https, or set"
            f" {section}.key_env to null (no key) or {section}.key_over_http to true"
        )
    return key


def is_here(host: str) -> bool:
    """Whether a host is this machine, by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def headers_for(params: EndpointParams, key: str | None) -> dict[str, str]:
    """The headers of every request: the section's own with the key in its place, or the key as a bearer's."""
    headers = {name: value.replace(KEY_HOLDER, key or "") for name, value in params.headers.items()}
    if key and headers == params.headers:
        headers["Authorization"] = f"Bearer {key}"
    return headers


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
        return "holds a user name or key; keys belong into the environment"
    if parts.query or parts.fragment or not all("!" <= letter <= "~" for letter in address):
        return "holds more than host and path; query parameters have a key of their own, `query`"
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
