"""What can go wrong around a run, done to a real one: each ends in one clear line, and the next `dvc repro` goes on.

Out of GPU memory and a missing GPU are in test_finetune.py, full disks under a download or a conversion in test_pin.py,
the judge's kills in test_judge.py.
"""

import base64
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import ROOT, Project, copy_of
from test_judge import judge_params, judge_server, model_server, received
from test_pin import COMMIT, hub_config, one_line, resolve_alone, serving
from whole_run import FIELDS, NO_SQL, NUL, TEST, TEXT, TRAIN, make_whole

from text2sql.base.files import atomic_write, read_json, read_jsonl, write_jsonl
from text2sql.base.params import read_params
from text2sql.dataset.rows import read_table
from text2sql.models.load import load_tokenizer
from text2sql.models.pin import read_pointer
from text2sql.models.prompts import build_prompt, fingerprint, read_templates, tokenize

OUTPUTS = ("data", "metrics", "models")
GO_ON = "stopped: run the same command again to go on from what is finished"


@pytest.fixture(scope="module")
def judge():
    with judge_server(delay=0.1) as url:
        yield url


def judged_by(project: Project, url: str) -> Project:
    """The project with the server as its judge."""
    settings = judge_params(url, project.folder, concurrency=2, timeout=60.0, cache=".work/judge").model_dump()
    project.set(judge=settings)
    project.commit("judge")
    return project


@pytest.fixture(scope="module")
def finished(whole_run, judge, tmp_path_factory) -> Project:
    """The whole run, judged."""
    project = judged_by(copy_of(whole_run.folder, tmp_path_factory.mktemp("finished") / "project"), judge)
    project.run("dvc", "repro", OPENAI_API_KEY="sk-test-0123456789abcdef")
    project.commit("judged")
    return project


@pytest.fixture
def copied(finished, tmp_path) -> Project:
    return copy_of(finished.folder, tmp_path / "project")


def environment(project: Project, **more: str) -> dict[str, str]:
    return project.environment(OPENAI_API_KEY="sk-test-0123456789abcdef", **more)


def start(project: Project, *command: str) -> subprocess.Popen:
    """A command in a process group of its own, its output in the file `log`."""
    with open(project.folder / ".work/log", "wb") as log:
        return subprocess.Popen(
            command, cwd=project.folder, env=environment(project), stdout=log, stderr=log, start_new_session=True
        )


def log_of(project: Project) -> str:
    return (project.folder / ".work/log").read_text(encoding="utf-8", errors="replace")


def wait_for(happened, process: subprocess.Popen, seconds: float = 300.0) -> None:
    """Returns once `happened`; fails when the process ends first, or after so long that something hangs."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, process.args
        time.sleep(0.02)


def forget(project: Project, *stages: str) -> None:
    """Makes DVC run these stages anew: nothing is left in dvc.lock, the run-cache or .work."""
    path = project.folder / "dvc.lock"
    lock = yaml.safe_load(path.read_text(encoding="utf-8"))
    lock["stages"] = {name: stage for name, stage in lock["stages"].items() if name.partition("@")[0] not in stages}
    path.write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    for name in (".dvc/cache/runs", *(f".work/{stage}" for stage in stages)):
        shutil.rmtree(project.folder / name, ignore_errors=True)


def goes_on(project: Project, finished: Project) -> None:
    """`dvc repro` ends well, with the bytes of the undisturbed run."""
    project.run("dvc", "repro", OPENAI_API_KEY="sk-test-0123456789abcdef")
    assert project.bytes(*OUTPUTS) == finished.bytes(*OUTPUTS)


def only_line(done: subprocess.CompletedProcess) -> str:
    """The one line that a failed program said, below its progress bars."""
    errors = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and "Traceback" not in done.stderr, done.stderr
    return errors[0]


# Text


@pytest.mark.pipeline
def test_every_character_of_every_field_survives_every_stage(finished):
    def told(rows: list[dict]) -> list[tuple]:
        return sorted(tuple(row[name] for name in FIELDS) for row in rows)

    def kept(path: str) -> list[tuple]:
        return told(read_table(finished.folder / path).to_dict("records"))

    assert kept("data/raw/train.parquet") == told(TRAIN + NO_SQL)
    assert kept("data/rejected.parquet") == told(NO_SQL)
    assert kept("data/valid/train.parquet") == told(TRAIN)
    selected = kept("data/selected/train.parquet")  # less what is too like a test question
    assert len(selected) >= 20 and set(selected) <= set(told(TRAIN))
    for path in ("data/raw/test.parquet", "data/valid/test.parquet", "data/selected/eval.parquet"):
        assert kept(path) == told(TEST), path

    by_id = {row["id"]: row for row in TEST}
    prompt = read_params("prompt", path=finished.folder / "params.yaml")[0]
    with contextlib.chdir(finished.folder):
        templates = read_templates(prompt)
        tokenizer = load_tokenizer(read_pointer("models/base"))
        rows = read_table("data/selected/eval.parquet").to_dict("records")
    texts = {row["id"]: build_prompt(row, templates, prompt) for row in rows}
    hashes = {key: fingerprint(tokenize(text, tokenizer, prompt)) for key, text in texts.items()}
    for arm in ("base", "finetuned"):
        generated = list(read_jsonl(finished.folder / f"data/generations/{arm}.jsonl"))
        assert {row["id"]: row["prompt_sha256"] for row in generated} == hashes
        assert {row["id"] for row in read_jsonl(finished.folder / f"data/scores/{arm}.jsonl")} == set(by_id)
        for line in read_jsonl(finished.folder / f"data/judgements/{arm}/requests.jsonl"):
            asked, row = json.loads(line["body"]["messages"][1]["content"]), by_id[line["custom_id"]]
            assert (asked["schema"], asked["question"], asked["reference_sql"]) == (
                row["context"], row["question"], row["answer"],
            )  # fmt: skip
        assert {row["id"] for row in read_jsonl(finished.folder / f"data/judgements/{arm}.jsonl")} == set(by_id)
        described = read_json(finished.folder / f"metrics/arms/{arm}.json")
        for label in ("domain", "complexity"):
            assert set(described[f"by_{label}"]) == {row[label] for row in TEST}


@pytest.mark.pipeline
def test_every_character_of_an_answer_survives_scoring_judging_and_the_explorer(copied):
    """The tiny model would not say such things; its place is taken by hand."""
    gold = {row["id"]: row["answer"] for row in TEST}
    path = copied.folder / "data/generations/base.jsonl"
    said = {key: f"{NUL} {TEXT}:\n```sql\n{sql}\n```\n{NUL}" for key, sql in gold.items()}
    write_jsonl(path, [line | {"text": said[line["id"]], "finish_reason": "stop"} for line in read_jsonl(path)])
    for script in (("stages/score.py", "base"), ("stages/judge.py", "base"), ("stages/report.py",)):
        copied.python(*script, OPENAI_API_KEY="sk-test-0123456789abcdef")
    scores = list(read_jsonl(copied.folder / "data/scores/base.jsonl"))
    assert {score["id"]: score["sql"] for score in scores} == gold and all(score["ex"] for score in scores)
    for line in read_jsonl(copied.folder / "data/judgements/base/requests.jsonl"):
        asked = json.loads(line["body"]["messages"][1]["content"])
        assert asked["generated_sql"] == gold[line["custom_id"]]
    page = (copied.folder / "metrics/explorer.html").read_text(encoding="utf-8")
    packed = re.search(r'id="data"[^>]*>([^<]*)<', page)[1]
    rows = json.loads(zlib.decompress(base64.b64decode(packed)))["rows"]
    assert {row["id"]: row["arms"][0]["text"] for row in rows} == said


@pytest.mark.pipeline
def test_prompts_longer_than_the_limit_are_counted_and_named(finished):
    trained = read_json(finished.folder / "metrics/train/summary.json")
    selected = len(read_table(finished.folder / "data/selected/train.parquet"))
    assert (trained["too_long"], trained["rows"]) == ([TRAIN[5]["id"]], selected - 1)
    for arm in ("base", "finetuned"):
        rows = {row["id"]: row for row in read_jsonl(finished.folder / f"data/generations/{arm}.jsonl")}
        too_long = [name for name, row in rows.items() if row["finish_reason"] == "prompt_too_long"]
        assert too_long == [TEST[3]["id"]] and rows[too_long[0]]["prompt_tokens"] > 1024
        assert read_json(finished.folder / f"metrics/arms/{arm}.json")["finish_reasons"]["prompt_too_long"] == 1


# Interruptions


@pytest.mark.pipeline
def test_two_clean_runs_give_the_same_bytes_also_when_one_was_killed(finished, judge, tmp_path, tiny_model):
    """The second run is killed in the middle of training and of generation, and goes on from there."""
    other = judged_by(make_whole(tmp_path / "project", tiny_model), judge)
    (other.folder / ".work").mkdir()
    for stage, mark in (("finetune", "finetune/*/checkpoint-*"), ("generate@base", "generate/*/finished.jsonl")):
        process = start(other, "dvc", "repro", stage)
        wait_for(lambda mark=mark: any((other.folder / ".work").glob(mark)), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        (other.folder / ".dvc/tmp/rwlock").unlink(missing_ok=True)
    goes_on(other, finished)


@pytest.mark.pipeline
def test_scoring_and_judging_killed_at_random_moments_go_on_to_the_same_bytes(copied, finished, judge):
    """Twice each. Finished answers are in the judge's cache, so none of them is paid again."""
    forget(copied, "score", "judge", "report")
    moments = random.Random(5)
    seconds = {name: read_json(path)["seconds"] for path, name in timings(finished)}
    for stage in ("score@base", "score@finetuned", "judge@base", "judge@finetuned"):
        process = start(copied, "dvc", "repro", stage)
        wait_for(lambda stage=stage: f"Running stage '{stage}'" in log_of(copied), process)
        time.sleep(moments.random() * (seconds[stage] + 1))  # a second for Python to start
        # The stage and its workers, not DVC: killed while it writes .dvc/tmp/rwlock, that file must be removed by hand.
        for descendant in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                descendant.kill()
        process.wait(timeout=300)
    goes_on(copied, finished)
    answers = [line["key"] for line in read_jsonl(copied.folder / ".work/judge/answers.jsonl")]
    assert len(answers) == len(set(answers))


def timings(project: Project) -> list[tuple[Path, str]]:
    return [(path, path.stem) for path in (project.folder / ".work/timings").glob("*.json")]


@pytest.mark.pipeline
def test_ctrl_c_is_one_line_of_ours_and_the_next_run_goes_on(copied, finished):
    """In the middle of a request that the judge leaves unanswered."""
    before = (copied.folder / "params.yaml").read_text(encoding="utf-8")
    with judge_server(faults={"hang": 1.0}) as url:
        copied.set(judge__base_url=f"{url}/v1", judge__cache=".work/other", judge__timeout=3600.0)
        process = start(copied, "dvc", "repro", "judge@base")
        wait_for(lambda: received(url), process)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=300)
    for _ in range(6_000):  # DVC does not wait for a stage whose shell died first
        if GO_ON in (said := log_of(copied)):
            break
        time.sleep(0.02)
    assert process.returncode != 0
    assert said.count(GO_ON) == 1 and "Traceback" not in said, said
    (copied.folder / "params.yaml").write_text(before, encoding="utf-8")
    goes_on(copied, finished)


@pytest.mark.pipeline
def test_a_second_dvc_repro_is_turned_away_in_one_line_and_harms_nothing(copied, finished):
    """The first is held in the middle of its stage by a request that the judge leaves unanswered."""
    before = (copied.folder / "params.yaml").read_text(encoding="utf-8")
    with judge_server(faults={"hang": 1.0}, hang=3600.0) as url:
        copied.set(judge__base_url=f"{url}/v1", judge__cache=".work/other", judge__timeout=3600.0)
        process = start(copied, "dvc", "repro", "judge@base")
        wait_for(lambda: received(url), process)
        second = copied.run("dvc", "repro", "judge@base", check=False)
        assert second.returncode != 0 and "Traceback" not in second.stderr
        assert "ERROR" in second.stderr and ("lock" in second.stderr or "busy" in second.stderr), second.stderr
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    (copied.folder / "params.yaml").write_text(before, encoding="utf-8")
    goes_on(copied, finished)


# The disk


def in_namespace(project: Project, mount: str, *command: str) -> subprocess.CompletedProcess:
    """Runs a stage's script with mounts of its own, which end with it. Skips where that is not allowed."""
    allowed = subprocess.run(["unshare", "--mount", "true"], capture_output=True) if shutil.which("unshare") else None
    if allowed is None or allowed.returncode:
        pytest.skip("needs Linux's unshare and the right to mount")
    script = f'{mount} && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, *command],
        cwd=project.folder, env=environment(project), capture_output=True, text=True,
    )  # fmt: skip


# A stage's script and a folder that it writes to.
WRITES = [("validate", "data/valid"), ("score base", "data/scores"), ("judge base", "data/judgements"),
          ("report", "metrics/plots")]  # fmt: skip


@pytest.mark.pipeline
@pytest.mark.parametrize("problem", ["full", "read-only"])
def test_a_full_disk_or_a_folder_that_cannot_be_written_is_one_line(problem, copied, finished):
    for stage, folder in WRITES:
        if problem == "full":
            mount = f"mount -t tmpfs -o size=8k tmpfs {folder} && ! dd if=/dev/zero of={folder}/filler 2> /dev/null"
        else:
            mount = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
        script, *arm = stage.split()
        line = only_line(in_namespace(copied, mount, f"stages/{script}.py", *arm))
        assert line.startswith(f"error: {folder}/")
        assert ("no space left on the disk" if problem == "full" else "Read-only file system") in line
    assert copied.bytes(*OUTPUTS) == finished.bytes(*OUTPUTS)
    assert "up to date" in copied.run("dvc", "repro").stdout


@pytest.mark.pipeline
def test_a_full_disk_under_unfinished_work_is_one_line(copied, finished):
    mount = "mount -t tmpfs -o size=8k tmpfs .work && ! dd if=/dev/zero of=.work/filler 2> /dev/null"
    line = only_line(in_namespace(copied, mount, "stages/generate.py", "base"))
    assert "no space left on the disk, or the quota is used up; free some and run again" in line
    assert copied.bytes(*OUTPUTS) == finished.bytes(*OUTPUTS)


def test_what_a_killed_writer_left_is_swept_also_while_it_is_a_zombie(tmp_path):
    """The killed writer is a zombie until it is waited for."""
    code = (
        "import sys, time; from text2sql.base.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n file.write('half'); file.flush(); print(flush=True); time.sleep(600)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "a.txt"], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(2)
    ]
    try:
        for writer in writers:
            writer.stdout.readline()
        left = {f".a.txt.{writer.pid}.tmp" for writer in writers}
        assert set(os.listdir(tmp_path)) == left
        writers[0].kill()
        os.waitid(os.P_PID, writers[0].pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
        with atomic_write(tmp_path / "a.txt") as file:
            file.write("whole")
        assert set(os.listdir(tmp_path)) == {"a.txt", f".a.txt.{writers[1].pid}.tmp"}
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


# The network


def test_a_download_that_breaks_off_is_one_line_and_the_next_run_completes_it(tiny_model, tmp_path):
    """The hub's own client against a server that ends every large body in its middle, until it is told to stop."""
    broken = threading.Event()
    broken.set()
    with serving(tiny_model, broken) as hub:
        line = one_line(resolve_alone(hub_config(), tmp_path, **hub))
        assert f"some/model at {COMMIT}: not in the local hub cache and the hub does not give it" in line
        assert not (tmp_path / "base").exists()
        broken.clear()
        done = resolve_alone(hub_config(), tmp_path, **hub)
        assert (done.returncode, done.stdout) == (0, f"{COMMIT}\n"), done.stderr


# Errors that are the system's


def guarded(code: str, **options) -> subprocess.CompletedProcess:
    """Runs `code` as the body of a program's main."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    program = f"import sys\nfrom text2sql.base.errors import reports_user_errors\ndef main():\n{body}\n"
    program += "sys.exit(reports_user_errors(main)())"
    options = {"stdout": subprocess.PIPE} | options
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_like_it.part", "error: the Python package nothing_like_it is not installed for "),
        ("open('stages')", "error: stages: Is a directory; check the path and its permissions"),
        ("open('README.md/x')", "error: README.md/x: Not a directory; check the path and its permissions"),
        ("open('no/such')", "error: no/such: No such file or directory; check the path and its permissions"),
        (
            "raise PermissionError(13, 'Permission denied', 'secret')",
            "error: secret: Permission denied; check the path",
        ),
        ("f = open('/dev/full', 'w'); f.write('x'); f.close()", "error: no space left on the disk"),
        ("raise KeyboardInterrupt", GO_ON),
    ],
)
def test_what_the_system_refuses_is_one_line(code, said):
    done = guarded(code)
    assert done.returncode == (130 if "Keyboard" in code else 1)
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1, done.stderr


def test_an_error_of_our_own_keeps_its_traceback():
    for code in ("1 / 0", "import text2sql.nothing"):
        done = guarded(code)
        assert done.returncode == 1 and done.stderr.startswith("Traceback")


def test_a_reader_that_goes_away_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    for many in (1, 100_000):  # broken at the last flush, or in the middle
        done = guarded(f"for n in range({many}): print(n)", stdout=writing)
        assert (done.returncode, done.stderr) == (141, "")
    os.close(writing)


# A real judge


@pytest.mark.slow
@pytest.mark.pipeline
def test_a_run_judged_by_a_real_model_behind_a_real_server_reports_kappa(copied):
    """SmolLM2 cannot judge; that its verdicts are worth nothing is what kappa is there to show.

    The generations are written by hand, for the tiny model says nothing that could be judged; all else is real.
    """
    rows = [
        {
            "id": f"q{number}",
            "db_id": f"d{number}",
            "context": f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);",
            "question": f"How many {name}s are older than {30 + number}?",
            "answer": f"SELECT COUNT(*) FROM {name} WHERE age > {30 + number}",
        }
        for number, name in enumerate(["singer", "pilot", "player", "doctor"])
    ]
    write_jsonl(copied.folder / "inputs/test.jsonl", rows)
    copied.run("dvc", "repro", "populate")
    wrong = [f"SELECT name FROM {row['context'].split()[2]}" for row in rows]
    right = [row["answer"] for row in rows]
    with model_server(copied.folder / ".work/server.log") as (url, model):
        copied.set(
            judge__base_url=f"{url}/v1", judge__model=model, judge__template="resolve_yn", judge__max_tokens=2,
            judge__response_format=False, judge__concurrency=1, judge__timeout=600.0, judge__max_asks=1,
            judge__cache=".work/real",
        )  # fmt: skip
        for arm, said in (("base", wrong), ("finetuned", wrong[:2] + right[2:])):
            lines = list(read_jsonl(copied.folder / f"data/generations/{arm}.jsonl"))
            made = [
                line | {"id": f"q{n}", "text": said[n], "finish_reason": "stop"} for n, line in enumerate(lines[:4])
            ]
            write_jsonl(copied.folder / f"data/generations/{arm}.jsonl", made)
            copied.python("stages/score.py", arm)
            copied.python("stages/judge.py", arm)
    copied.python("stages/report.py")
    judgement = read_json(copied.folder / "data/judgements/finetuned/metrics.json")
    judged = list(read_jsonl(copied.folder / "data/judgements/finetuned.jsonl"))
    assert [row["id"] for row in judged] == ["q0", "q1", "q2", "q3"]
    assert all(row["error"] for row in judged if row["verdict"] == "judge_error")
    assert judgement["correct"] + judgement["incorrect"] + judgement["judge_error"] == 4
    assert judgement["compared"] == sum(judgement["table"].values()) > 0
    disagreements = list(read_jsonl(copied.folder / "data/judgements/finetuned/disagreements.jsonl"))
    assert len(disagreements) == judgement["disagreements"]
    summary = read_json(copied.folder / "metrics/summary.json")
    assert summary["ex"]["base"] == 0 and summary["ex"]["finetuned"] == 0.5
    assert set(summary["judge"]) == {"base", "finetuned", "kappa"} and summary["judge"]["finetuned"] is not None
    assert "judge" in copied.python("-m", "text2sql", "show").stdout
