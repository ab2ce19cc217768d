"""Attention over a batch's tree (tree.py): each span sees those above it and itself, and no other pair is computed."""

import functools
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from text2sql.models.ragged import Runs, ragged

NAME = "prefix_tree"  # of `attend` among transformers' attention functions


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    spans: tuple[tuple[int, tuple[int, ...]], ...] | None = None,
    packed: tuple[Any, ...] | None = None,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' sdpa attention, but where the batch is a tree: as its spans, or as `tree.packed` has them.

    query, key, value: (1, heads, tokens, size of a head). spans: the tokens of each, and the spans above it. Raises
    ValueError for what a model asks of attention beyond scaling and dropout.
    """
    if spans is None and packed is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    if unknown := sorted(name for name in ("softcap", "s_aux", "position_bias") if how.get(name) is not None):
        raise ValueError(f"attention over a tree does not know {', '.join(unknown)}")
    scaling, dropout = how.get("scaling"), how.get("dropout", 0.0)
    if packed is not None:
        return at_once(query, key, value, packed, scaling, dropout), None
    return one_by_one(query, key, value, spans or (), scaling, dropout), None


def at_once(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: tuple[Any, ...],
    scaling: float | None,
    dropout: float,
) -> torch.Tensor:
    """In one call of the kernel for packed runs: (1, tokens, heads, size of a head)."""
    seen, query_starts, key_starts, longest = packed
    # As autocast does it for sdpa: rotated queries and keys may be in fp32.
    queries, keys, values = (part[0].transpose(0, 1).to(value.dtype) for part in (query, key, value))
    runs = Runs(query_starts, key_starts, None, tuple(longest))
    output, _ = ragged(queries, keys[seen], values[seen], runs, scaling, causal=True, dropout=dropout)
    return output[None]


def one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    spans: tuple[tuple[int, tuple[int, ...]], ...],
    scaling: float | None,
    dropout: float,
) -> torch.Tensor:
    """In a call of sdpa for each span: (1, tokens, heads, size of a head)."""
    repeats = query.shape[1] // key.shape[1]
    lengths = [tokens for tokens, _ in spans]
    queries, keys, values = (
        part.split(lengths, dim=2) for part in (query, repeat_kv(key, repeats), repeat_kv(value, repeats))
    )
    outputs = []
    for number, (tokens, above) in enumerate(spans):
        seen = (*above, number)
        before = sum(lengths[other] for other in above)
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                queries[number],
                torch.cat([keys[other] for other in seen], dim=2),
                torch.cat([values[other] for other in seen], dim=2),
                attn_mask=below(tokens, before, query.device) if above else None,
                is_causal=not above,
                dropout_p=dropout,
                scale=scaling,
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


@functools.lru_cache(maxsize=256)
def below(tokens: int, before: int, device: torch.device) -> torch.Tensor:
    """The causal mask of `tokens` tokens behind `before` others that all of them see."""
    return torch.ones(tokens, before + tokens, dtype=torch.bool, device=device).tril(before)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
