"""Evaluation databases for many questions, in worker processes: each gold for its own engine, or for SQLite."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import sqlglot
from tqdm import tqdm

from text2sql.base.errors import UserError
from text2sql.base.files import json_line
from text2sql.base.resume import whole_lines
from text2sql.base.text import first_line
from text2sql.databases import by_engine
from text2sql.databases.mutants import Power
from text2sql.databases.populate import Filled, populate
from text2sql.engines.compute import Workers, workforce
from text2sql.engines.pool import Lost
from text2sql.engines.protocol import EngineLost
from text2sql.engines.question import ALONE, Engines, again
from text2sql.sql.dialect import Untranslatable, declared, is_sqlite, to_sqlite, to_sqlite_ddl, without_database
from text2sql.sql.dialect_names import dialect_name

VERSION = 4  # of this algorithm; finished parts of another version are not taken up again
JOB_SECONDS = 300.0
JOB_BYTES = 1024 * 2**20
CHUNK = 4


def populate_rows(
    rows: Iterable[dict],
    k: int,
    seed: int,
    workers: Workers,
    unfinished: str | os.PathLike,
    engines: Engines = ALONE,
) -> tuple[list[dict], list[dict]]:
    """Evaluation databases for rows {id, context, answer, dialect}: (instances, results), both in the rows' order.

    engines: rows of their dialects are filled for them, all others for SQLite. instances: {key, tier, instance,
    setup_sql}, where tier is ordinary or harsh, with the `dialect` of the script where that is not SQLite's. results,
    one a row: {id, key, usable, reason, mutants, killed, harshly, survived, equivalent, presumed, kill_rate, by_kind,
    undecided}. Rows of one context, dialect and gold share a key, and their instances.

    workers: as `compute.workforce` takes them. Finished golds are kept in the file `unfinished`, from which a run that
    was stopped goes on. The results are the same bytes for any number of workers. Raises UserError where an engine is
    lost.
    """
    rows = list(rows)
    names = [(row["context"], (row.get("dialect") or "sqlite").lower(), row["answer"]) for row in rows]
    different = list(dict.fromkeys(names))
    jobs = [(*name, k, seed) for name in different]
    instances, results = [], {}
    for name, filled in zip(different, _finish(jobs, workers, Path(unfinished), engines), strict=True):
        written = {"dialect": name[1]} if dialect_name(name[1]) in engines else {}
        key = hashlib.sha256("\n".join(name).encode("utf-8", "backslashreplace")).hexdigest()[:16]
        for tier, scripts in (("ordinary", filled["scripts"]), ("harsh", filled["harsh"])):
            instances += [
                {"key": key, "tier": tier, "instance": n, "setup_sql": script, **written}
                for n, script in enumerate(scripts)
            ]
        results[name] = {
            "key": key, "usable": filled["usable"], "reason": filled["reason"], **filled["power"],
            "kill_rate": Power(**filled["power"]).kill_rate, "by_kind": filled["by_kind"],
            "undecided": filled["undecided"],
        }  # fmt: skip
    return instances, [{"id": row["id"], **results[name]} for row, name in zip(rows, names, strict=True)]


def _finish(jobs: list[tuple], workers: Workers, unfinished: Path, engines: Engines) -> Iterator[dict]:
    """The jobs' results in order, those of an earlier, stopped run taken from its file."""
    names = [_fingerprint(job) for job in jobs]
    kept = {done.pop("job"): done for done in whole_lines(unfinished)}
    open_jobs = [job for job, name in zip(jobs, names, strict=True) if name not in kept]
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(unfinished, "a", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
        workforce(
            _job, workers=workers, engines=engines, seconds=JOB_SECONDS, memory_bytes=JOB_BYTES, chunk=CHUNK
        ) as run,
    ):
        fresh = run(open_jobs)
        for name in tqdm(names, desc="populate", unit="gold", disable=None):
            if name not in kept:
                try:
                    done = next(fresh)
                except EngineLost as error:
                    raise UserError(f"{error}; run again") from error
                if isinstance(done, Lost):
                    done = asdict(Filled(reason=f"lost: {done.error}"))
                file.write(json_line({"job": name, **done}) + "\n")
                file.flush()
                yield done
            else:
                yield kept[name]


def _fingerprint(job: tuple) -> str:
    text = json.dumps([VERSION, sqlite3.sqlite_version, sqlglot.__version__, *job])
    return hashlib.sha256(text.encode()).hexdigest()


def _job(job: tuple, engines: Engines) -> dict:
    """One gold in its own dialect."""
    context, dialect, gold, k, seed = job
    engine = engines.get(dialect_name(dialect))
    try:
        if engine is not None:
            if engine.dialect == "mysql":
                context, gold = without_database(context), without_database(gold)
            return asdict(again(lambda: by_engine.populate(engine, context, gold, k, seed)))
        return _on_sqlite(context, dialect, gold, k, seed)
    except (MemoryError, EngineLost):  # the pool's, to count against the gold; the machine's
        raise
    except Exception as error:  # say, a trigger of the context that refuses every row
        return asdict(Filled(reason=f"lost: {first_line(error)}"))


def _on_sqlite(context: str, dialect: str, gold: str, k: int, seed: int) -> dict:
    """One gold, translated to SQLite."""
    ddl = to_sqlite_ddl(context, dialect)
    if isinstance(ddl, Untranslatable):
        return asdict(Filled(reason=_named(Untranslatable(f"context: {ddl.reason}", ddl.outcome))))
    sql = gold if is_sqlite(dialect) else to_sqlite(gold, dialect, declared(context, dialect))
    if isinstance(sql, Untranslatable):
        return asdict(Filled(reason=_named(sql)))
    return asdict(populate(ddl, sql, k, seed))


def _named(why: Untranslatable) -> str:
    return f"dialect: {why.reason}" if why.outcome == "dialect" else f"gold_error: {why.reason}"
