"""Decoding many prompts with a decoder-only model: batches that share prompt prefixes and shrink as rows finish.

In the key-value cache a token's column is its position in its own row. So rows of any length stand side by side, a
row's keys can be copied to another row that begins alike, and a token attends to the columns up to its own position.
Where it pays, what rows share is held once as soon as the prompts are read (attention.py).
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from text2sql.generation.attention import SharedCache, halves, in_two_parts, possible
from text2sql.generation.backend import TEMPERATURE
from text2sql.models import load
from text2sql.models.prompts import in_common

# Architectures whose result in fp32 is that of `model.generate` (tests/test_decode.py builds each of them).
SERVED = {
    "cohere", "exaone4", "falcon", "gemma", "gemma3_text", "glm", "gpt2", "gpt_neox", "granite", "llama", "mistral",
    "mixtral", "olmo", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "smollm3", "stablelm",
    "starcoder2",
}  # fmt: skip


def alike(prompts: Sequence[list[int]], least: float = 1 / 2) -> list[list[int]]:
    """Groups of prompts that begin alike, as indices: sorted by tokens, neighbours share `least` of the longer one."""
    groups: list[list[int]] = []
    for index in sorted(range(len(prompts)), key=lambda index: (prompts[index], index)):
        before = prompts[groups[-1][-1]] if groups else []
        if groups and in_common(before, prompts[index]) >= least * max(len(before), len(prompts[index])):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def beginnings(prompts: Sequence[list[int]], least: float = 1 / 2) -> list[tuple[list[int], int]]:
    """Groups of prompts as `alike` gives them, each with how many tokens all of it share, short of a whole prompt: the
    logits behind its last token are its own."""
    # Sorted, a group's first prompt is the shortest where one begins the other, and first and last differ the earliest.
    return [
        (group, min(in_common(prompts[group[0]], prompts[group[-1]]), len(prompts[group[0]]) - 1))
        for group in alike(prompts, least)
    ]


def plan_batches(prompts: Sequence[list[int]], batch_tokens: int, max_new_tokens: int) -> list[list[int]]:
    """Deals prompts (token ids) into batches, lists of their indices, the longest first.

    Prompts that begin alike stand together. A batch holds at most batch_tokens, every row counted as its longest with
    max_new_tokens, and at least one row. The batches, and with them bf16 rounding, depend on nothing else.
    """
    groups = sorted(alike(prompts), key=lambda group: -max(len(prompts[index]) for index in group))
    batches: list[list[int]] = []
    longest = 0
    for index in (index for group in groups for index in group):
        longest = max(longest, len(prompts[index]))
        if not batches or (len(batches[-1]) + 1) * (longest + max_new_tokens) > batch_tokens:
            batches.append([])
            longest = len(prompts[index])
        batches[-1].append(index)
    return batches


def serves(model: PreTrainedModel, columns: int) -> bool:
    """Whether `decode` can take rows of so many tokens: a tested architecture that attends to all of them, with rotary
    positions that are the same in every pass over them."""
    config = model.config
    window, switch = getattr(config, "sliding_window", None), load.rope_switch(config)
    least = min(window or columns, switch.tokens if switch else columns)
    # ALiBi adds to attention what a mask of our own has no room for.
    return config.model_type in SERVED and not getattr(config, "alibi", False) and least >= columns


def decode(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    stops: set[int],
    max_new_tokens: int,
    seeds: Sequence[int | None] | None = None,
    *,
    over: Callable[[int, list[int]], bool] = lambda row, answer: False,
    cuda_graphs: bool = True,
) -> list[list[int]]:
    """The continuation of each prompt: token ids up to and with its stop token, at most max_new_tokens.

    Greedy, or sampled at TEMPERATURE for prompts whose seed is not None. over: whether the answer to a prompt, given by
    its place, ends here without a stop token. The model must be one that it `serves`.
    """
    with torch.inference_mode(), last_tokens_together(model), contextlib.ExitStack() as attention:
        columns = max(map(len, prompts)) + max_new_tokens
        whole = Cache(len(prompts), -(-columns // 8) * 8)  # as attention's kernels on a card want it
        answers: list[list[int]] = [[] for _ in prompts]
        draws = [
            None if seed is None else torch.Generator().manual_seed(seed) for seed in seeds or [None] * len(prompts)
        ]
        logits, live = read_once(model, whole, prompts)
        cache: Cache | SharedCache = whole
        if possible(model, whole.layers, len(prompts)) and halves(prompts, groups := beginnings(prompts)):
            attention.enter_context(in_two_parts(model))
            places = sorted(range(len(live)), key=live.__getitem__)  # of each prompt
            heads = model.config.num_attention_heads
            cache = SharedCache(whole.layers, heads, groups, places, prompts, max_new_tokens)
            logits, live = logits[[places[row] for row in cache.order]], list(cache.order)
        step = recorded(model, cache) if model.device.type == "cuda" and cuda_graphs else plain(model, cache)
        while True:
            tokens = choose(logits, [draws[row] for row in live])
            for row, token in zip(live, tokens, strict=True):
                answers[row].append(token)
            kept = [
                slot
                for slot, row in enumerate(live)
                if tokens[slot] not in stops and len(answers[row]) < max_new_tokens and not over(row, answers[row])
            ]
            if not kept:
                return answers
            columns = max(len(prompts[row]) + len(answers[row]) for row in live)
            kept = cache.keep(kept, columns)
            live, tokens = [live[slot] for slot in kept], [tokens[slot] for slot in kept]
            logits = step(tokens, [len(prompts[row]) + len(answers[row]) - 1 for row in live])


@contextlib.contextmanager
def last_tokens_together(model: PreTrainedModel) -> Iterator[None]:
    """Hands the output layer the prompts' last tokens as one block of memory.

    A slice of all tokens makes PyTorch multiply row by row, and copy the output layer's weights for each.
    """
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    try:
        yield
    finally:
        hook.remove()


def choose(logits: torch.Tensor, draws: Sequence[torch.Generator | None]) -> list[int]:
    """The next token of each row: the likeliest, or drawn by its generator where it has one."""
    tokens = logits.argmax(-1).tolist()
    drawn = [(slot, generator) for slot, generator in enumerate(draws) if generator is not None]
    if drawn:
        # By the inverse of the cumulative shares: `torch.multinomial` takes three times as long, row by row.
        shares = torch.softmax(logits[[slot for slot, _ in drawn]].float().cpu() / TEMPERATURE, -1)
        heights = shares.double().cumsum(-1)
        points = torch.stack([torch.rand(1, dtype=torch.double, generator=generator) for _, generator in drawn])
        found = torch.searchsorted(heights, points * heights[:, -1:], right=True)
        for (slot, _), token in zip(drawn, found[:, 0].tolist(), strict=True):
            tokens[slot] = token
    return tokens


def read_once(model: PreTrainedModel, cache: "Cache", prompts: Sequence[list[int]]) -> tuple[torch.Tensor, list[int]]:
    """`read_prompts`, equal prompts (several samples of one) read once and copied."""
    different = list(dict.fromkeys(map(tuple, prompts)))
    if len(different) == len(prompts):
        return read_prompts(model, cache, prompts)
    logits, held = read_prompts(model, cache, [list(prompt) for prompt in different])
    slots = {different[index]: slot for slot, index in enumerate(held)}
    sources, rows = [slots[tuple(prompt)] for prompt in prompts], list(range(len(prompts)))
    cache.copy(sources, rows, max(map(len, prompts)))
    return logits[sources], rows


def read_prompts(
    model: PreTrainedModel, cache: "Cache", prompts: Sequence[list[int]], least: float = 1 / 2
) -> tuple[torch.Tensor, list[int]]:
    """Reads the prompts into the cache. What a group shares is read once, and again what those beginnings share.

    least: share of its tokens that a prompt must have in common with its neighbour to be in one group.
    Returns the logits behind each prompt (slots x vocabulary) and the prompt that each slot holds.
    """
    source, start = [0] * len(prompts), [0] * len(prompts)
    # A prompt of one token has nothing to share: its logits are needed.
    shares = [(group, length) for group, length in beginnings(prompts, least) if len(group) > 1 and length]
    if shares:
        heads = [prompts[group[0]][:length] for group, length in shares]
        _, held = read_prompts(model, cache, heads, least / 2)
        for slot, number in enumerate(held):
            group, length = shares[number]
            for index in group:
                source[index], start[index] = slot, length
    rows = sorted(range(len(prompts)), key=lambda index: start[index] - len(prompts[index]))
    if shares:
        cache.copy([source[index] for index in rows], list(range(len(rows))), max(start))
    tails = [prompts[index][start[index] :] for index in rows]
    logits = [
        feed(model, cache, part, [start[index] for index in rows[first : first + len(part)]], first)
        for first, part in pieces(tails, model)
    ]
    return torch.cat(logits), rows


def pieces(rows: list[list[int]], model: PreTrainedModel) -> list[tuple[int, list[list[int]]]]:
    """Cuts rows, the longest first, into parts whose activations are small: (place of the first row, rows)."""
    most = 16384 if model.device.type == "cuda" else 1024
    parts: list[tuple[int, list[list[int]]]] = []
    for place, row in enumerate(rows):
        if not parts or (len(parts[-1][1]) + 1) * len(parts[-1][1][0]) > most:
            parts.append((place, []))
        parts[-1][1].append(row)
    return parts


def feed(
    model: PreTrainedModel, cache: "Cache", rows: Sequence[list[int]], starts: Sequence[int], first: int = 0
) -> torch.Tensor:
    """Reads each row's new tokens, at the positions from its start on, into the slots from `first` on.

    Returns the logits behind the last token of each (rows x vocabulary). Shorter rows are filled up on the left with
    tokens at the position after their last, which nothing attends to before the next real token is written there.
    """
    width = max(map(len, rows))
    ids, positions = [], []
    for row, start in zip(rows, starts, strict=True):
        end, missing = start + len(row), width - len(row)
        ids.append([0] * missing + row)
        positions.append([end] * missing + list(range(start, end)))
    seen = max(start + len(row) for row, start in zip(rows, starts, strict=True)) + (width > 1)
    device = model.device
    return forward(model, cache, torch.tensor(ids, device=device), torch.tensor(positions, device=device), first, seen)


def forward(
    model: PreTrainedModel, cache: "Cache | SharedCache", ids: torch.Tensor, positions: torch.Tensor, *where: Any
) -> torch.Tensor:
    """One pass over tokens (rows x tokens) at their positions. where: what the cache's `place` takes beside these.

    Returns the logits behind each row's last token.
    """
    output = model(
        input_ids=ids,
        attention_mask=cache.place(model.dtype, positions, *where),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1]


Step = Callable[[list[int], list[int]], torch.Tensor]


def plain(model: PreTrainedModel, cache: "Cache | SharedCache") -> Step:
    """A step of decoding: one token and its position for each live slot in, logits (slots x vocabulary) out."""

    def step(tokens: list[int], positions: list[int]) -> torch.Tensor:
        inputs, where = cache.inputs(tokens, positions, len(tokens), 1)
        return forward(model, cache, *(each.to(model.device) for each in inputs), *where)

    return step


def recorded(model: PreTrainedModel, cache: "Cache | SharedCache") -> Step:
    """The same step on a CUDA card, its kernels recorded once per shape and then launched as one graph.

    Launched one by one, they take several times as long to launch as to run.
    """
    graphs: dict[tuple, tuple] = {}
    refused: list[RuntimeError] = []
    by_launches = plain(model, cache)
    pool = torch.cuda.graph_pool_handle()

    def record(inputs: list[torch.Tensor], where: tuple) -> tuple:
        held = [each.to(model.device) for each in inputs]
        forward(model, cache, *held, *where)  # sets up kernels and their workspaces, which cannot be recorded
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = forward(model, cache, *held, *where)
        return graph, held, logits

    def step(tokens: list[int], positions: list[int]) -> torch.Tensor:
        rows = min(cache.rows, rounded(len(tokens)))
        inputs, where = cache.inputs(tokens, positions, rows, 256)
        if (rows, where) not in graphs and not refused:
            try:
                graphs[rows, where] = record(inputs, where)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # the model does something in a step that cannot be recorded
                refused.append(error)
                print(f"generate: decoding without CUDA graphs ({str(error).splitlines()[0]})", file=sys.stderr)
        if refused:
            return by_launches(tokens, positions)
        graph, held, logits = graphs[rows, where]
        for each, new in zip(held, inputs, strict=True):
            each.copy_(new)
        graph.replay()
        return logits[: len(tokens)]

    return step


def rounded(count: int) -> int:
    """A number of rows rounded up to one of four steps an octave, so that few shapes are recorded."""
    unit = max(1, 1 << max(0, count.bit_length() - 3))
    return -(-count // unit) * unit


class Cache:
    """Keys and values for every layer: buffers of rows x heads x columns x size, written where `place` says."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(self, kept: list[int], columns: int) -> list[int]:
        """Moves the last of the kept slots into the places of those that are not kept, so that slots 0, 1, … are live.

        Returns the slot that now stands in each place.
        """
        count = len(kept)
        gaps = sorted(set(range(count)).difference(kept))
        moved = kept[count - len(gaps) :] if gaps else []
        if gaps:
            self.copy(moved, gaps, columns)
        return [dict(zip(gaps, moved, strict=True)).get(place, place) for place in range(count)]

    def inputs(self, tokens: list[int], positions: list[int], rows: int, unit: int) -> tuple[list[torch.Tensor], tuple]:
        """What `forward` takes for one token of each live slot, filled up to so many rows.

        As many columns are seen as the positions need, rounded up to a multiple of unit.
        """
        fill = rows - len(tokens)
        unused = self.columns - 1  # no token of any row comes to stand there: the last of an answer is not read again
        seen = min(self.columns, (max(positions) // unit + 1) * unit)
        ids, places = tokens + [0] * fill, positions + [unused] * fill
        return [torch.tensor(ids)[:, None], torch.tensor(places)[:, None]], (0, seen)

    def place(self, dtype: torch.dtype, positions: torch.Tensor, first: int, seen: int) -> torch.Tensor:
        """Sets what the next pass writes, tokens at `positions` (rows x tokens) of the slots from `first` on, and how
        many columns it sees. Returns the mask (rows x 1 x tokens x columns): a token sees those up to its own."""
        self.positions, self.seen = positions, seen
        self.slots = slice(first, first + len(positions))
        self.slot_numbers = torch.arange(first, first + len(positions), device=positions.device)[:, None]
        hidden = torch.arange(seen, device=positions.device) > positions[:, None, :, None]
        return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill(
            hidden, torch.finfo(dtype).min
        )

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the model in each layer: takes new keys and values (rows x heads x tokens x size), returns all."""
        if layer == len(self.layers):
            size = [(self.rows, new.shape[1], self.columns, new.shape[3]) for new in (keys, values)]
            self.layers.append((keys.new_zeros(size[0]), values.new_zeros(size[1])))
        for buffer, new in zip(self.layers[layer], (keys, values), strict=True):
            buffer[self.slot_numbers, :, self.positions] = new.transpose(1, 2)
        all_keys, all_values = self.layers[layer]
        return all_keys[self.slots, :, : self.seen], all_values[self.slots, :, : self.seen]

    def get_seq_length(self, layer: int = 0) -> int:
        """Asked for by models only to number positions and to size masks, and both are given to them."""
        return 0

    def copy(self, sources: list[int], targets: list[int], columns: int) -> None:
        """Writes the first columns of the source slots over those of the targets."""
        for buffers in self.layers:
            for buffer in buffers:
                buffer[targets, :, :columns] = buffer[sources, :, :columns]
