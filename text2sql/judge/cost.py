"""What judging costs: tokens before they are spent, money before and after."""

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tiktoken

from text2sql.base.params import JudgeParams, Price

MESSAGE_TOKENS = 4  # what a chat format adds to each message
# Tokens of a usual answer. A model that reasons first uses more; `judge.max_tokens` is the bound.
ANSWER_TOKENS = {"resolve_yn": 10, "verdict": 80}
BATCH_PRICE = 0.5  # the Batch API's share of the usual price

_ENCODINGS = "https://openaipublic.blob.core.windows.net/encodings"


def body_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a body's messages, by tiktoken where the model's encoding is on this machine, else estimated."""
    count = token_counter(body["model"])
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


def describe(requests: int, prompt_tokens: int, params: JudgeParams) -> str:
    """The estimate as lines of text: the tokens, then the cost with each model of the price table."""
    usual, most = requests * ANSWER_TOKENS[params.template], requests * params.max_tokens
    lines = [
        f"{requests:,} requests to send (answers at hand are not paid again), template {params.template}",
        f"about {prompt_tokens:,} prompt tokens; {usual:,} answer tokens are usual, {most:,} the most",
        f"{'model':<28} {'usual':>10} {'at most':>10}   ({params.transport})",
    ]
    for model in dict.fromkeys([params.model, *params.prices]):
        price = params.prices.get(model)
        costs = [cost_usd(price, prompt_tokens, tokens, params.transport) for tokens in (usual, most)]
        shown = [f"{'unknown' if cost is None else f'${cost:.4f}':>10}" for cost in costs]
        lines.append(f"{model:<28} {shown[0]} {shown[1]}" + ("   <- judge.model" if model == params.model else ""))
    return "\n".join(lines)
