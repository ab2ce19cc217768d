"""A database server of one's own: on a socket in a folder that nobody else can enter, gone with its block."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.engines.server import UNPRIVILEGED

START_SECONDS = 60


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """An empty folder for a server, owned by the user that it will run as; a short path, as sockets need."""
    path = Path(tempfile.mkdtemp(prefix="t2s-"))  # 0700
    if os.getuid() == 0:
        shutil.chown(path, UNPRIVILEGED)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def server(
    name: str, folder: Path, initialise: list[str], serve: list[str], answers: Callable[[], None], *, memory_bytes: int,
    file_bytes: int, stop: signal.Signals,
) -> Iterator[None]:  # fmt: skip
    """Runs a server in a folder until the block, or this process, ends.

    answers: connects to the server, and raises OSError or the driver's error while it cannot.
    Raises UserError, with the last line that the server said, where it does not start.
    """
    order = {"folder": str(folder), "initialise": initialise, "serve": serve, "stop": int(stop),
             "memory_bytes": memory_bytes, "file_bytes": file_bytes}  # fmt: skip
    script = Path(__file__).with_name("server.py").read_text(encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", script, json.dumps(order)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends the rest in order
        # Each of a server's threads would reserve 64 MiB of the addresses that memory_bytes limits.
        env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC", "LC_ALL": "C", "MALLOC_ARENA_MAX": "2"},
    )
    assert process.stdin and process.stderr
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                answers()
                break
            except Exception as error:
                if process.poll() is not None or time.monotonic() > end:
                    said = process.stderr.read().decode(errors="replace") if process.poll() is not None else ""
                    lines = said.strip().splitlines() or [str(error)]
                    reason = next((line for line in reversed(lines) if re.search("error|fatal", line, re.I)), lines[-1])
                    raise UserError(f"{name} does not start ({reason}); see that memory and disk are free") from None
            time.sleep(0.02)
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stderr.close()
