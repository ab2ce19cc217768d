"""Runs a database server for as long as its standard input stays open, then stops it and removes its folder.

A script of its own, run by `private.server`: however that process ends, its end of the pipe closes, and the server is
gone with it. It imports nothing of the project, because it may run as a user who cannot read the project.
"""

import contextlib
import json
import os
import pwd
import resource
import select
import shutil
import signal
import subprocess
import sys

UNPRIVILEGED = "nobody"  # servers refuse to run as root


def main(folder: str, initialise: list[str], serve: list[str], stop: int, memory_bytes: int, file_bytes: int) -> int:
    """Runs both commands in `folder`, one after the other; what they say goes to its `log`.

    stop: the signal that ends the second. The limits hold for each of the server's processes.
    """
    if os.getuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    for interrupting in (signal.SIGINT, signal.SIGTERM):  # the pipe alone says when
        signal.signal(interrupting, signal.SIG_IGN)
    try:
        os.chdir(folder)
        with open("log", "w") as log:
            subprocess.run(initialise, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            server = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while server.poll() is None:
            if not is_open(sys.stdin.fileno()):
                server.send_signal(stop)
                return server.wait()
        raise subprocess.CalledProcessError(server.returncode, serve)
    except subprocess.CalledProcessError as error:
        with open("log", errors="replace") as log:
            sys.stderr.write(log.read()[-2_000:])
        return error.returncode
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def is_open(pipe: int) -> bool:
    """Whether the other end of the pipe is held; waits half a second for an answer."""
    ready = select.select([pipe], [], [], 0.5)[0]
    return not ready or bool(os.read(pipe, 1024))


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
