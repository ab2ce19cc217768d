"""What a base model must show before it is trained on; every tiny model here is real, and broken in one way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import prompt_of, run, table
from tokenizers import processors
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from text2sql.base.errors import UserError
from text2sql.models import preflight, prompts

pytestmark = pytest.mark.usefixtures("in_the_project")
SMALL = {"vocab_size": 258, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
# One configuration of each kind: rotary, learned and ALiBi positions, experts, state spaces, and both in one model.
ARCHITECTURES = {
    "llama": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "gemma2": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 512},
    "qwen3_moe": {
        "hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
    },
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
}  # fmt: skip

POSITIONS = {
    "llama": 2048, "gemma2": 8192, "gpt2": 1024, "bloom": None, "mpt": 512, "qwen3_moe": 32768, "mamba": None,
}  # fmt: skip


def saved(kind: str, tokenizer, folder: Path, settings: dict | None = None) -> dict:
    """The pointer to a random model of an architecture, large enough that its logits differ."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SMALL, **(ARCHITECTURES[kind] if settings is None else settings))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1 and "A_log" not in name:
                weights.normal_(std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"source": "folder", "name": str(folder)}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_each_kind_of_model_is_shown_to_load_and_to_answer(kind, tokenizer, tmp_path):
    found = preflight.check(saved(kind, tokenizer, tmp_path), chat=True)
    assert found["model_type"] == kind and found["stops"] == [1] and found["parameters"] > 1000
    assert found["positions"] == POSITIONS[kind]
    assert found["chat"] is True and found["batches"] is True


def test_the_same_model_gives_the_same_findings(pointer):
    assert preflight.check(pointer, chat=False) == preflight.check(pointer, chat=False)


# What is refused


def edit(**changes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def edit_tensors(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def edit_tokenizer(**changes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for name, value in changes.items():
            setattr(tokenizer, name, value)
        tokenizer.save_pretrained(folder)

    return spoil


def write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def torn(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def more_tokens(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<new-{number}>" for number in range(9)])
    tokenizer.save_pretrained(folder)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})
BROKEN = {
    "no weights": (no_weights, r"no weights \(\*\.safetensors\) in its folder; download the model again"),
    "torn weights": (torn, r"model\.safetensors is torn \(.*\); download it again"),
    "weights in git-lfs": (write("model.safetensors", LFS), r"model\.safetensors is a pointer of git-lfs"),
    "tokenizer in git-lfs": (write("tokenizer.json", LFS), r"tokenizer\.json is a pointer of git-lfs"),
    "a shard that is not there": (
        write("model.safetensors.index.json", INDEX),
        r"the weights lack model-00001-of-00002\.safetensors",
    ),
    "a missing tensor": (
        edit_tensors(lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight")),
        r"1 of its tensors are missing from the weights, model\.layers\.1\.mlp\.up_proj\.weight first",
    ),
    "another shape": (edit(intermediate_size=80), r"of its tensors misfit the weights, .*mlp.* first"),
    "logits that are no numbers": (
        edit_tensors(lambda tensors: tensors["model.norm.weight"].fill_(float("nan"))),
        r"its logits are not finite numbers",
    ),
    "an unknown type": (edit(model_type="brandnew"), r"this transformers knows no model of type brandnew"),
    "remote code": (
        edit(model_type="brandnew", auto_map={"AutoModelForCausalLM": "modeling.Brandnew"}),
        r"a model of type brandnew needs code from its own repository, which is not run",
    ),
    "a broken configuration": (write("config.json", "{"), r"config\.json cannot be read"),
    "a broken tokenizer": (write("tokenizer.json", "{"), r"its tokenizer cannot be loaded"),
    "no end token": (edit_tokenizer(eos_token=None), r"its tokenizer names no end token"),
    "more tokens than rows": (more_tokens, r"its tokenizer has 267 tokens and the model rows for 258"),
    "no chat template": (no_chat_template, r"prompt\.chat: the model has no chat template"),
    "a chat template that fails": (
        edit_tokenizer(chat_template="{{ raise_exception('needs a system message') }}"),
        r"prompt\.chat: the model's chat template fails \(needs a system message\); set false",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_model_that_would_fail_later_is_one_line_now(kind, tiny_model, tmp_path):
    spoil, said = BROKEN[kind]
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    spoil(folder)
    with pytest.raises(UserError, match=said) as error:
        preflight.check({"source": "folder", "name": str(folder)}, chat=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_decoder_is_refused_by_name(kind, tokenizer, tmp_path):
    small = {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 1, "num_heads": 2} if kind == "t5" else {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    }  # fmt: skip
    AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(kind, vocab_size=258, **small)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"a {kind} is an encoder–decoder; take a decoder-only model"):
        preflight.check({"source": "folder", "name": str(tmp_path)}, chat=False)


def test_a_model_that_sees_the_tokens_to_come_is_refused(tokenizer, tmp_path):
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    pointer = saved("bert", tokenizer, tmp_path, shape)
    with pytest.raises(UserError, match="it sees the tokens that are to come, so it cannot write"):
        preflight.check(pointer, chat=False)


# What the findings are for


def test_a_model_that_does_not_heed_the_mask_is_read_one_row_at_a_time(pointer, tmp_path, monkeypatch):
    """A stub stands for such a model: attention without the mask of padding, so that a longer neighbour matters."""
    from text2sql.generation import decode, local

    monkeypatch.setattr(decode, "serves", lambda model, columns: False)
    sizes = []
    complete = local.complete_padded

    def watched(model, tokenizer, rows, *rest):
        sizes.append(len(rows))
        return complete(model, tokenizer, rows, *rest)

    monkeypatch.setattr(local, "complete_padded", watched)
    run(pointer | {"checks": {"batches": False}}, tmp_path / "alone")
    run(pointer | {"checks": {"batches": True}}, tmp_path / "together")
    assert sizes[:7] == [1] * 7 and max(sizes[7:]) > 1


def test_models_without_a_table_of_positions_answer_prompts_of_any_length(tokenizer, tmp_path):
    pointer = saved("bloom", tokenizer, tmp_path / "model")
    assert [row["completion_tokens"] for row in run(pointer, tmp_path / "out")] == [6] * 7


def test_an_end_token_that_a_tokenizer_adds_to_prompts_is_not_part_of_them(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = prompt_of(table().to_dict("records")[0], tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", 1)]
    )
    tokenizer.save_pretrained(folder)
    again = AutoTokenizer.from_pretrained(folder)
    assert again("x")["input_ids"][-1] == 1
    assert prompts.prompt_ids(("x",), again, chat=False) == again("x")["input_ids"][:-1]
    assert prompt_of(table().to_dict("records")[0], again) == plain
