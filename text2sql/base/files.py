"""Reading and writing the project's files: nothing half-written, every bad line named.

JSON Lines keep every Python string byte for byte: a lone surrogate, which UTF-8 cannot hold, is written as its
JSON escape.
"""

import contextlib
import errno
import glob
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from text2sql.base.errors import UserError, is_full


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` and renames it to `path` when the block ends without an exception.

    Text is UTF-8 with `\n` line ends. Raises UserError when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        with open(temporary, mode, **text) as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        if is_full(error):
            raise UserError(
                f"{path}: no space left on the disk, or the quota is used up; free some and run again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); check the folder and its permissions"
            ) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # it was never there, or its folder is none
            temporary.unlink()


def sweep(folder: Path, name: str) -> None:
    """Removes what killed writers left of the file `name`: temporary files that belong to no living process."""
    for path in folder.glob(f".{glob.escape(name)}.*.tmp"):
        writer = path.name.split(".")[-2]
        if writer.isdecimal() and not is_alive(int(writer)):
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process runs; one that ended and that its parent has not yet noticed (a zombie) does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def json_line(row: Any) -> str:
    """One value as one compact line of JSON without its line end; the key order is the row's own."""
    return json.dumps(row, ensure_ascii=False, separators=(", ", ": "))


def write_jsonl(path: str | os.PathLike, rows: Iterable[dict]) -> int:
    """Writes one JSON object a line, atomically. Returns the number of rows."""
    count = 0
    with atomic_write(path) as file:
        for row in rows:
            file.write(json_line(row) + "\n")
            count += 1
    return count


def read_jsonl(path: str | os.PathLike) -> Iterator[dict]:
    """Yields the objects of a JSON Lines file (`.gz` too), skipping blank lines.

    Raises UserError naming file and line for a missing file, a broken line, or a line that is not an object.
    """
    opener = gzip.open if str(path).endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            yield from json_lines(file, path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; fix the path, run the stage that writes it (`dvc repro`), or fetch it (`dvc pull`)"
        ) from error
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 JSON Lines ({error})") from error


def json_lines(lines: Iterable[str], path: str | os.PathLike) -> Iterator[dict]:
    """The objects of JSON Lines, blank lines left out. Raises UserError as `read_jsonl`; `path` is for its message."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error.msg}); fix or remove the line") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__}")
        yield row


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes one JSON document, indented by two, with a final newline, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """The JSON document in `path`. Raises UserError naming the file when it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; run the stage that writes it (`dvc repro`), or fetch it (`dvc pull`)"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends without an exception.

    What killed processes left of theirs is removed. Raises UserError when the disk is full.
    """
    for left in folder.parent.glob(f"{glob.escape(folder.name)}.*.tmp"):
        writer = left.name.split(".")[-2]
        if writer.isdecimal() and not is_alive(int(writer)):
            shutil.rmtree(left, ignore_errors=True)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except Exception as error:  # safetensors has its own kind
        if is_full(error):
            raise UserError(f"{folder}: no space left on the disk; free some or move TEXT2SQL_CACHE") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_url(name: str) -> bool:
    """Whether a database is named by its URL, on a server, and not by an SQLite file's path."""
    return "://" in name
