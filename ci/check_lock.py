"""Checks that dvc.lock belongs to the committed code, parameters and inputs; needs no data.

Run in a clone with its history: python ci/check_lock.py
Exit code 1 and the stages that would run, where somebody changed something and did not commit a run of it, and where a
dvc.lock was deleted. Questions in inputs/ that DVC tracks (`dvc add inputs/mine.jsonl`) count by the checksum in their
.dvc file.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # the project itself, installed or not

from text2sql.experiments.lock import checksums, entries, file_md5, folder_md5, pointed_at, touch


def main() -> int:
    prefix = run("git", "rev-parse", "--show-prefix").strip()
    if not run("git", "ls-tree", "HEAD", "dvc.lock"):
        return without_lock()
    with tempfile.TemporaryDirectory() as folder:
        # What is committed, and nothing that only this machine has.
        run("git", "clone", "--quiet", "--shared", run("git", "rev-parse", "--show-toplevel").strip(), folder)
        project = Path(folder, prefix)
        stages = accept_missing_data(project)
        # Of dvc.yaml alone, and as JSON, which a warning cannot be taken for.
        states = json.loads(run("dvc", "status", "--json", "dvc.yaml", cwd=project))
    stale = [name for name, changes in states.items() if would_run(changes, stages)]
    if stale:
        behind = stages_behind(stale, stages)
        more = f", and behind {'it' if len(stale) == 1 else 'them'} {', '.join(behind)}" if behind else ""
        print(
            f"dvc.lock is stale; `dvc repro` would run {', '.join(stale)}{more}: run it, commit dvc.lock and metrics/"
        )
        return 1
    print("dvc.lock is up to date")
    return 0


def without_lock() -> int:
    """Fails where a lock was deleted, or may have been; a repository in which no run was ever committed has none."""
    if run("git", "rev-parse", "--is-shallow-repository").strip() == "true":
        print("dvc.lock is missing, and this clone has no history to tell since when; run `dvc repro` and commit it")
        return 1
    if run("git", "log", "--max-count=1", "--format=%h", "HEAD", "--", "dvc.lock"):
        print("dvc.lock is missing: it was committed once and is deleted; run `dvc repro` and commit it")
        return 1
    print("no run was ever committed, so there is no dvc.lock: nothing to check")
    return 0


def run(*command: str, cwd: Path | None = None) -> str:
    """What a command prints; ends this program with the command's own words when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def accept_missing_data(project: Path) -> dict[str, dict]:
    """Makes up for data that this clone lacks, and returns the stages of its dvc.lock.

    Of a folder of stages' outputs git keeps no more than DVC's .gitignore: it is removed, and counts as missing. Where
    a folder is as dvc.lock says but for data that .dvc files stand for, the checksum of what is there is written into
    the clone's dvc.lock.
    """
    lock = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))
    for _, dep in entries(lock.get("stages", {}), "deps"):
        folder = project / dep["path"]
        if folder.is_dir() and {path.name for path in files(folder)} == {".gitignore"}:
            shutil.rmtree(folder)
        present = {path.relative_to(folder).as_posix(): file_md5(path.read_bytes()) for path in files(folder)}
        missing = tracked(folder)
        if missing and folder_md5(present | missing) == dep.get("md5"):
            dep |= {"md5": folder_md5(present), "nfiles": len(present)}
            dep["size"] = sum(path.stat().st_size for path in files(folder))
    (project / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    return lock.get("stages", {})


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def tracked(folder: Path) -> dict[str, str]:
    """The files in a folder that .dvc files stand for, with their checksums. Ends the program at a tracked folder,
    whose files only the remote knows."""
    found = {}
    for path in files(folder):
        if path.suffix == ".dvc":
            name = path.relative_to(folder).as_posix()
            found |= pointed_at(name, yaml.safe_load(path.read_text(encoding="utf-8")))
    for name, md5 in found.items():
        if md5.endswith(".dir"):
            sys.exit(f"{folder.name}/{name}: a tracked folder; add its files one by one instead")
    return found


def would_run(changes: list, stages: dict[str, dict]) -> bool:
    """Whether `dvc status` finds more of a stage changed than that this clone has no data.

    changes: mappings of `changed deps` and `changed outs` to what happened to each path, or words (`changed command`).
    """
    outs = [entry["path"] for _, entry in entries(stages, "outs")]
    for change in changes:
        if not isinstance(change, dict):
            return True
        for path, state in change.get("changed deps", {}).items():
            if state != "deleted" or not any(touch(path, out) for out in outs):
                return True
        if any(state not in ("deleted", "not in cache") for state in change.get("changed outs", {}).values()):
            return True
    return False


def stages_behind(names: list[str], stages: dict[str, dict]) -> list[str]:
    """The stages that read what these write, or what a stage behind them does."""
    behind: list[str] = []
    while True:
        outs = checksums({name: {"outs": stages.get(name, {}).get("outs", [])} for name in [*names, *behind]})
        found = {name for name, dep in entries(stages, "deps") if any(touch(dep["path"], out) for out in outs)}
        fresh = [name for name in stages if name in found and name not in names and name not in behind]
        if not fresh:
            return behind
        behind += fresh


if __name__ == "__main__":
    sys.exit(main())
