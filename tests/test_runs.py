"""A run is what its commit's files say of one another: which stages there are, and whether the figures are theirs."""

import json
from dataclasses import replace

import pytest
from conftest import ROOT

from text2sql.experiments.git import DONE
from text2sql.experiments.lock import stage_names
from text2sql.experiments.runs import BROKEN, EMPTY, STALE, Run, own_changes, preset_values, to_run

PIPELINE = {"generate": {"foreach": "${arms}", "do": {"cmd": "g ${key}"}}, "report": {"cmd": "r"}}
PARAMS = {"seed": 1, "arms": {"base": {"shots": 0}, "tuned": {"shots": 0}}}


def stage(*outs: str, deps: dict[str, str] | None = None, **params) -> dict:
    return {
        "cmd": "x",
        "deps": [{"path": path, "md5": md5} for path, md5 in (deps or {}).items()],
        "params": {"params.yaml": params},
        "outs": [{"path": path, "md5": "1"} for path in outs],
    }


def made(stages: dict, params: dict = PARAMS, pipeline: dict = PIPELINE, files: dict[str, str] | None = None) -> Run:
    """A commit with these stages in dvc.lock."""
    contents = [json.dumps(part).encode() for part in (params, {"stages": pipeline}, {"stages": stages}, {"n": 1}, {})]
    return to_run("name", "0" * 40, None, DONE, contents, files or {})


ARMS = {
    "generate@base": stage("data/generations/base.jsonl"),
    "generate@tuned": stage("data/generations/tuned.jsonl"),
    "report": stage(deps={"data/generations/base.jsonl": "1"}, seed=1),
}


def test_a_run_whose_files_agree_has_figures():
    assert (made(ARMS).state, made(ARMS).summary) == (DONE, {"n": 1})


def test_what_dvc_leaves_of_a_removed_arm_is_no_part_of_the_run():
    old = stage("data/generations/old.jsonl", deps={"data/generations/base.jsonl": "another"})
    run = made(ARMS | {"generate@old": old, "gone": old})
    assert (run.state, list(run.stages)) == (DONE, list(ARMS))


@pytest.mark.parametrize(
    ("stages", "params", "problem"),
    [
        ({name: ARMS[name] for name in ("generate@base", "report")}, PARAMS, "stage generate@tuned has never run"),
        (ARMS, PARAMS | {"seed": 2}, "seed is 2 in params.yaml, 1 in dvc.lock (stage report)"),
        (
            ARMS | {"report": stage(deps={"data/generations/base.jsonl": "2"})},
            PARAMS,
            "stage report has not run on the present data/generations/base.jsonl",
        ),
        (
            ARMS
            | {"generate@tuned": stage(deps={"prompts/en.txt": "1"}), "report": stage(deps={"prompts/en.txt": "2"})},
            PARAMS,
            "stage report has not run on the present prompts/en.txt",
        ),
        (ARMS | {"report": stage(deps={"text2sql/report": "1"})}, PARAMS, "text2sql/report was changed and not run"),
    ],
)
def test_files_that_are_not_of_one_run_have_no_figures(stages, params, problem):
    run = made(stages, params)
    assert (run.state, run.summary) == (STALE, {}) and run.problem.startswith(problem)


def test_a_gain_of_two_arms_that_wrote_the_same_texts_has_no_figures():
    stages = {name: stage(f"data/generations/{name}.jsonl") for name in ("base", "finetuned")}
    contents = [b"", None, json.dumps({"stages": stages}).encode(), b'{"ex": {"base": 0.1, "finetuned": 0.5}}', None]
    run = to_run("name", "0" * 40, None, DONE, contents, {})
    assert (run.state, run.summary) == (STALE, {}) and "wrote the same texts" in run.problem
    contents[3] = b'{"ex": {"base": 0.1, "finetuned": 0.1}}'
    assert to_run("name", "0" * 40, None, DONE, contents, {}).state == DONE


WHOLE = {
    "params.yaml": "seed: 1",
    "dvc.yaml": "stages: {}",
    "dvc.lock": "stages: {}",
    "summary": '{"n": 1}',
    "more": "{}",
}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("params.yaml", "- a list"),
        ("params.yaml", "{"),
        ("dvc.yaml", "<<<<<<< main\nstages: {}\n=======\n"),
        ("dvc.yaml", "stages: [1]"),
        ("dvc.yaml", "stages: {report: 1}"),
        ("dvc.yaml", "stages: {report: {matrix: 1}}"),
        ("dvc.lock", "words"),
        ("dvc.lock", "stages: [1]"),
        ("dvc.lock", "stages: {report: {deps: [x]}}"),
        ("dvc.lock", "stages: {report: {params: 1}}"),
        ("summary", "[]"),
        ("summary", "{"),
        ("more", "1"),
    ],
)
def test_a_file_in_another_form_makes_a_run_unreadable(file, text):
    contents = [given.encode() for given in (WHOLE | {file: text}).values()]
    run = to_run("name", "0" * 40, None, DONE, contents, {})
    assert run.state == BROKEN and run.problem and "\n" not in run.problem


def test_a_commit_without_figures_says_that_and_one_without_a_lock_why():
    contents = [b"seed: 1", None, None, b'{"n": 1}', None]
    run = to_run("name", "0" * 40, None, DONE, contents, {})
    assert (run.state, run.problem) == (STALE, "there is no dvc.lock")
    assert to_run("name", "0" * 40, None, DONE, [b"seed: 1", None, None, None, None], {}).state == EMPTY


@pytest.mark.parametrize(
    ("definition", "names"),
    [
        ({"cmd": "x"}, {"s"}),
        ({"matrix": {"arm": ["base", "tuned"]}}, {"s@base", "s@tuned"}),
        ({"matrix": {"arm": ["a", "b"], "k": [1, 2]}}, {"s@a-1", "s@a-2", "s@b-1", "s@b-2"}),
        ({"foreach": {"base": {}, "tuned": {}}}, {"s@base", "s@tuned"}),
        ({"foreach": "${arms}"}, {"s@base", "s@tuned"}),
        ({"foreach": "${sizes}"}, {"s@10", "s@20"}),
        ({"foreach": [{"a": 1}]}, None),
        ({"foreach": "${nothing}"}, None),
    ],
)
def test_a_loop_of_stages_has_dvcs_names(definition, names):
    assert stage_names("s", definition, {"arms.base.shots": 0, "arms.tuned.shots": 0, "sizes": [10, 20]}) == names


def test_a_preset_stands_for_the_values_that_it_names(monkeypatch):
    monkeypatch.chdir(ROOT)
    preset = preset_values("HEAD", "wikisql")
    assert preset["ingest.source"] == "file" and preset_values("HEAD", "no-such") == {}
    params = {"preset": "quickstart", "finetune.learning_rate": 0.002, "seed": 7}
    main = Run("main", "HEAD", None, DONE, "", params, {}, {}, {}, {}, {})
    run = replace(main, name="w", baseline="HEAD", params=main.params | preset)
    assert own_changes(run, main) == {}
    run.params.update({"finetune.learning_rate": 0.002, "seed": 8})  # the rate of the commit above, not the preset's
    assert own_changes(run, main) == {"finetune.learning_rate": 0.002, "seed": 8}
