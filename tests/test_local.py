"""Answers by the model in this process: where they stop, and adapters beside 4-bit weights."""

import shutil

import architectures
import pytest
from conftest import ROOT
from tiny_runs import PROMPT, generation, run, table

from text2sql.base.files import read_json, read_jsonl, write_json
from text2sql.base.params import read_params
from text2sql.generation import decode, local
from text2sql.generation import generate as generate_module
from text2sql.generation.generate import generate, up_to_break
from text2sql.generation.local import up_to_stop
from text2sql.models import load, preflight
from text2sql.models.prompts import answer_text

pytestmark = pytest.mark.usefixtures("in_the_project")


def test_a_stop_is_told_from_the_token_limit(tmp_path, tiny_model):
    """A model whose end token always has the largest logit stops at once; the untrained one never does."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.norm.weight.zero_()  # all logits equal 0, and the first of equals is the greedy choice: <pad>
    model.generation_config.eos_token_id = [0, 1]
    model.save_pretrained(folder)
    rows = run({"source": "folder", "name": str(folder)}, tmp_path / "out")
    assert {(row["finish_reason"], row["completion_tokens"], row["text"]) for row in rows} == {("stop", 1, "")}


def test_greedy_is_greedy_whatever_the_models_own_settings_of_generation_say(pointer, tmp_path, monkeypatch):
    """Answered by `model.generate`, which would take penalties and beams from generation_config.json."""
    monkeypatch.setattr(decode, "serves", lambda model, columns: False)
    folder = shutil.copytree(pointer["name"], tmp_path / "model")
    settings = read_json(folder / "generation_config.json")
    more = {"repetition_penalty": 5.0, "num_beams": 3, "forced_eos_token_id": 200, "suppress_tokens": list(range(90))}
    write_json(folder / "generation_config.json", settings | more)
    rows = run(pointer, tmp_path / "plain")
    assert run({"source": "folder", "name": str(folder)}, tmp_path / "out") == rows


def test_what_follows_the_first_stop_is_padding():
    assert up_to_stop([5, 6, 1, 0, 0], {1}) == [5, 6, 1]
    assert up_to_stop([5, 6], {1}) == [5, 6]
    assert up_to_stop([], {1}) == []


def test_an_adapter_beside_a_4_bit_base(pointer, adapter, tmp_path):
    """bitsandbytes computes NF4 on CPUs too; its rounding changes the texts of a model with random weights."""
    tuned = run(pointer, tmp_path / "one", adapter=adapter, arm="finetuned", quantization="nf4")
    assert tuned == run(pointer, tmp_path / "two", adapter=adapter, arm="finetuned", quantization="nf4")
    assert [row["text"] for row in tuned] != [
        row["text"] for row in run(pointer, tmp_path / "base", quantization="nf4")
    ]
    assert [row["completion_tokens"] for row in tuned] == [6] * 7


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp32"])
def test_the_format_is_the_one_that_is_asked_for(name, pointer, adapter, tmp_path):
    """fp16 as on a card without bf16."""
    config = generation(dtype=name)
    assert local.LocalModel(pointer, adapter, PROMPT, config).model.dtype == load.FORMATS[name]
    rows = run(pointer, tmp_path / name, adapter, arm="finetuned", dtype=name)
    assert [row["completion_tokens"] for row in rows] == [6] * 7


def test_a_model_that_resolve_could_not_try_is_tried_before_it_answers(pointer, tmp_path, monkeypatch):
    """A stub stands for a model that does not heed the mask of padding."""
    monkeypatch.setattr(decode, "serves", lambda model, columns: False)
    monkeypatch.setattr(preflight, "heeds_padding", lambda model, tokenizer: False)
    sizes, complete = [], local.complete_padded

    def watched(model, tokenizer, rows, *rest):
        sizes.append(len(rows))
        return complete(model, tokenizer, rows, *rest)

    monkeypatch.setattr(local, "complete_padded", watched)
    run(pointer | {"checks": {"batches": None}}, tmp_path / "out")
    assert sizes == [1] * 7


@pytest.mark.parametrize("name", ["phi3, longrope", "llama, dynamic"])
def test_answers_on_both_sides_of_a_switch_are_those_given_alone(name, tokenizer, fp32, tmp_path):
    """Prompts before, beyond and across it; one at a time in another order gives the same texts."""
    pointer = architectures.save(name, tokenizer, tmp_path / "model")
    rows = table()
    together = {row["id"]: row for row in run(pointer, tmp_path / "all", rows=rows, max_new_tokens=8)}
    lengths = [row["prompt_tokens"] for row in together.values()]
    switch = architectures.SWITCH
    assert min(lengths) + 8 <= switch < max(lengths) and any(switch - 8 < length <= switch for length in lengths)
    for place in (4, 1, 6, 0, 3):
        (single,) = run(pointer, tmp_path / str(place), rows=rows.iloc[[place]], max_new_tokens=8)
        assert single == together[single["id"]]


def test_a_reasoning_that_the_chat_template_opens_is_opened_in_the_text(pointer, tiny_model, tmp_path):
    """The text then says by itself that what the model wrote first was reasoning."""
    from transformers import AutoTokenizer

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    own = AutoTokenizer.from_pretrained(folder)
    own.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}<think>\n"
    own.save_pretrained(folder)
    opening = {"source": "folder", "name": str(folder)}
    out = tmp_path / "out"
    out.mkdir()
    prompt = PROMPT.model_copy(update={"chat": True})
    rows = table(2)
    nothing = {key: [] for key in rows["id"]}
    generate(
        rows, nothing, opening, "models/base", prompt, generation(), "base", out=out / "out.jsonl", work=out
    )  # fmt: skip
    texts = [row["text"] for row in read_jsonl(out / "out.jsonl")]
    assert all(text.startswith("<think>") for text in texts)
    assert not any(row["text"].startswith("<think>") for row in run(pointer, tmp_path / "plain"))


def test_special_tokens_that_mark_reasoning_stay_in_the_text(tiny_model):
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(tiny_model)
    own.add_special_tokens({"additional_special_tokens": ["<|channel|>", "<|message|>", "<|tool|>"]})
    ids = own("<|channel|>final<|message|>SELECT 1<|tool|><end>")["input_ids"]
    assert answer_text(ids, own) == "<|channel|>final<|message|>SELECT 1"
    assert answer_text(own("SELECT 1<|tool|><end>")["input_ids"], own) == "SELECT 1"


def behind_an_example(pointer, folder, **changes) -> list[dict]:
    """The answers to questions each of which stands behind one example."""
    rows = table()
    example = rows.to_dict("records")[0]
    generate(
        rows, {key: [example] for key in rows["id"]}, pointer, "models/base", PROMPT, generation(**changes), "few",
        out=folder / "out.jsonl", work=folder,
    )  # fmt: skip
    return list(read_jsonl(folder / "out.jsonl"))


def test_a_bare_answer_behind_examples_stops_at_the_text_that_ends_theirs(pointer, fp32, tmp_path, monkeypatch):
    """A text that this model writes stands for the blank line, which it does not."""
    whole = behind_an_example(pointer, tmp_path, max_new_tokens=24)
    end = whole[3]["text"][4:6]
    for module in (local, generate_module):
        monkeypatch.setattr(module, "stop_text", lambda prompt, chat: end if not chat and len(prompt) > 1 else None)
    stopped = behind_an_example(pointer, tmp_path, max_new_tokens=24)
    assert [row["text"] for row in stopped] == [row["text"].partition(end)[0] for row in whole]
    for before, row in zip(whole, stopped, strict=True):
        if end in before["text"]:
            assert row["finish_reason"] == "stop" and row["completion_tokens"] < before["completion_tokens"]
        else:
            assert row == before
    assert stopped[3]["text"] == whole[3]["text"][:4]


def test_real_answers_behind_examples_are_the_same_bytes_in_fewer_tokens(fp32, monkeypatch):
    """The embedded model, whose blank line is two tokens: stopped in time, or cut when it has come to the limit."""
    from text2sql.generation.backend import Completion
    from text2sql.models.pin import pin_wheel

    backend = local.LocalModel(
        pin_wheel(read_params("resolve", path=ROOT / "params.yaml")[0]), None, PROMPT, generation(max_new_tokens=24)
    )
    asked = [("Q: 1 + 1\nA:", " 2", "Q: 2 + 3\nA:")]

    def answer() -> Completion:
        (piece,) = backend.complete(asked, [None], (), (0, 1))
        return piece[0]

    stopped = answer()
    monkeypatch.setattr(local, "stop_text", lambda prompt, chat: None)
    whole = answer()
    assert whole.completion_tokens == 24 and "\n\n" in whole.text
    assert 1 < stopped.completion_tokens < 24 and whole.text.startswith(stopped.text) and stopped.text.endswith("\n\n")
    assert [up_to_break(one, asked[0], chat=False).text for one in (stopped, whole)] == [
        whole.text.partition("\n\n")[0]
    ] * 2
