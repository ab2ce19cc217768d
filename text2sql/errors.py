"""The one kind of error a user is meant to read."""

import functools
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, and what to do."""


def reports_user_errors(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wraps a program's main: a `UserError` or Ctrl-C becomes one line on stderr and a non-zero exit code.

    Returns main's own exit code otherwise (None counts as 0).
    """

    @functools.wraps(main)
    def guarded(*args, **kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("stopped: run the same command again to go on from what is finished", file=sys.stderr)
            return 130

    return guarded
