"""Evaluation databases for contexts that bring no rows: k seeded fillings per row, aimed at its gold and its mutants.

A schema's golds share their fillings: of many candidates, each aimed at the golds whose mutants still live, the one
that tells most of them apart is kept. A gold for which that leaves mutants alive (or no row found) gets candidates of
its own; what they add goes into the schema's pool, from which every gold takes the k fillings that serve it best.
Everything is a pure function of context, golds, dialect, k and seed.
"""

import hashlib
import json
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import sqlglot
from sqlglot import exp
from tqdm import tqdm

from text2sql.base.files import json_line, read_jsonl, write_jsonl
from text2sql.base.resume import whole_lines
from text2sql.base.text import first_line
from text2sql.databases import aims
from text2sql.databases.filler import ROWS, Filler, Pools
from text2sql.databases.mutants import Power, mutants
from text2sql.databases.schema import Schema, opened, read_schema
from text2sql.engines.pool import Lost, guarded_map
from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, query
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import answer_gold, plan
from text2sql.sql.dialect import Untranslatable, to_sqlite, to_sqlite_ddl

VERSION = 1  # of this algorithm; finished parts of another version are not taken up again
SHARED_CANDIDATES = 10  # per shared filling
OWN_CANDIDATES = 60  # for a gold that the shared fillings do not serve fully; also the probes for equivalence
LIMITS = Limits(rows=20_000)
JOB_SECONDS = 1800.0
JOB_BYTES = 1024 * 2**20


@dataclass
class Filled:
    """What one gold got. `instances` are numbers into the schema's scripts, k of them (none where not usable).

    `reason` says why a gold is not usable: `gold_error: …`, `dialect: …` or `no_rows`, when no filling made it answer.
    """

    instances: list[int] = field(default_factory=list)
    usable: bool = False
    reason: str | None = None
    power: Power = field(default_factory=lambda: Power(0, 0, 0, 0, 0))
    by_kind: dict[str, list[int]] = field(default_factory=dict)  # mutant kind: [killed, survived, equivalent, presumed]
    undecided: list[str] = field(default_factory=list)  # the mutants nothing told apart, for inspection


class Gold:
    """A gold with its mutants, and what each filling looked at so far does to them.

    `tree` is the gold's; without one it has no aim and no mutants, and is filled for by chance.
    """

    def __init__(self, sql: str, tree: exp.Expr | None, schema: Schema, empty: Connection) -> None:
        self.sql = sql
        self.aim = aims.read_aim(tree, schema, empty)
        self.plan = plan(sql)
        self.mutants = [m for m in mutants(tree, schema) if isinstance(query(empty, m.sql, LIMITS), Answer)]
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


def candidate(schema: Schema, pools: Pools, golds: list[Gold], focus: list[int], seed: str) -> str:
    """The script of one filling aimed at the golds in focus, as many as fit."""
    rng = random.Random(seed)
    filler = Filler(schema, pools, rng)
    miss = rng.choice([0.2, 0.4, 0.6])
    least = rng.choice([3, 8, 14, 20, ROWS - 4])
    if len(focus) == 1:
        filler.cap = max(ROWS, max(golds[focus[0]].aim.repeats, default=0) + 6)
    order = list(focus)
    rng.shuffle(order)
    passes = 1 if len(order) > 12 else rng.choice([2, 4]) if len(order) > 3 else rng.choice([3, 6, 9])
    for number in order * passes:
        filler.aim_at(golds[number].aim, miss)
    filler.fill(least)
    return filler.script()


def populate(context: str, golds: list[str], k: int, seed: int) -> tuple[list[str], list[Filled]]:
    """Fills one SQLite schema for its golds (SQLite too): the scripts, and for each gold which k of them are its own.

    Each script is DDL and INSERTs that `engines.sqlite.build` accepts and that honours PRIMARY KEY, UNIQUE, NOT NULL,
    CHECK and FOREIGN KEY, except foreign keys to tables that the context does not define, which are left out.
    """
    schema = read_schema(context)
    if isinstance(schema, Failure):
        return [], [Filled(reason=f"gold_error: context: {schema.error}") for _ in golds]
    empty = opened(";\n".join(schema.before + schema.after))
    results: list[Filled] = []
    valid: list[Gold] = []
    at: dict[str, int] = {}  # equal golds are worked on once
    for sql in golds:
        answer = query(empty, sql, LIMITS)
        results.append(Filled(reason=f"gold_error: {answer.error}") if isinstance(answer, Failure) else Filled())
        if isinstance(answer, Answer) and sql not in at:
            at[sql] = len(valid)
            valid.append(read_gold(sql, schema, empty))
    name = f"{seed}/{hashlib.sha256(context.encode('utf-8', 'backslashreplace')).hexdigest()}"
    scripts, finished = _fill_apart(schema, valid, k, name)
    for result, sql in zip(results, golds, strict=True):
        if result.reason is None:
            vars(result).update(vars(finished[at[sql]]))
    return _used(scripts, results)


def _fill_apart(schema: Schema, golds: list[Gold], k: int, name: str) -> tuple[list[str], list[Filled]]:
    """As `_fill`, with the golds that make it fail kept apart: each costs itself its aim, and the others nothing.

    Raises what `_fill` raises where no gold alone is the cause.
    """
    try:
        return _fill(schema, golds, k, name)
    except MemoryError:
        raise
    except Exception:
        causes = [gold for gold in golds if isinstance(_attempt(schema, gold, k, name), Exception)]
        if not causes:
            raise
    scripts, finished = _fill(schema, [gold for gold in golds if gold not in causes], k, name)
    others = iter(finished)
    results = []
    for gold in golds:
        if gold not in causes:
            results.append(next(others))
            continue
        gold.aim = aims.Aim()
        made = _attempt(schema, gold, k, name)
        if isinstance(made, Exception):
            results.append(Filled(reason=f"lost: {first_line(made)}"))
            continue
        own, (result,) = made
        result.instances = [len(scripts) + number for number in result.instances]
        scripts += own
        results.append(result)
    return scripts, results


def _attempt(schema: Schema, gold: Gold, k: int, name: str) -> tuple[list[str], list[Filled]] | Exception:
    """`_fill` for one gold alone, or why that fails."""
    try:
        return _fill(schema, [gold], k, name)
    except MemoryError:
        raise
    except Exception as error:
        return error


def _fill(schema: Schema, golds: list[Gold], k: int, name: str) -> tuple[list[str], list[Filled]]:
    """Scripts for all golds, and what each of them got."""
    for gold in golds:
        gold.killable.clear()
    pools = Pools(schema, [gold.aim for gold in golds])
    scripts = _share(schema, pools, golds, k, name)
    finished = []
    for number, gold in enumerate(golds):
        view = _serve(schema, pools, gold, scripts, k, f"{name}/own/{number}")
        finished.append(_choose(gold, view, k))
    return scripts, finished


def _share(schema: Schema, pools: Pools, golds: list[Gold], k: int, name: str) -> list[str]:
    """k fillings for all golds together, each the best of several for what the ones before it left alive."""
    alive = [set(gold.open) for gold in golds]
    silent = set(range(len(golds)))
    scripts: list[str] = []
    for slot in range(k):
        best: tuple[float, str, list] = (float("-inf"), "", [])
        focus = [n for n in range(len(golds)) if alive[n] or n in silent]
        for attempt in range(SHARED_CANDIDATES):
            rng = random.Random(f"{name}/focus/{slot}/{attempt}")
            some = focus or list(range(len(golds)))
            aimed = some if slot == 0 or len(some) <= 6 else rng.sample(some, rng.choice([6, min(12, len(some))]))
            script = candidate(schema, pools, golds, aimed, f"{name}/shared/{slot}/{attempt}")
            connection = opened(script)
            seen = [gold.look(connection, alive[n]) for n, gold in enumerate(golds)]
            connection.close()
            score = sum(-1000 if s is None else len(s[1]) + 5 * (n in silent and s[0]) for n, s in enumerate(seen))
            if score > best[0]:
                best = (score, script, seen)
            if not focus:
                break
        scripts.append(best[1])
        for number, seen in enumerate(best[2]):
            if seen is not None:
                alive[number] -= seen[1]
                if seen[0]:
                    silent.discard(number)
    return scripts


def _serve(schema: Schema, pools: Pools, gold: Gold, scripts: list[str], k: int, name: str) -> list:
    """Looks at the pool's scripts for one gold and, while mutants live or no row is found, adds scripts of its own.

    Returns what `Gold.look` says of each script, from the first on as far as was needed.
    """
    view: list = []

    def missing() -> bool:
        seen = [s for s in view if s is not None]
        return not any(s[0] for s in seen) or bool(gold.open - set().union(*(s[1] for s in seen)))

    for position, script in enumerate(scripts):
        if position >= k and not missing():
            return view
        connection = opened(script)
        view.append(gold.look(connection, gold.open))
        connection.close()
    for attempt in range(OWN_CANDIDATES):
        if not missing():
            break
        seen = [s for s in view if s is not None]
        alive = gold.open - set().union(*(s[1] for s in seen))
        script = candidate(schema, pools, [gold], [0], f"{name}/{attempt}")
        connection = opened(script)
        found = gold.look(connection, alive)
        if found and (found[1] or (found[0] and not any(s[0] for s in seen))):
            scripts.append(script)
            view.append(gold.look(connection, gold.open))
        connection.close()
    return view


def _choose(gold: Gold, view: list, k: int) -> Filled:
    """The k scripts that together tell most mutants apart, the first ones where it makes no difference."""
    left, answered = set(gold.open), False
    chosen: list[int] = []
    usable = [n for n, seen in enumerate(view) if seen is not None]
    for _ in range(min(k, len(usable))):
        gains = {n: len(left & view[n][1]) + 1000 * (view[n][0] and not answered) for n in usable if n not in chosen}
        best = max(gains, key=lambda n: (gains[n], -n))
        chosen.append(best)
        left -= view[best][1]
        answered |= view[best][0]
    killed = gold.open - left
    by_kind: dict[str, list[int]] = {}
    counts = [0, 0, 0, 0]
    undecided = []
    for number, mutant in enumerate(gold.mutants):
        state = 2 if mutant.equivalent else 0 if number in killed else 1 if number in gold.killable else 3
        counts[state] += 1
        by_kind.setdefault(mutant.kind, [0, 0, 0, 0])[state] += 1
        if state == 3:
            undecided.append(mutant.sql)
    reason = None if answered else "no_rows: no filling makes the gold return rows"
    strength = Power(len(gold.mutants), *counts)
    return Filled(sorted(chosen) if answered else [], answered, reason, strength, by_kind, undecided)


def _used(scripts: list[str], results: list[Filled]) -> tuple[list[str], list[Filled]]:
    """Without the scripts that no gold took."""
    used = sorted({n for result in results for n in result.instances})
    place = {old: new for new, old in enumerate(used)}
    for result in results:
        result.instances = [place[n] for n in result.instances]
    return [scripts[n] for n in used], results


# Many rows ----------------------------------------------------------------------------------------------------------


def populate_rows(
    rows: Iterable[dict], k: int, seed: int, workers: int, unfinished: str | os.PathLike
) -> tuple[list[dict], list[dict]]:
    """Evaluation databases for rows {id, context, answer, dialect}: (instances, results), both in the rows' order.

    instances: {schema_key, instance, setup_sql}, each script once. results, one a row: {id, schema_key, instances,
    usable, reason, mutants, killed, survived, equivalent, presumed, kill_rate, by_kind, undecided}; `instances` are the
    numbers of the k scripts of its schema that the row is scored on. Rows of one context and dialect share a
    schema_key.

    Works in `workers` processes; finished schemas are kept in the file `unfinished`, from which a run that was stopped
    goes on. The results are the same bytes for any number of workers.
    """
    rows = list(rows)
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["context"], (row.get("dialect") or "sqlite").lower()), []).append(row)
    jobs = [
        (context, dialect, [row["answer"] for row in group], k, seed) for (context, dialect), group in groups.items()
    ]
    instances, results = [], {}
    for (context, dialect, *_), done in zip(jobs, _finish(jobs, workers, Path(unfinished)), strict=True):
        key = hashlib.sha256(f"{dialect}\n{context}".encode("utf-8", "backslashreplace")).hexdigest()[:16]
        instances += [{"schema_key": key, "instance": n, "setup_sql": sql} for n, sql in enumerate(done["scripts"])]
        for row, filled in zip(groups[context, dialect], done["golds"], strict=True):
            strength = Power(**filled["power"])
            results[id(row)] = {
                "id": row["id"], "schema_key": key, "instances": filled["instances"], "usable": filled["usable"],
                "reason": filled["reason"], **filled["power"], "kill_rate": strength.kill_rate,
                "by_kind": filled["by_kind"], "undecided": filled["undecided"],
            }  # fmt: skip
    return instances, [results[id(row)] for row in rows]


def _finish(jobs: list[tuple], workers: int, unfinished: Path) -> Iterator[dict]:
    """The jobs' results in order, those of an earlier, stopped run taken from its file."""
    names = [_fingerprint(job) for job in jobs]
    kept = {done.pop("job"): done for done in whole_lines(unfinished)}
    open_jobs = [job for job, name in zip(jobs, names, strict=True) if name not in kept]
    fresh = guarded_map(_job, open_jobs, workers=workers, seconds=JOB_SECONDS, memory_bytes=JOB_BYTES, chunk=1)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    with open(unfinished, "a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for job, name in tqdm(list(zip(jobs, names, strict=True)), desc="populate", unit="schema", disable=None):
            if name not in kept:
                done = next(fresh)
                if isinstance(done, Lost):
                    done = {"scripts": [], "golds": [asdict(Filled(reason=f"lost: {done.error}")) for _ in job[2]]}
                file.write(json_line({"job": name, **done}) + "\n")
                file.flush()
                yield done
            else:
                yield kept[name]


def _fingerprint(job: tuple) -> str:
    text = json.dumps([VERSION, sqlite3.sqlite_version, sqlglot.__version__, *job])
    return hashlib.sha256(text.encode()).hexdigest()


def _job(job: tuple) -> dict:
    """One schema with its golds, in their own dialect."""
    context, dialect, golds, k, seed = job
    ddl = to_sqlite_ddl(context, dialect)
    if isinstance(ddl, Untranslatable):
        reason = _named(Untranslatable(f"context: {ddl.reason}", ddl.outcome))
        return {"scripts": [], "golds": [asdict(Filled(reason=reason)) for _ in golds]}
    translated = [to_sqlite(gold, dialect) for gold in golds]
    good = [sql for sql in translated if isinstance(sql, str)]
    try:
        scripts, filled = populate(ddl, good, k, seed)
    except MemoryError:
        raise
    except Exception as error:  # say, a trigger of the context that refuses every row
        scripts, filled = [], [Filled(reason=f"lost: {first_line(error)}") for _ in good]
    queue = iter(filled)
    results = [next(queue) if isinstance(sql, str) else Filled(reason=_named(sql)) for sql in translated]
    return {"scripts": scripts, "golds": [asdict(result) for result in results]}


def _named(why: Untranslatable) -> str:
    return f"dialect: {why.reason}" if why.outcome == "dialect" else f"gold_error: {why.reason}"


def summarize(results: list[dict]) -> dict:
    """Totals over rows: {n, usable, unusable: {reason: n}, mutants, killed, survived, equivalent, presumed, raw_rate,
    kill_rate, by_kind}. Only usable rows' mutants count. kill_rate leaves out proven and presumed equivalents."""
    usable = [row for row in results if row["usable"]]
    total = {
        key: sum(row[key] for row in usable) for key in ("mutants", "killed", "survived", "equivalent", "presumed")
    }
    kinds: dict[str, list[int]] = {}
    for row in usable:
        for kind, counts in row["by_kind"].items():
            kinds[kind] = [a + b for a, b in zip(kinds.get(kind, [0] * 4), counts, strict=True)]
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


def read_databases(folder: str | os.PathLike) -> dict[str, list[str]]:
    """The scripts each row is scored on, by row id; none for rows that are not usable. Equal scripts are one object."""
    scripts = {
        (row["schema_key"], row["instance"]): row["setup_sql"] for row in read_jsonl(Path(folder) / "instances.jsonl")
    }
    rows = read_jsonl(Path(folder) / "rows.jsonl")
    return {row["id"]: [scripts[row["schema_key"], number] for number in row["instances"]] for row in rows}


def read_unusable(folder: str | os.PathLike) -> dict[str, str]:
    """Why no instance makes a row's gold return rows, by row id."""
    return {row["id"]: row["reason"] for row in read_jsonl(Path(folder) / "rows.jsonl") if not row["usable"]}
