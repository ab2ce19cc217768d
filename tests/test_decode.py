"""The decoding loop against transformers' own, and what it leaves to that."""

import pytest
from plain_attention import by_plain_sums
from tiny_runs import PROMPT, generation, prompt_of, run, table

from text2sql.generation.attention import halves
from text2sql.generation.decode import SERVED, beginnings, choose, decode, forward, plan_batches, serves
from text2sql.generation.generate import open_arm
from text2sql.generation.local import complete_padded
from text2sql.models import load

pytestmark = pytest.mark.usefixtures("in_the_project")


def test_batches_hold_prompts_that_begin_alike_the_longest_first_within_the_budget():
    """The longest first, so that a lack of memory shows at once."""
    long, short = list(range(40)), list(range(100, 120))
    prompts = [[*short, 1], [*long, 1, 2], [*short, 2, 3], [7], [*long, 3], [*short, 4]]
    assert plan_batches(prompts, 10_000, 8) == [[1, 4, 0, 2, 5, 3]]
    assert plan_batches(prompts, 100, 8) == [[1, 4], [0, 2, 5], [3]]
    assert plan_batches(prompts, 1, 8) == [[1], [4], [0], [2], [5], [3]]  # at least one row
    assert plan_batches([], 100, 8) == []


LLAMA = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": 2,
}  # fmt: skip


SMALL_EXPERTS = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4}


OTHER_NAMES = {
    "falcon": {"alibi": False},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen2_moe": SMALL_EXPERTS,
}


WITHOUT = {"gpt2": set(LLAMA) - {"vocab_size", "pad_token_id", "eos_token_id", "bos_token_id"}}


OWN_HEADS = {"falcon", "gpt_neox", "opt", "phi"}  # as many key heads as heads


def tiny(architecture: str, **changes):
    """A model of two layers with random weights, large enough that its answers differ."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    without = WITHOUT.get(architecture, {"num_key_value_heads", "head_dim"} if architecture in OWN_HEADS else set())
    settings = {key: value for key, value in LLAMA.items() if key not in without}
    config = AutoConfig.for_model(architecture, **(settings | OTHER_NAMES.get(architecture, {}) | changes))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(std=0.3)
    return model


def some_prompts() -> list[list[int]]:
    """Token ids of different lengths: two groups that begin alike, one prompt that begins like another, and loners."""
    import torch

    source = torch.Generator().manual_seed(3)

    def draw(count: int) -> list[int]:
        return torch.randint(12, 97, (count,), generator=source).tolist()

    one, other = draw(20), draw(30)
    return [one + draw(3), draw(5), one + draw(9), other + draw(4), draw(17), other + draw(11), one, one + draw(1)]


STOPS = {1, *range(40, 60)}


def alone(model, prompt: list[int]) -> list[int]:
    """The greedy answer to one prompt by transformers' own `generate`."""
    import torch

    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, eos_token_id=sorted(STOPS),
        pad_token_id=0,
    )  # fmt: skip
    return output[0, len(prompt) :].tolist()


@pytest.mark.parametrize("architecture", sorted(SERVED))
def test_every_architecture_gives_what_generate_gives_in_fp32(architecture):
    model = tiny(architecture)
    assert serves(model, 64)
    answers = decode(model, some_prompts(), STOPS, 24)
    assert answers == [alone(model, prompt) for prompt in some_prompts()]
    assert len({len(answer) for answer in answers}) > 1  # rows have left the batch at different steps


@pytest.fixture
def two_parts(monkeypatch):
    """Decoding in two parts here too, where it does not pay: all but the kernel and what decides on it are the same.

    Gives the numbers of tokens of which the keys were held packed."""
    held: set[int] = set()

    def ragged(queries, keys, *others):
        held.add(len(keys))
        return by_plain_sums(queries, keys, *others)

    monkeypatch.setattr("text2sql.generation.decode.possible", lambda model, *_: model._supports_attention_backend)
    monkeypatch.setattr("text2sql.generation.decode.halves", lambda *_: True)
    monkeypatch.setattr("text2sql.generation.attention.ragged", ragged)
    return held


@pytest.mark.parametrize("architecture", sorted(SERVED - {"falcon", "stablelm"}))  # they ask for no attention function
def test_attention_to_a_shared_beginning_and_to_the_rest_gives_the_same_answers(architecture, two_parts, monkeypatch):
    """Groups of three, two and one; rows leave them at different steps. A beginning is held once for all its rows."""
    model, prompts = tiny(architecture), some_prompts()
    answers = decode(model, prompts, STOPS, 24)
    groups = [(0, 2, 6, 7), (3, 5), (1,), (4,)]
    begun = [20 - 1, 30, len(prompts[1]) - 1, len(prompts[4]) - 1]
    own = max(len(prompts[row]) - tokens for group, tokens in zip(groups, begun, strict=True) for row in group)
    assert two_parts == {sum(begun), len(prompts) * (own + 24)}
    monkeypatch.setattr("text2sql.generation.decode.possible", lambda *_: False)
    assert answers == decode(model, prompts, STOPS, 24)
    assert model.config._attn_implementation == "sdpa" and len(two_parts) == 2


@pytest.mark.parametrize("cache", ["Cache", "SharedCache"])
def test_rows_that_fill_up_a_recorded_shape_change_no_answer(cache, two_parts, monkeypatch):
    """As `recorded` does it on a card, for some of the prompts drawn and one there twice."""
    model, prompts = tiny("llama"), [*some_prompts(), some_prompts()[0]]
    seeds = [None, 5, 6, None, 7, None, None, 8, 9]
    monkeypatch.setattr("text2sql.generation.decode.possible", lambda *_: False)
    answers = decode(model, prompts, STOPS, 24, seeds)
    filled = []

    def rounded_up(model, cache):
        def step(tokens, positions):
            inputs, where = cache.inputs(tokens, positions, cache.rows, 16)
            filled.append((type(cache).__name__, cache.rows - len(tokens)))
            return forward(model, cache, *inputs, *where)[: len(tokens)]

        return step

    monkeypatch.setattr("text2sql.generation.decode.possible", lambda *_: cache == "SharedCache")
    monkeypatch.setattr("text2sql.generation.decode.plain", rounded_up)
    assert decode(model, prompts, STOPS, 24, seeds) == answers
    assert {name for name, _ in filled} == {cache} and max(filled)[1] > 4


def test_two_parts_are_for_batches_that_they_halve():
    def held(*prompts: list[int]) -> bool:
        return halves(prompts, beginnings(prompts))

    one, other = list(range(100)), list(range(200, 250))
    assert held(*([*one, number] for number in range(4))) and held(one, one, one)
    assert held(*([*start, number] for start in (one, other) for number in range(4)))
    assert not held(one) and not held([*one, 1], [*one, 2]) and not held([*one, 1], [*one, 2], other * 2)
    assert not held(*([*one, number] for number in range(8)), [7])  # which has no beginning


def test_what_the_loop_cannot_serve_goes_to_generate(tmp_path, tokenizer):
    """Positions told to attention by ALiBi, and attention to the last few tokens only."""
    assert serves(tiny("mistral", sliding_window=64), 64) and not serves(tiny("mistral", sliding_window=64), 65)
    model = tiny("falcon", alibi=True, vocab_size=258, max_position_embeddings=1024)
    assert not serves(model, 64)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    pointer = {"source": "folder", "name": str(tmp_path / "model")}
    assert [row["completion_tokens"] for row in run(pointer, tmp_path / "out")] == [6] * 7
    answer = open_arm(pointer, "models/base", PROMPT, generation(), "base")
    sampled = answer([("a question",), ("another",)], samples=2, seed=3)
    assert sampled == answer([("a question",), ("another",)], samples=2, seed=3)
    assert [found[:1] for found in sampled] == answer([("a question",), ("another",)])


def test_batches_give_what_one_at_a_time_gives(pointer, tokenizer):
    """In fp32, where padding changes no logit enough to turn a greedy choice."""
    import torch

    model = load.load_model(pointer, torch.float32).cpu().eval()
    stops = load.stop_tokens(model, tokenizer)
    prompts = [prompt_of(row, tokenizer) for row in table().to_dict("records")]
    together = decode(model, prompts, stops, 8)
    assert together == [complete_padded(model, tokenizer, [prompt], stops, 8, [None])[0] for prompt in prompts]
    assert len({tuple(tokens) for tokens in together}) > 1


def test_equal_prompts_are_read_once_and_answered_as_each_alone():
    """Several samples of one prompt: the greedy ones are all the same, and a seed's answer is its own."""
    model = tiny("llama")
    prompts = some_prompts()
    repeated = [prompts[0], prompts[3], prompts[0], prompts[0], prompts[6]]
    seeds = [None, 5, 5, None, None]
    assert decode(model, repeated, STOPS, 24, seeds) == [
        decode(model, [prompt], STOPS, 24, [seed])[0] for prompt, seed in zip(repeated, seeds, strict=True)
    ]
    lengths: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, args, inputs: lengths.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    decode(model, [prompts[5]] * 6, {1}, 1)
    hook.remove()
    assert sum(lengths) == len(prompts[5])


def test_an_answer_that_is_over_leaves_the_batch_and_the_others_go_on():
    model = tiny("llama")
    whole = decode(model, some_prompts(), STOPS, 24)
    ended = decode(model, some_prompts(), STOPS, 24, over=lambda row, answer: row == 2 and len(answer) == 3)
    assert ended == [answer[:3] if row == 2 else answer for row, answer in enumerate(whole)]
    assert len(whole[2]) > 3


def test_draws_follow_the_shares_of_the_tokens_at_their_temperature():
    import torch

    logits = torch.tensor([0.0, 1.4, float("-inf"), 0.7])  # of which the shares are 1 : e² : 0 : e
    draws: list = [torch.Generator().manual_seed(number) for number in range(4000)]
    found = torch.bincount(torch.tensor(choose(logits.expand(4001, 4), [*draws, None])), minlength=4)
    assert found.tolist() == pytest.approx([360, 2662, 0, 979], abs=80)
    assert choose(logits[None], [torch.Generator().manual_seed(1)]) == choose(
        logits[None], [torch.Generator().manual_seed(1)]
    )
