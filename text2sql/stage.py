"""What every stage script shares: its help, its one-line errors, and the record of how long it took."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from text2sql.errors import reports_user_errors
from text2sql.files import write_json
from text2sql.resume import FOLDER

# Beside DVC's outs, which must not differ between two equal runs.
TIMINGS = FOLDER / "timings"


def run_stage(main: Callable[..., dict | None], description: str, arms: Sequence[str] = ()) -> None:
    """Runs a stage's `main` from the command line, writes its wall time to `.work/timings/STAGE.json`, and exits.

    description: the script's docstring, shown by `--help`. arms: where given, the command line takes one of them and
    `main` is called with it. What `main` returns, measurements of this one run, is written beside the time.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if arms:
        parser.add_argument("arm", choices=arms)
    arguments = parser.parse_args()
    name = Path(parser.prog).stem + (f"@{arguments.arm}" if arms else "")

    def timed() -> None:
        start = time.monotonic()
        measured = main(*([arguments.arm] if arms else [])) or {}
        write_json(TIMINGS / f"{name}.json", {"stage": name, "seconds": round(time.monotonic() - start, 1), **measured})

    sys.exit(reports_user_errors(timed)())
