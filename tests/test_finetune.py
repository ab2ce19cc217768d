"""Fine-tuning: what is learnt, what is left out, and that kills change nothing."""

import shutil
from pathlib import Path

import pytest
from conftest import CONTEXTS

from text2sql.base.errors import UserError
from text2sql.base.files import read_json, read_jsonl
from text2sql.base.params import FinetuneParams, GenerateParams, PromptParams
from text2sql.dataset.rows import to_table
from text2sql.generation.generate import generate
from text2sql.models import load
from text2sql.models.prompts import completion_ids
from text2sql.scoring.score import arm_items, score_file
from text2sql.training import memory
from text2sql.training.finetune import (
    COMPLETE,
    build_examples,
    check_isolation,
    completion_loss,
    finetune,
    hold_out,
    last_complete_checkpoint,
    length_sampler,
    say_how_long,
)

PROMPT = PromptParams(template="en", context="schema", chat=False)
pytestmark = pytest.mark.usefixtures("in_the_project")


def table(count: int = 7):
    """Rows of different lengths, not in the order of their lengths."""
    return to_table(
        {
            "id": f"q{number}",
            "db_id": f"d{number % 4}",
            "context": CONTEXTS[number % 3],
            "question": f"Question {'long ' * (number * 5 % 7)}{number}?",
            "answer": f"SELECT {number} FROM t",
            "language": "en",
        }
        for number in range(count)
    )


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
        "quantization": "none", "learning_rate": 1e-2, "weight_decay": 0.0, "warmup": 0.1, "scheduler": "cosine",
        "epochs": 2.0, "batch_size": 2, "accumulation": 1, "max_length": 1024, "eval_rows": 0, "keep": "last",
        "patience": None, "attention": "auto", "packing": "none", "gradient_checkpointing": "auto", "compile": False,
        "liger": False, "launcher": "none", "accelerate": "configs/ddp.yaml",
    }  # fmt: skip
    lora = {
        "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear", "use_dora": False,
        "use_rslora": False, "init_lora_weights": True, "loraplus_lr_ratio": None,
    } | changes.pop("lora", {})  # fmt: skip
    return FinetuneParams(**(values | {"lora": lora} | changes))


def train(pointer: dict, folder: Path, **changes) -> dict:
    """Fine-tunes on `table()` into folder/adapter and folder/train. Returns what was measured."""
    return finetune(
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


def losses(folder: Path, name: str = "loss") -> list[float]:
    return [float(line.split("\t")[1]) for line in (folder / f"train/{name}.tsv").read_text().splitlines()[1:]]


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


def test_the_best_adapter_is_the_one_with_the_lowest_loss_on_held_out_rows(pointer, tmp_path, monkeypatch):
    """Held-out rows with other answers: the more is learnt of the rest, the larger their loss; so training stops."""
    rows = table(12)
    rows.loc[rows.id.isin(hold_out(rows, 3)[1].id), "answer"] = "~" * 20
    monkeypatch.setitem(globals(), "table", lambda: rows)
    for keep in ("best", "last"):
        train(pointer, tmp_path / keep, keep=keep, patience=2, eval_rows=3, epochs=8.0, learning_rate=0.05)
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


@pytest.mark.parametrize("in_step", [None, 7])
def test_the_loss_on_a_processor_is_cross_entropy_over_the_completions(tiny_model, in_step):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = torch.randint(2, 250, (3, 12), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[0, :4], labels[1, :9], labels[2, :6], labels[2, 10:] = -100, -100, -100, -100
    inputs = {"input_ids": ids, "attention_mask": (torch.arange(12) < torch.tensor([[12], [12], [10]])).long()}
    logits = model(**inputs).logits[:, :-1].flatten(0, 1)
    reduction = "mean" if in_step is None else "sum"
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction=reduction)
    found = completion_loss(model, inputs | {"labels": labels}, num_items_in_batch=in_step, processes=2)
    assert found.item() == pytest.approx(expected.item() * (1 if in_step is None else 2 / in_step), rel=1e-5)


def test_a_loss_that_is_no_number_is_one_line(tiny_model, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    broken = shutil.copytree(tiny_model, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(broken)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(UserError, match=r"loss is no number at step 1 of 8; lower finetune\.learning_rate"):
        train({"source": "folder", "name": str(broken)}, tmp_path)
    assert not (tmp_path / "adapter").exists() and not (tmp_path / "train").exists()


# What finetune.lora can say


def tiny(kind: str, tokenizer, folder: Path) -> dict:
    """The pointer to a model of two layers with random weights and the architecture of Yi-Ko, phi-2 or Qwen."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 1024}
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    torch.manual_seed(0)
    architecture = AutoConfig.for_model(kind, **shape, **heads, **tokens)
    AutoModelForCausalLM.from_config(architecture).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"source": "folder", "name": str(folder)}


@pytest.fixture(scope="module")
def pointers(tokenizer, tmp_path_factory) -> dict[str, dict]:
    return {kind: tiny(kind, tokenizer, tmp_path_factory.mktemp(kind)) for kind in ("llama", "phi", "qwen2")}


@pytest.fixture
def fp32(monkeypatch):
    """The formats' rounding aside: a merge or a conversion in bf16 moves a logit in the third digit."""
    import torch

    monkeypatch.setattr(load, "device_and_dtype", lambda: ("cpu", torch.float32))


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

    from text2sql.training import finetune as module

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
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_one_line(changes, said, pointers, tmp_path):
    with pytest.raises(UserError, match=said) as error:
        train(pointers["llama"], tmp_path, **changes)
    assert "\n" not in str(error.value)


# Batches


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_examples_packed_into_a_row_get_the_logits_they_get_alone(attention, pointers, tokenizer, fp32):
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    examples, _ = build_examples(table(4), tokenizer, PROMPT, 1024)
    packed = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(examples)
    assert packed["input_ids"].shape == (1, sum(len(example["input_ids"]) for example in examples))
    for kind, pointer in pointers.items():
        model = load.load_model(pointer, attention=attention).eval()
        check_isolation(model)
        with torch.inference_mode():
            row = model(packed["input_ids"], position_ids=packed["position_ids"], use_cache=False).logits[0]
            alone = [model(torch.tensor([example["input_ids"]])).logits[0] for example in examples]
        torch.testing.assert_close(row, torch.cat(alone), atol=1e-4, rtol=1e-3, msg=kind)


def test_a_model_whose_packed_examples_see_each_other_is_refused(pointers, tmp_path):
    """A stub stands for such a model: it takes every position for the first sequence's."""
    model = load.load_model(pointers["llama"])
    forward = model.forward
    model.forward = lambda position_ids, **inputs: forward(**inputs)
    with pytest.raises(UserError, match=r"finetune\.packing: .* examples in one row see each other; set none"):
        check_isolation(model)


def test_a_padding_free_batch_holds_no_padding_and_learns_as_well(pointers, tmp_path):
    for packing in ("none", "padding_free"):
        train(pointers["llama"], tmp_path / packing, packing=packing)
    counts = {packing: read_json(tmp_path / packing / "train/summary.json") for packing in ("none", "padding_free")}
    assert counts["padding_free"]["padding_share"] == 0 < counts["none"]["padding_share"]
    assert counts["padding_free"]["tokens"] == counts["none"]["tokens"] == counts["padding_free"]["computed_tokens"]
    assert losses(tmp_path / "padding_free")[-1] == pytest.approx(losses(tmp_path / "none")[-1], abs=0.05)


def test_batches_of_about_equal_length_hold_little_padding_and_every_epoch_has_its_own():
    lengths = [100 + number * 37 % 211 for number in range(800)]
    sampler = length_sampler(lengths, 8, seed=1)
    orders = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1] and all(sorted(order) == list(range(800)) for order in orders)
    batches = [[lengths[row] for row in orders[0][start : start + 8]] for start in range(0, 800, 8)]
    assert sum(8 * max(batch) - sum(batch) for batch in batches) <= 0.05 * sum(8 * max(batch) for batch in batches)


# Memory and time


YI_KO = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "vocab_size": 78464}


@pytest.mark.parametrize(
    ("weights", "tokens", "completions", "dropout", "checkpointing", "measured"),
    [
        (12.4e9, 4 * 1024, 4 * 1024, True, False, 46.3e9),
        (12.4e9, 4 * 1024, 4 * 1024, False, False, 41.6e9),
        (12.4e9, 8 * 1024, 8 * 1024, True, True, 22.9e9),
        (4.2e9, 8 * 1024, 8 * 1024, True, True, 18.7e9),
        (12.4e9, 4 * 1024, 4 * 16, True, False, 42.8e9),
        (4.2e9, 8 * 1024, 8 * 16, True, True, 9.2e9),
    ],
)
def test_the_memory_estimate_is_near_what_was_measured(weights, tokens, completions, dropout, checkpointing, measured):
    """6.18 billion parameters, LoRA of rank 16 on all linear layers: an H100, with logits for every token, and an H200
    (benchmarks/gpu.py), with logits for the completions alone."""
    given = {"dropout": dropout, "checkpointing": checkpointing}
    estimate = memory.training_bytes(YI_KO, int(weights), 40_000_000, tokens, completions, **given)
    assert estimate == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "lower finetune.batch_size"),
        ({"batch_size": 1}, "set finetune.gradient_checkpointing to true"),
        ({"batch_size": 1, "gradient_checkpointing": True}, "set finetune.quantization to nf4"),
        ({"batch_size": 1, "gradient_checkpointing": True, "quantization": "nf4"}, "lower finetune.max_length"),
    ],
    ids=str,
)
def test_a_lack_of_gpu_memory_names_what_to_change(changes, said, pointer, tmp_path, monkeypatch):
    """A stub raises what PyTorch raises on a full card."""
    import torch

    from text2sql.training import finetune as module

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(module, "add_adapter", full)
    with pytest.raises(UserError, match=f"out of GPU memory: {said}"):
        train(pointer, tmp_path, **changes)


def test_a_large_model_without_a_gpu_is_warned_of_with_the_hours(capsys):
    class Large:
        """A stub: six billion parameters."""

        def get_nb_trainable_parameters(self):
            return 1, 6_000_000_000

    say_how_long(Large(), 30_000_000)
    said = capsys.readouterr().err
    assert "no CUDA card, and 6.0 billion parameters: about" in said and "hours" in said


# From end to end


def generation(quantization: str) -> GenerateParams:
    return GenerateParams(
        backend="transformers", max_new_tokens=6, batch_tokens=900, quantization=quantization, cuda_graphs=True,
        base_url=None, models={"base": "base", "finetuned": "tuned"}, concurrency=4,
    )  # fmt: skip


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
    (tmp_path / "generate").mkdir()
    out = tmp_path / "out.jsonl"
    generate(
        rows,
        pointers[kind],
        tmp_path / "adapter",
        PROMPT,
        generation(quantization),
        "finetuned",
        out=out,
        work=tmp_path / "generate",
    )
    items = arm_items(rows.to_dict("records"), {}, {}, list(read_jsonl(out)))
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
    from text2sql.training import finetune as module

    train(pointers["llama"], tmp_path / "whole", **changes)
    steps = read_json(tmp_path / "whole/train/summary.json")["steps"]
    make = module.make_progress
    for share in (0.4, 0.8):

        def dying(total, last=int(steps * share)):
            progress = make(total)

            def die(args, state, control, **kwargs):
                if state.global_step == last:
                    raise Killed

            progress.on_step_begin = die
            return progress

        monkeypatch.setattr(module, "make_progress", dying)
        with pytest.raises(Killed):
            train(pointers["llama"], tmp_path / "killed", **changes)
    monkeypatch.setattr(module, "make_progress", make)
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
    from text2sql.training import finetune as module

    rows = table(12)
    rows.loc[rows.id.isin(hold_out(rows, 3)[1].id), "answer"] = "~" * 20
    monkeypatch.setitem(globals(), "table", lambda: rows)
    changes = {"keep": "best", "patience": 2, "eval_rows": 3, "epochs": 8.0, "learning_rate": 0.05}
    train(pointer, tmp_path / "whole", **changes)

    def die(model):
        raise Killed

    with monkeypatch.context() as killed, pytest.raises(Killed):
        killed.setattr(module, "check_weights", die)
        train(pointer, tmp_path / "killed", **changes)
    train(pointer, tmp_path / "killed", **changes)
    for name in ("train/summary.json", "train/eval_loss.tsv", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
