"""Runs a stage script in several processes, on one machine or many, through `accelerate launch`.

The script starts itself again under accelerate's launcher: each process runs the script's own `main`, and what differs
between one card and many stays in accelerate's configuration file (configs/, docs/scaling.md).
"""

import contextlib
import ctypes
import importlib.util
import logging
import os
import runpy
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from accelerate.commands.launch import launch_command, launch_command_parser

from text2sql.base.errors import UserError, explain, install
from text2sql.base.files import read_json, write_json
from text2sql.base.params import read_yaml

# What differs from node to node, and so is no parameter: `--machine_rank 1 --main_process_ip 10.0.0.1`.
ARGUMENTS = "TEXT2SQL_ACCELERATE_ARGS"
_RESULTS = "TEXT2SQL_LAUNCH_RESULTS"  # folder where a launched process leaves its result or its error


def is_launched() -> bool:
    """Whether this process is one of those that `launch` started."""
    return _RESULTS in os.environ


def launch(script: str, configuration: Path) -> dict[str, Any]:
    """Runs `main` of a script in the processes that an accelerate configuration asks for.

    Returns what the first process's `main` returned, or nothing where that one is on another machine.
    Raises UserError when the configuration is missing or asks for what this machine lacks, and for the user's errors
    in any process.
    """
    arguments = [*needed_arguments(configuration), *shlex.split(os.environ.get(ARGUMENTS, ""))]
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes say more themselves
    with tempfile.TemporaryDirectory() as folder:
        parsed = launch_command_parser().parse_args(
            ["--config_file", str(configuration), *arguments, "-m", "text2sql.training.launch", script]
        )
        os.environ[_RESULTS] = folder
        try:
            launch_command(parsed)
        except (Exception, SystemExit) as error:
            if getattr(error, "sigval", None) == signal.SIGINT:
                raise KeyboardInterrupt from error
            lines = [read_json(path)["error"] for path in sorted(Path(folder).glob("error-*.json"))]
            # A process that is stopped because another failed may fail as well: the first line tells most.
            raise UserError(lines[0] if lines else f"{script}: {_what_ended(error)}; see above") from error
        finally:
            del os.environ[_RESULTS]
        result = Path(folder, "result.json")
        return read_json(result) if result.is_file() else {}


def needed_arguments(configuration: Path) -> list[str]:
    """What the launcher must be told besides the file: one process for every card, where the file names no number.

    Raises UserError for a file that is missing or asks for DeepSpeed or cards that are not there.
    """
    settings = read_yaml(configuration)
    if not isinstance(settings, dict) or "distributed_type" not in settings:
        raise UserError(f"{configuration}: no distributed_type; write it with `accelerate config --config_file …`")
    if settings["distributed_type"] == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise UserError(f"{configuration}: DeepSpeed is not installed; `{install('deepspeed')}`, or take another")
    cards = torch.cuda.device_count()
    if not settings.get("use_cpu") and not cards:
        raise UserError(f"{configuration}: needs CUDA cards and there are none; take configs/cpu.yaml")
    machines = settings.get("num_machines", 1)
    port = [] if machines > 1 else ["--main_process_port", "0"]  # any free one
    return port if "num_processes" in settings else [*port, "--num_processes", str(cards * machines)]


def _what_ended(error: BaseException) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"a process ended with exit code {error.returncode}"
    return "a process failed" if type(error).__name__ == "ChildFailedError" else " ".join(str(error).split())[:200]


def _run(script: str) -> int:
    """One of the launched processes. It does not outlive the one that launched it, however that one ends."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has this
        pr_set_pdeathsig = 1
        ctypes.CDLL("libc.so.6").prctl(pr_set_pdeathsig, signal.SIGKILL)
    folder, rank = Path(os.environ[_RESULTS]), int(os.environ.get("RANK", 0))
    sys.path.insert(0, str(Path(script).parent))  # as Python does for a script
    try:
        result = runpy.run_path(script, run_name="launched")["main"]()
    except KeyboardInterrupt:  # the launching process says so
        return 130
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        write_json(folder / f"error-{rank:04d}.json", {"error": line})
        return 1
    if rank == 0:
        write_json(folder / "result.json", result)
    return 0


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1]))
