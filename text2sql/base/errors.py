"""The one kind of error a user is meant to read, and what of the system's errors is the user's to fix."""

import errno
import functools
import os
import select
import sys
from collections.abc import Callable

BROKEN_PIPE = 141  # what a shell reports for a program whose reader went away


class UserError(Exception):
    """Something the user can fix. The message is one line: what is wrong, where, and what to do."""


def install(extra: str) -> str:
    """The command that adds one of the extras of pyproject.toml to the project's environment.

    Without -e it would put a frozen copy in place of the checkout, and without -c other versions than the tested ones.
    """
    return f"pip install -e '.[{extra}]' -c constraints.txt"


def reports_user_errors(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wraps a program's main: what the user can fix, or Ctrl-C, becomes one line on stderr and a non-zero exit code.

    Returns main's own exit code otherwise (None counts as 0). An error of the program's own keeps its traceback.
    """

    @functools.wraps(main)
    def guarded(*args, **kwargs) -> int:
        try:
            code = main(*args, **kwargs) or 0
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print("stopped: run the same command again to go on from what is finished", file=sys.stderr)
            return 130
        except Exception as error:
            if isinstance(error, BrokenPipeError) and reader_is_gone():
                return BROKEN_PIPE
            if (line := explain(error)) is None:
                raise
            print(f"error: {line}", file=sys.stderr)
            return 1

    return guarded


def explain(error: Exception) -> str | None:
    """The line that tells the user what to fix; None for an error of the program's own."""
    if isinstance(error, UserError):
        return str(error)
    where = getattr(error, "filename", None)
    if is_full(error):
        of_file = f"{where}: " if where else ""
        return f"{of_file}no space left on the disk, or the quota is used up; free some and run again"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("text2sql"):
        return (
            f"the Python package {error.name.partition('.')[0]} is not installed for {sys.executable}; activate the"
            " project's environment (source .venv/bin/activate), or install the package there"
        )
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError) and where:
        return f"{where}: {error.strerror}; check the path and its permissions"
    return None


def is_full(error: Exception) -> bool:
    """Whether an error says that the disk, or what the user may use of it, is full.

    Libraries in Rust report it in words instead of an `errno`.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return "no space left on device" in str(error).lower()


def reader_is_gone() -> bool:
    """Whether nobody reads stdout any more. If so, what is left for it goes nowhere, so that exiting says nothing."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    gone = any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone
