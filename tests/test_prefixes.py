"""Shared beginnings: the tree of a batch, that it computes what rows of their own compute, and when it is not used."""

import functools
import random

import pytest
from conftest import tiny_architecture
from plain_attention import by_plain_sums
from tiny_runs import PROMPT, losses, table, train, training

from text2sql.base.files import read_json, write_json
from text2sql.models import load
from text2sql.training import prefixes, tree
from text2sql.training.finetune import add_adapter, build_examples
from text2sql.training.progress import Progress, row_tokens

pytestmark = pytest.mark.usefixtures("in_the_project")

ARCHITECTURES = (
    "llama", "phi", "qwen2", "qwen3", "mistral", "gemma", "gpt2", "gpt_neox", "opt", "granite", "olmo2", "starcoder2",
)  # fmt: skip


def examples_of(rows: list[list[int]], learnt: int = 3) -> list[dict]:
    """Examples whose last `learnt` tokens are their completions."""
    return [{"input_ids": row, "labels": [-100] * (len(row) - learnt) + row[-learnt:]} for row in rows]


def random_rows(seed: int) -> list[list[int]]:
    """Rows with common beginnings of common beginnings, some the same but for their completions."""
    rng = random.Random(seed)
    rows: list[list[int]] = [[]]
    for _ in range(12):
        stem = rng.choice(rows)
        rows.append(stem[: rng.randint(0, len(stem))] + [rng.randint(2, 4) for _ in range(rng.randint(5, 30))])
    return rows[1:]


# The tree


@pytest.mark.parametrize("seed", range(20))
def test_every_row_is_its_own_span_and_those_above_it(seed):
    rows = random_rows(seed)
    spans = tree.prefix_tree(rows, [len(row) - 3 for row in rows])
    found = {}
    for span in spans:
        path = [*(spans[part] for part in span.above), span]
        assert [part.start for part in path] == [0, *(part.end for part in path[:-1])]
        if span.end == len(rows[span.row]):
            found[span.row] = [token for part in path for token in rows[part.row][part.start : part.end]]
        else:
            assert span.tokens >= tree.SHORTEST
    assert [found[row] for row in range(len(rows))] == rows


def test_a_beginning_is_read_once_at_every_level_and_the_last_token_of_a_prompt_by_each_row():
    head, one, other = list(range(10)), list(range(20, 30)), list(range(30, 40))
    rows = [
        head + one + [1, 2, 3, 4],
        head + other + [1, 2, 3, 4],
        head + one + [5, 2, 3, 4],
        head + one + [1, 2, 3, 4],
    ]
    spans = tree.prefix_tree(rows, [21] * 4)
    assert sum(span.tokens for span in spans) == 10 + 10 + 4 * 3 + 14
    assert [span.above for span in spans] == [(), (0,), (0, 1), (0, 1), (0, 1), (0,)]


def test_a_few_tokens_in_common_are_no_branch():
    rows = [[7] * (tree.SHORTEST - 1) + [number, 1, 2, 3] for number in range(3)]
    assert [span.above for span in tree.prefix_tree(rows, [len(rows[0]) - 3] * 3)] == [()] * 3


@pytest.mark.parametrize("seed", range(5))
def test_a_token_sees_the_tokens_of_its_own_row_up_to_itself(seed):
    rows = random_rows(seed)
    spans = tree.tree_of(examples_of(rows))
    tokens = [(number, at) for number, span in enumerate(spans) for at in range(span.start, span.end)]
    expected = [
        [there in (*spans[number].above, number) and position <= at for there, position in tokens]
        for number, at in tokens
    ]
    assert tree.visible(spans).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_packed_a_span_sees_the_tokens_above_it_and_its_own(seed):
    spans = tree.tree_of(examples_of(random_rows(seed)))
    seen, query_starts, key_starts, longest = tree.packed(spans)
    for number, span in enumerate(spans):
        first, last = query_starts[number : number + 2].tolist()
        whole = seen[key_starts[number] : key_starts[number + 1]].tolist()
        assert tree.visible(spans)[last - 1].nonzero().flatten().tolist() == whole
        assert whole[span.start :] == list(range(first, last))
    assert longest == (max(span.tokens for span in spans), max(span.end for span in spans))


def test_the_tokens_of_the_rows_are_counted_whole():
    rows = random_rows(1)
    batch = prefixes.SharedPrefixCollator("spans")(examples_of(rows))
    assert batch["input_ids"].numel() < sum(map(len, rows)) == row_tokens(batch)


# What it computes


@pytest.fixture(scope="module")
def models(tokenizer, tmp_path_factory):
    """Makes a tiny model of an architecture, in fp32, with an adapter that is not zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    def make(kind: str, attention: str = "sdpa"):
        pointer = tiny_architecture(kind, tokenizer, tmp_path_factory.mktemp(kind))
        torch.manual_seed(1)
        settings = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
        return get_peft_model(load.load_model(pointer, torch.float32, attention=attention), settings)

    return make


def loss_and_gradients(model, batches: list[dict]) -> tuple[float, dict]:
    """The summed loss of batches over all completions, and every adapter weight's gradient."""
    import torch

    model.zero_grad()
    total = 0.0
    for batch in batches:
        labels = batch.pop("labels")[:, 1:]
        logits = model(**batch, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        loss.backward()
        total += loss.item()
    return total, {name: weights.grad for name, weights in model.named_parameters() if weights.requires_grad}


@pytest.mark.parametrize("way", ["spans", "packed", "mask"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_rows_of_their_own(kind, way, models, tokenizer, monkeypatch):
    """Packed attention is a kernel of CUDA cards in 16 bits; sums that give the same stand in for it."""
    import torch

    examples, _ = build_examples(table(7), tokenizer, PROMPT, 1024)
    model = models(kind).eval()  # some have dropout of their own
    alone = [{name: torch.tensor([row[name]]) for name in ("input_ids", "labels")} for row in examples]
    expected, gradients = loss_and_gradients(model, alone)
    monkeypatch.setattr("text2sql.training.attention.ragged", by_plain_sums)
    collator = prefixes.collator_for(model, way)
    assert prefixes.computes_the_same(model, collator, 60)
    batch = collator(examples)
    assert batch["input_ids"].numel() < 0.6 * sum(len(row["input_ids"]) for row in examples)
    found, shared = loss_and_gradients(model, [batch])
    assert found == pytest.approx(expected, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item(), msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": "eager"},
        {"quantization": "nf4"},
        {"quantization": "nf4", "gradient_checkpointing": True},
        {"lora": {"use_dora": True}},
        {"lora": {"use_rslora": True, "loraplus_lr_ratio": 4.0}, "accumulation": 2},
    ],
    ids=str,
)
def test_training_learns_the_same_with_shared_beginnings(changes, pointers, fp32, tmp_path, capsys):
    """All rows in each step, so that both ways take the same steps."""
    rows = table(8)
    size = {"batch_size": 8 // changes.get("accumulation", 1)}
    for share in ("never", "auto"):
        train(pointers["qwen2"], tmp_path / share, rows, share_prefixes=share, **(size | changes))
    said = capsys.readouterr().err
    assert said.count("rows that begin alike share their beginning") == 1
    counts = {share: read_json(tmp_path / share / "train/summary.json") for share in ("never", "auto")}
    assert counts["auto"]["tokens"] == counts["never"]["tokens"]
    assert counts["auto"]["computed_tokens"] < 0.7 * counts["never"]["computed_tokens"]
    assert (counts["never"]["shared_share"], counts["auto"]["padding_share"]) == (0, 0)
    assert losses(tmp_path / "auto") == pytest.approx(losses(tmp_path / "never"), abs=2e-4)


def test_compiled_layers_take_trees_of_every_size_without_being_compiled_anew(pointers, tmp_path, monkeypatch):
    """Traced, but not turned into machine code, which would take a minute."""
    import torch

    counts = torch._dynamo.utils.counters["stats"]
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(compiled, backend="eager"))
    torch._dynamo.reset()
    counts.clear()
    after_each: list[int] = []
    ends = Progress.on_step_end

    def counting(progress, *given, **named):
        after_each.append(counts["unique_graphs"])
        ends(progress, *given, **named)

    monkeypatch.setattr(Progress, "on_step_end", counting)
    train(pointers["llama"], tmp_path, table(16), compile=True, batch_size=4, share_prefixes=2, epochs=2.0)
    # The first layer, whose inputs learn nothing, and the others; nor does the check of what was saved add any.
    assert after_each == [2] * 8 and counts["unique_graphs"] == 2


# Batches


def test_so_many_rows_of_a_schema_stand_together_and_every_epoch_has_its_own_order():
    schemas = [number % 7 for number in range(100)]
    sampler = prefixes.SchemaSampler(schemas, 4, 8, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        whole = [schemas[row] for row in orders[-1]]
        runs = [set(whole[start : start + 4]) for start in range(0, 96, 4)]
        assert sum(len(run) == 1 for run in runs) >= 100 // 4 - 7  # what is left over of each schema is mixed
    assert orders[0] == orders[2] != orders[1] and all(sorted(order) == list(range(100)) for order in orders)
    assert [len(batch) for batch in sampler.batches()] == [8] * 12 + [4]


def test_no_more_rows_of_a_schema_stand_together_than_a_batch_holds():
    batches = prefixes.SchemaSampler([0] * 50 + [1] * 50, 16, 5, seed=3).batches()
    assert all(len({row // 50 for row in batch}) == 1 for batch in batches)


# Where rows stand alone


def decided(model, examples: list[dict]) -> tuple[bool, str]:
    sharing, why = prefixes.decide(model, examples, training(batch_size=8), 1)
    return sharing is not None, why


def test_a_model_that_cannot_share_trains_on_rows_of_their_own_and_says_so(tokenizer, tmp_path, capsys):
    """ALiBi counts positions from a mask of tokens, not of pairs."""
    pointer = tiny_architecture("bloom", tokenizer, tmp_path / "model")
    train(pointer, tmp_path, table(8), attention="eager", epochs=1.0, batch_size=4)
    assert "every row stands alone: with eager attention, sharing changes" in capsys.readouterr().err
    assert read_json(tmp_path / "train/summary.json")["shared_share"] == 0


@pytest.mark.parametrize(("window", "shared"), [(1024, True), (100, False)])
def test_an_attention_that_ends_before_the_longest_row_is_not_shared(window, shared, tokenizer, tmp_path):
    pointer = tiny_architecture("mistral", tokenizer, tmp_path / "model")
    path = tmp_path / "model/config.json"
    write_json(path, read_json(path) | {"sliding_window": window})
    examples, _ = build_examples(table(8), tokenizer, PROMPT, 1024)
    assert decided(add_adapter(pointer, training(), 1, tmp_path), examples)[0] is shared


@pytest.mark.parametrize("number_format", ["float32", "bfloat16"])
def test_a_model_that_counts_positions_by_itself_is_found_out_in_any_format(number_format, tokenizer, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    model = load.load_model(
        tiny_architecture("bloom", tokenizer, tmp_path / "model"), getattr(torch, number_format), attention="eager"
    )
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    examples, _ = build_examples(table(8), tokenizer, PROMPT, 1024)
    assert "sharing changes what this model computes" in decided(adapted, examples)[1]


def test_a_model_whose_rows_see_each_other_is_found_out(pointers, tmp_path):
    """A stub stands for such a model: it leaves out what it is told about who sees whom."""
    model = add_adapter(pointers["llama"], training(), 1, tmp_path)
    collator = prefixes.collator_for(model, "spans")
    assert prefixes.computes_the_same(model, collator, 60)
    forward = model.forward
    model.forward = lambda *given, spans=None, **inputs: forward(*given, **inputs)
    assert not prefixes.computes_the_same(model, collator, 60)


def test_rows_that_do_not_begin_alike_stand_alone(pointers, tmp_path):
    model = add_adapter(pointers["llama"], training(), 1, tmp_path)
    rows = [[100 + number, *range(2, 40)] for number in range(8)]
    examples = [example | {"schema": 0} for example in examples_of(rows)]
    shared, why = decided(model, examples)
    assert not shared and "would not pay (312 tokens an epoch in place of 312)" in why


def test_sharing_can_be_switched_off_and_is_off_where_rows_are_packed(pointers, tmp_path, tokenizer, capsys):
    model = add_adapter(pointers["llama"], training(), 1, tmp_path)
    examples, _ = build_examples(table(8), tokenizer, PROMPT, 1024)
    for changes in ({"share_prefixes": "never"}, {"packing": "padding_free"}):
        assert prefixes.share(model, examples, training(**changes), 1) is None
    assert "beginning" not in capsys.readouterr().err
