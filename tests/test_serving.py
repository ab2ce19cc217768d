"""docs/serving.md with a real server: `transformers serve` on loopback answers the generate stage and `ask`.

The pipeline's models are tiny ones of random weights; what is looked at is that every question gets there whole and
comes back. `ask` talks to SmolLM2.
"""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Project, copy_of

from text2sql.base.files import read_jsonl
from text2sql.base.params import read_params
from text2sql.generation.generate import open_arm
from text2sql.models.pin import read_pointer, weights_folder
from text2sql.publish.merge import merge

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]


@contextlib.contextmanager
def transformers_serve(folder: Path):
    """A server in the project's folder, which loads the model that a request names; yields its address."""
    command = [Path(sys.executable).parent / "transformers", "serve", "--host", "127.0.0.1", "--port", "0"]
    path = folder / "server.log"  # where it says which port it got
    with open(path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--log-level", "info"],
            cwd=folder,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 300
        while not (running := re.search(r"running on (http://127\.0\.0\.1:\d+)\D", path.read_text(encoding="utf-8"))):
            assert process.poll() is None and time.monotonic() < deadline, path.read_text(encoding="utf-8")
            time.sleep(0.1)
        yield f"{running[1]}/v1"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def served(tutorial, tmp_path_factory) -> Iterator[tuple[Project, str]]:
    """A finished run with its model merged, and the address of a server in its folder."""
    project = copy_of(tutorial.folder, tmp_path_factory.mktemp("served") / "project")
    with contextlib.chdir(project.folder):
        merge(read_pointer("models/base"), Path("models/finetuned"), Path("publish/merged"))
    with transformers_serve(project.folder) as url:
        yield project, url


def test_ask_is_answered_by_smollm2_behind_a_server(real_model, served, tmp_path):
    """As by the same weights in this process: whether rounding parts the two later in the text is their affair."""
    project = Project(tmp_path / "project")
    with closing(sqlite3.connect(project.folder / "shop.db")) as connection:
        connection.executescript("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
    project.set(generate__max_new_tokens=24)
    shutil.copytree(real_model, project.folder / "models/base")
    command = "-m text2sql ask --arm base --db shop.db --no-run".split()
    local = project.python(*command, "Show the name of every customer.").stdout
    weights = str(weights_folder(read_pointer(project.folder / "models/base")))
    project.set(generate__backend="openai", generate__base_url=served[1], generate__models__base=weights)
    distant = project.python(*command, "Show the name of every customer.").stdout
    assert len(local) > 20 and distant[:20] == local[:20]


def test_both_arms_of_the_pipeline_are_answered_by_a_server(served, monkeypatch):
    project, url = served
    monkeypatch.chdir(project.folder)
    pointer = read_pointer("models/base")
    names = {"base": pointer["name"], "finetuned": "publish/merged"}
    local = {arm: list(read_jsonl(f"data/generations/{arm}.jsonl")) for arm in names}
    project.set(generate__backend="openai", generate__base_url=url, generate__models=names)
    for arm in names:
        project.python("stages/generate.py", arm)
    prompt, config = read_params("prompt", "generate")
    prompt = prompt.model_copy(update={"chat": False})
    bare = open_arm(pointer, "models/base", prompt, config, "base")([("SELECT 이름 FROM 고객",)], samples=2)
    for arm in names:
        found = list(read_jsonl(f"data/generations/{arm}.jsonl"))
        for key in ("id", "prompt_tokens"):  # the same chat template, none of the text lost
            assert [row[key] for row in found] == [row[key] for row in local[arm]], arm
        assert {row["finish_reason"] for row in found} <= {"stop", "length"}
        assert all(0 < row["completion_tokens"] <= 16 for row in found)
    assert len(bare[0]) == 2
