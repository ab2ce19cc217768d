"""Every answer that was paid for, in one file that only grows.

One JSON line per answer: a key of the server and the request's key (see requests.request_key), for one model's name
can stand for another model elsewhere; the content as it came, and its tokens. Answers
that cannot be read are kept too, because they were paid too. A line is written as soon as its answer is here and is on
the disk before it counts, so a killed run has lost no answer that it had.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from text2sql.base.errors import UserError


class AnswerStore:
    """The answers in `folder`, for one process at a time: a second run waits for the first to end."""

    def __init__(self, folder: str | os.PathLike, place: str = "") -> None:
        """Opens the store for requests to the server `place`. A last line that a kill cut short is dropped.

        Raises UserError for a broken line.
        """
        self.path, self.place = Path(folder) / "answers.jsonl", place
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened ({error.strerror}); fix judge.cache") from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{self.path}: in use by another judge run; waiting for it to end", file=sys.stderr)
            fcntl.flock(self.file, fcntl.LOCK_EX)
        self.offsets: dict[bytes, list[int]] = {}
        self.written = self._load()  # bytes in the file
        self.durable = self.written  # of them, bytes known to be on the disk
        self.syncing = asyncio.Lock()

    def __enter__(self) -> "AnswerStore":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.sync()
        os.close(self.file)

    def _load(self) -> int:
        end = 0
        with open(self.path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    os.truncate(self.path, end)
                    break
                try:
                    key = bytes.fromhex(json.loads(line)["key"])
                except (ValueError, KeyError, TypeError) as error:
                    raise UserError(f"{self.path}, line {number}: not an answer; remove the line") from error
                self.offsets.setdefault(key, []).append(end)
                end += len(line)
        return end

    def answers(self, key: str) -> list[dict[str, Any]]:
        """The answers to one request, oldest first."""
        return [self._read(offset) for offset in self.offsets.get(self._slot(key), ())]

    def _slot(self, key: str) -> bytes:
        return hashlib.sha256(f"{self.place}\n{key}".encode()).digest()

    def _read(self, offset: int) -> dict[str, Any]:
        size = 4096
        while b"\n" not in (part := os.pread(self.file, size, offset)):
            size *= 8
        return json.loads(part[: part.index(b"\n")])

    def append(self, key: str, answer: dict[str, Any]) -> None:
        """Writes an answer to the end of the file. Raises UserError when the disk is full."""
        slot = self._slot(key)
        line = json.dumps({"key": slot.hex(), **answer}).encode() + b"\n"
        try:
            written = os.write(self.file, line)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); free some space, run again") from error
        if written != len(line):
            raise UserError(f"{self.path}: no space left on the disk; free some and run again")
        self.offsets.setdefault(slot, []).append(self.written)
        self.written += len(line)

    def sync(self) -> None:
        """Puts all that was written on the disk."""
        os.fsync(self.file)
        self.durable = self.written

    async def synced(self) -> None:
        """Returns when all that was written before the call is on the disk; calls at the same time share one fsync."""
        target = self.written
        while self.durable < target:
            async with self.syncing:
                if self.durable < target:
                    written = self.written
                    await asyncio.to_thread(os.fsync, self.file)
                    self.durable = written
