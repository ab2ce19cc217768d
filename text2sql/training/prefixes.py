"""Rows that begin alike stand in one sequence, their common beginning once: the same loss and gradients, fewer tokens.

How batches of such rows are put together (tree.py has their trees, attention.py how attention goes through them), and
whether a model trains on them: where it computes the same, and where it saves.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from accelerate.utils import send_to_device
from peft import PeftModel

from text2sql.base.params import FinetuneParams
from text2sql.models import load, ragged
from text2sql.models.preflight import alike
from text2sql.training import attention, tree
from text2sql.training.memory import shape_of

# Rows of one schema that stand together where the parameter says auto: far less time, and batches of the size that the
# small data sets of the presets learn best with (docs/speed.md).
TOGETHER = 4
# Sharing is worthwhile where it leaves no more than this of the arithmetic.
WORTHWHILE = 0.9


# How attention learns who sees whom: by the tree's spans, one by one or packed for one call, or by a mask over pairs.
Way = Literal["spans", "packed", "mask"]


class SharedPrefixCollator:
    """Makes one sequence of a batch's examples (`input_ids`, and `labels` that mask the prompt).

    Returns input_ids, position_ids and labels, each (1, tokens), and what `way` needs: `spans`, the length of each and
    those above it; `packed`, as `tree.packed` has them; or `attention_mask` (1, 1, tokens, tokens), booleans where
    attention is `sdpa`, else numbers of the type `dtype` that are added.
    """

    def __init__(self, way: Way, attention: str | None = "sdpa", dtype: torch.dtype = torch.float32) -> None:
        self.way, self.attention, self.dtype = way, attention, dtype

    def __call__(self, examples: list[dict[str, list[int]]]) -> dict[str, Any]:
        spans = tree.tree_of(examples)

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
            return batch | {"spans": tuple((span.tokens, span.above) for span in spans)}
        if self.way == "packed":
            return batch | {"packed": tree.packed(spans)}
        seen = tree.visible(spans)[None, None]
        if self.attention != "sdpa":
            seen = torch.zeros(seen.shape, dtype=self.dtype).masked_fill(~seen, torch.finfo(self.dtype).min)
        return batch | {"attention_mask": seen}


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
    """How batches share beginnings: their order, what makes them, the tokens of an epoch and of the largest batch, and
    the most tokens whose keys attention copies for a batch."""

    sampler: SchemaSampler
    collator: SharedPrefixCollator
    tokens: int
    largest: int
    seen: int


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
    trees = [tree.tree_of([examples[row] for row in batch]) for batch in sampler.batches()]
    sizes = [sum(span.tokens for span in spans) for spans in trees]
    lengths = [len(example["input_ids"]) for example in examples]
    tokens = sum(sizes)
    said = f"{tokens:,} tokens an epoch in place of {sum(lengths):,}"
    if load.is_sharded():
        return None, "every row stands alone: beginnings are not shared where weights are sharded"
    alone = cost(model, sum(lengths), sum(length**2 for length in lengths))
    base: Any = model.get_base_model()
    attention_of_rows = base.config._attn_implementation
    for way in ways(model, config):
        computed = sum(size**2 for size in sizes) if way == "mask" else sum(map(tree.pairs, trees))
        if cost(model, tokens, computed) > WORTHWHILE * alone:
            return None, f"every row stands alone: to share beginnings would not pay ({said})"
        collator = collator_for(model, way)
        if computes_the_same(model, collator, max(lengths)):
            seen = 0 if way == "mask" else max(sum(span.end for span in spans) for spans in trees)
            sharing = Sharing(sampler, collator, tokens, max(sizes), seen)
            return sharing, f"rows that begin alike share their beginning: {said}"
        base.set_attn_implementation(attention_of_rows)
    return None, f"every row stands alone: with {attention_of_rows} attention, sharing changes what this model computes"


def ways(model: PeftModel, config: FinetuneParams) -> tuple[Way, ...]:
    """The ways to try, the best one first."""
    base: Any = model.get_base_model()
    if ragged.is_there(model.device, base.dtype):
        return "packed", "mask"
    # Compiled, each tree would be a program of its own.
    return ("spans", "mask") if model.device.type == "cpu" and not config.compile else ("mask",)


def cost(model: PeftModel, tokens: int, pairs_of_tokens: int) -> int:
    """Multiply-adds of one layer's forward pass over so many tokens and pairs of tokens that attention computes."""
    shape = shape_of(model.config.get_text_config())
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    return tokens * (4 * hidden**2 + 3 * hidden * inner) + 2 * hidden * pairs_of_tokens


def collator_for(model: PeftModel, way: Way) -> SharedPrefixCollator:
    """What makes the model's batches in this way. Where it has the tree's spans, `attention.attend` takes the place of
    the model's sdpa or flash attention."""
    base: Any = model.get_base_model()
    if way != "mask" and base.config._attn_implementation in ("sdpa", "flash_attention_2"):
        base.set_attn_implementation(attention.NAME)
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
    batch = send_to_device(batch, model.device)
    spans = tree.tree_of(examples)
    parts = model(**batch, use_cache=False).logits[0].split([span.tokens for span in spans])
    found = {
        span.row: torch.cat([parts[part] for part in (*span.above, number)])
        for number, span in enumerate(spans)
        if span.end == len(rows[span.row])
    }
    return [found[row] for row in range(len(rows))]
