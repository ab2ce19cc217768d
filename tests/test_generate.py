"""Generation: one answer a row, and that order and kills change nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from tiny_runs import PROMPT, generation, prompt_of, run, table

from text2sql.base.errors import UserError
from text2sql.base.files import read_json, read_jsonl, write_json
from text2sql.base.resume import file_key
from text2sql.generation.generate import open_arm
from text2sql.generation.made import check_made
from text2sql.models.prompts import build_prompt, read_templates

pytestmark = pytest.mark.usefixtures("in_the_project")


def test_there_is_one_generation_a_row_in_the_tables_order(whole, tokenizer):
    rows = list(read_jsonl(whole / "out.jsonl"))
    assert [row["id"] for row in rows] == [f"q{number}" for number in range(7)]
    assert [row["prompt_tokens"] for row in rows] == [
        len(prompt_of(row, tokenizer)) for row in table().to_dict("records")
    ]
    assert all(row["finish_reason"] == "length" and row["completion_tokens"] == 6 for row in rows)
    assert len({row["prompt_sha256"] for row in rows}) == 7


@pytest.fixture(scope="module")
def whole(pointer, tmp_path_factory) -> Path:
    """The folder of a run that nothing stopped. A second link, `kept`, keeps the batches that the run removes."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "finished.jsonl").touch()
    (folder / "kept").hardlink_to(folder / "finished.jsonl")
    run(pointer, folder)
    return folder


def killed(whole: Path, folder: Path, batches: int, torn: bytes = b"") -> Path:
    """A work folder as a run leaves it that was killed after some batches, in the middle of writing `torn`."""
    lines = (whole / "kept").read_bytes().splitlines(keepends=True)
    (folder / "finished.jsonl").write_bytes(b"".join(lines[:batches]) + torn)
    return folder


@pytest.mark.parametrize(("batches", "torn"), [(0, b'{"rows": [{"id"'), (2, b'{"rows": [{"id": "q'), (3, b"")])
def test_a_killed_run_goes_on_to_the_same_bytes(batches, torn, pointer, whole, tmp_path):
    run(pointer, killed(whole, tmp_path, batches, torn))
    assert (tmp_path / "out.jsonl").read_bytes() == (whole / "out.jsonl").read_bytes()


def test_finished_batches_are_not_generated_again(pointer, whole, tmp_path):
    lines = (whole / "kept").read_text().splitlines()
    marked = json.loads(lines[0])
    marked["rows"][0]["text"] = "kept from the killed run"
    (tmp_path / "finished.jsonl").write_text(json.dumps(marked) + "\n" + lines[1] + "\n")
    rows = run(pointer, tmp_path)
    assert [row["id"] for row in rows if row["text"] == "kept from the killed run"] == [marked["rows"][0]["id"]]


def test_a_prompt_without_room_is_kept_with_its_reason(pointer, tokenizer, tmp_path):
    rows = table()
    rows.loc[2, "question"] = "x" * 1100
    generated = run(pointer, tmp_path, rows=rows)
    assert [row["finish_reason"] for row in generated] == ["length"] * 2 + ["prompt_too_long"] + ["length"] * 4
    assert (generated[2]["text"], generated[2]["completion_tokens"]) == ("", 0)
    assert generated[2]["prompt_tokens"] == len(prompt_of(rows.to_dict("records")[2], tokenizer)) > 1000
    assert [list(row) for row in generated] == [list(generated[0])] * 7


def test_a_table_whose_prompts_all_lack_room_has_its_generations_too(pointer, tmp_path):
    rows = table(2)
    rows["question"] = "x" * 1100
    assert [row["finish_reason"] for row in run(pointer, tmp_path, rows=rows)] == ["prompt_too_long"] * 2


def test_the_adapter_changes_what_is_generated(pointer, adapter, whole, tmp_path):
    base = list(read_jsonl(whole / "out.jsonl"))
    tuned = run(pointer, tmp_path / "finetuned", adapter=adapter)
    assert [row["text"] for row in base] != [row["text"] for row in tuned]
    assert [row["prompt_sha256"] for row in base] == [row["prompt_sha256"] for row in tuned]


# Answers for `ask`


def test_a_fine_tuned_arm_answers_as_the_stage_does(pointer, adapter, tmp_path):
    answer = open_arm(pointer, str(adapter), PROMPT, generation(), "finetuned")
    texts = [(build_prompt(row, read_templates(PROMPT), PROMPT),) for row in table().to_dict("records")]
    assert [found for (found,) in answer(texts)] == [
        row["text"] for row in run(pointer, tmp_path / "out", adapter=adapter, arm="finetuned")
    ]


def test_an_arm_answers_as_the_stage_does_and_samples_by_seed(pointer, whole):
    answer = open_arm(pointer, "models/base", PROMPT, generation(), "base")
    texts = [(build_prompt(row, read_templates(PROMPT), PROMPT),) for row in table().to_dict("records")]
    assert [found for (found,) in answer(texts)] == [row["text"] for row in read_jsonl(whole / "out.jsonl")]
    sampled = answer(texts[:2], samples=3, seed=1)
    assert [len(found) for found in sampled] == [3, 3]
    assert [found[0] for found in sampled] == [found for (found,) in answer(texts[:2])]
    assert answer(texts[:2], samples=3, seed=1) == sampled
    assert answer(texts[:2], samples=3, seed=8) != sampled
    assert [len(set(found)) for found in sampled] == [3, 3]


# Samples


@pytest.fixture(scope="module")
def sampled(pointer, tmp_path_factory) -> Path:
    """The folder of a run with three candidates a question; `kept` keeps its batches."""
    folder = tmp_path_factory.mktemp("sampled")
    (folder / "finished.jsonl").touch()
    (folder / "kept").hardlink_to(folder / "finished.jsonl")
    run(pointer, folder, samples=3)
    return folder


def test_an_arm_with_samples_keeps_the_greedy_answer_of_one_without(sampled, whole):
    rows = list(read_jsonl(sampled / "out.jsonl"))
    drawn = [row.pop("samples") for row in rows]
    assert rows == list(read_jsonl(whole / "out.jsonl"))
    assert [len(others) for others in drawn] == [2] * 7
    assert all(list(one) == ["text", "completion_tokens", "finish_reason"] for others in drawn for one in others)
    assert len({one["text"] for others in drawn for one in others}) > 7


@pytest.mark.parametrize(("batches", "torn"), [(1, b'{"rows": [{"id"'), (4, b"")])
def test_a_killed_run_with_samples_goes_on_to_the_same_bytes(batches, torn, pointer, sampled, tmp_path):
    assert len((sampled / "kept").read_bytes().splitlines()) > 5
    run(pointer, killed(sampled, tmp_path, batches, torn), samples=3)
    assert (tmp_path / "out.jsonl").read_bytes() == (sampled / "out.jsonl").read_bytes()


def test_ask_draws_the_samples_of_the_arm(pointer, fp32, tmp_path):
    answer = open_arm(pointer, "models/base", PROMPT, generation(), "base")
    texts = [(build_prompt(row, read_templates(PROMPT), PROMPT),) for row in table().to_dict("records")]
    assert answer(texts, samples=3) == [
        [row["text"], *(one["text"] for one in row["samples"])] for row in run(pointer, tmp_path, samples=3)
    ]


# Models made of the adapter


def test_what_was_made_from_another_adapter_is_refused_with_the_command_that_makes_it_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for model in ("models/base", "models/finetuned", "servers/a.yaml", "publish/other"):
        check_made(model)  # nothing that a command makes of the adapter
    write_json("models/finetuned/adapter_config.json", {"r": 4})
    made = file_key(Path("models/finetuned"))
    write_json("publish/merged/config.json", {})
    with pytest.raises(UserError, match=r"^publish/merged: not made from the present models/finetuned; run `.* merge`"):
        check_made("publish/merged")
    write_json("publish/merged.json", {"adapter": made})
    check_made("publish/merged")
    with pytest.raises(UserError, match=r"^exports/a\.gguf: not there; run `python -m text2sql export`"):
        check_made("exports/a.gguf")
    check_made("exports/a.gguf", recorded=False)  # a clone that has the answers and not the file
    write_json("models/finetuned/adapter_config.json", {"r": 8})
    for recorded in (True, False):
        with pytest.raises(UserError, match=r"run `python -m text2sql merge`, then `dvc repro`"):
            check_made("publish/merged", recorded=recorded)


# Several processes


def test_two_processes_write_what_one_writes(tiny_model, adapter, whole, tmp_path):
    """Real processes, as `accelerate launch` starts them, each with its share of the batches."""
    script = tmp_path / "stage.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "sys.path[:0] = sys.argv[3:5]\n"
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "from tiny_runs import PROMPT, generate, generation, table\n"
        "pointer, work = {'source': 'folder', 'name': sys.argv[1]}, Path(sys.argv[2])\n"
        "rows = table()\n"
        "none = {key: [] for key in rows.id}\n"
        "out = work / 'out.jsonl'\n"
        "generate(rows, none, pointer, 'models/base', PROMPT, generation(), 'base', out=out, work=work)\n"
        "print(sorted(path.name for path in work.iterdir()))\n"
    )
    work = tmp_path / "work"
    work.mkdir()
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu"]
    options = ["--main_process_port", "0", "--mixed_precision", "no", "--num_machines", "1", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*launch, *options, str(script), str(tiny_model), str(work), str(ROOT), str(ROOT / "tests")],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (work / "out.jsonl").read_bytes() == (whole / "out.jsonl").read_bytes()
    assert [path.name for path in work.iterdir()] == ["out.jsonl"]


def benchmark(script: str, folder: Path, *ways: str) -> dict:
    """What a benchmark measures of these ways, in processes of their own, on the tiny model in the folder."""
    command = [sys.executable, f"benchmarks/{script}", "--small", "--model", str(folder / "model"), "--ways", *ways]
    done = subprocess.run(
        [*command, "--json", str(folder / "results.json")], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and all(way in done.stdout for way in ways), done.stdout + done.stderr
    return read_json(folder / "results.json")["results"]


def test_the_gpu_benchmark_runs_on_a_tiny_model(tmp_path, monkeypatch):
    """A way of training by the command, and one of generating, so that it runs where there is a card."""
    results = benchmark("gpu.py", tmp_path, "train_nf4_checkpointing")
    assert list(results) == ["model", "train_nf4_checkpointing"]
    assert results["train_nf4_checkpointing"]["steps"] == 3
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    found = gpu.generate_by("stage", tmp_path / "model", gpu.SMALL_SIZE)
    assert found["prompts"] == 6 and found["tokens_per_second"] > 0


def test_the_benchmark_beside_other_kernels_learns_alike_in_float8(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import peers

    peers.make_model(tmp_path / "model", peers.TINY)
    plain, coarse = (peers.measure(way, tmp_path / "model", peers.SMALL_SIZE)["losses"] for way in ("plain", "fp8"))
    assert plain[-1] < plain[0] and coarse == pytest.approx(plain, rel=1e-3)
    assert benchmark("peers.py", tmp_path, "unsloth") == {"unsloth": {"left_out": "needs a CUDA card"}}
