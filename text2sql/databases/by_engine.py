"""Fillings for a gold on the engine of its own dialect: in its types, kept or dropped by what its queries answer there.

Rows are drawn as for SQLite, from the database's shadow (`databases.shadow`); the engine builds each filling, and the
gold and its mutants run there.
"""

import re
from contextlib import closing
from functools import lru_cache

from sqlglot import exp

from text2sql.databases import aims
from text2sql.databases.filler import Filler
from text2sql.databases.mutants import mutants
from text2sql.databases.ordinary import ordinary
from text2sql.databases.populate import LIMITS, Filled, Gold, fill
from text2sql.databases.schema import Schema, opened
from text2sql.databases.shadow import Shadow, script_of, shadow_of
from text2sql.engines.catalogue import Table, read_tables
from text2sql.engines.protocol import Database, Engine, EngineLost
from text2sql.engines.sqlite import Answer, Failure
from text2sql.scoring.gold import plan
from text2sql.sql.dialect import declared, to_sqlite

# What a gold takes from JSON documents: data->>'name', data->'$.name'
_FIELD = re.compile(r"->>?\s*'(?:\$\.)?(\w+)'|'\$\.(\w+)'")


class EngineGold(Gold):
    """A gold whose fillings its own engine builds."""

    def __init__(
        self, engine: Engine, sql: str, tree: exp.Expr | None, shadow: Shadow, context: str, empty: Database
    ) -> None:
        self.engine, self.sql, self.shadow, self.context = engine, sql, shadow, context
        self.dialect = engine.dialect
        self.refused: Failure | None = None  # what the engine said of the last filling that it did not build
        with closing(opened(shadow.script)) as connection:
            self.aim = aims.read_aim(_aiming(context, tree, self.dialect, shadow.schema), shadow.schema, connection)
        self.plan = plan(sql, self.dialect)
        self.strict = ordinary(shadow.schema, self.aim)
        changed = mutants(tree, shadow.schema, self.strict, self.dialect)
        self.mutants = [mutant for mutant in changed if isinstance(empty.query(mutant.sql, LIMITS), Answer)]
        self.open_mutants()

    def open(self, script: str) -> Database | Failure:
        built = self.engine.build(script, LIMITS)
        if isinstance(built, Failure):
            self.refused = built
        return built

    def write(self, filler: Filler) -> str:
        return script_of(filler, self.shadow, self.engine, self.context)


def populate(engine: Engine, context: str, sql: str, k: int, seed: int) -> Filled:
    """Fills a schema for one gold, both in the engine's dialect: as `populate.populate`, on the engine.

    Raises EngineLost.
    """
    empty = engine.build(context, LIMITS)
    if isinstance(empty, Failure):
        return Filled(reason=f"gold_error: context: {empty.error}")
    with closing(empty):
        answer = empty.query(sql, LIMITS)
        if isinstance(answer, Failure):
            return Filled(reason=f"{'dialect' if answer.outcome == 'dialect' else 'gold_error'}: {answer.error}")
        tables = read_tables(empty)
        if isinstance(tables, Failure):
            return Filled(reason=f"lost: the schema cannot be read: {tables.error}")
        shadow = _shadow(tuple(tables), engine.dialect, tuple(dict.fromkeys(a or b for a, b in _FIELD.findall(sql))))
        if isinstance(shadow, Failure):
            return Filled(reason=f"lost: {shadow.error}")
        gold = read_gold(engine, sql, shadow, context, empty)
    filled = fill(shadow.schema, gold, k, seed, context)
    if not filled.usable and gold.refused is not None:
        filled.reason = f"no_rows: {engine.name} does not take the rows: {gold.refused.error}"
    return filled


def read_gold(engine: Engine, sql: str, shadow: Shadow, context: str, empty: Database) -> EngineGold:
    """The gold, without its tree where that holds what no one has thought of: as `populate.read_gold`."""
    try:
        return EngineGold(engine, sql, aims.parsed(sql, engine.dialect), shadow, context, empty)
    except (MemoryError, EngineLost):  # the pool's, to count against the schema; the machine's
        raise
    except Exception:
        return EngineGold(engine, sql, None, shadow, context, empty)


@lru_cache(maxsize=32)  # many golds are of one schema
def _shadow(tables: tuple[Table, ...], dialect: str, fields: tuple[str, ...]) -> Shadow | Failure:
    return shadow_of(tables, dialect, fields)


def _aiming(context: str, tree: exp.Expr | None, dialect: str, schema: Schema) -> exp.Expr | None:
    """The gold as SQLite reads it, where it has such a form, so that its constants can be calculated there."""
    if tree is None:
        return None
    bare = tree.copy()
    for named in bare.find_all(exp.Table, exp.Column):
        named.set("db", None)
        named.set("catalog", None)
    translated = to_sqlite(bare.sql(dialect), dialect, declared(context, dialect))
    return aims.parse(translated, schema) if isinstance(translated, str) else bare
