"""Evaluation databases for contexts that bring no rows: seeded fillings per question, aimed at its gold and mutants.

A gold gets k ordinary fillings (`databases.ordinary` says what that means) and half as many harsh ones. Of a stream of
candidates those are kept that tell mutants apart which none before them did; where mutants stay alive or no row is
found, the stream goes on for a while. Everything is a pure function of context, gold, dialect, k and seed, so that a
verdict never depends on which other questions stand in the file.
"""

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlglot import exp

from text2sql.base.files import read_jsonl, write_jsonl
from text2sql.databases import aims
from text2sql.databases.filler import ROWS, Filler, Pools
from text2sql.databases.mutants import Power, mutants
from text2sql.databases.ordinary import ordinary
from text2sql.databases.schema import Schema, opened, read_schema
from text2sql.engines.protocol import Database, EngineLost
from text2sql.engines.question import Fillings
from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, query
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold as Answers
from text2sql.scoring.gold import answer_gold, plan

CANDIDATES = 60  # looked at for a gold's fillings of one tier, at most; also the probes for equivalence
FRUITLESS = 16  # in a row, that end the search for mutants which may be equivalent
LIMITS = Limits(rows=20_000)


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

    dialect = "sqlite"

    def __init__(self, sql: str, tree: exp.Expr | None, schema: Schema, empty: Connection) -> None:
        self.sql = sql
        self.aim = aims.read_aim(tree, schema, empty)
        self.plan = plan(sql, self.dialect)
        self.strict = ordinary(schema, self.aim)
        self.mutants = [
            m for m in mutants(tree, schema, self.strict) if isinstance(query(empty, m.sql, LIMITS), Answer)
        ]
        self.open_mutants()

    def open_mutants(self) -> None:
        """Nothing is known yet of the mutants that no rule proves equivalent."""
        self.alive = {number for number, mutant in enumerate(self.mutants) if not mutant.equivalent}
        self.killable: set[int] = set()

    def open(self, script: str) -> Database | Failure:
        """The database of a filling's script."""
        return opened(script)

    def write(self, filler: Filler) -> str:
        """A filling as the script that `open` reads."""
        return filler.script()

    def look(self, script: str, alive: Iterable[int]) -> tuple[bool, set[int]] | None:
        """Whether the gold answers with rows here and which of the mutants differ; None when the gold fails."""
        database = self.open(script)
        if isinstance(database, Failure):
            return None
        with closing(database):
            return self._look(database, alive)

    def _look(self, database: Database, alive: Iterable[int]) -> tuple[bool, set[int]] | None:
        gold = answer_gold(database, self.plan, LIMITS)
        if isinstance(gold, Failure):
            return None
        killed = set()
        for number in sorted(alive):
            other = database.query(self.mutants[number].sql, LIMITS)
            if isinstance(other, Failure) or (
                not compare(gold, other).ex and not self.by_chance(database, number, gold)
            ):
                killed.add(number)
        self.killable |= killed
        return gold.answer.has_value, killed

    def by_chance(self, database: Database, number: int, gold: Answers) -> bool:
        """Whether a mutant's LIMIT cuts through a tie, so that it could as well have an answer that is right for the
        gold: who writes the mutant otherwise may get that one."""
        if not (self.plan.limited and self.plan.order):
            return False
        mutant = plan(self.mutants[number].sql, self.dialect)
        if not (mutant.limited and mutant.order):
            return False
        answers = answer_gold(database, mutant, LIMITS)
        return not isinstance(answers, Failure) and _may_agree(answers, gold)


def _may_agree(one: Answers, other: Answers) -> bool:
    """Whether some answer is right for both, as far as slice after slice of them tells."""
    if compare(one, other.answer).ex:
        return True
    takes = [[part.take for part in answers.slices] for answers in (one, other)]
    return takes[0] == takes[1] and all(
        (Counter(a.rows) & Counter(b.rows)).total() >= a.take for a, b in zip(one.slices, other.slices, strict=True)
    )


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
    if (gold.aim.ranked or gold.aim.counts) and number % 4 == 3:
        filler.rivals(gold.aim)
    elif gold.aim.ranked and number % 2:
        filler.of_few_groups(gold.aim)
    for _ in range((6, 9, 3, 6)[number % 4]):
        filler.aim_at(gold.aim, miss)
    filler.fill(max(least, gold.aim.rows + 3))
    return gold.write(filler)


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
    return fill(schema, gold, k, seed, context)


def fill(schema: Schema, gold: Gold, k: int, seed: int, context: str) -> Filled:
    """k fillings of a schema for a gold, and half as many harsh ones; context and gold name the stream of chance."""
    digest = hashlib.sha256(f"{context}\n{gold.sql}".encode("utf-8", "backslashreplace")).hexdigest()
    try:
        return _fill(schema, gold, k, f"{seed}/{digest}")
    except (MemoryError, EngineLost):  # the pool's, to count against the gold; the machine's
        raise
    except Exception:  # a value that cannot be written, say: without its aim the gold is filled for by chance
        gold.aim, gold.strict = aims.Aim(), ordinary(schema, aims.Aim())
        return _fill(schema, gold, k, f"{seed}/{digest}")


_schema = lru_cache(maxsize=32)(read_schema)  # many golds are of one schema


def _fill(schema: Schema, gold: Gold, k: int, name: str) -> Filled:
    pools = Pools(schema, [gold.aim])
    ordinarily = {number for number in gold.alive if not gold.mutants[number].ordinarily}
    scripts, killed, answered = _search(gold.strict, pools, gold, ordinarily, k, f"{name}/ordinary", False)
    if not answered:
        return Filled(reason="no_rows: no filling makes the gold return rows", power=Power(0, 0, 0, 0, 0, 0))
    left = gold.alive - killed
    harsh, harshly, _ = _search(schema, pools, gold, left, (k + 1) // 2, f"{name}/harsh", True)
    return _filled(gold, scripts, harsh, killed, harshly)


def _search(
    schema: Schema, pools: Pools, gold: Gold, mutants: set[int], k: int, name: str, gaps: bool
) -> tuple[list[str], set[int], bool]:
    """k scripts of a stream of candidates, which of the mutants they tell apart, and whether the gold has rows on one.

    At first each candidate that tells a mutant apart which none before it did; of too many, those that tell most.
    """
    alive, answered, fruitless = set(mutants), False, 0
    patience = FRUITLESS * (2 if gold.aim.ranked or gold.aim.sides else 1)  # what differs is often hidden there
    telling: list[str] = []
    spare: list[str] = []
    for number in range(CANDIDATES):
        if number >= k and answered and (not alive or fruitless >= patience):
            break
        script = candidate(schema, pools, gold, number, name, gaps)
        seen = gold.look(script, alive)
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
    view = [gold.look(script, mutants) or (False, set()) for script in scripts]
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


def fillings(instances: Iterable[dict], results: Iterable[dict]) -> dict[Any, Fillings]:
    """The scripts of each usable row by its id, from what `populate_rows` returns."""
    scripts: dict[str, dict[str, Any]] = {}
    for row in instances:
        found = scripts.setdefault(row["key"], {"ordinary": (), "harsh": (), "dialect": row.get("dialect")})
        found[row["tier"]] += (row["setup_sql"],)
    return {row["id"]: Fillings(**scripts[row["key"]]) for row in results if row["usable"]}


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
