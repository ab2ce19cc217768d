"""How long the experiments' table takes, beside DVC's own reading of the same experiments.

python benchmarks/experiments.py [--experiments 50]

A clone of this repository gets that many experiments: commits that differ in `seed` and in their figures, as
`dvc exp run` leaves them, with the checksums of the code that their stages read in dvc.lock. Each program runs in a
process of its own, DVC's twice: it keeps a cache.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from text2sql.experiments.lock import file_md5, folder_md5, stage_names

ROOT = Path(__file__).parents[1]
CODE = ("text2sql/", "stages/", "prompts/", "configs")
FIGURES = [
    f"metrics/{name}"
    for name in ("summary.json", "arms/base.json", "arms/finetuned.json", "comparison.json", "data.json")
]
FIGURES.append("metrics/plots/loss.tsv")
OURS = [sys.executable, "-m", "text2sql", "experiments"]
DVC = [sys.executable, "-c", "import dvc.api; print(len(dvc.api.exp_show()))"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=50)
    count = parser.parse_args().experiments
    with tempfile.TemporaryDirectory() as folder:
        make_experiments(Path(folder), count)
        seconds = {"text2sql experiments": timed(OURS, folder), "dvc.api.exp_show, first": timed(DVC, folder)}
        seconds["dvc.api.exp_show, again"] = timed(DVC, folder)
    print(json.dumps({"experiments": count, "seconds": seconds}, indent=2))


def make_experiments(folder: Path, count: int) -> None:
    """Clones the repository into `folder` and makes the experiments' commits and references."""

    def git(*arguments: str, text: str | None = None) -> str:
        command = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", *arguments]
        return subprocess.run(
            command, cwd=folder, input=text, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("clone", "--quiet", str(ROOT), ".")
    head = git("rev-parse", "HEAD")
    params = (folder / "params.yaml").read_text(encoding="utf-8")
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    lock = {
        "stages": {
            found: {"deps": [locked_entry(folder, path) for path in stage["deps"] if path.startswith(CODE)]}
            for name, stage in stages.items()
            for found in stage_names(name, stage, {}) or ()
        }
    }
    (folder / "metrics/plots").mkdir(parents=True, exist_ok=True)
    for place in range(count):
        ex = {"base": 0.01, "ft": 0.2 + place / 1000, "gain": 0.19 + place / 1000, "lo": 0.1, "hi": 0.3}
        (folder / "params.yaml").write_text(params.replace("\nseed: ", f"\nseed: {place + 1}"), encoding="utf-8")
        for name in FIGURES:
            (folder / name).write_text("{}\n", encoding="utf-8")
        (folder / "metrics/summary.json").write_text(json.dumps({"ex": ex, "n": 128}), encoding="utf-8")
        lock["stages"]["report"]["outs"] = [locked_entry(folder, name) for name in FIGURES]
        (folder / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
        git("add", "params.yaml", "dvc.lock", *FIGURES)
        commit = git("commit-tree", git("write-tree"), "-p", head, "-m", f"experiment {place}")
        git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/experiment-{place}", commit)
    git("reset", "--quiet", "--hard", head)


def locked_entry(folder: Path, name: str) -> dict[str, str]:
    """A path with its checksum, as dvc.lock holds it."""
    path = folder / name
    files = {
        file.relative_to(path).as_posix(): file_md5(file.read_bytes()) for file in path.rglob("*") if file.is_file()
    }
    return {"path": name, "md5": folder_md5(files) if path.is_dir() else file_md5(path.read_bytes())}


def timed(command: list[str], folder: str) -> float:
    """Seconds that a command takes."""
    start = time.monotonic()
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return round(time.monotonic() - start, 2)


if __name__ == "__main__":
    main()
