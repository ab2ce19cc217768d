"""The tree of a batch's rows: the head of the template, below it the schemas, below each its questions with their SQL.

It lies in one sequence, depth first. A token has the position that it has in its own row, and sees its row's tokens
alone. Where the adapter has dropout, the common tokens share its masks.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch

from text2sql.models.prompts import in_common

# Beginnings shorter than this are not shared below a branch: a branch costs calls, and saves little.
SHORTEST = 8


class Span(NamedTuple):
    """A part of the tree's sequence: tokens `start` to `end` of row `row`, below the spans `above` (their indices)."""

    row: int
    start: int
    end: int
    above: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return self.end - self.start


def prefix_tree(rows: Sequence[list[int]], prompts: Sequence[int]) -> list[Span]:
    """The tree of the rows' common beginnings, depth first; the last span of a row is its own alone.

    prompts: how many tokens of each row are its prompt. The prompt's last token stays each row's own: the first token
    of the completion is learnt there.
    """
    shared = [rows[row][: prompt - 1] for row, prompt in enumerate(prompts)]
    order = sorted(range(len(rows)), key=shared.__getitem__)
    # Of sorted rows, the first and the last have in common what all neighbours between them have.
    common = [in_common(shared[one], shared[other]) for one, other in pairwise(order)]
    spans: list[Span] = []

    def grow(first: int, last: int, depth: int, above: tuple[int, ...]) -> None:
        branches = [place + 1 for place in range(first, last - 1) if common[place] < depth + SHORTEST]
        for start, end in pairwise([first, *branches, last]):
            if end - start == 1:
                spans.append(Span(order[start], depth, len(rows[order[start]]), above))
            else:
                tokens = min(common[start : end - 1])
                spans.append(Span(order[start], depth, tokens, above))
                grow(start, end, tokens, (*above, len(spans) - 1))

    grow(0, len(rows), 0, ())
    return spans


def tree_of(examples: Sequence[dict[str, list[int]]]) -> list[Span]:
    """The tree of a batch's examples."""
    prompts = [prompt_tokens(example["labels"]) for example in examples]
    return prefix_tree([example["input_ids"] for example in examples], prompts)


def prompt_tokens(labels: list[int]) -> int:
    """How many tokens of an example are its prompt: those before the first that is learnt."""
    return next(at for at, label in enumerate(labels) if label != -100)


def pairs(spans: Sequence[Span]) -> int:
    """How many pairs of tokens attention computes span by span."""
    return sum(span.tokens * span.end for span in spans)


def visible(spans: Sequence[Span]) -> torch.Tensor:
    """Which tokens (columns) each token (rows) of the tree's sequence sees, as booleans."""
    starts = places(spans)
    seen = torch.zeros(starts[-1], starts[-1], dtype=torch.bool)
    for number, span in enumerate(spans):
        for other in span.above:
            seen[starts[number] : starts[number + 1], starts[other] : starts[other + 1]] = True
    return seen | torch.block_diag(*(torch.ones(span.tokens, span.tokens).tril() for span in spans)).bool()


def packed(spans: Sequence[Span]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[int, int]]:
    """What each span sees, as attention in one call takes it (`models.ragged`).

    Returns the places in the sequence of all that spans see, span after span; where each span's tokens start in the
    sequence, and where the last ends (int32); where what each sees starts among those places, and where the last ends
    (int32); the tokens of the longest span, and of the longest of what one sees.
    """
    starts = places(spans)
    seen = [
        torch.arange(starts[part], starts[part + 1])
        for number, span in enumerate(spans)
        for part in (*span.above, number)
    ]
    ends = [0, *accumulate(span.end for span in spans)]
    longest = max(span.tokens for span in spans), max(span.end for span in spans)
    return torch.cat(seen), torch.tensor(starts, dtype=torch.int32), torch.tensor(ends, dtype=torch.int32), longest


def places(spans: Sequence[Span]) -> list[int]:
    """Where each span starts in the tree's sequence, and where the last ends."""
    return [0, *accumulate(span.tokens for span in spans)]
