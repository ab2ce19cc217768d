"""What asking costs: tokens before they are spent, money before and after."""

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tiktoken

from text2sql.base.endpoint.address import Endpoint
from text2sql.base.errors import UserError
from text2sql.base.params import Price

MESSAGE_TOKENS = 4  # what a chat format adds to each message
BATCH_PRICE = 0.5  # the Batch API's share of the usual price

_ENCODINGS = "https://openaipublic.blob.core.windows.net/encodings"


def body_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a body's messages or prompt, by tiktoken where the model's encoding is here, else estimated."""
    count = token_counter(body["model"])
    if "prompt" in body:
        return count(body["prompt"])
    return sum(count(message["content"]) + MESSAGE_TOKENS for message in body["messages"])


def estimate_tokens(text: str) -> int:
    """Tokens without a tokenizer: one for each 3.2 ASCII characters and 1.4 for each other character.

    Within about a quarter of what byte-pair encodings give for SQL and DDL. Nothing that is paid or reported rests on
    it: it serves estimates, and the reserve for the first requests of a run.
    """
    ascii_characters = len(text.encode("ascii", "ignore"))
    return math.ceil(ascii_characters / 3.2 + (len(text) - ascii_characters) * 1.4)


@cache
def token_counter(model: str) -> Callable[[str], int]:
    """Text to its number of tokens for `model`. Never downloads: tiktoken is used if it has the encoding on disk."""
    try:
        name = tiktoken.encoding_name_for_model(model)
    except KeyError:
        return estimate_tokens
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    path = Path(folder or Path(tempfile.gettempdir(), "data-gym-cache"))
    if not (path / hashlib.sha1(f"{_ENCODINGS}/{name}.tiktoken".encode()).hexdigest()).is_file():
        return estimate_tokens
    encoding = tiktoken.get_encoding(name)
    return lambda text: len(encoding.encode(text, disallowed_special=()))


def cost_usd(price: Price | None, prompt_tokens: int, answer_tokens: int, transport: str) -> float | None:
    """US dollars for so many tokens; None where the price is unknown."""
    if price is None:
        return None
    share = BATCH_PRICE if transport == "batch" else 1.0
    return share * (prompt_tokens * price.input + answer_tokens * price.output) / 1e6


def check_cost(endpoint: Endpoint, requests: int, prompt_tokens: int, answer_tokens: int) -> None:
    """Raises UserError when so many requests would cost more than the budget, or there is a budget and no price."""
    params, section = endpoint.params, endpoint.section
    if params.max_cost_usd is None or not requests:
        return
    cost = cost_usd(params.prices.get(endpoint.model), prompt_tokens, answer_tokens, endpoint.transport)
    if cost is None:
        raise UserError(
            f"{section}.prices: no price for {endpoint.model}, so {section}.max_cost_usd cannot be kept; add it, or set"
            " the budget to null"
        )
    if cost > params.max_cost_usd:
        raise UserError(
            f"{section}.max_cost_usd: {requests} requests to {endpoint.model} would cost about ${cost:.4f}, the budget"
            f" is ${params.max_cost_usd:.4f}; raise it or ask about fewer rows"
        )


def check_budget(endpoint: Endpoint, prompt_tokens: int, answer_tokens: int) -> None:
    """Raises UserError when a run has spent `max_cost_usd`: answers can be longer than the estimate foresaw."""
    params = endpoint.params
    spent = cost_usd(params.prices.get(endpoint.model), prompt_tokens, answer_tokens, endpoint.transport)
    if params.max_cost_usd is not None and spent is not None and spent >= params.max_cost_usd:
        raise UserError(
            f"{endpoint.section}.max_cost_usd: this run has spent ${spent:.4f} of ${params.max_cost_usd:.4f}; finished"
            " answers are kept, raise the budget and run again"
        )
