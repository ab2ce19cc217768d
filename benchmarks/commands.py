"""How long everyday commands take to their first output: `--help` of each, and those that look at a finished run.

In a copy of the project with a finished run, each command several times in a process of its own; the median counts. CPU
is what the process itself used, which other programs on the machine do not change. Beside them `dvc repro` with nothing
to do, and what of it is DVC's own start (`dvc --version` and the import of its pipeline).

    python benchmarks/commands.py --project ../finished --json benchmarks/results/commands.json
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from text2sql.base.files import write_json
from text2sql.base.machine import processor
from text2sql.cli import available

LIGHT = ("show", "data", "experiments", "power", "preset", "plots")
DVC = {
    "dvc repro, nothing to do": ["-m", "dvc", "repro"],
    "of it: Python and DVC's imports": ["-c", "import dvc.cli, dvc.repo, dvc.commands.repro, dvc.stage, dvc.parsing"],
}


def timed(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Seconds to the first byte of output (or to the end, where there is none), to the end, and of the CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    process.stdout.read(1)
    first = time.perf_counter() - start
    said = process.stdout.read()
    code = process.wait()
    total = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}: {said.decode()[-400:]}")
    return first, total, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, required=True, help="a copy of the project with a finished run")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    calls = {f"{name} --help": ["-m", "text2sql", name, "--help"] for name in available()}
    calls |= {name: ["-m", "text2sql", *name.split()] for name in LIGHT}
    calls |= DVC
    rows = {}
    for name, arguments in calls.items():
        runs = [timed([sys.executable, *arguments], args.project) for _ in range(args.times)]
        first, total, cpu = (round(statistics.median(column), 2) for column in zip(*runs, strict=True))
        rows[name] = {"first_output": first, "seconds": total, "cpu": cpu}
        print(f"{name:<34} {first:6.2f} s to the first output {total:6.2f} s {cpu:6.2f} s of CPU", flush=True)
    if args.json:
        write_json(args.json, {"processor": processor(), "times": args.times, "commands": rows})


if __name__ == "__main__":
    main()
