"""Where unfinished work waits: folders outside DVC's outs, keyed by everything that the result depends on.

DVC removes a stage's outs before it runs, so a rerun after a kill finds nothing there. A key made of parameters, data
and model brings the rerun back to its own work, and never to another recipe's.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from text2sql.base.errors import UserError
from text2sql.base.files import read_jsonl

FOLDER = Path(".work")


def work_folder(stage: str, *inputs: Any) -> Path:
    """The folder for unfinished work of `stage` on exactly these inputs (JSON values; files go in by `file_key`)."""
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    folder = FOLDER / stage / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def file_key(path: Path) -> str:
    """The SHA-256 of a file, or of all files of a folder with their names. Raises UserError when it is missing."""
    if not path.exists():
        raise UserError(f"{path}: not there; run the stage that writes it (`dvc repro`), or fetch it (`dvc pull`)")
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def whole_lines(path: Path) -> list[dict]:
    """The rows of a JSON Lines file that a run was appending to; none where there is no file.

    What a kill left of a last line is cut off the file, so that appending can go on behind the whole ones.
    """
    if not path.is_file():
        return []
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return list(read_jsonl(path))
