"""In what two runs differ, and that no figure is shown, credited or let pass that is not the run's own: real commits of
the stand-in in small_project.py, most of them without a run, as a careless change leaves them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, copy_of
from small_project import SmallProject

from text2sql.experiments.differences import differences, rooms, same_adapter, same_texts
from text2sql.experiments.git import DONE
from text2sql.experiments.lock import file_md5, folder_md5
from text2sql.experiments.runs import STALE, Run, held_md5, named_runs, unchecked

LEARNED, SCORED, MOVED, ASKED = "learned", "scored", "moved", "asked"


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A change of a file in a project's folder."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text, name
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def git_in(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def relock(folder: Path, *names: str) -> None:
    """Writes the checksums of these files, as they now are, into dvc.lock: what somebody does who hides a change."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    for stage in lock["stages"].values():
        for entry in [*stage.get("deps", []), *stage["outs"]]:
            if entry["path"] in names:
                path = folder / entry["path"]
                if path.is_dir():
                    entry["md5"] = folder_md5({file.name: file_md5(file.read_bytes()) for file in path.iterdir()})
                else:
                    entry |= {"md5": file_md5(path.read_bytes()), "size": path.stat().st_size}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> SmallProject:
    """A committed run on `main`, and a branch for each kind of rerun."""
    project = SmallProject(tmp_path_factory.mktemp("differences") / "project")
    project.run("dvc", "repro")
    project.commit("run")
    for branch, change, processor in (
        (LEARNED, edit("params.yaml", "2.0e-3", "1.0e-3"), "one"),
        (SCORED, edit("text2sql/scoring/score.py", "[]", "['q1', 'q2']"), "one"),
        (MOVED, edit("text2sql/scoring/score.py", "\n", "  # elsewhere\n"), "two"),
        (ASKED, edit("prompts/en.txt", "SQL", "one query"), "one"),
    ):
        project.run("git", "checkout", "-q", "-b", branch, "main")
        change(project.folder)
        project.run("dvc", "repro", PROCESSOR=processor)
        project.commit(branch)
    project.run("git", "checkout", "-q", "main")
    return project


@pytest.fixture
def changed(project, tmp_path, monkeypatch):
    """Commits a change on `main` in a clone without data; HEAD is then the change, `before` the run."""
    clone = tmp_path / "clone"
    git_in(tmp_path, "clone", "-q", str(project.folder), str(clone))
    copy = copy_of(clone)
    copy.__class__ = SmallProject
    copy.log = project.log
    for setting, value in (("user.name", "test"), ("user.email", "test@localhost")):
        copy.run("git", "config", setting, value)
    copy.run("git", "branch", "-q", "before")
    monkeypatch.chdir(clone)

    def commit(*changes: Callable[[Path], None]) -> SmallProject:
        for change in changes:
            change(clone)
        copy.commit("change")
        return copy

    return commit


def pair(project: SmallProject, monkeypatch, *names: str) -> list[Run]:
    monkeypatch.chdir(project.folder)
    return named_runs(*names)


# What differs


def test_a_run_and_itself_differ_in_nothing(project, monkeypatch):
    before, after = pair(project, monkeypatch, "main", "main")
    assert (before.state, differences(before, after)) == (DONE, {})


@pytest.mark.parametrize(
    ("branch", "found"),
    [
        (LEARNED, {"parameters": ["finetune.learning_rate"]}),
        (
            SCORED,
            {"code": ["text2sql/scoring/score.py"], "scoring instrument": ["text2sql/scoring/score.py"]},
        ),
        (
            MOVED,
            {
                "code": ["text2sql/scoring/score.py"],
                "scoring instrument": ["text2sql/scoring/score.py"],
                "machine": ["processor one → two"],
            },
        ),
        (ASKED, {"prompts": ["prompts/en.txt"]}),
    ],
)
def test_two_runs_differ_in_what_was_changed_between_them_and_in_nothing_else(project, monkeypatch, branch, found):
    before, after = pair(project, monkeypatch, "main", branch)
    assert (after.state, differences(before, after)) == (DONE, found)
    assert same_texts(before, after) == (branch != LEARNED)


def test_checksums_of_folders_are_dvcs_own(project, monkeypatch):
    (run,) = pair(project, monkeypatch, "main")
    locked = {entry["path"]: entry["md5"] for stage in run.stages.values() for entry in stage.get("deps", [])}
    for path in ("inputs", "prompts", "text2sql/training", "data/generations"):
        assert held_md5(run, path) == locked[path]
    assert held_md5(run, "data/raw") is None and unchecked(run) == []


def test_a_change_that_was_not_run_is_a_difference_all_the_same(changed):
    changed(edit("prompts/en.txt", "SQL", "one query"))
    before, after = named_runs("before", "HEAD")
    assert differences(before, after) == {"prompts": ["prompts/en.txt"]}
    assert after.state == STALE and not after.summary


def test_a_commit_without_a_run_is_compared_by_its_files(changed):
    changed(edit("text2sql/training/trainer.py", "1", "2"), lambda folder: (folder / "dvc.lock").unlink())
    before, after = named_runs("before", "HEAD")
    assert differences(before, after) == {"code": ["text2sql/training/trainer.py"]}


def test_code_is_told_by_its_rooms():
    paths = ["text2sql/scoring/score.py", "text2sql/scoring/gold.py", "stages/score.py", "text2sql/sql/tokens.py"]
    assert rooms(paths) == ["scoring", "score.py", "sql"]


# The layout of the real pipeline


def made_run(name: str, *, comparison: dict | None = None, **md5: str) -> Run:
    """A run of the real pipeline's stages by their names, deps and outs in dvc.yaml, with made-up checksums.

    md5: checksums that differ, by the beginning of the path, `/` written as `__`.
    """
    given = {path.replace("__", "/"): value for path, value in md5.items()}

    arms = yaml.safe_load((ROOT / "params.yaml").read_text())["arms"]

    def entry(out: str | dict, arm: str) -> dict:
        path = out if isinstance(out, str) else next(iter(out))
        path = path.replace("${key}", arm).replace("${item.model}", arms.get(arm, {}).get("model", ""))
        return {"path": path, "md5": next((value for start, value in given.items() if path.startswith(start)), "0")}

    stages = {}
    for stage, definition in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        looped = definition.get("do", definition)
        for arm in arms if "foreach" in definition else [""]:
            entries = {kind: [entry(out, arm) for out in looped.get(kind, [])] for kind in ("deps", "outs")}
            params = {"params.yaml": {section: {} for section in looped.get("params", [])}}
            stages[f"{stage}@{arm}" if arm else stage] = {"cmd": "x", "params": params, **entries}
    return Run(name, name, None, DONE, "", {}, {}, stages, {}, {}, comparison or {})


def test_data_is_named_where_it_first_differs_and_the_instrument_by_what_scoring_reads():
    before = made_run("a")
    after = made_run("b", data__valid="1", data__rejected="1", data__selected="1", data__databases="1")
    found = differences(before, after)
    assert found["data"] == ["data/rejected.parquet", "data/valid"]
    assert found["scoring instrument"] == ["data/databases", "data/selected/eval.parquet"]
    assert set(found) == {"data", "scoring instrument"}


def test_training_rows_and_a_base_model_are_no_part_of_the_instrument():
    after = made_run("b", data__selected__train="1", models__base="1")
    assert differences(made_run("a"), after) == {"base model": ["models/base"]}


def test_versions_and_policy_of_two_runs_are_told_apart():
    places = [
        {
            "policy_version": policy,
            "sqlite": sqlite,
            "engine_versions": {"postgres": f"18.{policy}", "sqlite": sqlite}
            | ({"duckdb": "2.0"} if policy == 2 else {}),
            "machine": {"report": {"versions": {"torch": torch}}, "training": None},
        }
        for policy, sqlite, torch in ((1, "3.40.1", "2.13.0"), (2, "3.46.0", "2.14.0"))
    ]
    found = differences(*(made_run(str(k), comparison=place) for k, place in enumerate(places)))
    assert found == {
        "scoring instrument": ["policy version 1 → 2", "SQLite 3.40.1 → 3.46.0", "postgres 18.1 → 18.2"],
        "library versions": ["torch 2.13.0 → 2.14.0"],
    }
    assert differences(made_run("a"), made_run("b", comparison=places[0])) == {}  # one did not record it


# What pr-report, gate, compare and the table make of it


better = edit("metrics/summary.json", '"finetuned": 0.65', '"finetuned": 0.95')
wrong = edit("metrics/arms/finetuned.json", "false", "true")
CARELESS = {
    "a template": [edit("prompts/en.txt", "SQL", "one query")],
    "a scorer": [edit("text2sql/scoring/score.py", "[]", "['q3']")],
    "a new file in a room": [lambda folder: (folder / "text2sql/scoring/more.py").write_text("")],
    "a file removed from a room": [lambda folder: (folder / "text2sql/training/trainer.py").unlink()],
    "a script": [edit("step.py", "import json", "import json  #")],
    "a script removed": [lambda folder: (folder / "step.py").unlink()],
    "a parameter": [edit("params.yaml", "2.0e-3", "1.0e-3")],
    "an input": [edit("inputs/README.md", "Your", "Our")],
    "the figures": [better],
    "the details": [wrong],
    "no details": [lambda folder: (folder / "metrics/arms/base.json").unlink()],
    "where it ran": [edit("metrics/comparison.json", '"one"', '"two"')],
    "figures and lock": [better, lambda folder: relock(folder, "metrics/summary.json")],
    "details and lock": [wrong, lambda folder: relock(folder, "metrics/arms")],
    "a new stage": [edit("dvc.yaml", "stages:", "stages:\n  more: {cmd: echo, outs: [data/more]}")],
    "a new arm": [edit("dvc.yaml", "arm: [base]", "arm: [base, other]")],
    "a lock without a stage": [edit("dvc.lock", "finetune:", "other:")],
    "a lock of another run": [lambda folder: git_in(folder, "checkout", "-q", f"origin/{LEARNED}", "--", "dvc.lock")],
    "no lock": [lambda folder: (folder / "dvc.lock").unlink()],
    "a lock in another form": [lambda folder: (folder / "dvc.lock").write_text("- stages\n")],
    "a lock with a conflict": [edit("dvc.lock", "stages:", "<<<<<<< main\nstages:")],
}


@pytest.mark.parametrize("changes", CARELESS.values(), ids=CARELESS)
def test_a_change_without_its_run_is_not_nothing_and_passes_no_gate(changed, changes):
    project = changed(*changes)
    report = project.text2sql("pr-report", "before", "HEAD", check=False)
    assert "Nothing changed" not in report.stdout and "Traceback" not in report.stderr
    assert "| fine-tuned, after |" not in report.stdout
    for options in (["--max-drop", "0.5"], ["--min-gain-lo", "-1"]):
        gate = project.text2sql("gate", *options, "before", "HEAD", check=False)
        assert gate.returncode == 1 and gate.stderr.count("\n") == 1, gate.stdout
    compared = project.text2sql("compare", "before", "HEAD", check=False)
    assert compared.returncode == 1 and compared.stderr.count("\n") == 1


def test_the_report_names_the_file_that_was_not_run(changed):
    text = changed(edit("text2sql/scoring/score.py", "[]", "['q3']")).text2sql("pr-report", "before", "HEAD").stdout
    assert "text2sql/scoring was changed and not run (stage report)" in text.replace("&#47;", "/")
    assert "| code | `text2sql/scoring/score.py` |" in text
    assert "| scoring instrument | `text2sql/scoring/score.py` |" in text


def test_a_change_that_no_stage_reads_is_nothing(changed):
    project = changed(lambda folder: (folder / "README.md").write_text("Words\n"))
    assert "Nothing changed in what the pipeline runs" in project.text2sql("pr-report", "before", "HEAD").stdout
    assert project.text2sql("gate", "--max-drop", "0", "--min-gain-lo", "0", "before", "HEAD").returncode == 0


def test_a_gain_of_the_same_texts_is_not_credited_to_training(project):
    text = project.text2sql("pr-report", "main", SCORED).stdout
    assert "**The same texts, judged again, execution accuracy 65.0 % → 55.0 %:**" in text
    assert "not training" in text and "Fine-tuned model, execution accuracy" not in text
    said = project.text2sql("compare", "main", SCORED).stdout
    assert "the generated texts are the same in both, so what changed is not training's: the scoring instrument" in said
    gate = project.text2sql("gate", "--max-drop", "0.2", "main", SCORED).stdout
    assert "not checked: the model by itself (the generated texts are the same in both" in gate


def test_better_figures_of_the_same_scores_are_credited_to_nothing(changed):
    """Everything that made the figures has the same checksum, and the figures differ."""

    def better(folder: Path) -> None:
        details = json.loads((folder / "metrics/arms/finetuned.json").read_text())
        details["questions"] = {key: [db, True] for key, (db, _) in details["questions"].items()}
        (folder / "metrics/arms/finetuned.json").write_text(json.dumps(details | {"ex": 1.0}))
        summary = json.loads((folder / "metrics/summary.json").read_text())
        summary["ex"] |= {"finetuned": 1.0}
        (folder / "metrics/summary.json").write_text(json.dumps(summary))
        relock(folder, "metrics/arms", "metrics/summary.json")

    project = changed(better)
    for command in (["compare"], ["gate", "--max-drop", "0"]):
        done = project.text2sql(*command, "before", "HEAD", check=False)
        assert done.returncode == 1 and "were made from the same scores; one was edited" in done.stderr
    text = project.text2sql("pr-report", "before", "HEAD").stdout
    assert "**The two cannot be compared question by question:**" in text and "Nothing changed" not in text


def test_runs_on_two_machines_are_told_in_one_line(project):
    for command in ("pr-report", "compare"):
        said = project.text2sql(command, "main", MOVED).stdout
        (line,) = (line for line in said.splitlines() if "different machine" in line)
        assert "processor one → two" in line.replace("&#8594;", "→") and "rounds differently" in line
    assert "not checked: the two on one machine" in project.text2sql("gate", "--max-drop", "0", "main", MOVED).stdout


def test_an_adapter_that_is_the_same_was_not_trained_better(project, monkeypatch):
    before, after = pair(project, monkeypatch, "main", SCORED)
    assert same_adapter(before, after) and not same_adapter(*pair(project, monkeypatch, "main", LEARNED))


def test_the_gate_says_what_it_was_not_asked(project):
    said = project.text2sql("gate", "--min-gain-lo", "0", "main", LEARNED).stdout
    assert "not checked: EX against the run before (no --max-drop)" in said
    said = project.text2sql("gate", "--max-drop", "1", "main", LEARNED).stdout
    assert "not checked: the gain over the best untrained arm (no --min-gain-lo)" in said


def test_data_that_git_does_not_hold_is_named_as_unchecked(changed):
    """A file in inputs/ that is neither in git nor in a .dvc file was there when ingest ran."""

    def run_with_more(folder: Path) -> None:
        lock = yaml.safe_load((folder / "dvc.lock").read_text())
        (dep,) = lock["stages"]["ingest"]["deps"]
        more = {"README.md": file_md5((folder / "inputs/README.md").read_bytes()), "mine.jsonl": "0" * 32}
        dep |= {"md5": folder_md5(more), "nfiles": 2}
        (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))

    project = changed(run_with_more)
    (run,) = named_runs("HEAD")
    assert (run.state, unchecked(run)) == (DONE, ["inputs"])
    said = project.text2sql("gate", "--max-drop", "0", "before", "HEAD").stdout
    assert "not checked: whether inputs changed since the run (git holds a part of it)" in said


def test_the_table_of_experiments_names_changed_rooms_and_prompts(project):
    for branch, says in ((SCORED, "code: scoring"), (ASKED, "prompts: prompts/en.txt"), (MOVED, "machine: processor")):
        head, commit = (project.run("git", "rev-parse", name).stdout.strip() for name in ("main", branch))
        project.run("git", "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/x-{branch}", commit)
        try:
            assert says in project.text2sql("experiments").stdout
        finally:
            project.run("git", "update-ref", "-d", f"refs/exps/{head[:2]}/{head[2:]}/x-{branch}")
