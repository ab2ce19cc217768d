"""Memory and time of training: near what was measured, and a lack of it is one clear line."""

import pytest
from tiny_runs import train

from text2sql.base.errors import UserError
from text2sql.training import finetune, memory

pytestmark = pytest.mark.usefixtures("in_the_project")

YI_KO = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "vocab_size": 78464, "key_size": 512}


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


def test_keys_that_attention_copies_are_kept_in_every_layer_or_checkpointed_in_one():
    def bytes_of(**how) -> int:
        return memory.training_bytes(YI_KO, 0, 0, 4096, 64, **how)

    assert bytes_of(seen=1000) - bytes_of() == 32 * 1000 * 512 * 2 * 2  # keys and values, of two bytes each
    assert bytes_of(seen=1000, checkpointing=True) - bytes_of(checkpointing=True) == 1000 * 512 * 2 * 2


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({}, 0),
        ({"num_attention_heads": 4}, 64),
        ({"num_attention_heads": 4, "num_key_value_heads": 2}, 32),
        ({"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 24}, 24),
    ],
    ids=str,
)
def test_the_keys_of_a_token_are_as_many_as_the_configuration_says(config, size):
    from types import SimpleNamespace

    assert memory.key_size(SimpleNamespace(hidden_size=64, **config)) == size


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

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(finetune, "add_adapter", full)
    with pytest.raises(UserError, match=f"out of GPU memory: {said}"):
        train(pointer, tmp_path, **changes)


def test_a_large_model_without_a_gpu_is_warned_of_with_the_hours(capsys):
    class Large:
        """A stub: six billion parameters."""

        def get_nb_trainable_parameters(self):
            return 1, 6_000_000_000

    memory.say_how_long(Large(), 30_000_000)
    said = capsys.readouterr().err
    assert "no CUDA card, and 6.0 billion parameters: about" in said and "hours" in said
