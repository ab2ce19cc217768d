"""What every stage script shares: its help, its one-line errors, and the record of how long it took."""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from text2sql.base.errors import reports_user_errors
from text2sql.base.files import write_json
from text2sql.base.resume import FOLDER

# Beside DVC's outs, which must not differ between two equal runs.
TIMINGS = FOLDER / "timings"


def run_stage(main: Callable[..., dict | None], description: str, *, of_an_arm: bool = False) -> None:
    """Runs a stage's `main` from the command line, writes its wall time and peak memory to
    `.work/timings/STAGE.json`, and exits.

    description: the script's docstring, shown by `--help`, what stands behind `Alone: ` as the example. of_an_arm:
    the command line takes the name of an arm, with which `main` is called. What `main` returns, measurements of this
    one run, is written beside the time.
    """
    text, _, example = description.rstrip().rpartition("\nAlone: ")
    parser = argparse.ArgumentParser(
        description=text, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if of_an_arm:
        parser.add_argument("arm", help="a name under `arms` in params.yaml")
    arguments = parser.parse_args()
    name = Path(parser.prog).stem + (f"@{arguments.arm}" if of_an_arm else "")

    def timed() -> None:
        start = time.monotonic()
        measured = main(*([arguments.arm] if of_an_arm else [])) or {}
        seconds, peak = time.monotonic() - start, peak_memory()
        record = {"stage": name, "seconds": round(seconds, 1), "peak_gib": round(peak, 2)}
        write_json(TIMINGS / f"{name}.json", record | measured)

    sys.exit(reports_user_errors(timed)())


def peak_memory() -> float:
    """The largest resident memory, in GiB, that this process or one of its children has had so far."""
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(own, children) * (1 if sys.platform == "darwin" else 1024) / 2**30
