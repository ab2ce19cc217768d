"""Attention of decoding rows in two parts: to a beginning that many rows share, read once for all, and to their own.

A step of decoding reads the keys and values of every token before it. Where rows begin alike, `SharedCache` holds the
beginning once for a group of rows; their queries attend to it together, then each to the row's own further tokens. The
two parts are merged by their log-sum-exps: the result is that of attention to all tokens at once.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

from text2sql.models.ragged import Runs, is_there, ragged

Layers = list[tuple[torch.Tensor, torch.Tensor]]  # keys and values of each layer
Groups = Sequence[tuple[list[int], int]]  # prompts that begin alike, as indices, and how many tokens they share
NAME = "two_parts"


def possible(model: PreTrainedModel, layers: Layers, rows: int) -> bool:
    """Whether decoding so many rows in two parts works for the model, whose keys and values are of the form of
    `layers`: on a CUDA card, in 16 bits."""
    return (
        is_there(model.device, *(keys.dtype for keys, _ in layers))
        and model._supports_attention_backend  # else it looks for no function that is registered
        and all(keys.shape[-1] == values.shape[-1] <= 256 and keys.shape[-1] % 8 == 0 for keys, values in layers)
        and rows < 2**16  # the kernel's grid
    )


def halves(prompts: Sequence[list[int]], groups: Groups) -> bool:
    """Whether decoding in two parts pays: each prompt has a beginning (one of a single token has none), and held in two
    parts they take at most half the room that rows as long as the longest take."""
    own = max(len(prompts[index]) - tokens for group, tokens in groups for index in group)
    room = sum(tokens for _, tokens in groups) + len(prompts) * own
    return all(tokens for _, tokens in groups) and 2 * room <= len(prompts) * max(map(len, prompts))


@contextlib.contextmanager
def in_two_parts(model: PreTrainedModel) -> Iterator[None]:
    """Has the model attend as its `SharedCache` says."""
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def by_the_cache(
    module: torch.nn.Module, queries: torch.Tensor, attend: Callable, *_: None, scaling: float, **__: Any
) -> tuple[torch.Tensor, None]:
    """transformers' attention function: where keys stand otherwise, it is given what `SharedCache.update` returned."""
    return attend(queries, scaling), None


AttentionInterface.register(NAME, by_the_cache)


class SharedCache:
    """Keys and values for every layer: each group's beginning once, packed, and rows of what follows it.

    A slot holds one row. Slots stand in the groups' order, and a row stays in its slot.
    """

    def __init__(
        self, layers: Layers, heads: int, groups: Groups, sources: Sequence[int], prompts: Sequence[list[int]], new: int
    ) -> None:
        """Takes the prompts' keys and values over from `layers` (rows x heads x columns x size), which it empties.

        heads: of the queries. sources: the row of `layers` that holds each prompt. new: the most further tokens.
        """
        self.order = [index for group, _ in groups for index in group]  # the prompt in each slot
        self.live = list(range(len(self.order)))
        self.group = [number for number, (group, _) in enumerate(groups) for _ in group]
        self.start = [tokens for group, tokens in groups for _ in group]
        self.largest = max(len(group) for group, _ in groups)
        self.longest = max(self.start)
        own = max(len(prompts[index]) - start for index, start in zip(self.order, self.start, strict=True))
        self.rows, self.columns = len(self.order), own + new
        device = layers[0][0].device
        rows = torch.tensor([sources[index] for index in self.order], device=device)[:, None]
        columns = torch.tensor(self.start, device=device)[:, None] + torch.arange(own, device=device)
        columns = columns.clamp(max=layers[0][0].shape[2] - 1)  # what stands behind a shorter prompt is not attended to
        firsts = [(sources[group[0]], tokens) for group, tokens in groups]
        self.begun = torch.tensor([0, *accumulate(tokens for _, tokens in firsts)], dtype=torch.int32, device=device)

        def beginnings(buffer: torch.Tensor) -> torch.Tensor:
            return torch.cat([buffer[row, :, :tokens].transpose(0, 1) for row, tokens in firsts])

        def further(buffer: torch.Tensor) -> torch.Tensor:
            held = buffer.new_zeros(len(rows), self.columns, buffer.shape[1], buffer.shape[3])
            held[:, :own] = buffer[rows, :, columns]
            return held

        self.repeats = heads // layers[0][0].shape[1]
        self.beginnings: Layers = []
        self.layers: Layers = []
        while layers:  # a layer at a time, so that both forms of all of them need not fit the card
            keys, values = layers.pop(0)
            self.beginnings.append((beginnings(keys), beginnings(values)))
            self.layers.append((further(keys), further(values)))

    def keep(self, kept: list[int], _: int) -> list[int]:
        """Lets go of all live slots but those kept, given by their places. Returns the place each comes from."""
        self.live = [self.live[place] for place in kept]
        return kept

    def inputs(self, tokens: list[int], positions: list[int], rows: int, _: int) -> tuple[list[torch.Tensor], tuple]:
        """What `decode.forward` takes for one token of each live slot, filled up to so many rows."""
        columns = [position - self.start[slot] for slot, position in zip(self.live, positions, strict=True)]
        fill = rows - len(tokens)
        # Written where no token of any row comes to stand: the last of an answer is not read again.
        columns, slots = columns + [self.columns - 1] * fill, self.live + [self.rows - 1] * fill
        counts = Counter(self.group[slot] for slot in self.live)
        ends = [0, *accumulate(counts[number] for number in range(len(self.begun) - 1))]
        # The rows that fill up make runs of their own, without keys; no run is longer than the largest group.
        ends += [min(rows, end) for end in range(ends[-1] + self.largest, ends[-1] + self.largest + rows, self.largest)]
        numbers = [[[token] for token in tokens + [0] * fill], [[place] for place in positions + [0] * fill]]
        return [*map(torch.tensor, [*numbers, slots, columns, ends])], ()

    def place(
        self, _: torch.dtype, positions: torch.Tensor, slots: torch.Tensor, columns: torch.Tensor, ends: torch.Tensor
    ) -> None:
        """Sets what the next pass writes and attends to: one token in each of the slots, at its column among the row's
        own. ends: the rows before each run of rows that share a beginning, and before its end."""
        self.slots, self.places = slots, columns
        begun = torch.cat([self.begun, self.begun[-1:].expand(len(ends) - len(self.begun))])
        self.shared = Runs((ends * self.repeats).int(), begun, None, (self.largest * self.repeats, self.longest))
        rows = torch.arange(len(slots) + 1, dtype=torch.int32, device=slots.device)
        starts = torch.cat([slots, slots[-1:] + 1]) * self.columns
        self.own = Runs(rows * self.repeats, starts.int(), (columns + 1).int(), (self.repeats, self.columns))

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any) -> tuple[Callable, None]:
        """Called by the model in each layer: takes new keys and values (rows x heads x 1 x size), returns what attends
        to all."""
        for buffer, new in zip(self.layers[layer], (keys, values), strict=True):
            buffer[self.slots, self.places] = new[:, :, 0]

        def attend(queries: torch.Tensor, scaling: float) -> torch.Tensor:
            """From queries (rows x heads x 1 x size) to rows x 1 x heads x size."""
            rows, heads, _, size = queries.shape
            groups = rows, heads // self.repeats, self.repeats, size
            # The queries that read the same keys stand as one row's tokens, so that keys are not repeated.
            packed = queries.reshape(groups).transpose(1, 2).reshape(-1, groups[1], size)
            one, sums = ragged(packed, *self.beginnings[layer], self.shared, scaling)
            own_keys, own_values = (buffer.flatten(0, 1) for buffer in self.layers[layer])
            other, own_sums = ragged(packed, own_keys, own_values, self.own, scaling)
            share = torch.sigmoid(own_sums - sums).t()[..., None].to(one.dtype)
            merged = torch.lerp(one, other, share).view(rows, self.repeats, groups[1], size)
            return merged.transpose(1, 2).reshape(rows, 1, heads, size)

        return attend, None

    def get_seq_length(self, layer: int = 0) -> int:
        """Asked for by models only to number positions and to size masks: positions are given, and there is no mask."""
        return 0
