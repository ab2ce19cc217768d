"""Evaluation databases for contexts that bring no rows: seeded fillings per question, aimed at its gold and mutants.

A gold gets k ordinary fillings (`databases.ordinary` says what that means) and half as many harsh ones. Of a stream of
candidates those are kept that tell mutants apart which none before them did; where mutants stay alive or no row is
found, the stream goes on for a while. Everything is a pure function of context, gold, dialect, k and seed, so that a
verdict never depends on which other questions stand in the file.
"""

import hashlib
import json
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import sqlglot
from sqlglot import exp
from tqdm import tqdm

from text2sql.base.files import json_line, read_jsonl, write_jsonl
from text2sql.base.resume import whole_lines
from text2sql.base.text import first_line
from text2sql.databases import aims
from text2sql.databases.filler import ROWS, Filler, Pools
from text2sql.databases.mutants import Power, mutants
from text2sql.databases.ordinary import ordinary
from text2sql.databases.schema import Schema, opened, read_schema
from text2sql.engines.pool import Lost, guarded_map
from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, query
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import answer_gold, plan
from text2sql.sql.dialect import Untranslatable, declared, is_sqlite, to_sqlite, to_sqlite_ddl

VERSION = 2  # of this algorithm; finished parts of another version are not taken up again
CANDIDATES = 60  # looked at for a gold's fillings of one tier, at most; also the probes for equivalence
FRUITLESS = 8  # in a row, that end the search for mutants which may be equivalent
LIMITS = Limits(rows=20_000)
JOB_SECONDS = 300.0
JOB_BYTES = 1024 * 2**20
CHUNK = 4


@dataclass
class Filled:
    """What one gold got: the scripts of its ordinary fillings, k of them, and of its harsh ones (none if not usable).

    `reason` says why a gold is not usable: `gold_error: …`, `dialect: …` or `no_rows`, when no filling made it answer.
    """

    scripts: list[str] = field(default_factory=list)
    harsh: list[str] = field(default_factory=list)
    usable: bool = False
    reason: str | None = None
    power: Power = field(default_factory=lambda: Power(0, 0, 0, 0, 0, 0))
    by_kind: dict[str, list[int]] = field(default_factory=dict)  # mutant kind: counts in the order of `Power`
    undecided: list[str] = field(default_factory=list)  # the mutants nothing told apart, for inspection


class Gold:
    """A gold with its mutants, and what each filling looked at so far does to them.

    `tree` is the gold's; without one it has no aim and no mutants, and is filled for by chance.
    """

    def __init__(self, sql: str, tree: exp.Expr | None, schema: Schema, empty: Connection) -> None:
        self.sql = sql
        self.aim = aims.read_aim(tree, schema, empty)
        self.plan = plan(sql)
        self.strict = ordinary(schema, self.aim)
        self.mutants = [
            m for m in mutants(tree, schema, self.strict) if isinstance(query(empty, m.sql, LIMITS), Answer)
        ]
        self.open = {number for number, mutant in enumerate(self.mutants) if not mutant.equivalent}
        self.killable: set[int] = set()

    def look(self, connection, alive: Iterable[int]) -> tuple[bool, set[int]] | None:
        """Whether the gold answers with rows here and which of the mutants differ; None when the gold fails."""
        gold = answer_gold(connection, self.plan, LIMITS)
        if isinstance(gold, Failure):
            return None
        killed = set()
        for number in sorted(alive):
            other = query(connection, self.mutants[number].sql, LIMITS)
            if isinstance(other, Failure) or not compare(gold, other).ex:
                killed.add(number)
        self.killable |= killed
        return any(any(cell is not None for cell in row) for row in gold.answer.rows), killed


def read_gold(sql: str, schema: Schema, empty: Connection) -> Gold:
    """The gold, without its tree where that holds what no one has thought of: it alone is then filled for by chance."""
    try:
        return Gold(sql, aims.parse(sql, schema), schema, empty)
    except MemoryError:  # the pool's, to count against the schema
        raise
    except Exception:
        return Gold(sql, None, schema, empty)


def candidate(schema: Schema, pools: Pools, gold: Gold, number: int, name: str, gaps: bool) -> str:
    """The script of one filling aimed at the gold. Its style goes with its number, so that the first ones differ."""
    rng = random.Random(f"{name}/{number}")
    filler = Filler(schema, pools, rng, gaps)
    miss = (0.4, 0.2, 0.6)[number % 3]
    least = (14, 20, 8, ROWS - 4, 3)[number % 5]
    filler.cap = max(ROWS, max(gold.aim.repeats, default=0) + 6)
    for _ in range((6, 9, 3, 6)[number % 4]):
        filler.aim_at(gold.aim, miss)
    filler.fill(max(least, gold.aim.rows + 3))
    return filler.script()


def populate(context: str, sql: str, k: int, seed: int) -> Filled:
    """Fills a SQLite schema for one gold (SQLite too).

    Each script is DDL and INSERTs that `engines.sqlite.build` accepts and that honours PRIMARY KEY, UNIQUE, NOT NULL,
    CHECK and FOREIGN KEY, except foreign keys to tables that the context does not define, which are left out.
    """
    schema = _schema(context)
    if isinstance(schema, Failure):
        return Filled(reason=f"gold_error: context: {schema.error}")
    with closing(opened(";\n".join(schema.before + schema.after))) as empty:
        answer = query(empty, sql, LIMITS)
        if isinstance(answer, Failure):
            return Filled(reason=f"gold_error: {answer.error}")
        gold = read_gold(sql, schema, empty)
    digest = hashlib.sha256(f"{context}\n{sql}".encode("utf-8", "backslashreplace")).hexdigest()
    try:
        return _fill(schema, gold, k, f"{seed}/{digest}")
    except MemoryError:  # the pool's, to count against the gold
        raise
    except Exception:  # a value that cannot be written, say: without its aim the gold is filled for by chance
        gold.aim, gold.strict = aims.Aim(), ordinary(schema, aims.Aim())
        return _fill(schema, gold, k, f"{seed}/{digest}")


_schema = lru_cache(maxsize=32)(read_schema)  # many golds are of one schema


def _fill(schema: Schema, gold: Gold, k: int, name: str) -> Filled:
    pools = Pools(schema, [gold.aim])
    ordinarily = {number for number in gold.open if not gold.mutants[number].ordinarily}
    scripts, killed, answered = _search(gold.strict, pools, gold, ordinarily, k, f"{name}/ordinary", False)
    if not answered:
        return Filled(reason="no_rows: no filling makes the gold return rows", power=Power(0, 0, 0, 0, 0, 0))
    left = gold.open - killed
    harsh, harshly, _ = _search(schema, pools, gold, left, (k + 1) // 2, f"{name}/harsh", True)
    return _filled(gold, scripts, harsh, killed, harshly)


def _search(
    schema: Schema, pools: Pools, gold: Gold, mutants: set[int], k: int, name: str, gaps: bool
) -> tuple[list[str], set[int], bool]:
    """k scripts of a stream of candidates, which of the mutants they tell apart, and whether the gold has rows on one.

    At first each candidate that tells a mutant apart which none before it did; of too many, those that tell most.
    """
    alive, answered, fruitless = set(mutants), False, 0
    telling: list[str] = []
    spare: list[str] = []
    for number in range(CANDIDATES):
        if number >= k and answered and (not alive or fruitless >= FRUITLESS):
            break
        script = candidate(schema, pools, gold, number, name, gaps)
        with closing(opened(script)) as database:
            seen = gold.look(database, alive)
        if seen is None or (gold.plan.limited and not gaps and not seen[0] and number < CANDIDATES - k):
            continue
        first = seen[0] and not answered
        answered |= seen[0]
        alive -= seen[1]
        fruitless = 0 if seen[1] or first else fruitless + 1
        (telling if seen[1] or first else spare).append(script)
    if len(telling) <= k:
        return [*telling, *spare][:k], mutants - alive, answered
    return _best(gold, telling, mutants, k)


def _best(gold: Gold, scripts: list[str], mutants: set[int], k: int) -> tuple[list[str], set[int], bool]:
    """The k scripts that together tell most mutants apart, the first ones where it makes no difference."""
    view = []
    for script in scripts:
        with closing(opened(script)) as database:
            view.append(gold.look(database, mutants) or (False, set()))
    left, answered = set(mutants), False
    chosen: list[int] = []
    for _ in range(k):
        gains = {
            n: len(left & view[n][1]) + 1000 * (view[n][0] and not answered)
            for n in range(len(scripts))
            if n not in chosen
        }
        best = max(gains, key=lambda n: (gains[n], -n))
        chosen.append(best)
        left -= view[best][1]
        answered |= view[best][0]
    return [scripts[n] for n in sorted(chosen)], mutants - left, answered


def _filled(gold: Gold, scripts: list[str], harsh: list[str], killed: set[int], harshly: set[int]) -> Filled:
    by_kind: dict[str, list[int]] = {}
    undecided = []
    for number, mutant in enumerate(gold.mutants):
        if mutant.equivalent:
            state = 3
        else:
            state = 0 if number in killed else 1 if number in harshly else 2 if number in gold.killable else 4
        by_kind.setdefault(mutant.kind, [0] * 5)[state] += 1
        if state == 4:
            undecided.append(mutant.sql)
    counts = [sum(column) for column in zip(*by_kind.values(), strict=True)] or [0] * 5
    return Filled(scripts, harsh, True, None, Power(len(gold.mutants), *counts), by_kind, undecided)


# Many rows ----------------------------------------------------------------------------------------------------------


class Fillings(NamedTuple):
    """The scripts that a row is scored on, by tier."""

    ordinary: tuple[str, ...] = ()
    harsh: tuple[str, ...] = ()


def populate_rows(
    rows: Iterable[dict], k: int, seed: int, workers: int, unfinished: str | os.PathLike
) -> tuple[list[dict], list[dict]]:
    """Evaluation databases for rows {id, context, answer, dialect}: (instances, results), both in the rows' order.

    instances: {key, tier, instance, setup_sql}, where tier is ordinary or harsh. results, one a row: {id, key, usable,
    reason, mutants, killed, harshly, survived, equivalent, presumed, kill_rate, by_kind, undecided}. Rows of one
    context, dialect and gold share a key, and their instances.

    Works in `workers` processes; finished golds are kept in the file `unfinished`, from which a run that was stopped
    goes on. The results are the same bytes for any number of workers.
    """
    rows = list(rows)
    names = [(row["context"], (row.get("dialect") or "sqlite").lower(), row["answer"]) for row in rows]
    different = list(dict.fromkeys(names))
    jobs = [(*name, k, seed) for name in different]
    instances, results = [], {}
    for name, filled in zip(different, _finish(jobs, workers, Path(unfinished)), strict=True):
        key = hashlib.sha256("\n".join(name).encode("utf-8", "backslashreplace")).hexdigest()[:16]
        for tier, scripts in (("ordinary", filled["scripts"]), ("harsh", filled["harsh"])):
            instances += [
                {"key": key, "tier": tier, "instance": n, "setup_sql": script} for n, script in enumerate(scripts)
            ]
        results[name] = {
            "key": key, "usable": filled["usable"], "reason": filled["reason"], **filled["power"],
            "kill_rate": Power(**filled["power"]).kill_rate, "by_kind": filled["by_kind"],
            "undecided": filled["undecided"],
        }  # fmt: skip
    return instances, [{"id": row["id"], **results[name]} for row, name in zip(rows, names, strict=True)]


def fillings(instances: Iterable[dict], results: Iterable[dict]) -> dict[Any, Fillings]:
    """The scripts of each usable row by its id, from what `populate_rows` returns."""
    scripts: dict[str, dict[str, tuple[str, ...]]] = {}
    for row in instances:
        tiers = scripts.setdefault(row["key"], {"ordinary": (), "harsh": ()})
        tiers[row["tier"]] += (row["setup_sql"],)
    return {row["id"]: Fillings(**scripts[row["key"]]) for row in results if row["usable"]}


def _finish(jobs: list[tuple], workers: int, unfinished: Path) -> Iterator[dict]:
    """The jobs' results in order, those of an earlier, stopped run taken from its file."""
    names = [_fingerprint(job) for job in jobs]
    kept = {done.pop("job"): done for done in whole_lines(unfinished)}
    open_jobs = [job for job, name in zip(jobs, names, strict=True) if name not in kept]
    fresh = guarded_map(_job, open_jobs, workers=workers, seconds=JOB_SECONDS, memory_bytes=JOB_BYTES, chunk=CHUNK)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    with open(unfinished, "a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for name in tqdm(names, desc="populate", unit="gold", disable=None):
            if name not in kept:
                done = next(fresh)
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


def _job(job: tuple) -> dict:
    """One gold in its own dialect."""
    context, dialect, gold, k, seed = job
    ddl = to_sqlite_ddl(context, dialect)
    if isinstance(ddl, Untranslatable):
        return asdict(Filled(reason=_named(Untranslatable(f"context: {ddl.reason}", ddl.outcome))))
    sql = gold if is_sqlite(dialect) else to_sqlite(gold, dialect, declared(context, dialect))
    if isinstance(sql, Untranslatable):
        return asdict(Filled(reason=_named(sql)))
    try:
        return asdict(populate(ddl, sql, k, seed))
    except MemoryError:
        raise
    except Exception as error:  # say, a trigger of the context that refuses every row
        return asdict(Filled(reason=f"lost: {first_line(error)}"))


def _named(why: Untranslatable) -> str:
    return f"dialect: {why.reason}" if why.outcome == "dialect" else f"gold_error: {why.reason}"


def summarize(results: list[dict]) -> dict:
    """Totals over rows: {n, usable, unusable: {reason: n}, mutants, killed, harshly, survived, equivalent, presumed,
    raw_rate, kill_rate, by_kind}. Only usable rows' mutants count. `kill_rate` leaves out proven and presumed
    equivalents; `by_kind` holds the counts in this order."""
    usable = [row for row in results if row["usable"]]
    names = [field.name for field in fields(Power)]
    total = {name: sum(row[name] for row in usable) for name in names}
    kinds: dict[str, list[int]] = {}
    for row in usable:
        for kind, counts in row["by_kind"].items():
            kinds[kind] = [a + b for a, b in zip(kinds.get(kind, [0] * len(counts)), counts, strict=True)]
    reasons = Counter(row["reason"].split(":")[0] for row in results if not row["usable"])
    strength = Power(**total)
    return {
        "n": len(results), "usable": len(usable), "unusable": dict(sorted(reasons.items())), **total,
        "raw_rate": strength.raw_rate, "kill_rate": strength.kill_rate, "by_kind": dict(sorted(kinds.items())),
    }  # fmt: skip


def write_databases(folder: str | os.PathLike, instances: list[dict], results: list[dict]) -> None:
    """Writes what `populate_rows` returned as `instances.jsonl` and `rows.jsonl`."""
    write_jsonl(Path(folder) / "instances.jsonl", instances)
    write_jsonl(Path(folder) / "rows.jsonl", results)


def read_databases(folder: str | os.PathLike) -> dict[Any, Fillings]:
    """The scripts each row is scored on, by row id; a row that is not usable is not there."""
    return fillings(read_jsonl(Path(folder) / "instances.jsonl"), read_jsonl(Path(folder) / "rows.jsonl"))


def read_unusable(folder: str | os.PathLike) -> dict[str, str]:
    """Why no instance makes a row's gold return rows, by row id."""
    return {row["id"]: row["reason"] for row in read_jsonl(Path(folder) / "rows.jsonl") if not row["usable"]}
