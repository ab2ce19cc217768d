"""Fine-tuning: what is learnt, what is left out, and that kills change nothing."""

import shutil
from importlib.metadata import version
from pathlib import Path

import architectures
import pytest
from tiny_runs import PROMPT, losses, run, table, train, training

from text2sql.base.errors import UserError
from text2sql.base.files import read_json, read_jsonl, write_json
from text2sql.models import load
from text2sql.models.prompts import completion_ids
from text2sql.scoring.score import arm_items, score_file
from text2sql.training import finetune as module
from text2sql.training import trainer
from text2sql.training.finetune import build_examples, epochs_of, hold_out

pytestmark = pytest.mark.usefixtures("in_the_project")

# What is learnt


@pytest.mark.parametrize(("rows", "epochs"), [(4, 5.0), (373, 3.0), (840, 2.0), (5_000, 1.0)])
def test_epochs_follow_the_number_of_rows_where_they_are_auto(rows, epochs):
    config = training(epochs="auto", batch_size=4)
    assert epochs_of(config, rows) == epochs and epochs_of(training(epochs=1.5), rows) == 1.5


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
    assert counted["longest"] == longest  # the limit that keeps them
    assert counted["tokens"] == 2 * sum(fits)
    assert counted["machine"]["device"] == "CPU" and counted["machine"]["versions"]["torch"] == version("torch")
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


def test_a_loss_that_is_no_number_is_one_line(tiny_model, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    broken = shutil.copytree(tiny_model, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(broken)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(UserError, match=r"loss is not a number at step 1 of 8; lower finetune\.learning_rate"):
        train({"source": "folder", "name": str(broken)}, tmp_path)
    assert not (tmp_path / "adapter").exists() and not (tmp_path / "train").exists()


# Held-out rows


def test_held_out_rows_are_whole_databases_and_the_same_for_every_run():
    rows = table(40)  # of 4 databases, 10 rows each
    train_rows, held = hold_out(rows, 25)
    assert len(held) == 20 and len(train_rows) == 20
    assert not set(held.db_id) & set(train_rows.db_id)
    assert list(hold_out(rows.iloc[::-1], 25)[1].id)[::-1] == list(held.id)
    assert len(hold_out(rows, 3)[1]) == 10  # no database is as small
    assert hold_out(rows, 0)[0] is not rows and len(hold_out(rows, 0)[1]) == 0


def test_of_a_single_database_rows_are_held_out():
    rows = table(12).assign(db_id="only")
    train_rows, held = hold_out(rows, 5)
    assert len(held) == 5 and sorted([*held.id, *train_rows.id]) == sorted(rows.id)


def test_more_held_out_rows_than_there_are_is_one_line():
    with pytest.raises(UserError, match=r"finetune\.eval_rows: 7 of 7 rows leaves none to train; lower it"):
        hold_out(table(), 7)


def test_the_best_adapter_is_the_one_with_the_lowest_loss_on_held_out_rows(pointer, tmp_path):
    """Held-out rows with other answers: the more is learnt of the rest, the larger their loss; so training stops."""
    rows = table(12)
    rows.loc[rows.id.isin(hold_out(rows, 3)[1].id), "answer"] = "~" * 20
    for keep in ("best", "last"):
        train(pointer, tmp_path / keep, rows, keep=keep, patience=2, eval_rows=3, epochs=8.0, learning_rate=0.05)
    counted = {keep: read_json(tmp_path / keep / "train/summary.json") for keep in ("best", "last")}
    rows = [line.split("\t") for line in (tmp_path / "best/train/eval_loss.tsv").read_text().splitlines()]
    assert rows[0] == ["step", "eval_loss"]
    best = min(rows[1:], key=lambda row: float(row[1]))
    assert rows.index(best) == len(rows) - 3 < 9  # stopped two evaluations later, before the tenth
    assert counted["best"]["kept_step"] == int(best[0]) < counted["best"]["steps"] == int(rows[-1][0])
    assert counted["last"]["kept_step"] == counted["last"]["steps"] == counted["best"]["steps"]
    assert (counted["best"]["rows"], counted["best"]["eval_rows"]) == (9, 3)
    assert losses(tmp_path / "last") == losses(tmp_path / "best")
    weights = [(tmp_path / keep / "adapter/adapter_model.safetensors").read_bytes() for keep in ("best", "last")]
    assert weights[0] != weights[1]


# What finetune.lora can say


def continuation(model, tokenizer) -> tuple:
    """Logits after a prompt, and its greedy continuation."""
    import torch

    prompt = torch.tensor([tokenizer("SELECT 3 FROM t WHERE")["input_ids"]])
    model.eval()
    with torch.inference_mode():
        tokens = model.generate(prompt, do_sample=False, max_new_tokens=8, pad_token_id=0)
        return model(prompt).logits.float(), tokens.tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora": {"use_dora": True}},
        {"lora": {"use_rslora": True, "lora_dropout": 0.1}},
        {"lora": {"loraplus_lr_ratio": 16.0}},
        {"lora": {"init_lora_weights": "pissa"}},
        {"lora": {"init_lora_weights": "pissa_niter_4", "use_rslora": True}, "eval_rows": 2, "keep": "best"},
        {"lora": {"init_lora_weights": "olora"}},
        {"lora": {"init_lora_weights": "orthogonal", "target_modules": ["q_proj", "down_proj"]}},
        {"quantization": "nf4", "lora": {"use_dora": True}, "eval_rows": 2},
        {"quantization": "nf4", "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_what_is_saved_is_what_was_trained(changes, pointers, tokenizer, fp32, tmp_path, monkeypatch):
    from peft import PeftModel

    in_memory, write = [], module.write_adapter

    def watched(model, *rest):
        in_memory.extend(continuation(model, tokenizer))
        write(model, *rest)

    monkeypatch.setattr(module, "write_adapter", watched)
    train(pointers["llama"], tmp_path, **changes)
    base = load.load_model(pointers["llama"], quantization=changes.get("quantization", "none"))
    before, _ = continuation(base, tokenizer)
    logits, tokens = continuation(PeftModel.from_pretrained(base, tmp_path / "adapter"), tokenizer)
    assert (logits - in_memory[0]).abs().max() < 1e-3 < 0.02 < (logits - before).abs().max()
    assert tokens == in_memory[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"lora": {"target_modules": ["nonsense"]}},
            r"finetune\.lora: PEFT says: Target modules .*nonsense.* not found",
        ),
        ({"lora": {"target_modules": ["lm_head"]}}, r"finetune: TRL says: .*`lm_head` is not supported"),
        ({"quantization": "nf4", "lora": {"init_lora_weights": "pissa"}}, r"finetune\.lora: PEFT says: .* PiSSA"),
        ({"liger": True}, r"finetune\.liger: needs"),
        ({"dtype": "fp16"}, r"finetune\.dtype: fp16 trains on a card alone; set auto, bf16 or fp32"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_one_line(changes, said, pointers, tmp_path):
    with pytest.raises(UserError, match=said) as error:
        train(pointers["llama"], tmp_path, **changes)
    assert "\n" not in str(error.value)


PISSA = {"init_lora_weights": "pissa"}
OTHERWISE = r"finetune\.lora: with .* the adapter as saved is not the model that was trained; leave one of them out"
UNSAVED = r"finetune\.lora: with .* an adapter cannot be saved and loaded \(.*\); leave one of them out"


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (PISSA | {"use_dora": True}, OTHERWISE),
        ({"init_lora_weights": "olora", "use_dora": True}, OTHERWISE),
        (PISSA | {"modules_to_save": ["norm"]}, UNSAVED),
        (PISSA | {"bias": "lora_only"}, UNSAVED),
        (PISSA | {"alpha_pattern": {"q_proj": 2}, "use_rslora": True}, UNSAVED),
        ({"layer_replication": [[0, 2], [1, 2]]}, "the adapter as merged is not the model that was trained"),
        (PISSA | {"rank_pattern": {"q_proj": 2}}, None),
        ({"rank_pattern": {"q_proj": 2}, "bias": "all", "modules_to_save": ["lm_head"]}, None),
        ({"target_modules": ["q_proj", "embed_tokens"]}, None),
    ],
    ids=str,
)
def test_an_adapter_that_would_be_saved_as_another_model_is_refused_before_it_is_trained(
    lora, said, pointers, fp32, tmp_path, monkeypatch
):
    steps = []
    monkeypatch.setattr(trainer.CompletionTrainer, "train", lambda self, **how: steps.append(how))
    monkeypatch.setattr(module, "check_saved", lambda *_: None)
    if said is None:
        with pytest.raises(ZeroDivisionError):  # no step was taken, and no token counted
            train(pointers["llama"], tmp_path, lora=lora)
        assert steps and not (tmp_path / "work/rehearsal").exists()
        return
    with pytest.raises(UserError, match=said) as error:
        train(pointers["llama"], tmp_path, lora=lora)
    assert "\n" not in str(error.value) and not steps


def test_embeddings_that_are_the_output_layer_too_take_no_adapter(tokenizer, fp32, tmp_path):
    settings = architectures.TOKENS | architectures.HEADS | {"tie_word_embeddings": True}
    pointer = architectures.write("llama", settings, tokenizer, tmp_path / "model")
    with pytest.raises(UserError, match="the adapter as merged is not the model that was trained"):
        train(pointer, tmp_path, lora={"target_modules": ["q_proj", "embed_tokens"]})


def test_the_saved_adapter_is_held_against_the_model_that_was_trained(pointer, fp32, tmp_path, monkeypatch):
    train(pointer, tmp_path / "right")
    found = read_json(tmp_path / "right/train/summary.json")["saved_differs"]
    assert found["beside"] == 0 and 0 < found["merged"] < 1e-5

    def spoil(model, pointer, folder, work, weights):
        write(model, pointer, folder, work, weights)
        settings = read_json(folder / "adapter_config.json")
        write_json(folder / "adapter_config.json", settings | {"lora_alpha": 2 * settings["lora_alpha"]})

    write = module.write_adapter
    monkeypatch.setattr(module, "write_adapter", spoil)
    with pytest.raises(
        UserError, match=r"as saved is not the model that was trained \(\d+% of the largest logit apart"
    ):
        train(pointer, tmp_path / "wrong")
    assert not (tmp_path / "wrong/adapter").exists() and (tmp_path / "wrong/work").exists()


def test_before_training_it_is_said_how_many_rows_are_too_long_and_which_limit_keeps_them(
    pointer, lengths, tmp_path, capsys, monkeypatch
):
    def begin(*_):
        raise NotImplementedError("training begins")

    monkeypatch.setattr(module, "CompletionTrainer", begin)
    limit, longest = sorted(lengths.values())[4], max(lengths.values())
    with pytest.raises(NotImplementedError, match="training begins"):
        train(pointer, tmp_path, max_length=limit)
    note = (
        f"2 of 7 training rows are longer than {limit} tokens and left out; finetune.max_length: {longest} keeps them"
    )
    assert f"note: {note}\n" in capsys.readouterr().err


def test_rows_longer_than_the_models_positions_are_left_out(tokenizer, lengths, tmp_path):
    limit = sorted(lengths.values())[3]
    settings = architectures.ARCHITECTURES["gpt2"][1] | architectures.TOKENS | {"n_positions": limit}
    pointer = architectures.write("gpt2", settings, tokenizer, tmp_path / "model")
    train(pointer, tmp_path, epochs=1.0)
    assert read_json(tmp_path / "train/summary.json")["too_long"] == [k for k, size in lengths.items() if size > limit]
    pointer = architectures.write("gpt2", settings | {"n_positions": 20}, tokenizer, tmp_path / "short")
    with pytest.raises(UserError, match="none of 7 training rows fits 20; the model has no more positions"):
        train(pointer, tmp_path / "none")


# From end to end


@pytest.mark.parametrize(
    ("kind", "quantization", "targets"),
    [
        ("llama", "nf4", "all-linear"),
        ("phi", "none", ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"]),
        ("qwen2", "none", "all-linear"),
    ],
)
def test_each_architecture_goes_from_training_to_scores(kind, quantization, targets, pointers, tmp_path):
    rows = table(4)
    rows["context"] = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1);"
    train(pointers[kind], tmp_path, quantization=quantization, lora={"target_modules": targets}, epochs=1.0)
    assert losses(tmp_path)[0] == pytest.approx(5.6, abs=0.4)  # an untrained model guesses among 258 tokens
    answers = run(pointers[kind], tmp_path / "out", tmp_path / "adapter", rows, "finetuned", quantization=quantization)
    items = arm_items(rows.to_dict("records"), {}, {}, answers)
    score_file(tmp_path / "scores.jsonl", items, workers=1, unfinished=tmp_path / "unfinished.jsonl")
    scores = list(read_jsonl(tmp_path / "scores.jsonl"))
    assert [row["id"] for row in scores] == list(rows.id) and {row["ex"] for row in scores} <= {True, False}


# Killed, and gone on


class Killed(BaseException):
    """Stands for a kill between two steps; what it leaves of a checkpoint is another test's."""


@pytest.mark.parametrize(
    "changes",
    [
        {"eval_rows": 2, "keep": "best", "patience": 2, "packing": "padding_free"},
        {"lora": {"init_lora_weights": "pissa_niter_4", "lora_dropout": 0.1}},
        {"quantization": "nf4", "eval_rows": 2, "lora": {"loraplus_lr_ratio": 4.0}},
    ],
    ids=str,
)
def test_a_killed_run_ends_with_the_same_curves_and_adapter(changes, pointers, tmp_path, monkeypatch):
    train(pointers["llama"], tmp_path / "whole", **changes)
    steps = read_json(tmp_path / "whole/train/summary.json")["steps"]
    for last in (int(steps * 0.4), int(steps * 0.8)):

        class Dying(trainer.Progress):
            last_step = last

            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == self.last_step:
                    raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(trainer, "Progress", Dying)
            train(pointers["llama"], tmp_path / "killed", **changes)
    train(pointers["llama"], tmp_path / "killed", **changes)
    files = {
        folder: {
            str(path.relative_to(tmp_path / folder)): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        }
        for folder in ("whole", "killed")
    }
    assert files["whole"] == files["killed"]
    assert len(files["whole"]) == 6


def test_a_run_killed_after_its_early_stop_stops_there_again(pointer, tmp_path, monkeypatch):
    rows = table(12)
    rows.loc[rows.id.isin(hold_out(rows, 3)[1].id), "answer"] = "~" * 20
    changes = {"rows": rows, "keep": "best", "patience": 2, "eval_rows": 3, "epochs": 8.0, "learning_rate": 0.05}
    train(pointer, tmp_path / "whole", **changes)

    def die(model):
        raise Killed

    with monkeypatch.context() as killed, pytest.raises(Killed):
        killed.setattr(module, "check_weights", die)
        train(pointer, tmp_path / "killed", **changes)
    train(pointer, tmp_path / "killed", **changes)
    for name in ("train/summary.json", "train/eval_loss.tsv", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
