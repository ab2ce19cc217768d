"""docs/updating.md, command by command, on the small stand-in for the pipeline."""

import pytest
from small_project import SmallProject

pytestmark = pytest.mark.pipeline

CLEAN = "Data and pipelines are up to date."
RUN = ("dvc.lock", "params.yaml", "metrics")


@pytest.fixture
def project(small_run, tmp_path) -> SmallProject:
    return SmallProject.copy(small_run, tmp_path / "project")


def stages_run(project: SmallProject) -> list[str]:
    return project.log.read_text().split()


def change_the_tool(project: SmallProject) -> None:
    """A comment in step.py, which only `finetune` names among its deps."""
    step = project.folder / "step.py"
    step.write_text(step.read_text() + "\n# a comment\n")
    project.commit("the tool changed")


def status(project: SmallProject, *stages: str) -> str:
    return project.run("dvc", "status", *stages).stdout


def changed_lines(project: SmallProject) -> list[str]:
    lines = project.run("git", "diff", "-U0", "dvc.lock").stdout.splitlines()
    return [line[1:].split(":")[0].strip() for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_a_trained_model_is_kept_when_the_tool_changed(project):
    adapter = project.bytes("models/finetuned")
    change_the_tool(project)
    assert "finetune:\n\tchanged deps:\n\t\tmodified:           step.py" in status(project)
    unforced = project.run("dvc", "commit", "finetune", check=False)
    assert unforced.returncode and "Use `-f|--force` to force" in unforced.stderr
    project.run("dvc", "commit", "-f", "finetune")
    assert set(changed_lines(project)) == {"md5", "size"}
    assert CLEAN in project.run("dvc", "repro").stdout
    assert stages_run(project) == []
    assert project.bytes("models/finetuned") == adapter


def test_a_record_taken_back_is_still_in_the_run_cache_and_force_trains_anyway(project):
    change_the_tool(project)
    project.run("dvc", "commit", "-f", "finetune")
    project.run("git", "checkout", "dvc.lock")
    assert "Stage 'finetune' is cached - skipping run" in project.run("dvc", "repro", "finetune").stdout
    assert stages_run(project) == []
    project.commit("recorded")
    project.run("dvc", "repro", "-f", "-s", "finetune")
    assert stages_run(project) == ["finetune"]
    assert changed_lines(project) == []


def test_status_tells_what_a_record_would_hide(project):
    """Parameters and outputs are recorded as readily as code: the page says to look for both first."""
    adapter = project.bytes("models/finetuned")
    project.set(finetune__learning_rate=1e-3)
    (project.folder / "models/finetuned/adapter.json").unlink()
    (project.folder / "models/finetuned/adapter.json").write_text("edited")
    said = status(project, "finetune")
    assert "changed outs" in said and "params.yaml:\n\t\t\tmodified:           finetune" in said
    project.run("dvc", "checkout", "--force", "models/finetuned")
    assert project.bytes("models/finetuned") == adapter
    project.run("dvc", "commit", "-f", "finetune")
    assert stages_run(project) == [] and CLEAN in status(project)  # a model of 2.0e-3, recorded as one of 1.0e-3
    assert set(changed_lines(project)) == {"learning_rate"}


def test_two_runs_are_merged_by_taking_one_side_whole(project):
    project.run("git", "checkout", "-q", "-b", "other")
    project.set(finetune__learning_rate=1e-3)
    project.run("dvc", "repro")
    project.commit("their run")
    project.run("git", "checkout", "-q", "main")
    project.run("dvc", "checkout")
    project.set(select__eval_size=16)
    project.run("dvc", "repro")
    project.commit("our run")
    merge = project.run("git", "merge", "other", check=False)
    assert merge.returncode and "conflict in dvc.lock" in merge.stdout
    project.log.write_text("")

    project.run("git", "checkout", "--theirs", *RUN, check=False)
    mixed = (project.folder / "params.yaml").read_text()
    assert "learning_rate: 0.001" in mixed and "eval_size: 16" in mixed  # git merged it: of neither run

    project.run("git", "checkout", "other", "--", *RUN)
    project.run("dvc", "checkout")
    assert CLEAN in status(project)

    project.set(select__eval_size=16)  # a parameter of the side that was not taken
    project.run("dvc", "repro")
    assert stages_run(project) == ["finetuned", "report"]  # rows and base arm come from our run, the model from theirs
    assert CLEAN in status(project)
    project.run("git", "add", *RUN)
    project.run("git", "commit", "-q", "-m", "both")
    assert project.run("git", "status", "--short").stdout == ""
    assert "select.eval_size: 20 → 16" in project.text2sql("compare", "other", "HEAD", "--common").stdout
