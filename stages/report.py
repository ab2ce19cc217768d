"""Joins everything by id and writes the figures that git keeps.

Reads data/ (scores, results, generations, judgements, databases, counts) and metrics/train/. Runs no SQL. Writes
metrics/summary.json, comparison.json, arms/ARM.json, data.json, plots/ and explorer.html.
Alone: python stages/report.py
"""

import checkout

from pathlib import Path

from text2sql.base.params import read_params
from text2sql.base.stage import run_stage


def main() -> None:
    (arms,) = read_params("arms")
    from text2sql.generation.made import check_made
    from text2sql.report.run import report

    for arm in arms.values():
        check_made(arm.model, recorded=False)
    report(Path("data"), Path("metrics"), arms)


if __name__ == "__main__":
    run_stage(main, __doc__)
