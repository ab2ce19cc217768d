"""`compute: ray` gives the bytes of `compute: local`, and loses nothing when a worker dies.

The cluster is a real one on this machine, started as processes of its own.
"""

import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from text2sql.base.errors import UserError
from text2sql.base.params import EvaluationParams, read_params
from text2sql.databases.many import populate_rows
from text2sql.databases.populate import write_databases
from text2sql.dataset.rows import write_rows
from text2sql.dataset.validate import validate_tables
from text2sql.engines.compute import Workers, open_workers, workforce
from text2sql.engines.question import Question, open_dialects
from text2sql.engines.sqlite import Limits
from text2sql.scoring.score import Item, score_file
from text2sql.sources import synthetic

EVALUATION = EvaluationParams(engine="auto", postgres_url=None, mysql_url=None, trust_login=False)
OPENER = partial(open_dialects, choice=EVALUATION)
SETUP = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

# Ray reads these when it is imported. The cluster takes orders from nobody who lacks the token.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of a cluster that was started apart, with two workers at a time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short, as sockets need
    log = folder / "log"
    command = [
        Path(sys.executable).with_name("ray"), "start", "--head", f"--port={port}", "--num-cpus=2", "--block",
        "--include-dashboard=false", "--object-store-memory=80000000", f"--temp-dir={folder}",
    ]  # fmt: skip
    # Its workers step back behind every other process otherwise, and a start may take more than half a minute.
    env = os.environ | {"RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "120"}
    with open(log, "w") as said:
        machine = subprocess.Popen(command, stdout=said, stderr=said, env=env, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert machine.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        machine.terminate()
        machine.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_workers(address) -> Iterator[Workers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))  # for `work`
        with open_workers("ray", OPENER) as workers:
            yield workers


@pytest.fixture
def both(ray_workers, tmp_path, monkeypatch):
    """Runs a function that writes into the folder it is given, here and on the cluster; the bytes of either."""

    def compare(write) -> tuple[dict[str, bytes], dict[str, bytes]]:
        written = []
        for name, workers in (("local", 2), ("ray", ray_workers)):
            folder = tmp_path / name
            folder.mkdir()
            write(folder, workers)
            written.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
        return tuple(written)

    monkeypatch.chdir(tmp_path)  # paths in rows are relative to the project's folder
    return compare


def test_validate_gives_the_same_bytes(both, tmp_path):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.executescript(SETUP)
    rows = list(synthetic.rows(600, seed=4))
    rows[7] |= {"answer": ENDLESS, "context": SETUP}
    rows[9] |= {"answer": "SELECT list_sum([a]) FROM t", "context": SETUP, "dialect": "duckdb"}
    rows[11] |= {"answer": "SELECT a FROM t", "context": "", "database": "shop.db"}
    write_rows(tmp_path / "raw.parquet", rows)
    rules = read_params("validate", path=ROOT / "params.yaml")[0].model_copy(update={"seconds": 0.5})
    funnels = []

    def write(folder, workers):
        tables = {"train": tmp_path / "raw.parquet"}, {"train": folder / "valid.parquet"}
        rejected = folder / "rejected.parquet"
        funnels.append(
            validate_tables(*tables, rejected, rules.model_copy(update={"seconds": 0.5}), EVALUATION, workers)
        )

    here, there = both(write)
    assert here == there and funnels[0] == funnels[1]
    assert funnels[1]["train"]["read"] == 600 and funnels[1]["train"]["rejects"]["runs"]["timeout"] == 1


def test_populate_gives_the_same_bytes(both):
    schema = "CREATE TABLE dog (name TEXT, age INT)"
    rows = [
        {"id": str(n), "context": schema, "answer": f"SELECT name FROM dog WHERE age > {n}", "dialect": None}
        for n in range(10)
    ]

    def write(folder, workers):
        write_databases(folder, *populate_rows(rows, 2, 7, workers, folder / "unfinished"))
        (folder / "unfinished").unlink()

    here, there = both(write)
    assert here == there and here["rows.jsonl"].count(b"\n") == 10


def test_score_gives_the_same_bytes_on_an_engine_that_each_machine_starts_for_itself(both):
    predictions = ["SELECT a FROM t", "SELECT a + 1 FROM t", "SELECT b FROM t", ENDLESS]
    items = [
        Item(str(number), Question("SELECT a FROM t", (SETUP,), None, "postgres", "postgres"), prediction)
        for number, prediction in enumerate(predictions)
    ]
    counts = []

    def write(folder, workers):
        with OPENER(["postgres"]) as engines:
            assert set(engines) == {"postgres"}
            given = {"limits": Limits(seconds=0.5), "engines": engines, "results": folder / "results"}
            counts.append(score_file(folder / "scores", items, workers=workers, **given))

    here, there = both(write)
    assert here == there
    assert {outcome for outcome, count in counts[1].items() if count} == {"match", "mismatch", "schema", "timeout"}


def test_a_killed_worker_costs_time_and_no_result(ray_workers, tmp_path):
    items = [*range(10), str(tmp_path / "killed"), *range(10, 20)]
    assert list(run(ray_workers, items)) == [*range(10), "a second time", *range(10, 20)]


def test_what_a_row_raises_is_raised_here_without_rays_traceback(ray_workers):
    with pytest.raises(UserError) as caught:
        list(run(ray_workers, [1, 2, "wrong"]))
    assert str(caught.value) == "row 3 is wrong; fix it"


def test_a_machine_with_other_versions_is_refused(ray_workers, monkeypatch):
    from text2sql.engines import cluster

    monkeypatch.setattr(cluster, "software", lambda engines: {"SQLite": "3.0.0", "sqlglot": "1"})
    with pytest.raises(
        UserError, match=r"^the cluster's machine .* has SQLite 3\.\d+\.\d+, here 3\.0\.0; sqlglot .* same"
    ):
        list(run(ray_workers, [1]))


def run(workers, items) -> Iterator:
    with workforce(work, workers=workers, seconds=30, memory_bytes=512 * 2**20, chunk=8) as answers:
        yield from answers(items)


def work(item):
    if item == "wrong":
        raise UserError("row 3 is wrong; fix it")
    if isinstance(item, str):
        try:
            os.mkdir(item)
        except FileExistsError:
            return "a second time"
        pool = Path(
            f"/proc/{os.getppid()}/stat"
        ).read_text()  # of the process that forked this one; Ray's is its parent
        os.kill(int(pool.rpartition(")")[2].split()[1]), signal.SIGKILL)
        time.sleep(30)
    return item


# The stages


@pytest.fixture
def stage(tmp_path):
    """Runs the validate stage with `compute: ray` on a few rows; its exit code and what it said."""
    document = YAML()
    values = document.load(ROOT / "params.yaml")
    values["compute"] = "ray"
    document.dump(values, tmp_path / "params.yaml")
    (tmp_path / "data/raw").mkdir(parents=True)
    for split in ("train", "test"):
        write_rows(tmp_path / f"data/raw/{split}.parquet", synthetic.rows(20, seed=1))

    def call(**env: str) -> tuple[int, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        script = [sys.executable, str(ROOT / "stages/validate.py")]
        done = subprocess.run(script, cwd=tmp_path, env=inherited | env, capture_output=True, text=True)
        return done.returncode, done.stderr

    return call


def test_a_stage_runs_on_the_cluster(stage, address, tmp_path):
    code, said = stage(RAY_ADDRESS=address)
    assert code == 0, said
    assert (tmp_path / "data/funnel.json").is_file()


def test_a_cluster_that_cannot_be_reached_is_one_line(stage):
    with socket.socket() as nobody:  # bound and not listening
        nobody.bind(("127.0.0.1", 0))
        code, said = stage(RAY_ADDRESS=(there := f"127.0.0.1:{nobody.getsockname()[1]}"))
    assert code == 1 and said.count("\n") == 1
    assert said.startswith(f"error: the Ray cluster at {there} (RAY_ADDRESS) cannot be reached: ")


def test_a_cluster_that_is_not_named_is_one_line(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"^compute: ray, but RAY_ADDRESS is not set; set it to the address of"):
        open_workers("ray").__enter__()


def test_ray_asked_for_and_not_installed_is_one_line(monkeypatch):
    monkeypatch.delitem(sys.modules, "text2sql.engines.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UserError, match=r"^compute: ray is not installed; `pip install -e '.\[ray\]' -c constraints.txt`"
    ):
        open_workers("ray").__enter__()
