"""The fine-tuned model in other forms: GGUF files run by llama.cpp, Ollama's Modelfile, transformers 4.

The model is a Llama of two layers with random weights and SmolLM2's own tokenizer, which llama.cpp knows.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, copy_of
from filelock import FileLock
from tiny_runs import PROMPT, generation, table

from text2sql.base.errors import UserError
from text2sql.base.files import read_json, write_json
from text2sql.base.params import read_params
from text2sql.generation import llamacpp
from text2sql.generation.generate import open_backend
from text2sql.generation.llamacpp import LlamaCpp, Served
from text2sql.models import load, prompts
from text2sql.models.pin import cache_folder, pin_wheel
from text2sql.publish import export, measured
from text2sql.publish.merge import merge
from text2sql.publish.portable import make_portable, save_greedy

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed (the extra `llamacpp`)")
pytestmark = pytest.mark.usefixtures("in_the_project", "fp32")

CHAT = PROMPT.model_copy(update={"chat": True})
SETTINGS = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip


def save_random(kind: str, folder: Path, tokenizer, **settings) -> dict:
    """Writes a model with random weights, wide enough apart that rounding does not choose its tokens; its pointer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokens = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(SETTINGS | tokens | settings)))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.5 if "embed" in name else 0.15)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"source": "folder", "name": str(folder), "sha256": "0" * 64}


@pytest.fixture(scope="session")
def smol_tokenizer():
    """The embedded model's tokenizer."""
    return load.load_tokenizer(pin_wheel(read_params("resolve", path=ROOT / "params.yaml")[0]))


@pytest.fixture(scope="module")
def small(smol_tokenizer, tmp_path_factory) -> dict:
    return save_random("llama", tmp_path_factory.mktemp("small") / "model", smol_tokenizer)


@pytest.fixture(scope="module")
def small_adapter(small, tmp_path_factory) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("small-adapter")
    get_peft_model(AutoModelForCausalLM.from_pretrained(small["name"]), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def merged_model(small, small_adapter, tmp_path_factory) -> Path:
    """Base and adapter as `merge` writes them."""
    folder = tmp_path_factory.mktemp("small-merged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("text2sql.publish.merge.FOLDER", folder / "work")
        merge(small, small_adapter, folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def gguf(merged_model, tmp_path_factory) -> Path:
    """The merged model as a GGUF file of its numbers widened to 32 bits, so that nothing is rounded."""
    file = tmp_path_factory.mktemp("gguf") / "model-F32.gguf"
    export.convert(merged_model, file, "f32", "small")
    return file


def texts(prompt=CHAT) -> list[str]:
    templates = prompts.read_templates(prompt)
    return [prompts.build_prompt(row, templates, prompt) for row in table().to_dict("records")]


def asked() -> list[tuple[str, ...]]:
    """The rows' prompts, the last behind an example."""
    *alone, last = texts()
    return [*((text,) for text in alone), (alone[0], "SELECT 0 FROM t", last)]


def completions(backend, seeds=None, done=(), given=None) -> dict:
    given = asked() if given is None else given
    pieces = backend.complete(given, seeds or [None] * len(given), done, (0, 1))
    return {index: one for piece in pieces for index, one in piece.items()}


class TestLlamaCpp:
    def test_a_file_answers_as_the_model_it_was_made_from(self, gguf, merged_model, small):
        how = generation(max_new_tokens=12)
        found, ours = (completions(open_backend(small, str(model), CHAT, how, "arm")) for model in (gguf, merged_model))
        assert found == ours and len(set(found.values())) > 1

    def test_an_answer_depends_on_no_other_and_a_rerun_gives_the_rest(self, gguf, small):
        backend = LlamaCpp(gguf, small, CHAT, generation())
        whole = completions(backend)
        assert completions(backend, done={0, 2}) == {key: one for key, one in whole.items() if key not in (0, 2)}
        assert completions(backend, done=set(whole)) == {}
        parts = [one for place in (0, 1) for one in backend.complete(asked(), [None] * len(whole), (), (place, 2))]
        assert {index: one for part in parts for index, one in part.items()} == whole

    def test_a_bare_answer_behind_an_example_stops_where_that_one_ends(self, gguf, small, monkeypatch):
        """A text that this model writes stands for the blank line."""
        how, given = generation(max_new_tokens=24), [("a", "b", "SELECT"), ("SELECT",)]
        whole = completions(LlamaCpp(gguf, small, PROMPT, how), given=given)
        end = whole[0].text[3:5]
        monkeypatch.setattr(llamacpp, "stop_text", lambda prompt, chat: end if len(prompt) > 1 else None)
        found = completions(LlamaCpp(gguf, small, PROMPT, how), given=given)
        assert found[0].text.partition(end)[0] == whole[0].text.partition(end)[0] and found[1] == whole[1]
        assert found[0].finish_reason == "stop" and found[0].completion_tokens < whole[0].completion_tokens

    def test_samples_follow_their_seed(self, gguf, small):
        backend = LlamaCpp(gguf, small, CHAT, generation())
        one, again, other = (completions(backend, [seed] * len(texts())) for seed in (1, 1, 2))
        assert one == again != other

    def test_bare_text_is_asked_too_and_a_prompt_without_room_is_kept_with_its_reason(self, gguf, small):
        given = [("SELECT",), ("x " * 1100,)]
        backend = LlamaCpp(gguf, small, PROMPT, generation())
        found = completions(backend, given=given)
        assert [backend.fits(prompt) for prompt in given] == [True, False]
        assert found[0].text and found[1].finish_reason == "prompt_too_long" and found[1].text == ""

    def test_a_file_that_reads_other_tokens_is_refused(self, merged_model, small, tmp_path):
        model = Path(shutil.copytree(merged_model, tmp_path / "model"))
        (model / "chat_template.jinja").write_text("{% for m in messages %}Q: {{ m['content'] }}\n{% endfor %}A:")
        export.convert(model, tmp_path / "other.gguf", "f32", "other")
        with pytest.raises(UserError, match=r"reads a prompt as other tokens .* \(from token 1 on\); export it again"):
            completions(LlamaCpp(tmp_path / "other.gguf", small, CHAT, generation()))

    def test_a_missing_and_a_broken_file_are_one_line(self, small, tmp_path):
        with pytest.raises(UserError, match="no such file; run `python -m text2sql export`"):
            LlamaCpp(tmp_path / "none.gguf", small, CHAT, generation())
        (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 100)
        with pytest.raises(UserError, match=r"llama\.cpp cannot open it"):
            completions(LlamaCpp(tmp_path / "broken.gguf", small, CHAT, generation()))

    def test_without_the_package_the_line_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        with pytest.raises(UserError, match=r"which is not installed; `pip install -e '\.\[llamacpp\]'"):
            runpy.run_path(llamacpp.__file__)

    def test_its_server_answers_only_who_has_its_key(self, gguf):
        served = Served(gguf, 64)
        served.key = "another"
        with pytest.raises(UserError, match=r"llama\.cpp refuses /tokenize"):
            served.ids("SELECT")


class TestFiles:
    def test_another_conversion_gives_the_same_bytes(self, merged_model, gguf, tmp_path):
        export.convert(merged_model, tmp_path / gguf.name, "f32", "small")
        assert (tmp_path / gguf.name).read_bytes() == gguf.read_bytes()

    def test_a_tokenizer_that_llamacpp_does_not_know_is_one_line(self, tiny_model, tmp_path):
        with pytest.raises(UserError, match=r"llama\.cpp does not know this model's tokenizer"):
            export.convert(tiny_model, tmp_path / "tiny.gguf", "q8_0", "tiny")
        assert not list(tmp_path.iterdir())

    def test_a_model_that_the_converter_fails_on_is_one_line(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": ["NoSuchModel"], "model_type": "llama"}))
        with pytest.raises(UserError, match=r"converter fails \(.*NoSuchModel"):
            export.convert(tmp_path, tmp_path / "none.gguf", "bf16", "none")

    def test_llama_quantize_makes_q4_k_m(self, merged_model, small, tmp_path):
        program = shutil.which("llama-quantize")
        if program is None:
            pytest.skip("llama-quantize is not installed; no package of PyPI brings it")
        export.convert(merged_model, tmp_path / "sixteen.gguf", "bf16", "small")
        export.quantise(program, tmp_path / "sixteen.gguf", tmp_path / "four.gguf")
        assert (tmp_path / "four.gguf").stat().st_size < (tmp_path / "sixteen.gguf").stat().st_size
        assert completions(LlamaCpp(tmp_path / "four.gguf", small, CHAT, generation()))

    def test_a_quantiser_that_fails_is_one_line(self, tmp_path):
        program = tmp_path / "llama-quantize"
        program.write_text("#!/bin/sh\necho 'main: failed to quantize model' >&2; exit 1\n")
        program.chmod(0o755)
        with pytest.raises(UserError, match=r"llama-quantize fails \(main: failed to quantize model\)"):
            export.quantise(str(program), tmp_path / "in.gguf", tmp_path / "out.gguf")


class TestModelfile:
    def template(self, tokenizer, prompt=CHAT, language="en") -> str:
        return export.ollama_template(language, prompts.read_templates(prompt), prompt, tokenizer)

    @pytest.mark.parametrize("chat", [True, False])
    def test_filled_it_is_the_tokens_that_were_measured(self, chat, gguf, smol_tokenizer, small):
        prompt = PROMPT.model_copy(update={"chat": chat})
        rows = table().to_dict("records")
        modelfiles = {
            Path(f"Modelfile.{language}"): self.template(smol_tokenizer, prompt, language) for language in ("en", "ko")
        }
        measured.check_modelfiles(rows, texts(prompt), gguf, modelfiles, small, prompt)
        spoilt = {path: template.replace("SQL", "sql") for path, template in modelfiles.items()}
        with pytest.raises(UserError, match=r"Modelfile\.\w\w: it reads a prompt as other tokens"):
            measured.check_modelfiles(rows, texts(prompt), gguf, spoilt, small, prompt)

    def test_braces_of_the_prompt_are_not_ollamas(self, smol_tokenizer):
        templates = dict.fromkeys(("en", "ko"), "{{{{ {context} {question}")
        template = export.ollama_template("en", templates, PROMPT, smol_tokenizer)
        assert template == '{{ "{{" }} {{ .System }} {{ .Prompt }}'
        assert export.filled(template, "CREATE TABLE {{ .Prompt }}", "q") == "{{ CREATE TABLE {{ .Prompt }} q"

    def test_ollama_makes_and_asks_the_model(self, gguf, merged_model, tmp_path, monkeypatch):
        if shutil.which("ollama") is None:
            pytest.skip("Ollama is not installed")
        folder = tmp_path / "exports"
        folder.mkdir()
        file = Path(shutil.copy(gguf, folder))
        monkeypatch.setattr(export, "MERGED", str(merged_model))
        prompt = CHAT.model_copy(update={"template": "en"})
        (path,) = export.write_modelfiles(file, prompt, generation())
        environment = os.environ | {"OLLAMA_HOST": "127.0.0.1:11911", "OLLAMA_MODELS": str(tmp_path / "store")}
        server = subprocess.Popen(["ollama", "serve"], env=environment)
        try:
            for command in (["create", "small", "-f", str(path)], ["run", "small", "How many?"]):
                subprocess.run(["ollama", *command], env=environment, check=True, timeout=120)
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def transformers_4() -> dict[str, str]:
    """The variables of a process in which transformers is 4.57, beside the PyTorch of this environment."""
    folder = cache_folder() / "tests" / "transformers-4.57.6"
    folder.parent.mkdir(parents=True, exist_ok=True)
    wanted = ["transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.0"]
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            unfinished = folder.with_suffix(".tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(unfinished), *wanted]
            if subprocess.run(pip, capture_output=True).returncode:
                pytest.skip("pip cannot bring transformers 4.57")
            unfinished.rename(folder)
    return os.environ | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}


# In this process with its transformers, and in one with transformers 4.
READ = """
import sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
saved = []
for folder in sys.argv[2:]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    messages = [{"role": "user", "content": "고객은 몇 명입니까? 🙂 SELECT <extra> 1"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    with torch.no_grad():
        saved.append((ids, model(torch.tensor([ids * 8])).logits, model.generation_config.eos_token_id))
torch.save({"version": transformers.__version__, "models": saved}, sys.argv[1])
"""
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
KINDS = {
    "llama": {"rope_parameters": LLAMA3},
    "qwen2": {"rope_parameters": YARN},
    "phi": {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.25}},
    "gemma3_text": {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
}


def test_what_is_merged_opens_in_transformers_4_and_5_with_equal_logits(
    merged_model, smol_tokenizer, transformers_4, tmp_path, monkeypatch
):
    folders = [merged_model]
    tokenizer = load.load_tokenizer(pin_wheel(read_params("resolve", path=ROOT / "params.yaml")[0]))
    tokenizer.add_special_tokens({"extra_special_tokens": ["<extra>"]})
    for kind, settings in KINDS.items():
        folders.append(tmp_path / kind)
        save_random(kind, folders[-1], tokenizer, **settings)
        save_greedy(folders[-1], {2}, 1, 0)
        make_portable(folders[-1])
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path / "five"), *map(str, folders)])
    exec(READ, {})
    command = [sys.executable, "-c", READ, str(tmp_path / "four"), *map(str, folders)]
    done = subprocess.run(command, env=transformers_4, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    five, four = (torch.load(tmp_path / name) for name in ("five", "four"))
    assert five["version"].startswith("5.") and four["version"].startswith("4.57")
    for folder, (ids, logits, stops), (old_ids, old_logits, old_stops) in zip(
        folders, five["models"], four["models"], strict=True
    ):
        assert ids == old_ids and stops == old_stops == [2], folder.name
        assert torch.allclose(logits, old_logits, rtol=1e-5, atol=1e-4), folder.name


def test_llamacpps_converter_writes_the_same_file_with_the_versions_it_pins(
    merged_model, gguf, transformers_4, tmp_path
):
    what = ["--outtype", "f32", "--outfile", str(tmp_path / "pinned.gguf"), "--model-name", "small", str(merged_model)]
    command = [sys.executable, str(export.converter()), *what]
    done = subprocess.run(command, env=transformers_4, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "pinned.gguf").read_bytes() == gguf.read_bytes()


def test_the_merged_models_settings_of_generation_are_those_measured(small, small_adapter, tmp_path, monkeypatch):
    base = Path(shutil.copytree(small["name"], tmp_path / "base"))
    own = {"bos_token_id": 1, "eos_token_id": [0, 2], "temperature": 0.6, "do_sample": True, "repetition_penalty": 1.3}
    write_json(base / "generation_config.json", own)
    monkeypatch.setattr("text2sql.publish.merge.FOLDER", tmp_path / "work")
    merge(small | {"name": str(base)}, small_adapter, tmp_path / "merged")
    written = read_json(tmp_path / "merged/generation_config.json")
    del written["transformers_version"]
    assert written == {"bos_token_id": 1, "do_sample": False, "eos_token_id": [0, 2], "pad_token_id": 0}


@pytest.mark.pipeline
def test_the_command_exports_a_finished_run_and_says_what_changed(tutorial, small, small_adapter, tmp_path):
    project = copy_of(tutorial.folder, tmp_path / "project")
    write_json(project.folder / "models/base/model.json", small)
    shutil.rmtree(project.folder / "models/finetuned")
    shutil.copytree(small_adapter, project.folder / "models/finetuned")
    without_quantiser = os.pathsep.join(
        place for place in os.environ["PATH"].split(os.pathsep) if not (Path(place) / "llama-quantize").exists()
    )
    done = project.python("-m", "text2sql", "export", "--questions", "6", PATH=without_quantiser)
    assert "of 6 texts of text2sql-Q8_0.gguf differ from those of the adapter" in done.stdout
    assert "llama-quantize, llama.cpp's own quantiser, is not installed" in done.stderr
    record = read_json(project.folder / "exports/export.json")
    assert list(record["files"]) == ["text2sql-BF16.gguf", "text2sql-Q8_0.gguf"]
    for name, found in record["files"].items():
        assert found["bytes"] == (project.folder / "exports" / name).stat().st_size
        assert found["questions"] == 6 and found["texts"] <= 6 and found["won"] + found["lost"] <= found["verdicts"]
    assert "exports" not in project.run("git", "status", "--short").stdout
