"""dvc.yaml says the truth about the stages, and the whole pipeline runs, resumes, and repeats itself byte for byte."""

import ast
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, make_tiny

from text2sql.base.arms import ARMS
from text2sql.base.params import Params, Section

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = {name: ROOT / re.search(r"stages/\w+\.py", stage["cmd"])[0] for name, stage in STAGES.items()}
OUTPUTS = ("data", "metrics", "models")
# What cannot change a byte of any output, and so is no dep: a comment in it must not retrain a model.
PLUMBING = {
    "text2sql/base/errors.py",
    "text2sql/base/machine.py",  # says where a run took place; no figure is made from it
    "text2sql/base/params.py",  # checks values and hands them on as they are
    "text2sql/base/process.py",  # speed and silence alone
    "text2sql/base/resume.py",
    "text2sql/base/stage.py",
    "text2sql/base/text.py",
}


def imports(path: Path) -> set[Path]:
    """The project's modules that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    candidates = [ROOT.joinpath(*name.split(".")) for name in names if name.startswith("text2sql.")]
    files = [file for place in candidates for file in (place.with_suffix(".py"), place / "__init__.py")]
    return {file for file in files if file.is_file()}


def modules(script: Path) -> set[Path]:
    """Everything of the project that a script imports, directly or through another module."""
    found: set[Path] = set()
    todo = [script]
    while todo:
        fresh = imports(todo.pop()) - found
        found |= fresh
        todo += fresh
    return found


def is_empty(path: Path) -> bool:
    """Whether a module holds nothing but its docstring."""
    return len(ast.parse(path.read_text()).body) <= 1


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_imports_is_a_dep_and_no_other(stage):
    listed = [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("text2sql/", "stages/"))]
    needed = {*modules(SCRIPTS[stage]), SCRIPTS[stage]} - {ROOT / path for path in PLUMBING}
    needed = {path for path in needed if not is_empty(path)}
    missing = {path for path in needed if not any(path == dep or dep in path.parents for dep in listed)}
    code = [dep for dep in listed if dep.suffix != ".txt"]
    idle = {dep for dep in code if not any(path == dep or dep in path.parents for path in needed)}
    assert (missing, idle) == (set(), set())


@pytest.mark.parametrize("stage", STAGES)
def test_the_params_that_a_stage_asks_for_are_those_it_lists(stage):
    calls = [
        node
        for node in ast.walk(ast.parse(SCRIPTS[stage].read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "read_params"
    ]
    asked = [argument.value for call in calls for argument in call.args]
    assert sorted(asked) == sorted(STAGES[stage]["params"])


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_of_a_listed_section_is_read_by_the_stage(stage):
    """read_params hands out nothing else, so what no module of the stage reads would be a key without an effect."""
    deps = [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("text2sql/", "stages/"))]
    files = {file for dep in deps for file in (dep.rglob("*.py") if dep.is_dir() else [dep]) if file.suffix == ".py"}
    read = {
        node.attr
        for path in files - {ROOT / "text2sql/base/params.py"}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    fields = {field.alias or name: field.annotation for name, field in Params.model_fields.items()}
    for section in STAGES[stage]["params"]:
        if isinstance(fields[section], type) and issubclass(fields[section], Section):
            read |= {"has_rows", "runs", "returns_rows", "seconds"} if stage == "validate" else set()  # by getattr
            assert set(fields[section].model_fields) - read == set()


def test_every_section_of_the_params_belongs_to_a_stage():
    listed = {name for stage in STAGES.values() for name in stage["params"]}
    assert {field.alias or name for name, field in Params.model_fields.items()} - listed == {"preset"}


@pytest.mark.parametrize("stage", ["generate", "score", "judge"])
def test_a_stage_of_the_arms_runs_once_for_each(stage):
    assert STAGES[stage]["matrix"] == {"arm": list(ARMS)}


def test_only_the_last_stage_writes_what_git_keeps():
    uncached = {
        name
        for name, stage in STAGES.items()
        for out in stage.get("outs", []) + stage.get("metrics", [])
        if isinstance(out, dict) and any(options.get("cache") is False for options in out.values())
    }
    assert uncached == {"report"}


@pytest.mark.parametrize("script", sorted({*SCRIPTS.values(), ROOT / "stages/preset.py"}), ids=lambda path: path.name)
def test_help_says_what_a_stage_reads_and_writes_without_loading_torch(script):
    watch = (
        "import sys, runpy; sys.argv = [sys.argv[1], '--help']\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    watch += "finally: assert not {'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules), 'heavy import'"
    done = subprocess.run([sys.executable, "-c", watch, str(script)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert script.name in done.stdout


# The tiny model through every stage


@pytest.fixture(scope="module")
def finished(tiny_project):
    tiny_project.run("dvc", "repro")
    tiny_project.commit("run")
    return tiny_project


@pytest.mark.pipeline
def test_the_pipeline_ends_in_a_summary_with_an_interval(finished):
    summary = json.loads((finished.folder / "metrics/summary.json").read_text())
    assert set(summary) == {"ex", "em", "format", "n"}
    assert set(summary["ex"]) == {"base", "ft", "gain", "lo", "hi"}
    assert summary["n"] == 6
    shown = finished.python("-m", "text2sql", "show").stdout
    assert "gain" in shown and "finetune" in shown


@pytest.mark.pipeline
def test_rows_join_by_id_from_the_first_stage_to_the_last(finished):
    from text2sql.base.files import read_jsonl
    from text2sql.dataset.rows import read_table

    ids = list(read_table(finished.folder / "data/selected/eval.parquet").id)
    for kind, arm in product(("generations", "scores", "results"), ARMS):
        assert [row["id"] for row in read_jsonl(finished.folder / f"data/{kind}/{arm}.jsonl")] == ids


@pytest.mark.pipeline
def test_the_plots_are_one_page_that_fetches_nothing(finished):
    finished.python("-m", "text2sql", "plots")
    page = (finished.folder / "dvc_plots/index.html").read_text()
    assert (
        "window.vegaEmbed" in page
        and "<script src" not in page
        and "cdn.jsdelivr.net" not in page.rpartition("</script>")[2]
    )
    for title in ("Loss", "Rows by domain", "Share of each complexity", "Prompt lengths", "Rows left"):
        assert title in page


@pytest.mark.pipeline
def test_nothing_runs_twice(finished):
    assert "up to date" in finished.run("dvc", "repro").stdout
    assert finished.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.pipeline
def test_a_training_parameter_leaves_the_base_arm_alone(finished):
    before = finished.bytes("data/generations/base.jsonl", "data/scores/base.jsonl")
    first = finished.run("dvc", "exp", "run", "-n", "slow", "-S", "finetune.learning_rate=1.0e-4").stdout
    assert "Running stage 'finetune'" in first and "Running stage 'generate@finetuned'" in first
    assert "Running stage 'generate@base'" not in first and "Running stage 'score@base'" not in first
    assert finished.bytes("data/generations/base.jsonl", "data/scores/base.jsonl") == before
    again = finished.run(
        "dvc", "exp", "run", "-n", "again", "-S", "finetune.learning_rate=2.0e-3", "-f", "-s", "report"
    )
    shown = finished.run("dvc", "exp", "show", "--csv", "--only-changed").stdout
    assert "slow" in shown and again.returncode == 0
    finished.run("git", "checkout", "-q", "params.yaml", "dvc.lock", "metrics")
    finished.run("dvc", "checkout", "-q")


@pytest.mark.pipeline
def test_two_clean_runs_give_the_same_bytes_also_when_one_was_killed(finished, tmp_path, tiny_model):
    """The second run is killed in the middle of training and of generation, and goes on from there."""
    other = make_tiny(tmp_path / "project", tiny_model)
    for stage, mark in (("finetune", "checkpoint-*"), ("generate@base", "finished.jsonl")):
        process = subprocess.Popen(
            ["dvc", "repro", stage],
            cwd=other.folder,
            env=other.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        kill_when(
            process,
            lambda stage=stage, mark=mark: any((other.folder / ".work" / stage.partition("@")[0]).glob(f"*/{mark}")),
        )
        (other.folder / ".dvc/tmp/rwlock").unlink(missing_ok=True)
    other.run("dvc", "repro")
    assert other.bytes(*OUTPUTS) == finished.bytes(*OUTPUTS)


def kill_when(process: subprocess.Popen, happened) -> None:
    """Kills a process group hard as soon as `happened`, or lets it end if that comes first."""
    import os

    while process.poll() is None:
        if happened():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.02)


@pytest.mark.pipeline
def test_an_edited_input_file_reruns_the_pipeline(tmp_path, tiny_model):
    project = make_tiny(tmp_path / "project", tiny_model)
    rows = [
        {
            "question": f"How many a are {n}?",
            "answer": f"SELECT COUNT(*) FROM t WHERE a = {n}",
            "context": "CREATE TABLE t (a INT)",
        }
        for n in range(8)
    ]
    source = project.folder / "inputs/mine.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.python("stages/preset.py", "file", "--write")
    project.set(ingest__path="inputs/mine.jsonl")
    project.run("dvc", "repro", "ingest")
    assert "didn't change" in project.run("dvc", "repro", "ingest").stdout
    source.write_text(source.read_text() + json.dumps(rows[0] | {"question": "One more?"}) + "\n")
    assert "Running stage 'ingest'" in project.run("dvc", "repro", "ingest").stdout


# The real model


@pytest.mark.pipeline
def test_the_smoke_preset_runs_the_real_model(tmp_path):
    from conftest import Project

    project = Project(tmp_path / "project")
    project.run("dvc", "exp", "run", *project.python("stages/preset.py", "smoke").stdout.split())
    summary = json.loads((project.folder / "metrics/summary.json").read_text())
    assert summary["n"] == 8
    pointer = json.loads((project.folder / "models/base/model.json").read_text())
    assert pointer["file"] == "SmolLM2-135M-Instruct.Q4_1.gguf"
    shutil.rmtree(project.folder)
