"""What several test modules share: a tiny model, and the project as a real git and DVC repository of its own."""

import functools
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
# Schemas of different lengths, one of them Korean, for rows made by tests of training and generation.
CONTEXTS = [
    "CREATE TABLE t (a INT);",
    "CREATE TABLE longer (id INT, name TEXT, age INT);",
    "CREATE TABLE 가수 (이름 TEXT);",
]

# How a server is asked, in the sections `generate` and `judge`.
ASKED = {
    "key_env": "OPENAI_API_KEY", "key_over_http": False, "headers": {}, "query": {}, "extra_body": {},
    "token_limit": "auto", "temperature": 0.0, "reasoning_effort": None, "requests_per_minute": None,
    "tokens_per_minute": None, "timeout": 60.0, "max_attempts": 5, "max_cost_usd": None, "prices": {},
}  # fmt: skip


def pytest_configure() -> None:
    """Processes that tests start heed Ctrl-C, also where a shell has started all of this in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with most runs of the pipeline first, so that no worker begins one when the others are done."""
    runs = Counter(item.path for item in items if any(item.iter_markers("pipeline")) or any(item.iter_markers("slow")))
    items.sort(key=lambda item: -runs[item.path])  # stable: within a file the order stays


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A Llama of two layers with random weights and a byte-level tokenizer, as `save_pretrained` writes it.

    It stands in for a pretrained model where only the machinery is looked at: it loads in no time and says nothing.
    """

    def make(folder: Path) -> None:
        write_tiny_model(folder)

    return once(tmp_path_factory, "tiny-model", make)[0]  # one place for all workers: runs record it


def write_tiny_model(folder: Path) -> Path:
    """Writes that model into a folder, and returns it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<end>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def real_model(tmp_path_factory) -> Path:
    """What `resolve` writes about the embedded model of the repository: a folder with its pointer."""
    from text2sql.base.params import read_params
    from text2sql.models.resolve import resolve

    def make(folder: Path) -> None:
        resolve(*read_params("resolve", path=ROOT / "params.yaml"), folder)

    return once(tmp_path_factory, "real", make)[0]


@pytest.fixture(scope="module")
def in_the_project():
    """The templates are found from the project's folder, and a tiny model is fastest on one thread.

    A training calls the garbage collector several times, which would look through all that was imported each time, and
    writes a card beside every checkpoint, whose template would be compiled each time.
    """
    import jinja2
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    gc.collect()
    gc.freeze()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(jinja2, "Template", functools.cache(jinja2.Template))
        yield
    torch.set_num_threads(threads)
    gc.unfreeze()


@pytest.fixture(scope="session")
def pointer(tiny_model) -> dict:
    """The tiny model as `resolve` would point to it."""
    return {"source": "folder", "name": str(tiny_model), "sha256": "0" * 64}


@pytest.fixture(scope="session")
def tokenizer(pointer):
    from text2sql.models import load

    return load.load_tokenizer(pointer)


@pytest.fixture(scope="session")
def adapter(pointer, tmp_path_factory) -> Path:
    """An adapter with random weights in both its matrices, as if it had been trained."""
    import torch
    from peft import LoraConfig, get_peft_model

    from text2sql.models import load

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(load.load_model(pointer), config).save_pretrained(folder)
    return folder


def tiny_architecture(kind: str, tokenizer, folder: Path) -> dict:
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


@pytest.fixture(scope="session")
def pointers(tokenizer, tmp_path_factory) -> dict[str, dict]:
    return {
        kind: tiny_architecture(kind, tokenizer, tmp_path_factory.mktemp(kind)) for kind in ("llama", "phi", "qwen2")
    }


@pytest.fixture
def fp32(monkeypatch):
    """The formats' rounding aside: a merge or a conversion in bf16 moves a logit in the third digit."""
    import torch

    from text2sql.models import load

    monkeypatch.setattr(load, "device_and_dtype", lambda: ("cpu", torch.float32))


class Project:
    """A copy of this project in a folder of its own: a git repository with a DVC cache that nothing else shares."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in tracked.decode().split("\0")[:-1]:
            if (ROOT / name).is_file() and not name.startswith(("metrics/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "config", "user.email", "test@localhost")
        self.run("git", "config", "user.name", "test")
        self.commit("start")

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess:
        """Runs a command in the project's folder, whose own code it runs."""
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, encoding="utf-8", env=self.environment(**env)
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def environment(self, **env: str) -> dict[str, str]:
        """The variables that the project's commands run with."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        without = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")  # a stage compiles the library once, not each time
        inherited = {key: value for key, value in os.environ.items() if key not in without}
        return inherited | {"PATH": path, "HF_HUB_OFFLINE": "1"} | env

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def python(self, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess:
        return self.run(sys.executable, *arguments, check=check, **env)

    def set(self, file: str = "params.yaml", **changes) -> None:
        """Sets keys of params.yaml; `__` stands for the dot: set(select__train_size=4)."""
        from ruamel.yaml import YAML

        document = YAML()
        values = document.load(self.folder / file)
        for key, value in changes.items():
            *sections, last = key.split("__")
            place = values
            for section in sections:
                place = place[section]
            place[last] = value
        document.dump(values, self.folder / file)

    def set_default(self, **changes) -> None:
        """Sets keys of params.yaml and of what a preset returns them to."""
        for file in ("params.yaml", "presets/quickstart.yaml"):
            self.set(file, **changes)

    def bytes(self, *names: str) -> dict[str, bytes]:
        """The contents of files and of everything in folders, by path."""
        paths = [path for name in names for path in [self.folder / name, *(self.folder / name).rglob("*")]]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(set(paths)) if path.is_file()}


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path / "project")


def make_tiny(folder: Path, model: Path) -> Project:
    """A project on the smoke preset with the tiny model in the real one's place, and two arms: the tutorial and the run
    of the real model have the third."""
    project = Project(folder)
    project.python("-m", "text2sql", "preset", "smoke", "--write")
    project.set(
        resolve__source="folder", resolve__name=str(model), resolve__file=None, resolve__sha256=None,
        ingest__rows=150, select__train_size=16, select__eval_size=6, finetune__batch_size=2, finetune__max_length=1024,
        generate__batch_tokens=1024,
        arms={"base": {"model": "models/base", "shots": 0}, "finetuned": {"model": "models/finetuned", "shots": 0}},
    )  # fmt: skip
    project.commit("tiny")
    return project


def once(tmp_path_factory, name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """A folder, as `make` fills the one it is given, and what that returns (as JSON); once for all workers."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    finished = root / f"{name}.json"
    with FileLock(root / f"{name}.lock"):
        if not finished.exists():
            shutil.rmtree(root / name, ignore_errors=True)
            finished.write_text(json.dumps(make(root / name)), encoding="utf-8")
    return root / name, json.loads(finished.read_text(encoding="utf-8"))


def project_once(tmp_path_factory, name: str, make: Callable[[Path], Any]) -> tuple[Project, Any]:
    """The project that `make` makes in the folder it is given, and what that returns, as of `once`."""
    folder, found = once(tmp_path_factory, name, make)
    return copy_of(folder), found


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, tiny_model) -> Project:
    """The project of tests/whole_run.py after an undisturbed run, which reported what is in `said`.

    A test that changes it takes a copy.
    """
    from whole_run import make_whole

    def make(folder: Path) -> str:
        project = make_whole(folder, tiny_model)
        said = project.run("dvc", "repro").stderr
        project.commit("run")
        return said

    project, project.said = project_once(tmp_path_factory, "whole", make)
    return project


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """The folder of the stand-in of tests/small_project.py with a question file of its own that DVC tracks, run and
    committed. Of this a test takes a copy.
    """
    from small_project import SmallProject

    def make(folder: Path) -> None:
        project = SmallProject(folder)
        (folder / "inputs/mine.jsonl").write_text('{"question": "How many?"}\n')
        project.run("dvc", "add", "-q", "inputs/mine.jsonl")
        project.run("dvc", "repro")
        project.commit("run")

    return once(tmp_path_factory, "small", make)[0]


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory, tiny_model) -> Project:
    """A project in which every command of docs/own_data.md but the last has run, with the tiny model in the real one's
    place: a finished run on a database, with Korean questions. `outputs` holds what each block printed.

    A test that changes it takes a copy.
    """

    def make(folder: Path) -> list[str]:
        project = Project(folder)
        project.set_default(
            resolve__source="folder", resolve__name=str(tiny_model), resolve__file=None, resolve__sha256=None,
            finetune__batch_size=32, finetune__max_length=1024, generate__max_new_tokens=16, arms__fewshot__shots=0,
        )  # fmt: skip
        project.commit("tiny")
        outputs = [project.run("bash", "-euo", "pipefail", "-c", block).stdout for block in shell_blocks()[:-1]]
        project.commit("run")
        return outputs

    project, project.outputs = project_once(tmp_path_factory, "tutorial", make)
    return project


def shell_blocks() -> list[str]:
    """The commands of docs/own_data.md, a block each."""
    text = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
    return re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def copy_of(folder: Path, to: Path | None = None) -> Project:
    """The project in a folder, or a copy of it in another."""
    project = object.__new__(Project)
    project.folder = Path(shutil.copytree(folder, to)) if to else folder
    return project
