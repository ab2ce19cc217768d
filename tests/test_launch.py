"""The finetune stage in several processes: accelerate's launcher, real processes on this machine's processor over gloo.

One run in one process and one in two serve all tests; the model is the tiny one.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from text2sql.base.errors import UserError
from text2sql.base.files import read_json, write_json
from text2sql.base.params import ResolveParams, read_params
from text2sql.dataset.rows import read_table, write_rows
from text2sql.models.pin import read_pointer
from text2sql.models.resolve import resolve
from text2sql.training import launch
from text2sql.training.finetune import finetune

ROWS = 16


def write_inputs(folder: Path, model: Path) -> None:
    """What the stages before leave for `finetune`: rows of different lengths and the model's pointer."""
    (folder / "models").mkdir(parents=True)
    write_rows(
        folder / "data/selected/train.parquet",
        [
            {
                "id": f"q{number}",
                "db_id": f"d{number % 4}",
                "context": "CREATE TABLE t (a INT);",
                "question": f"Question {'long ' * (number * 5 % 7)}{number}?",
                "answer": f"SELECT {number} FROM t",
                "dialect": "sqlite",
                "language": "en",
            }
            for number in range(ROWS)
        ],
    )
    nothing = {"file": None, "revision": None, "sha256": None, "trust_remote_code": False}
    config = ResolveParams(source="folder", name=str(model), **nothing)
    resolve(config, folder / "models/base")
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    shutil.copytree(ROOT / "configs", folder / "configs")


def set_params(folder: Path, **finetune) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["prompt"] |= {"template": "en", "chat": False}
    params["finetune"] |= {"learning_rate": 0.01, "max_length": 1024, "epochs": 2.0} | finetune
    write_json(folder / "params.yaml", params)  # JSON is YAML


def run_stage(folder: Path, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "stages/finetune.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | env,
        capture_output=True,
        text=True,
    )


def train_here(folder: Path) -> None:
    """What the stage does in one process, in this one, which has loaded all that it takes."""
    with contextlib.chdir(folder):
        seed, prompt, config = read_params("seed", "prompt", "finetune")
        finetune(
            read_table("data/selected/train.parquet"), read_pointer("models/base"), prompt, config, seed,
            adapter_folder=Path("models/finetuned"), metrics_folder=Path("metrics/train"), work=Path(".work/finetune"),
        )  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_model) -> dict[str, Path]:
    """Folders with an adapter: of one process with batches of two, twice accumulated; of the stage in two, without."""
    finished = {}
    for name, changes in {
        "one": {"batch_size": 2, "accumulation": 2},
        "two": {"batch_size": 2, "accumulation": 1, "launcher": "accelerate", "accelerate": "configs/cpu.yaml"},
    }.items():
        finished[name] = folder = tmp_path_factory.mktemp("launch") / name
        write_inputs(folder, tiny_model)
        set_params(folder, **changes)
    train_here(finished["one"])
    done = run_stage(finished["two"])
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return finished


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics/train/loss.tsv").read_text().splitlines()
    return [float(line.split("\t")[1]) for line in lines[1:]]


def test_two_processes_learn_what_one_does(folders):
    one, two = losses(folders["one"]), losses(folders["two"])
    assert len(one) == len(two) == 2 * ROWS // 4
    assert one[-1] < one[0]
    # bf16, where the processor has it, rounds sums of other groupings differently.
    assert two == pytest.approx(one, rel=0.01)


def test_two_processes_count_every_row_once(folders):
    one, two = (read_json(folders[name] / "metrics/train/summary.json") for name in ("one", "two"))
    assert (two["rows"], two["steps"], two["tokens"]) == (one["rows"], one["steps"], one["tokens"])
    assert two["computed_tokens"] == one["computed_tokens"] < one["tokens"]  # with the schema once for both rows


def test_the_outputs_are_those_of_one_process_and_nothing_else_is_left(folders):
    def files(folder: Path) -> list[str]:
        places = [path for name in ("models/finetuned", "metrics", ".work") for path in (folder / name).rglob("*")]
        return sorted(str(path.relative_to(folder)) for path in places if path.is_file())

    assert files(folders["two"]) == [".work/timings/finetune.json", *files(folders["one"])]
    timing = read_json(folders["two"] / ".work/timings/finetune.json")
    assert timing["device"] == "CPU" and timing["tokens_per_second"] > 0


def test_a_4_bit_base_whose_weights_are_shared_out_learns_the_same(tiny_model, tmp_path):
    """QLoRA under FSDP, as configs/fsdp_qlora.yaml has it, in two processes; tests/fsdp_rank.py says what is a stub."""
    for name, changes in {
        "one": {"batch_size": 2, "accumulation": 2},
        "two": {"batch_size": 2, "launcher": "accelerate", "accelerate": "configs/fsdp_qlora.yaml"},
    }.items():
        write_inputs(tmp_path / name, tiny_model)
        set_params(tmp_path / name, quantization="nf4", share_prefixes="never", **changes)  # shards share none
    train_here(tmp_path / "one")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, ROOT / "tests/fsdp_rank.py"],
        cwd=tmp_path / "two",
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert one[-1] < one[0] and two == pytest.approx(one, rel=0.01)
    adapters = [read_json(tmp_path / name / "models/finetuned/adapter_config.json") for name in ("one", "two")]
    assert adapters[0] == adapters[1]


def test_a_users_error_in_the_processes_is_one_line(folders, tmp_path):
    folder = shutil.copytree(folders["two"], tmp_path / "two")
    shutil.rmtree(folder / "models/finetuned")
    set_params(folder, max_length=8, launcher="accelerate", accelerate="configs/cpu.yaml")
    done = run_stage(folder)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert lines == ["error: params.yaml, finetune.max_length: none of 16 training rows fits 8; raise it"]
    assert "Traceback" not in done.stderr
    assert not (folder / "models/finetuned").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "no such file"),
        ("num_processes: 2", "no distributed_type"),
        ("distributed_type: MULTI_GPU", "needs CUDA cards and there are none"),
        ((ROOT / "configs/fsdp_qlora.yaml").read_text(), "needs CUDA cards and there are none"),
    ],
)
def test_a_configuration_that_cannot_be_had_is_one_line(settings, message, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    path = tmp_path / "some.yaml"
    if settings is not None:
        path.write_text(settings)
    with pytest.raises(UserError, match=message) as raised:
        launch.needed_arguments(path)
    assert "\n" not in str(raised.value) and "some.yaml" in str(raised.value)


def test_deepspeed_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"DeepSpeed is not installed; `pip install -e '.\[deepspeed\]'"):
        launch.needed_arguments(ROOT / "configs/deepspeed_zero3.yaml")


def test_there_is_one_process_for_every_card_of_every_machine(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch.needed_arguments(ROOT / "configs/ddp.yaml")[-2:] == ["--num_processes", "4"]
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text((ROOT / "configs/ddp.yaml").read_text().replace("num_machines: 1", "num_machines: 3"))
    assert launch.needed_arguments(nodes) == ["--num_processes", "12"]
    assert "--num_processes" not in launch.needed_arguments(ROOT / "configs/cpu.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_accelerate_reads_every_configuration(path):
    from accelerate.commands.config import load_config_from_file

    settings = load_config_from_file(str(path))
    assert settings.num_machines == 1
    assert f"configs/{path.name}" in path.read_text().split("compute_environment")[0]
