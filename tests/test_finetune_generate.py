"""Fine-tuning and generation: what is learnt, what is left out, and that batches, order and kills change nothing."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from text2sql import models
from text2sql.errors import UserError
from text2sql.files import read_json, read_jsonl
from text2sql.finetune import COMPLETE, build_examples, finetune, last_complete_checkpoint
from text2sql.generate import complete, generate, stop_tokens, up_to_stop
from text2sql.params import FinetuneParams, GenerateParams, PromptParams
from text2sql.prompts import build_prompt, completion_ids, prompt_ids, read_templates
from text2sql.resume import whole_lines
from text2sql.rows import to_table

PROMPT = PromptParams(template="en", context="schema", chat=False)
CONTEXTS = [
    "CREATE TABLE t (a INT);",
    "CREATE TABLE longer (id INT, name TEXT, age INT);",
    "CREATE TABLE 가수 (이름 TEXT);",
]


@pytest.fixture(autouse=True, scope="module")
def in_the_project():
    """The templates are found from the project's folder, and a tiny model is fastest on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pointer(tiny_model) -> dict:
    return {"source": "folder", "name": str(tiny_model), "sha256": "0" * 64}


@pytest.fixture(scope="module")
def tokenizer(pointer):
    return models.load_tokenizer(pointer)


def table(count: int = 7):
    """Rows of different lengths, not in the order of their lengths."""
    return to_table(
        {
            "id": f"q{number}",
            "db_id": "d",
            "context": CONTEXTS[number % 3],
            "question": f"Question {'long ' * (number * 5 % 7)}{number}?",
            "answer": f"SELECT {number} FROM t",
            "language": "en",
        }
        for number in range(count)
    )


def prompt_of(row: dict, tokenizer) -> list[int]:
    return prompt_ids(build_prompt(row, read_templates(PROMPT), PROMPT), tokenizer, False)


# What is learnt


def test_the_loss_is_on_the_completion_alone(tokenizer):
    examples, too_long = build_examples(table(), tokenizer, PROMPT, 1024)
    assert len(examples) == 7 and too_long == []
    for row, example in zip(table().to_dict("records"), examples, strict=True):
        learnt = [label for label in example["labels"] if label != -100]
        assert learnt == completion_ids(row["answer"], tokenizer) and learnt[-1] == tokenizer.eos_token_id
        assert example["input_ids"][-len(learnt) :] == learnt
        assert len(example["labels"]) == len(example["input_ids"])


def test_rows_that_are_too_long_are_left_out_whole_and_named(tokenizer):
    everything, _ = build_examples(table(), tokenizer, PROMPT, 1024)
    lengths = {
        row["id"]: len(example["input_ids"])
        for row, example in zip(table().to_dict("records"), everything, strict=True)
    }
    limit = sorted(lengths.values())[3]
    examples, too_long = build_examples(table(), tokenizer, PROMPT, limit)
    assert too_long == [key for key, length in lengths.items() if length > limit] != []
    assert examples == [example for example in everything if len(example["input_ids"]) <= limit]
    assert len(examples) + len(too_long) == 7


def config(**changes) -> FinetuneParams:
    values = {
        "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "lora_targets": "all-linear", "learning_rate": 1e-2,
        "weight_decay": 0.0, "warmup": 0.1, "scheduler": "cosine", "epochs": 2.0, "batch_size": 2, "accumulation": 1,
        "max_length": 1024,
    }  # fmt: skip
    return FinetuneParams(**(values | changes))


def train(pointer: dict, folder: Path, **changes) -> None:
    """Fine-tunes on `table()` into folder/adapter and folder/train."""
    finetune(
        table(), pointer, PROMPT, config(**changes), 1,
        adapter_folder=folder / "adapter", metrics_folder=folder / "train", work=folder / "work",
    )  # fmt: skip


@pytest.fixture(scope="module")
def lengths(tokenizer) -> dict[str, int]:
    """Tokens of each row's example, by id."""
    examples, _ = build_examples(table(), tokenizer, PROMPT, 1024)
    return {key: len(example["input_ids"]) for key, example in zip(table().id, examples, strict=True)}


@pytest.fixture(scope="module")
def trained(pointer, lengths, tmp_path_factory) -> Path:
    """A folder with an adapter for the tiny model, trained on all rows but the longest."""
    folder = tmp_path_factory.mktemp("trained")
    train(pointer, folder, max_length=max(lengths.values()) - 1)
    return folder


def test_training_lowers_the_loss_and_counts_rows_and_real_tokens(trained, lengths):
    counted = read_json(trained / "train/summary.json")
    longest = max(lengths.values())
    fits = [length for length in lengths.values() if length < longest]
    assert counted["too_long"] == [key for key, length in lengths.items() if length == longest]
    assert counted["rows"] == len(fits) == 7 - len(counted["too_long"])
    assert counted["tokens"] == 2 * sum(fits)
    lines = (trained / "train/loss.tsv").read_text().splitlines()
    losses = [float(line.split("\t")[1]) for line in lines[1:]]
    assert lines[0] == "step\tloss"
    assert [int(line.split("\t")[0]) for line in lines[1:]] == list(range(1, counted["steps"] + 1))
    half = len(losses) // 2
    assert sum(losses[half:]) < sum(losses[:half])
    assert not (trained / "work").exists()


def test_an_adapter_is_two_files_and_names_its_base(trained, tiny_model):
    settings = read_json(trained / "adapter/adapter_config.json")
    assert settings["base_model_name_or_path"] == str(tiny_model)  # the name that resolve was given
    assert settings["target_modules"] == sorted(settings["target_modules"])
    assert sorted(path.name for path in (trained / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_limit_that_no_row_fits_is_one_line(pointer, tmp_path):
    with pytest.raises(UserError, match=r"finetune\.max_length: none of 7 training rows fits 8; raise it"):
        train(pointer, tmp_path, max_length=8)
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_checkpoint_is_not_gone_on_from(tmp_path):
    for step in (2, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step < 12:
            (tmp_path / f"checkpoint-{step}" / COMPLETE).touch()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]
    assert last_complete_checkpoint(tmp_path / "nothing") is None


# Generation


def run(pointer, folder: Path, adapter: Path | None = None, rows=None, batch_size=3, max_new_tokens=6) -> list[dict]:
    folder.mkdir(exist_ok=True)
    settings = GenerateParams(batch_size=batch_size, max_new_tokens=max_new_tokens)
    generate(
        table() if rows is None else rows, pointer, adapter, PROMPT, settings, out=folder / "out.jsonl", work=folder
    )
    assert not (folder / "finished.jsonl").exists()
    return list(read_jsonl(folder / "out.jsonl"))


def test_there_is_one_generation_a_row_in_the_tables_order(whole, tokenizer):
    rows = list(read_jsonl(whole / "out.jsonl"))
    assert [row["id"] for row in rows] == [f"q{number}" for number in range(7)]
    assert [row["prompt_tokens"] for row in rows] == [
        len(prompt_of(row, tokenizer)) for row in table().to_dict("records")
    ]
    assert all(row["finish_reason"] == "length" and row["completion_tokens"] == 6 for row in rows)
    assert len({row["prompt_sha256"] for row in rows}) == 7


def test_batches_give_what_one_at_a_time_gives(pointer, tokenizer):
    """In fp32, where padding changes no logit enough to turn a greedy choice."""
    import torch

    model = models.load_model(pointer, torch.float32).cpu().eval()
    stops = stop_tokens(model, tokenizer)
    prompts = [prompt_of(row, tokenizer) for row in table().to_dict("records")]
    together = complete(prompts, model, tokenizer, stops, 8)
    assert together == [complete([prompt], model, tokenizer, stops, 8)[0] for prompt in prompts]
    assert len({tuple(tokens) for tokens in together}) > 1


@pytest.fixture(scope="module")
def whole(pointer, tmp_path_factory) -> Path:
    """The folder of a run that nothing stopped. A second link, `kept`, keeps the batches that the run removes."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "finished.jsonl").touch()
    (folder / "kept").hardlink_to(folder / "finished.jsonl")
    run(pointer, folder)
    return folder


def killed(whole: Path, folder: Path, batches: int, torn: bytes = b"") -> Path:
    """A work folder as a run leaves it that was killed after some batches, in the middle of writing `torn`."""
    lines = (whole / "kept").read_bytes().splitlines(keepends=True)
    (folder / "finished.jsonl").write_bytes(b"".join(lines[:batches]) + torn)
    return folder


def test_batches_are_of_about_equal_length_the_longest_first(whole, tokenizer):
    """The longest first, so that a lack of memory shows at once."""
    lengths = {row["id"]: len(prompt_of(row, tokenizer)) for row in table().to_dict("records")}
    order = sorted(lengths, key=lambda key: (-lengths[key], key))
    batches = [[row["id"] for row in line["rows"]] for line in whole_lines(whole / "kept")]
    assert batches == [order[:3], order[3:6], order[6:]]


@pytest.mark.parametrize(("batches", "torn"), [(0, b'{"rows": [{"id"'), (2, b'{"rows": [{"id": "q'), (3, b"")])
def test_a_killed_run_goes_on_to_the_same_bytes(batches, torn, pointer, whole, tmp_path):
    run(pointer, killed(whole, tmp_path, batches, torn))
    assert (tmp_path / "out.jsonl").read_bytes() == (whole / "out.jsonl").read_bytes()


def test_finished_batches_are_not_generated_again(pointer, whole, tmp_path):
    lines = (whole / "kept").read_text().splitlines()
    marked = json.loads(lines[0])
    marked["rows"][0]["text"] = "kept from the killed run"
    (tmp_path / "finished.jsonl").write_text(json.dumps(marked) + "\n" + lines[1] + "\n")
    rows = run(pointer, tmp_path)
    assert [row["id"] for row in rows if row["text"] == "kept from the killed run"] == [marked["rows"][0]["id"]]


def test_a_prompt_without_room_is_kept_with_its_reason(pointer, tokenizer, tmp_path):
    rows = table()
    rows.loc[2, "question"] = "x" * 1100
    generated = run(pointer, tmp_path, rows=rows)
    assert [row["finish_reason"] for row in generated] == ["length"] * 2 + ["prompt_too_long"] + ["length"] * 4
    assert (generated[2]["text"], generated[2]["completion_tokens"]) == ("", 0)
    assert generated[2]["prompt_tokens"] == len(prompt_of(rows.to_dict("records")[2], tokenizer)) > 1000
    assert [list(row) for row in generated] == [list(generated[0])] * 7


def test_a_table_whose_prompts_all_lack_room_has_its_generations_too(pointer, tmp_path):
    rows = table(2)
    rows["question"] = "x" * 1100
    assert [row["finish_reason"] for row in run(pointer, tmp_path, rows=rows)] == ["prompt_too_long"] * 2


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


def test_what_follows_the_first_stop_is_padding():
    assert up_to_stop([5, 6, 1, 0, 0], {1}) == [5, 6, 1]
    assert up_to_stop([5, 6], {1}) == [5, 6]
    assert up_to_stop([], {1}) == []


def test_the_adapter_changes_what_is_generated(pointer, trained, whole, tmp_path):
    base = list(read_jsonl(whole / "out.jsonl"))
    tuned = run(pointer, tmp_path / "finetuned", adapter=trained / "adapter")
    assert [row["text"] for row in base] != [row["text"] for row in tuned]
    assert [row["prompt_sha256"] for row in base] == [row["prompt_sha256"] for row in tuned]
