"""Rows that begin alike stand in one sequence, their common beginning once: the same loss and gradients, fewer tokens.

The rows of a batch form a prefix tree: the head of the template, below it the schemas, below each its questions, every
one with its SQL. The tree lies in one sequence, depth first. A token has the position that it has in its own row, and
sees its row's tokens alone. Where the adapter has dropout, the common tokens share its masks.
"""

import functools
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from peft import PeftModel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from text2sql.base.params import FinetuneParams
from text2sql.models import load
from text2sql.models.preflight import alike
from text2sql.training.memory import shape_of

# Beginnings shorter than this are not shared below a branch: a branch costs calls, and saves little.
SHORTEST = 8
# Rows of one schema that stand together where the parameter says auto: half the time, and batches of the size that the
# small data sets of the presets learn best with (docs/speed.md).
TOGETHER = 4
# Sharing is worthwhile where it leaves no more than this of the arithmetic.
WORTHWHILE = 0.9
ATTENTION = "prefix_tree"  # the name of `attend` among transformers' attention functions

# How attention learns who sees whom: by the tree itself, span by span, or by a mask over all pairs of tokens.
Way = Literal["spans", "mask"]


class Span(NamedTuple):
    """A part of the tree's sequence: tokens `start` to `end` of row `row`, below the spans `above` (their indices)."""

    row: int
    start: int
    end: int
    above: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return self.end - self.start


def prefix_tree(rows: Sequence[Sequence[int]], prompts: Sequence[int]) -> list[Span]:
    """The tree of the rows' common beginnings, depth first; the last span of a row is its own alone.

    prompts: how many tokens of each row are its prompt. The prompt's last token stays each row's own: the first token
    of the completion is learnt there.
    """
    spans: list[Span] = []

    def common(one: int, other: int) -> int:
        limit = min(prompts[one], prompts[other]) - 1
        differing = (at for at in range(limit) if rows[one][at] != rows[other][at])
        return next(differing, limit)

    def grow(members: list[int], depth: int, above: tuple[int, ...]) -> None:
        groups = [members[:1]]
        for before, row in pairwise(members):
            if common(before, row) < depth + SHORTEST:
                groups.append([])
            groups[-1].append(row)
        for group in groups:
            if len(group) == 1:
                spans.append(Span(group[0], depth, len(rows[group[0]]), above))
            else:
                end = common(group[0], group[-1])  # of sorted rows the first and the last have least in common
                spans.append(Span(group[0], depth, end, above))
                grow(group, end, (*above, len(spans) - 1))

    grow(sorted(range(len(rows)), key=lambda row: list(rows[row][: prompts[row] - 1])), 0, ())
    return spans


def pairs(spans: Sequence[Span]) -> int:
    """How many pairs of tokens attention computes span by span."""
    return sum(span.tokens * span.end for span in spans)


def visible(spans: Sequence[Span]) -> torch.Tensor:
    """Which tokens (columns) each token (rows) of the tree's sequence sees, as booleans."""
    starts = [0]
    for span in spans:
        starts.append(starts[-1] + span.tokens)
    seen = torch.zeros(starts[-1], starts[-1], dtype=torch.bool)
    for number, span in enumerate(spans):
        for other in span.above:
            seen[starts[number] : starts[number + 1], starts[other] : starts[other + 1]] = True
    return seen | torch.block_diag(*(torch.ones(span.tokens, span.tokens).tril() for span in spans)).bool()


class SharedPrefixCollator:
    """Makes one sequence of a batch's examples (`input_ids`, and `labels` that mask the prompt).

    Returns input_ids, position_ids and labels, each (1, tokens), and what `way` needs: `tree`, the length of each span
    and the spans above it, or `attention_mask` (1, 1, tokens, tokens), booleans where attention is `sdpa`, else numbers
    of the type `dtype` that are added.
    """

    def __init__(self, way: Way, attention: str | None = "sdpa", dtype: torch.dtype = torch.float32) -> None:
        self.way, self.attention, self.dtype = way, attention, dtype

    def __call__(self, examples: list[dict[str, list[int]]]) -> dict[str, Any]:
        spans = tree_of(examples)

        def laid_out(column: str) -> torch.Tensor:
            return torch.tensor(
                [[value for span in spans for value in examples[span.row][column][span.start : span.end]]]
            )

        batch: dict[str, Any] = {
            "input_ids": laid_out("input_ids"),
            "position_ids": torch.cat([torch.arange(span.start, span.end) for span in spans])[None],
            "labels": laid_out("labels"),
        }
        if self.way == "spans":
            return batch | {"tree": tuple((span.tokens, span.above) for span in spans)}
        seen = visible(spans)[None, None]
        if self.attention != "sdpa":
            seen = torch.zeros(seen.shape, dtype=self.dtype).masked_fill(~seen, torch.finfo(self.dtype).min)
        return batch | {"attention_mask": seen}


def tree_of(examples: Sequence[dict[str, list[int]]]) -> list[Span]:
    """The tree of a batch's examples."""
    prompts = [prompt_tokens(example["labels"]) for example in examples]
    return prefix_tree([example["input_ids"] for example in examples], prompts)


def prompt_tokens(labels: list[int]) -> int:
    """How many tokens of an example are its prompt: those before the first that is learnt."""
    return next(at for at, label in enumerate(labels) if label != -100)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    tree: tuple[tuple[int, tuple[int, ...]], ...] | None = None,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' sdpa attention, span by span where the batch is a tree: each sees those above it and itself.

    query, key, value: (1, heads, tokens, size of a head). Computes no pair of tokens that do not see each other but the
    later ones within a span.
    """
    if tree is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    if unknown := sorted(name for name in ("softcap", "s_aux", "position_bias") if how.get(name) is not None):
        raise ValueError(f"attention span by span does not know {', '.join(unknown)}")
    repeats = query.shape[1] // key.shape[1]
    lengths = [tokens for tokens, _ in tree]
    queries, keys, values = (
        part.split(lengths, dim=2) for part in (query, repeat_kv(key, repeats), repeat_kv(value, repeats))
    )
    outputs = []
    for number, (tokens, above) in enumerate(tree):
        seen = (*above, number)
        before = sum(lengths[other] for other in above)
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                queries[number],
                torch.cat([keys[other] for other in seen], dim=2),
                torch.cat([values[other] for other in seen], dim=2),
                attn_mask=below(tokens, before, query.device) if above else None,
                is_causal=not above,
                dropout_p=how.get("dropout", 0.0),
                scale=how.get("scaling"),
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


@functools.lru_cache(maxsize=256)
def below(tokens: int, before: int, device: torch.device) -> torch.Tensor:
    """The causal mask of `tokens` tokens behind `before` others that all of them see."""
    return torch.ones(tokens, before + tokens, dtype=torch.bool, device=device).tril(before)


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class SchemaSampler(torch.utils.data.Sampler[int]):
    """Rows in a random order, an order of its own for every epoch, in which `together` rows of a schema follow.

    The order falls into batches of `batch` rows; where a schema's rows do not come out even, what is left over stands
    together with that of others.
    """

    def __init__(self, schemas: Sequence[int], together: int, batch: int, seed: int) -> None:
        """schemas: each row's schema, by any number."""
        self.schemas, self.together, self.batch, self.seed = schemas, min(together, batch), batch, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.schemas)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return (row for batch in self.batches() for row in batch)

    def batches(self) -> list[list[int]]:
        """The epoch's rows, batch by batch; the last may be short."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        of_schema = defaultdict(list)
        for row in torch.randperm(len(self), generator=generator).tolist():
            of_schema[self.schemas[row]].append(row)
        runs = [
            rows[start : start + self.together]
            for rows in of_schema.values()
            for start in range(0, len(rows), self.together)
        ]
        runs = [runs[number] for number in torch.randperm(len(runs), generator=generator).tolist()]
        runs.sort(key=len, reverse=True)  # whole runs first, so that batches do not cut them
        order = [row for run in runs for row in run]
        batches = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        whole = len(order) // self.batch
        shuffled = [batches[number] for number in torch.randperm(whole, generator=generator).tolist()]
        return shuffled + batches[whole:]


class Sharing(NamedTuple):
    """How batches share beginnings: their order, what makes them, the tokens of an epoch and of the largest batch."""

    sampler: SchemaSampler
    collator: SharedPrefixCollator
    tokens: int
    largest: int


def share(model: PeftModel, examples: list[dict], config: FinetuneParams, seed: int) -> Sharing | None:
    """How this model's batches of these examples share beginnings, as `finetune.share_prefixes` says; None: not at all.

    examples: with `input_ids`, `labels` and `schema`, the number of the schema that they are about. Says on standard
    error what was decided and why.
    """
    if config.share_prefixes == "never" or config.packing != "none":
        return None
    sharing, why = decide(model, examples, config, seed)
    if os.environ.get("RANK", "0") == "0":
        print(f"finetune: {why}", file=sys.stderr)
    return sharing


def decide(model: PeftModel, examples: list[dict], config: FinetuneParams, seed: int) -> tuple[Sharing | None, str]:
    """What `share` returns, and why."""
    together = TOGETHER if config.share_prefixes == "auto" else int(config.share_prefixes)
    sampler = SchemaSampler([example["schema"] for example in examples], together, config.batch_size, seed)
    trees = [tree_of([examples[row] for row in batch]) for batch in sampler.batches()]
    sizes = [sum(span.tokens for span in tree) for tree in trees]
    lengths = [len(example["input_ids"]) for example in examples]
    tokens, largest = sum(sizes), max(sizes)
    said = f"{tokens:,} tokens an epoch in place of {sum(lengths):,}"
    if load.is_sharded():
        return None, "every row stands alone: beginnings are not shared where weights are sharded"
    alone = cost(model, sum(lengths), sum(length**2 for length in lengths))
    spans_fit = model.device.type == "cpu" and not config.compile  # compiled, each tree would be a program of its own
    ways: tuple[Way, ...] = ("spans", "mask") if spans_fit else ("mask",)
    base: Any = model.get_base_model()
    attention = base.config._attn_implementation
    for way in ways:
        computed = sum(map(pairs, trees)) if way == "spans" else sum(size**2 for size in sizes)
        if cost(model, tokens, computed) > WORTHWHILE * alone:
            return None, f"every row stands alone: to share beginnings would not pay ({said})"
        collator = collator_for(model, way)
        if computes_the_same(model, collator, max(lengths)):
            return Sharing(sampler, collator, tokens, largest), f"rows that begin alike share their beginning: {said}"
        base.set_attn_implementation(attention)
    return None, f"every row stands alone: with {attention} attention, sharing changes what this model computes"


def cost(model: PeftModel, tokens: int, pairs_of_tokens: int) -> int:
    """Multiply-adds of one layer's forward pass over so many tokens and pairs of tokens that attention computes."""
    shape = shape_of(model.config.get_text_config())
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    return tokens * (4 * hidden**2 + 3 * hidden * inner) + 2 * hidden * pairs_of_tokens


def collator_for(model: PeftModel, way: Way) -> SharedPrefixCollator:
    """What makes the model's batches in this way. For spans, `attend` takes the place of the model's sdpa attention."""
    base: Any = model.get_base_model()
    if way == "spans" and base.config._attn_implementation == "sdpa":
        base.set_attn_implementation(ATTENTION)
    return SharedPrefixCollator(way, base.config._attn_implementation, base.dtype)


def computes_the_same(model: PeftModel, collator: SharedPrefixCollator, longest: int) -> bool:
    """Whether rows that share beginnings get the logits that they get alone, and not one bit from each other.

    Two rows of `longest` tokens, which only end differently, and a short one are tried: a window of attention shows.
    A model that counts positions by itself (ALiBi) is told by its not heeding them: 16 bits may round its error away.
    """
    words = min(250, model.config.get_text_config().vocab_size) - 2
    ids = [2 + 7 * at % words for at in range(longest + 60)]
    head, body, ends = ids[:10], ids[10 : max(longest - 12, 22)], ids[longest:]
    rows = [[*head, *body, *ends[:12]], [*head, *body, *ends[12:24]], [*head, *ends[24:42]]]
    # Others in their place, which by their first tokens stand where they stood.
    others = [rows[0], [*head, *body, ends[12], *ends[31:42]], [*head, ends[24], *ends[43:60]]]
    model.eval()
    try:
        with torch.inference_mode():
            alone = [logits_alone(model, row, range(len(row))) for row in rows[::2]]
            if torch.equal(alone[1], logits_alone(model, rows[2], range(0, 2 * len(rows[2]), 2))):
                return False
            together, beside = (logits_of(model, collator, given) for given in (rows, others))
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, NotImplementedError):  # of each architecture
        return False
    return torch.equal(together[0], beside[0]) and all(map(alike, together[::2], alone))


def logits_alone(model: PeftModel, row: list[int], positions: Sequence[int]) -> torch.Tensor:
    """The logits (tokens x vocabulary) of a row with nothing beside it, its tokens at these positions."""
    ids, places = (torch.tensor([numbers], device=model.device) for numbers in (row, list(positions)))
    return model(ids, position_ids=places, use_cache=False).logits[0]


def logits_of(model: PeftModel, collator: SharedPrefixCollator, rows: list[list[int]]) -> list[torch.Tensor]:
    """Each row's logits (tokens x vocabulary) out of one sequence that shares beginnings."""
    examples = [{"input_ids": row, "labels": [-100] * (len(row) - 3) + row[-3:]} for row in rows]
    batch = {name: value for name, value in collator(examples).items() if name != "labels"}
    batch = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
    spans = tree_of(examples)
    parts = model(**batch, use_cache=False).logits[0].split([span.tokens for span in spans])
    found = {
        span.row: torch.cat([parts[part] for part in (*span.above, number)])
        for number, span in enumerate(spans)
        if span.end == len(rows[span.row])
    }
    return [found[row] for row in range(len(rows))]
