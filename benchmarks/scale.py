"""How time and memory of the data stages grow with the rows: ingest, validate, select, populate and score, one after
another, as `dvc repro` would run them.

The rows are generated. All valid rows but the held-out ones are selected; 100 questions are evaluated whatever the
number of rows, each with its gold for a prediction. Memory is the largest process of a stage.

    python benchmarks/scale.py --rows 10000 100000 1000000 --json benchmarks/results/scale.json
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from text2sql.base.files import read_json, write_json, write_jsonl
from text2sql.base.machine import processor
from text2sql.dataset.rows import count_rows, read_rows
from text2sql.engines.pool import cores

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("ingest", "validate", "select", "populate", "score")
QUESTIONS = 100


def measure(folder: Path, rows: int) -> dict:
    """{rows, valid, train, stages: {stage: {seconds, peak_gib}}} of the stages run in an empty folder."""
    document = YAML()
    params = document.load(ROOT / "params.yaml")
    params["ingest"]["rows"] = rows
    params["select"] |= {"train_size": None, "eval_size": QUESTIONS}
    document.dump(params, folder / "params.yaml")
    stages = {}
    for stage in STAGES:
        arm = ["base"] if stage == "score" else []
        command = [sys.executable, str(ROOT / f"stages/{stage}.py"), *arm]
        subprocess.run(command, cwd=folder, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        record = read_json(folder / f".work/timings/{'@'.join([stage, *arm])}.json")
        stages[stage] = {"seconds": record["seconds"], "peak_gib": record["peak_gib"]}
        if stage == "populate":
            predictions = read_rows(folder / "data/selected/eval.parquet", ["id", "answer"])
            lines = ({"id": row["id"], "text": row["answer"], "finish_reason": "stop"} for row in predictions)
            write_jsonl(folder / "data/generations/base.jsonl", lines)
    valid, train = (count_rows(folder / f"data/{name}/train.parquet") for name in ("valid", "selected"))
    return {"rows": rows, "valid": valid, "train": train, "stages": stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = []
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(Path(folder), rows))
        result = {"processor": processor(), "cores": cores(), "runs": found}
        if args.json:
            write_json(args.json, result)
    print("| stage |", " | ".join(f"{run['rows']:,}" for run in found), "|")
    for stage in STAGES:
        cells = [f"{run['stages'][stage]['seconds']:,} s, {run['stages'][stage]['peak_gib']} GiB" for run in found]
        print(f"| {stage} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
