"""Sharing: data over the S3 API and a local folder, experiments over git, a model by its registered version."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from small_project import SmallProject

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3():
    """The address of an S3-compatible server process with the bucket `store`."""
    pytest.importorskip("moto", reason="moto is not installed (pip install -e '.[dev]')")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed (pip install -e '.[dev]')")
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests/s3_server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    address = f"http://127.0.0.1:{int(process.stdout.readline())}"
    names = dict(zip(("aws_access_key_id", "aws_secret_access_key", "region_name"), KEYS.values(), strict=True))
    boto3.client("s3", endpoint_url=address, **names).create_bucket(Bucket="store")
    yield address
    process.stdin.close()
    process.wait(timeout=60)


class Shared(SmallProject):
    """A run of the stand-in with a remote; clones of it are made from a bare git repository."""

    def environment(self, **env: str) -> dict[str, str]:
        return super().environment(NO_PROXY="127.0.0.1", **KEYS, **env)

    def share(self, url: str, **options: str) -> None:
        self.run("dvc", "remote", "add", "-d", "store", url)
        for key, value in options.items():
            self.run("dvc", "remote", "modify", "store", key, value)
        self.commit("remote")
        self.run("git", "clone", "-q", "--bare", str(self.folder), str(self.bare))
        self.run("git", "remote", "add", "origin", str(self.bare))
        self.run("dvc", "push", "-q")

    @property
    def bare(self) -> Path:
        return self.folder.parent / "bare.git"

    def clone(self) -> "Shared":
        """A fresh clone: no data, no cache."""
        other = object.__new__(Shared)
        other.folder, other.log = self.folder.parent / "clone", self.folder.parent / "clone.log"
        self.run("git", "clone", "-q", str(self.bare), str(other.folder))
        return other


def test_a_fresh_clone_pulls_from_s3_and_has_nothing_to_run(s3, small_run, tmp_path):
    project = Shared.copy(small_run, tmp_path / "project")
    project.share("s3://store/dvc", endpointurl=s3)
    clone = project.clone()
    assert not (clone.folder / "data/selected").exists()
    clone.run("dvc", "pull", "-q")
    assert "up to date" in clone.run("dvc", "repro").stdout
    assert not clone.log.exists()  # no stage ran
    for part in ("inputs", "data/selected", "models", "metrics"):
        assert clone.bytes(part) == project.bytes(part) != {}


def test_an_experiment_and_a_model_travel_to_a_fresh_clone(small_run, tmp_path):
    """`dvc exp push` and `pull`, and `dvc artifacts get` of a version that a git tag names."""
    project = Shared.copy(small_run, tmp_path / "project")
    project.share(str(tmp_path / "store"))
    project.run("dvc", "exp", "run", "--temp", "-n", "slower", "-S", "finetune.learning_rate=0.001")
    project.run("dvc", "exp", "push", "-q", "origin", "slower")
    project.run("git", "tag", "-a", "adapter@v1.0.0", "-m", "first")
    project.run("git", "push", "-q", "origin", "adapter@v1.0.0")

    clone = project.clone()
    clone.run("dvc", "exp", "pull", "-q", "origin", "slower")
    assert "slower" in clone.text2sql("experiments").stdout
    clone.run("dvc", "exp", "apply", "slower")
    assert "up to date" in clone.run("dvc", "repro").stdout and not clone.log.exists()
    assert '"learning_rate": 0.001' in (clone.folder / "models/finetuned/adapter.json").read_text()

    clone.run("dvc", "artifacts", "get", str(project.bare), "adapter", "--rev", "v1.0.0", "-o", "got")
    assert '"learning_rate": 0.002' in (clone.folder / "got/adapter.json").read_text()


def test_the_pipeline_names_the_adapter_for_a_model_registry():
    from dvc.repo import Repo

    with Repo(ROOT, uninitialized=True, _wait_for_lock=True) as repo:
        (adapters,) = repo.artifacts.read().values()
    assert (adapters["adapter"].path, adapters["adapter"].type) == ("models/finetuned", "model")
    assert adapters["adapter"].desc and adapters["adapter"].labels
