"""Checks that dvc.lock belongs to the committed code, parameters and inputs; needs no data.

Run in a clone: python ci/check_lock.py
Exit code 1 and the stages that would run, where somebody changed something and did not commit a run of it. Questions in
inputs/ that DVC tracks (`dvc add inputs/mine.jsonl`) count by the checksum in their .dvc file.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml


def main() -> int:
    prefix = run("git", "rev-parse", "--show-prefix").strip()
    if not run("git", "ls-tree", "HEAD", "dvc.lock"):
        print("no dvc.lock is committed: nothing to check")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        # What is committed, and nothing that only this machine has.
        run("git", "clone", "--quiet", "--shared", run("git", "rev-parse", "--show-toplevel").strip(), folder)
        project = Path(folder, prefix)
        accept_missing_data(project)
        # The exit code of this command is 0 whatever would run.
        said = run("dvc", "repro", "--allow-missing", "--dry", cwd=project)
    stages = re.findall(r"^Running stage '(.+)'", said, re.MULTILINE)
    if stages:
        print(f"dvc.lock is stale; `dvc repro` would run {', '.join(stages)}: run it, commit dvc.lock and metrics/")
        return 1
    print("dvc.lock is up to date")
    return 0


def run(*command: str, cwd: Path | None = None) -> str:
    """What a command prints; ends this program with the command's own words when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def accept_missing_data(project: Path) -> None:
    """Makes up for data that this clone lacks: --allow-missing forgives a missing folder, but no missing file in one.

    Of a folder of stages' outputs git keeps no more than DVC's .gitignore: it is removed. Where a folder is as dvc.lock
    says but for data that .dvc files stand for, the checksum of what is there is written into the clone's dvc.lock.
    """
    lock = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))
    for stage in lock.get("stages", {}).values():
        for dep in stage.get("deps", []):
            folder = project / dep["path"]
            if folder.is_dir() and {path.name for path in files(folder)} == {".gitignore"}:
                shutil.rmtree(folder)
            present = {path.relative_to(folder).as_posix(): file_md5(path) for path in files(folder)}
            missing = tracked(folder)
            if missing and folder_md5(present | missing) == dep.get("md5"):
                dep |= {"md5": folder_md5(present), "nfiles": len(present)}
                dep["size"] = sum(path.stat().st_size for path in files(folder))
    (project / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def tracked(folder: Path) -> dict[str, str]:
    """The files in a folder that .dvc files stand for, with their checksums. Ends the program at a tracked folder,
    whose files only the remote knows."""
    found = {}
    for path in files(folder):
        if path.suffix == ".dvc":
            for out in yaml.safe_load(path.read_text(encoding="utf-8")).get("outs", []):
                target = path.parent / out["path"]
                if out["md5"].endswith(".dir"):
                    sys.exit(f"{target.relative_to(folder.parent)}: a tracked folder; add its files one by one instead")
                found[target.relative_to(folder).as_posix()] = out["md5"]
    return found


def file_md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def folder_md5(entries: dict[str, str]) -> str:
    """DVC's checksum of a folder: that of the JSON list of its files."""
    listed = [{"md5": md5, "relpath": name} for name, md5 in sorted(entries.items())]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


if __name__ == "__main__":
    sys.exit(main())
