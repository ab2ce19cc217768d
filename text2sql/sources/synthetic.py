"""The generated data set: questions in English and Korean about 70 schemas of 14 domains, in gretel's columns.

Nothing here is collected from people: schemas are written by hand (`synthetic_schemas`), cells, questions and queries
are drawn (`synthetic_intents`). As in the real data sets it stands for, close to half of the rows do not hold up:
no INSERT in the context, another system's dialect, broken SQL, or an empty answer. The same seed gives the same rows,
and row i depends on the seed and i alone, so a shorter run is the beginning of a longer one.
"""

import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from random import Random
from typing import NamedTuple

from text2sql.sources.synthetic_intents import INTENTS, Built, Draw, Intent, literal, names, settle_particles
from text2sql.sources.synthetic_schemas import SCHEMAS, Schema, Table

KOREAN_SHARE = 0.3
COMPLEXITIES = {  # gretel's names; shares follow its order of frequency, the rare classes somewhat raised
    "basic SQL": 0.40,
    "aggregation": 0.24,
    "single join": 0.14,
    "subqueries": 0.07,
    "multiple_joins": 0.04,
    "window functions": 0.04,
    "set operations": 0.04,
    "CTEs": 0.03,
}
FLAWS = {"": 0.55, "no_insert": 0.14, "dialect": 0.12, "broken": 0.11, "empty": 0.08}  # "" is a sound row
JOINS_NEEDED = {"single join": 1, "multiple_joins": 2}
EMPTY_INTENTS = (
    "filtered all_columns two_conditions lookup sorted_filtered distinct_filtered count_per_group_filtered "
    "parent_filtered with_parent_column two_parent_columns count_per_parent_filtered parents_with_some_child"
).split()


class Example(NamedTuple):
    """A generated row with how it came about: `intent` names the question's kind, `flaw` is "" for a sound row."""

    index: int
    schema: Schema
    language: str
    complexity: str
    intent: str
    flaw: str
    question: str
    context: str
    sql: str


def generate(rows: int, seed: int) -> Iterator[dict]:
    """Yields `rows` rows in the columns of gretelai/synthetic_text_to_sql that the project reads."""
    for index in range(rows):
        example = draw(seed, index)
        yield {
            "id": index,
            "domain": example.schema.domain,
            "sql_complexity": example.complexity,
            "sql_prompt": example.question,
            "sql_context": example.context,
            "sql": example.sql,
        }


def rows(count: int, seed: int) -> Iterator[dict]:
    """Yields the same rows in the project's columns (see `text2sql.rows`); db_id is the schema's name."""
    for index in range(count):
        example = draw(seed, index)
        yield {
            "id": f"synthetic-{index:06d}",
            "db_id": example.schema.name,
            "dialect": "sqlite",
            "context": example.context,
            "question": example.question,
            "answer": example.sql,
            "domain": example.schema.domain,
            "complexity": example.complexity,
            "language": example.language,
            "database": None,
        }


def draw(seed: int, index: int) -> Example:
    """Row `index` of the data set that `seed` names."""
    rng = Random(f"{seed}/{index}")
    flaw = weighted(rng, FLAWS)
    korean = rng.random() < KOREAN_SHARE
    if flaw == "dialect" and rng.random() < 0.6:
        complexity, domain, offered = "basic SQL", rng.choice(DOMAINS), FOREIGN
    else:
        offered = None
        complexity = weighted(rng, EMPTY_COMPLEXITIES if flaw == "empty" else COMPLEXITIES)
        domain = rng.choice(DOMAINS)
    while True:  # until an intent finds a telling question in the drawn cells
        schema = rng.choice(SCHEMAS_FOR[domain, JOINS_NEEDED.get(complexity, 0)])
        drawn = Draw(rng, schema, korean, empty=flaw == "empty")
        for _ in range(6):
            intent = weighted(rng, offered or (EMPTY_BY if flaw == "empty" else INTENTS_BY)[complexity])
            built = intent.build(drawn)
            if built is None:
                continue
            sql, slots = built
            context = context_of(drawn, inserts=flaw != "no_insert")
            if flaw == "broken":
                context, sql = break_row(rng, context, sql, schema)
            elif flaw == "dialect" and not offered:
                context = foreign_context(rng, context)
            return Example(
                index, schema, "ko" if korean else "en", intent.complexity, intent.name, flaw, say(drawn, intent, slots), context, sql
            )


def weighted(rng: Random, choices):
    """One key of {key: weight}, by weight. (Its running sums are kept: this is the inner loop.)"""
    items, sums = running_sums(choices)
    return rng.choices(items, cum_weights=sums)[0]


_SUMS: dict[int, tuple[list, list[float]]] = {}


def running_sums(choices: dict) -> tuple[list, list[float]]:
    if id(choices) not in _SUMS:
        _SUMS[id(choices)] = list(choices), list(accumulate(choices.values()))
    return _SUMS[id(choices)]


def say(drawn: Draw, intent: Intent, slots: dict[str, str]) -> str:
    """A question in one of the intent's phrasings."""
    if drawn.korean:
        return settle_particles(drawn.pick(intent.korean).format(**slots))
    return drawn.pick(intent.english).format(**slots)


def context_of(drawn: Draw, inserts: bool) -> str:
    """The schema's CREATE TABLE statements and, with `inserts`, one INSERT for each table, a statement a line."""
    statements = list(drawn.schema.create_tables)
    if inserts:
        for table in drawn.schema.tables:
            cells = drawn.cells[table.name].values()
            tuples = ", ".join(f"({', '.join(map(cell, row))})" for row in zip(*cells, strict=True))
            statements.append(f"INSERT INTO {table.name} VALUES {tuples}")
    return ";\n".join(statements) + ";"


def cell(value: str | float | None) -> str:
    return "NULL" if value is None else literal(value)


# ------------------------------------------------------------------------------------------------------- flaws
def break_row(rng: Random, context: str, sql: str, schema: Schema) -> tuple[str, str]:
    """(context, sql) with one mistake of the kinds that real sets hold, so that it no longer runs."""
    table = next(t for t in schema.tables if re.search(rf"\bFROM {t.name}\b", sql))
    column = next((c for c in table.columns if re.search(rf"\b{c.name}\b", sql)), None)
    literals = re.findall(r"'[^']*'", sql)
    kinds: list[Callable[[], tuple[str, str]]] = [
        lambda: (context, sql.replace("SELECT ", "SELEC ", 1)),
        lambda: (context, sql.replace(" FROM ", " FORM ", 1)),
        lambda: (context, re.sub(rf"\b{table.name}\b", f"{table.name}_data", sql)),
        lambda: (context.replace(");\n", ";\n", 1), sql),
        lambda: (context.replace("CREATE TABLE", "CREATE TABEL", 1), sql),
        lambda: (re.sub(r" VALUES \(([^,]*), ", r" VALUES (", context, count=1), sql),
        lambda: (context.replace(" VALUES (", " VALUE (", 1), sql),
    ]
    if column is not None:
        kinds += [lambda: (context, re.sub(rf"\b{column.name}\b", f"{column.name}_value", sql))] * 2
    if literals:
        kinds.append(lambda: (context, sql[: sql.rindex("'")] + sql[sql.rindex("'") + 1 :]))
    if " WHERE " in sql:
        kinds.append(lambda: (context, sql.replace(" WHERE ", " WHERE AND ", 1)))
    if "(" in sql:
        kinds.append(lambda: (context, sql[: sql.rindex(")")] + sql[sql.rindex(")") + 1 :]))
    return rng.choice(kinds)()


def foreign_context(rng: Random, context: str) -> str:
    """The context as MySQL or PostgreSQL would have it, which SQLite does not parse."""
    kinds = [
        lambda: context.replace(");\n", ") ENGINE=InnoDB;\n", 1),
        lambda: context.replace(" TEXT,", " VARCHAR(50) CHARACTER SET utf8,", 1),
        lambda: context.replace(" DATE", " TIMESTAMP DEFAULT NOW()", 1),
    ]
    if " INTEGER PRIMARY KEY" in context:
        kinds += [
            lambda: context.replace(" INTEGER PRIMARY KEY", " INT NOT NULL AUTO_INCREMENT PRIMARY KEY"),
            lambda: context.replace(" INTEGER PRIMARY KEY", " INT PRIMARY KEY AUTO_INCREMENT"),
            lambda: context.replace(" INTEGER PRIMARY KEY", " INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
        ]
    else:
        kinds = kinds[:1]
    return rng.choice(kinds[:1] + kinds[3:])()


def dated(d: Draw) -> tuple[Table, object] | None:
    """A table with a date, and the date."""
    table = d.pick([t for t in d.schema.tables if any(c.kind == "date" for c in t.columns)])
    return (table, d.pick([c for c in table.columns if c.kind == "date"])) if table else None


def in_year(d: Draw) -> Built:
    """MySQL and SQL Server: YEAR(); PostgreSQL and MySQL: EXTRACT."""
    found = dated(d)
    if found is None:
        return None
    table, column = found
    columns, year = d.columns(table, avoid=[column]), d.pick(column.values)[:4]
    test = d.pick((f"YEAR({column.name})", f"EXTRACT(YEAR FROM {column.name})", f"DATE_PART('year', {column.name})"))
    where = d.either(f"with {column.label} in {year}", f"{column.korean}[이/가] {year}년인")
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {test} = {year}"
    return sql, {"cols": d.listing(columns), "where": where, **d.things(table)}


def in_last_days(d: Draw) -> Built:
    """Days before now, in MySQL, PostgreSQL and SQL Server."""
    found = dated(d)
    if found is None:
        return None
    table, column = found
    columns, n = d.columns(table, avoid=[column]), d.pick((7, 14, 30, 60, 90))
    since = d.pick(
        (
            f"DATE_SUB(NOW(), INTERVAL {n} DAY)",
            f"DATE_SUB(CURDATE(), INTERVAL {n} DAY)",
            f"NOW() - INTERVAL '{n} days'",
            f"DATEADD(day, -{n}, GETDATE())",
        )
    )
    where = d.either(f"with {column.label} in the last {n} days", f"{column.korean}[이/가] 최근 {n}일 이내인")
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {column.name} >= {since}"
    return sql, {"cols": d.listing(columns), "where": where, **d.things(table)}


def ignoring_case(d: Draw) -> Built:
    """PostgreSQL: ILIKE, ~*; MySQL: REGEXP without a function behind it."""
    table = d.pick([t for t in d.schema.tables if t.categories or (t.identity and t.identity.kind == "name")])
    column = d.pick([c for c in table.columns if c.kind in ("name", "category")]) if table else None
    if column is None:
        return None
    columns, part = d.columns(table, avoid=[column]), d.pick(column.values)[:3].strip().lower()
    test = d.pick((f"ILIKE '%{part}%'", f"~* '{part}'", f"REGEXP '{part}'"))
    where = d.either(
        f"whose {column.label} contains '{part}' in any case",
        f"{column.korean}[이/가] 대소문자 구분 없이 '{part}'[을/를] 포함하는",
    )
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {column.name} {test}"
    return sql, {"cols": d.listing(columns), "where": where, **d.things(table)}


def first_rows(d: Draw) -> Built:
    """SQL Server: TOP; standard SQL: FETCH FIRST."""
    table = d.pick([t for t in d.schema.tables if t.ordered])
    if table is None:
        return None
    by, n = d.pick(table.ordered), d.pick((2, 3, 4))
    columns = d.columns(table, avoid=[by])
    where = d.either(f"that are the {n} with the largest {by.label}", f"{by.korean} 값이 가장 큰 {n}건의")
    body = f"{names(columns)} FROM {table.name} ORDER BY {by.name} DESC"
    sql = d.pick((f"SELECT TOP {n} {body}", f"SELECT {body} FETCH FIRST {n} ROWS ONLY"))
    return sql, {"cols": d.listing(columns), "where": where, **d.things(table)}


def with_casts(d: Draw) -> Built:
    """PostgreSQL: casts with ::, and > ALL."""
    table = d.pick([t for t in d.schema.tables if t.measures])
    if table is None:
        return None
    measure = d.pick(table.measures)
    columns = d.columns(table, avoid=[measure])
    bound = d.pick(
        (f"(SELECT AVG({measure.name})::NUMERIC FROM {table.name})", f"ANY (SELECT AVG({measure.name}) FROM {table.name})")
    )
    where = d.either(f"whose {measure.label} is above the average", f"{measure.korean}[이/가] 평균보다 큰")
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {measure.name} > {bound}"
    return sql, {"cols": d.listing(columns), "where": where, **d.things(table)}


# ------------------------------------------------------------------------------------------- what is drawn from
FILTERED = next(intent for intent in INTENTS if intent.name == "filtered")
FOREIGN = {
    Intent(build.__name__, "basic SQL", weight, build, FILTERED.english, FILTERED.korean): weight
    for build, weight in ((in_year, 2), (in_last_days, 3), (ignoring_case, 2), (first_rows, 2), (with_casts, 1))
}
DOMAINS = list(dict.fromkeys(schema.domain for schema in SCHEMAS))
SCHEMAS_FOR = {
    (domain, joins): [s for s in SCHEMAS if s.domain == domain and (True, s.relations, s.paths)[joins]]
    for domain in DOMAINS
    for joins in (0, 1, 2)
}
INTENTS_BY = {c: {i: i.weight for i in INTENTS if i.complexity == c} for c in COMPLEXITIES}
EMPTY_BY = {c: {i: i.weight for i in INTENTS if i.complexity == c and i.name in EMPTY_INTENTS} for c in COMPLEXITIES}
EMPTY_COMPLEXITIES = {c: share for c, share in COMPLEXITIES.items() if EMPTY_BY[c]}
