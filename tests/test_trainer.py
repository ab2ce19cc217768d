"""The trainer: its loss, its batches, its checkpoints."""

import pytest
from tiny_runs import PROMPT, losses, table, train

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.models import load
from text2sql.training.finetune import build_examples
from text2sql.training.trainer import (
    COMPLETE,
    LengthSampler,
    check_isolation,
    completion_loss,
    last_complete_checkpoint,
)

pytestmark = pytest.mark.usefixtures("in_the_project")

# The loss


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
    found, _ = completion_loss(model, inputs | {"labels": labels}, in_step, processes=2)
    assert found.item() == pytest.approx(expected.item() * (1 if in_step is None else 2 / in_step), rel=1e-5)


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
        train(pointers["llama"], tmp_path / packing, packing=packing, share_prefixes="never")
    counts = {packing: read_json(tmp_path / packing / "train/summary.json") for packing in ("none", "padding_free")}
    assert counts["padding_free"]["padding_share"] == 0 < counts["none"]["padding_share"]
    assert counts["padding_free"]["tokens"] == counts["none"]["tokens"] == counts["padding_free"]["computed_tokens"]
    assert losses(tmp_path / "padding_free")[-1] == pytest.approx(losses(tmp_path / "none")[-1], abs=0.05)


def test_batches_of_about_equal_length_hold_little_padding_and_every_epoch_has_its_own():
    lengths = [100 + number * 37 % 211 for number in range(800)]
    sampler = LengthSampler(lengths, 8, seed=1)
    orders = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1] and all(sorted(order) == list(range(800)) for order in orders)
    batches = [[lengths[row] for row in orders[0][start : start + 8]] for start in range(0, 800, 8)]
    assert sum(8 * max(batch) - sum(batch) for batch in batches) <= 0.05 * sum(8 * max(batch) for batch in batches)


# Checkpoints


def test_a_half_written_checkpoint_is_not_gone_on_from(tmp_path):
    for step in (2, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step < 12:
            (tmp_path / f"checkpoint-{step}" / COMPLETE).touch()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]
    assert last_complete_checkpoint(tmp_path / "nothing") is None
