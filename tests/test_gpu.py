"""Training and generation on a CUDA card: NF4 and bf16, checkpointed, packed and compiled. Skipped without one."""

import importlib.util

import pytest
import test_launch
from tiny_runs import losses, run, table, train

from text2sql.base.files import read_json
from text2sql.models import load


def no_card() -> bool:
    import torch

    return not torch.cuda.is_available()


pytestmark = [pytest.mark.usefixtures("in_the_project"), pytest.mark.skipif("no_card()", reason="needs a CUDA card")]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"share_prefixes": "never"},
        {"quantization": "nf4"},
        {"quantization": "nf4", "gradient_checkpointing": True, "lora": {"lora_dropout": 0.05}},
        {"packing": "padding_free"},
        {"compile": True},
        {"compile": True, "quantization": "nf4"},
        {"compile": True, "float8": True},
        {"eval_rows": 2, "keep": "best", "lora": {"use_dora": True, "loraplus_lr_ratio": 4.0}},
    ],
    ids=str,
)
def test_training_and_generation_run_on_the_card(changes, pointers, tmp_path):
    measured = train(pointers["llama"], tmp_path, **changes)
    assert measured["gpu_peak_gib"] > 0 and measured["device"] != "CPU"
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]
    quantization = changes.get("quantization", "none")
    rows = run(pointers["llama"], tmp_path / "out", tmp_path / "adapter", arm="finetuned", quantization=quantization)
    assert [row["completion_tokens"] for row in rows] == [6] * 7


@pytest.mark.parametrize("changes", [{}, {"compile": True}, {"gradient_checkpointing": True}], ids=str)
def test_shared_beginnings_learn_on_the_card_what_rows_of_their_own_learn(changes, pointers, tmp_path):
    """All rows in each step, so that both ways take the same steps; in 16 bits they round differently."""
    for share in ("never", "auto"):
        train(pointers["qwen2"], tmp_path / share, table(8), batch_size=8, share_prefixes=share, **changes)
    assert read_json(tmp_path / "auto/train/summary.json")["shared_share"] > 0.3
    assert losses(tmp_path / "auto") == pytest.approx(losses(tmp_path / "never"), rel=0.02)


def test_nf4_on_the_card_computes_in_bf16(pointers):
    import torch

    model = load.load_model(pointers["llama"], quantization="nf4")
    projection = model.model.layers[0].self_attn.q_proj
    assert (projection.weight.dtype, projection.compute_dtype) == (torch.uint8, load.device_and_dtype()[1])
    assert model.device.type == "cuda"


def test_the_memory_estimate_says_why(pointers, tmp_path, capsys):
    train(pointers["llama"], tmp_path, gradient_checkpointing="auto")
    assert "gradient checkpointing off: about" in capsys.readouterr().err
    assert read_json(tmp_path / "train/summary.json")["steps"] > 0


def too_few_cards() -> bool:
    import torch

    return torch.cuda.device_count() < 2


@pytest.mark.skipif("too_few_cards()", reason="needs two CUDA cards")
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_cards_together_learn_what_one_does(quantization, tiny_model, tmp_path):
    curves = {}
    for name, changes in {
        "one": {"batch_size": 2, "accumulation": 2},
        "ddp": {"batch_size": 2, "launcher": "accelerate", "accelerate": "configs/ddp.yaml"},
        "fsdp": {"batch_size": 2, "launcher": "accelerate", "accelerate": "configs/fsdp_qlora.yaml"},
        "deepspeed": {"batch_size": 2, "launcher": "accelerate", "accelerate": "configs/deepspeed_zero3.yaml"},
    }.items():
        if name == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
            continue
        folder = tmp_path / name
        test_launch.write_inputs(folder, tiny_model)
        test_launch.set_params(folder, quantization=quantization, share_prefixes="never", **changes)
        done = test_launch.run_stage(folder, CUDA_VISIBLE_DEVICES="0,1")  # one process uses one of them
        assert done.returncode == 0, done.stderr
        curves[name] = test_launch.losses(folder)
        settings = read_json(folder / "models/finetuned/adapter_config.json")
        assert settings["base_model_name_or_path"] == str(tiny_model)
    assert curves["one"][-1] < curves["one"][0]
    for name, curve in curves.items():
        assert curve == pytest.approx(curves["one"], rel=0.01), name
