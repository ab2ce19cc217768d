"""How fast and how large `validate` is, beside the unsandboxed function that it replaces.

Over the same generated rows, in one run: the exercise's way (`datasets.filter` on one core; the SQL runs with all
rights in the same process), and the stage (sandboxed, `--workers` processes; Parquet read and written). The verdicts
are compared row by row. `--large` repeats the stage on ten times the rows and reports the ratio of the times and the
peak memory of the whole process tree.

    python benchmarks/validate.py --rows 100000 --large --json validate.json
"""

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from text2sql.base.files import write_json
from text2sql.base.params import EvaluationParams, ValidateParams
from text2sql.dataset.rows import read_batches, write_rows
from text2sql.dataset.validate import validate_tables
from text2sql.engines.pool import cores


def runs_and_returns(row: dict) -> bool:
    """The exercise's own check: everything the context and the SQL ask for is done."""
    if "INSERT" not in row["context"].upper():
        return False
    try:
        connection = sqlite3.connect(":memory:")
        cursor = connection.cursor()
        cursor.executescript(row["context"])
        cursor.execute(row["answer"])
        rows = cursor.fetchall()
        connection.close()
    except Exception:
        return False
    return len(rows) > 0


def time_unsandboxed(path: Path) -> tuple[float, set[str]]:
    """Seconds and the ids kept by `datasets.filter` on one core."""
    from datasets import Dataset, disable_caching, disable_progress_bars

    disable_caching()
    disable_progress_bars()
    rows = Dataset.from_parquet(str(path), cache_dir=str(path.parent / "cache"))
    start = time.perf_counter()
    kept = rows.filter(runs_and_returns, load_from_cache_file=False)
    return time.perf_counter() - start, set(kept["id"])


def run_stage(folder: Path, workers: int) -> None:
    params = ValidateParams(has_rows=True, runs=True, returns_rows=True, test_rows="valid", seconds=2.0)
    evaluation = EvaluationParams(engine="sqlite", postgres_url=None, mysql_url=None, trust_login=False)
    raw, kept = {"train": folder / "raw.parquet"}, {"train": folder / "kept.parquet"}
    validate_tables(raw, kept, folder / "bad.parquet", params, evaluation, workers)


def time_stage(folder: Path, workers: int) -> tuple[float, int]:
    """Seconds and peak bytes (resident, parent and children together) of the stage in a process of its own."""
    import psutil

    start = time.perf_counter()
    command = [sys.executable, __file__, "--stage", str(folder), "--workers", str(workers)]
    process = psutil.Process(subprocess.Popen(command, stderr=subprocess.DEVNULL).pid)
    peak = 0
    while process.status() != psutil.STATUS_ZOMBIE:
        resident = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                resident += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, resident)
        time.sleep(0.05)
    code = process.wait()
    if code:
        raise SystemExit(f"the stage ended with exit code {code}")
    return time.perf_counter() - start, peak


def make_rows(folder: Path, count: int) -> None:
    from text2sql.sources import synthetic

    folder.mkdir()
    write_rows(folder / "raw.parquet", synthetic.rows(count, seed=5))


def ids(path: Path, *columns: str) -> list[tuple]:
    return [cells for batch in read_batches(path, columns) for cells in zip(*map(list_of, batch.columns), strict=True)]


def list_of(column) -> list:
    return column.to_pylist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--large", action="store_true", help="also ten times the rows")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--stage", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        run_stage(args.stage, args.workers)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "small"
        make_rows(folder, args.rows)
        unsandboxed, expected = time_unsandboxed(folder / "raw.parquet")
        seconds, peak = time_stage(folder, args.workers)
        kept = {row_id for (row_id,) in ids(folder / "kept.parquet", "id")}
        reasons = Counter(
            f"{rule} {error}: {message}"
            for row_id, rule, error, message in ids(folder / "bad.parquet", "id", "rule", "error_class", "message")
            if row_id in expected
        )
        result = {
            "rows": args.rows,
            "workers": args.workers,
            "unsandboxed": {"seconds": round(unsandboxed, 2), "rows_per_second": round(args.rows / unsandboxed)},
            "sandboxed": {
                "seconds": round(seconds, 2),
                "rows_per_second": round(args.rows / seconds),
                "peak_mib": round(peak / 2**20),
            },
            "ratio": round(unsandboxed / seconds, 2),
            "kept_by_both": len(kept & expected),
            "kept_here_alone": len(kept - expected),
            "kept_there_alone": dict(reasons),
        }
        if args.large:
            folder = Path(temporary) / "large"
            make_rows(folder, 10 * args.rows)
            large, peak = time_stage(folder, args.workers)
            result["large"] = {
                "rows": 10 * args.rows,
                "seconds": round(large, 2),
                "time_ratio": round(large / seconds, 2),
                "peak_mib": round(peak / 2**20),
            }
    show(result)
    if args.json:
        write_json(args.json, result)


def show(result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['rows']:,} generated rows")
    for name in ("", "rows/s", "seconds", "peak MiB"):
        table.add_column(name, justify="left" if not name else "right")
    one, ours = result["unsandboxed"], result["sandboxed"]
    table.add_row("datasets.filter, unsandboxed, 1 core", f"{one['rows_per_second']:,}", f"{one['seconds']}", "")
    ours_name = f"validate stage, sandboxed, {result['workers']} workers"
    table.add_row(ours_name, f"{ours['rows_per_second']:,}", f"{ours['seconds']}", f"{ours['peak_mib']:,}")
    if large := result.get("large"):
        name = f"the same, {large['rows']:,} rows (time × {large['time_ratio']})"
        table.add_row(name, f"{large['rows'] / large['seconds']:,.0f}", f"{large['seconds']}", f"{large['peak_mib']:,}")
    console = Console()
    console.print(table)
    console.print(f"speed ratio {result['ratio']}, kept by both {result['kept_by_both']:,}")
    console.print(
        f"kept here alone {result['kept_here_alone']}, kept there alone {result['kept_there_alone']}", markup=False
    )


if __name__ == "__main__":
    main()
