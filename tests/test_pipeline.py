"""dvc.yaml says the truth about the stages, and the whole pipeline runs, resumes, and repeats itself byte for byte."""

import ast
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Project, copy_of, make_tiny
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update
from whole_run import TEST

from text2sql.base.params import Params, Section

DEFINED = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = {name: stage.get("do", stage) for name, stage in DEFINED.items()}
SCRIPTS = {name: ROOT / re.search(r"stages/\w+\.py", stage["cmd"])[0] for name, stage in STAGES.items()}
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
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    asked = [argument.value for call in calls if call.func.id == "read_params" for argument in call.args]
    asked += ["arms.${key}" for call in calls if call.func.id == "read_arm"]
    assert sorted(asked) == sorted(STAGES[stage].get("params", []))


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
    for section in STAGES[stage].get("params", []):
        if section in fields and isinstance(fields[section], type) and issubclass(fields[section], Section):
            read |= {"has_rows", "runs", "returns_rows", "seconds"} if stage == "validate" else set()  # by getattr
            assert set(fields[section].model_fields) - read == set()


def test_every_section_of_the_params_belongs_to_a_stage():
    listed = {name.partition(".")[0] for stage in STAGES.values() for name in stage.get("params", [])}
    sections = {field.alias or name for name, field in Params.model_fields.items()}
    assert sections - listed == {"preset", "compute"}  # no byte depends on these


@pytest.mark.parametrize("stage", ["examples", "generate", "score", "judge"])
def test_a_stage_of_the_arms_runs_once_for_each(stage):
    assert DEFINED[stage]["foreach"] == "${arms}"


class TestForm:
    """params.yaml and dvc.yaml as DVC writes them, so that its commands change what they are about and nothing else."""

    @pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
    def test_dvc_would_write_the_file_as_it_stands(self, name):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert dumps_yaml(parse_yaml_for_update(text, name)) == text

    @pytest.mark.parametrize("change", ["seed=8", "ingest.path=inputs/a.csv", "judge.enabled=true"])
    def test_one_parameter_set_is_one_line_changed(self, change, tmp_path):
        path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
        before = path.read_text(encoding="utf-8").splitlines()
        apply_overrides(path, [change])
        after = path.read_text(encoding="utf-8").splitlines()
        changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        ((old, new),) = changed
        assert old.partition("#")[2] == new.partition("#")[2]

    def test_git_for_windows_leaves_the_bytes_that_dvc_takes_checksums_of(self, project):
        project.run("git", "clone", "-q", "-c", "core.autocrlf=true", ".", "clone")
        names = project.run("git", "ls-files").stdout.splitlines()
        assert project.bytes(*names) == {
            name.removeprefix("clone/"): data
            for name, data in project.bytes(*(f"clone/{name}" for name in names)).items()
        }

    def test_a_stage_frozen_and_unfrozen_leaves_the_file_as_it_was(self, tmp_path, monkeypatch):
        for name in ("dvc.yaml", "params.yaml"):
            shutil.copy(ROOT / name, tmp_path)
        monkeypatch.chdir(tmp_path)
        before = Path("dvc.yaml").read_bytes()
        with Repo.init(no_scm=True) as repo:
            for name in (name for name, stage in DEFINED.items() if "foreach" not in stage):  # DVC freezes no other
                repo.freeze(name)
                assert Path("dvc.yaml").read_bytes().replace(b"    frozen: true\n", b"") == before != b""
                repo.unfreeze(name)
                assert Path("dvc.yaml").read_bytes() == before


class TestCheckout:
    """A stage runs the code of its own checkout, whichever is installed and wherever it is started."""

    @pytest.fixture(scope="class")
    def other(self, tmp_path_factory) -> Project:
        """Another checkout, whose library says so when a stage starts."""
        project = Project(tmp_path_factory.mktemp("other") / "project")
        path = project.folder / "text2sql/base/stage.py"
        path.write_text(f"raise SystemExit('own code')\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
        project.commit("own code")
        return project

    @pytest.mark.parametrize("script", sorted(set(SCRIPTS.values())), ids=lambda path: path.name)
    def test_every_stage_of_another_checkout_imports_its_library(self, script, other, tmp_path):
        command = [sys.executable, str(other.folder / "stages" / script.name), "--help"]
        done = subprocess.run(command, cwd=tmp_path, env=other.environment(), capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, "own code\n")

    def test_an_experiment_in_a_folder_of_its_own_runs_its_own_code(self, other):
        done = other.run("dvc", "exp", "run", "--temp", "ingest", check=False)
        assert done.returncode != 0 and "own code" in done.stdout + done.stderr

    def test_processes_that_a_stage_starts_find_the_same_library_and_pythons_own_select(self, project):
        script = project.folder / "stages/probe.py"
        script.write_text(PROBE, encoding="utf-8")
        for launcher in ([], ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]):
            found = project.python(*launcher, str(script)).stdout.split()
            assert found == [str(project.folder / "text2sql/__init__.py")] * 3, found


PROBE = """
import checkout

import multiprocessing
import select
import subprocess
import sys

import text2sql


def show():
    assert hasattr(select, "poll")
    print(text2sql.__file__, flush=True)


if __name__ == "__main__":
    show()
    process = multiprocessing.get_context("spawn").Process(target=show)
    process.start()
    process.join()
    subprocess.run([sys.executable, "-c", "import text2sql; print(text2sql.__file__)"], cwd="/")
"""


def test_only_the_last_stage_writes_what_git_keeps():
    uncached = {
        name
        for name, stage in STAGES.items()
        for out in stage.get("outs", []) + stage.get("metrics", [])
        if isinstance(out, dict) and any(options.get("cache") is False for options in out.values())
    }
    assert uncached == {"report"}


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("[!c]*.py")), ids=lambda path: path.name)
def test_help_says_what_a_stage_reads_and_writes_without_loading_torch(script):
    watch = (
        "import os, sys, runpy; sys.argv = [sys.argv[1], '--help']; sys.path.insert(0, os.path.dirname(sys.argv[0]))\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    watch += "finally: assert not {'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules), 'heavy import'"
    done = subprocess.run([sys.executable, "-c", watch, str(script)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    text, _, example = done.stdout.rpartition("\nexample:\n")
    assert text and f"stages/{script.name}" in example.strip().splitlines()[0]


# The tiny model through every stage


@pytest.fixture(scope="module")
def finished(whole_run, tmp_path_factory) -> Project:
    """A finished run of this module's own."""
    return copy_of(whole_run.folder, tmp_path_factory.mktemp("finished") / "project")


@pytest.mark.pipeline
def test_the_pipeline_ends_in_a_summary_with_an_interval(finished):
    summary = json.loads((finished.folder / "metrics/summary.json").read_text())
    assert set(summary) == {"ex", "em", "format", "n"}
    assert set(summary["ex"]) == {"base", "finetuned", "over", "gain", "lo", "hi"}
    assert summary["n"] == len(TEST)
    shown = finished.python("-m", "text2sql", "show").stdout
    assert "gain" in shown and "finetune" in shown


@pytest.mark.pipeline
def test_rows_join_by_id_from_the_first_stage_to_the_last(finished):
    from text2sql.base.files import read_jsonl
    from text2sql.dataset.rows import read_table

    ids = list(read_table(finished.folder / "data/selected/eval.parquet").id)
    for kind, arm in product(("generations", "scores", "results"), ("base", "finetuned")):
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
def test_a_plain_run_warns_of_nothing(whole_run):
    assert "WARNING" not in whole_run.said and "is empty" not in whole_run.said


@pytest.mark.pipeline
def test_after_a_run_dvc_has_one_line_to_say_and_saves_it(finished):
    assert finished.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    finished.run("dvc", "exp", "save", "-n", "kept")
    assert "kept" in finished.run("dvc", "exp", "list").stdout
    finished.run("dvc", "exp", "remove", "kept")


@pytest.fixture(scope="module")
def shared(finished, tmp_path_factory) -> Callable[[], Project]:
    """Makes fresh clones of the finished run, whose data wait in a remote."""
    folder = tmp_path_factory.mktemp("shared")
    origin = copy_of(finished.folder, folder / "origin")
    origin.run("dvc", "remote", "add", "-d", "store", str(folder / "store"))
    origin.commit("remote")
    origin.run("dvc", "push", "-q")
    number = itertools.count()

    def clone() -> Project:
        other = object.__new__(Project)
        other.folder = folder / f"clone {next(number)}"
        origin.run("git", "clone", "-q", str(origin.folder), str(other.folder))
        other.run("git", "config", "user.email", "test@localhost")
        other.run("git", "config", "user.name", "test")
        return other

    return clone


@pytest.mark.pipeline
@pytest.mark.parametrize("commands", [["dvc repro --pull --allow-missing"], ["dvc pull -q", "dvc repro"]])
def test_a_fresh_clone_of_a_pushed_run_has_nothing_to_run(shared, commands):
    clone = shared()
    assert not (clone.folder / "data").exists()
    said = "".join(clone.run(*command.split()).stdout for command in commands)
    assert "Running stage" not in said
    assert clone.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.pipeline
def test_a_report_without_an_arms_file_is_refused_with_the_way_to_it(shared):
    """DVC runs the report without fetching what is in the folders it depends on, where their arms are unchanged."""
    clone = shared()
    with open(clone.folder / "stages/report.py", "a") as file:
        file.write("# changed\n")
    done = clone.run("dvc", "exp", "run", "--pull", "--allow-missing", check=False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0 and line.startswith("error: data/") and "`dvc pull`" in line
    clone.run("dvc", "pull", "-q")
    clone.run("dvc", "repro")


@pytest.mark.pipeline
def test_a_training_parameter_leaves_the_base_arm_alone(finished):
    before = finished.bytes("data/generations/base.jsonl", "data/scores/base.jsonl")
    first = finished.run("dvc", "exp", "run", "-n", "slow", "-S", "finetune.learning_rate=1.0e-4").stdout
    assert "Running stage 'finetune'" in first and "Running stage 'generate@finetuned'" in first
    assert "Running stage 'generate@base'" not in first and "Running stage 'score@base'" not in first
    assert finished.bytes("data/generations/base.jsonl", "data/scores/base.jsonl") == before
    assert "slow" in finished.run("dvc", "exp", "show", "--csv", "--only-changed").stdout
    finished.run("git", "checkout", "-q", "params.yaml", "dvc.lock", "metrics")
    finished.run("dvc", "checkout", "-q")


@pytest.mark.pipeline
def test_arms_are_added_changed_and_removed_and_no_other_runs_again(finished, tmp_path):
    """Two arms become five, one with samples and one with examples before a trained model; then three, one changed."""
    project = copy_of(finished.folder, tmp_path / "project")

    def run(*changes: str) -> set[str]:
        done = project.run("dvc", "exp", "run", *(part for change in changes for part in ("-S", change)))
        return set(re.findall(r"Running stage '([\w@]+)'", done.stdout))

    def stages(*arms: str) -> set[str]:
        return {f"{stage}@{arm}" for stage, arm in product(("examples", "generate", "score", "judge"), arms)}

    ran = run(
        "+arms.fewshot={model: models/base, shots: 3}",
        "+arms.voted={model: models/finetuned, shots: 0, samples: 3}",
        "+arms.both={model: models/finetuned, shots: 1}",
    )
    assert ran == {*stages("fewshot", "voted", "both"), "report"}
    summary = json.loads((project.folder / "metrics/summary.json").read_text())
    assert set(summary["ex"]) == {"base", "fewshot", "finetuned", "voted", "both", "over", "gain", "lo", "hi"}
    greedy, voted = (
        json.loads((project.folder / f"metrics/arms/{arm}.json").read_text()) for arm in ("finetuned", "voted")
    )
    assert voted["samples"]["n"] == 3 and voted["samples"]["ex_greedy"] == greedy["ex"]
    shown = project.python("-m", "text2sql", "show").stdout
    assert "voted: answers on which so many of 3 candidates agree" in " ".join(shown.split()) and "both" in shown
    assert "series\tcoverage" in (project.folder / "metrics/plots/coverage.tsv").read_text()

    ran = run("arms.fewshot.shots=5", "~arms.voted", "~arms.both")
    assert {"generate@fewshot", "report"} <= ran <= {*stages("fewshot"), "report"}
    assert sorted(path.stem for path in (project.folder / "metrics/arms").iterdir()) == ["base", "fewshot", "finetuned"]
    assert not list((project.folder / "data").rglob("voted*"))


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
    project.set(ingest__source="file", ingest__path="inputs/mine.jsonl")
    project.run("dvc", "repro", "ingest")
    assert "didn't change" in project.run("dvc", "repro", "ingest").stdout
    source.write_text(source.read_text() + json.dumps(rows[0] | {"question": "One more?"}) + "\n")
    assert "Running stage 'ingest'" in project.run("dvc", "repro", "ingest").stdout


# The real model


@pytest.mark.pipeline
def test_the_smoke_preset_runs_the_real_model(tmp_path):
    project = Project(tmp_path / "project")
    preset = project.python("-m", "text2sql", "preset", "smoke").stdout.split()
    quarters = ("select.train_size=4", "select.eval_size=2", "generate.max_new_tokens=4")
    project.run("dvc", "exp", "run", *preset, *(part for change in quarters for part in ("-S", change)))
    summary = json.loads((project.folder / "metrics/summary.json").read_text())
    assert summary["n"] == 2 and set(summary["ex"]) >= {"base", "fewshot", "finetuned"}
    pointer = json.loads((project.folder / "models/base/model.json").read_text())
    assert pointer["file"] == "SmolLM2-135M-Instruct.Q4_1.gguf"
    shutil.rmtree(project.folder)
