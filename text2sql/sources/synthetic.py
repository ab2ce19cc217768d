"""The generated data set: questions in English and Korean about 70 schemas of 14 domains, in gretel's columns.

Nothing here is collected from people: schemas are written by hand (`synthetic_schemas`), cells, questions and queries
are drawn (`synthetic_intents`). As in the real data sets it stands for, close to half of the rows do not hold up:
no INSERT in the context, another system's dialect, broken SQL, or an empty answer. The same seed gives the same rows,
and row i depends on the seed and i alone, so a shorter run is the beginning of a longer one.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple

from text2sql.sources.synthetic_intents import (
    FILTERED_EN,
    FILTERED_KO,
    INTENTS,
    Built,
    Draw,
    Intent,
    names,
    settle_particles,
)
from text2sql.sources.synthetic_schemas import SCHEMAS, Column, Schema, Table
from text2sql.sql.spelling import literal

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
# Intents whose answer is empty when no row meets their condition (a count would be 0, which is an answer).
CAN_BE_EMPTY = {
    "filtered",
    "all_columns",
    "two_conditions",
    "lookup",
    "sorted_filtered",
    "distinct_filtered",
    "count_per_group_filtered",
    "parent_filtered",
    "with_parent_column",
    "two_parent_columns",
    "count_per_parent_filtered",
    "parents_with_some_child",
}


class Example(NamedTuple):
    """A generated row with how it came about: `intent` names the question's kind, `flaw` is "" for a sound row."""

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


def rows(
    count: int, seed: int, drawing: Callable[[int, int], Example] | None = None, dialect: str = "sqlite"
) -> Iterator[dict]:
    """Yields the same rows in the project's columns (see `text2sql.dataset.rows`); db_id is the schema's name.

    drawing: what gives each row, `draw` where it is None; dialect: of its SQL.
    """
    for index in range(count):
        example = (drawing or draw)(seed, index)
        yield {
            "id": f"synthetic-{index:06d}",
            "db_id": example.schema.name,
            "dialect": dialect,
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
    flaw, korean = weighted(rng, FLAW_TABLE), rng.random() < KOREAN_SHARE
    foreign, empty = flaw == "dialect" and rng.random() < 0.6, flaw == "empty"
    complexity = "basic SQL" if foreign else weighted(rng, EMPTY_COMPLEXITIES if empty else COMPLEXITY_TABLE)
    intents = FOREIGN if foreign else (EMPTY_INTENTS if empty else INTENT_TABLE)[complexity]
    schemas = SCHEMAS_FOR[rng.choice(DOMAINS), JOINS_NEEDED.get(complexity, 0)]
    while True:  # until an intent finds a telling question in the drawn cells
        drawn = Draw(rng, rng.choice(schemas), korean, empty)
        for _ in range(6):
            intent = weighted(rng, intents)
            built = intent.build(drawn)
            if built is None:
                continue
            sql, slots = built
            question = say(drawn, intent, slots)
            context = context_of(drawn, inserts=flaw != "no_insert")
            if flaw == "broken":
                context, sql = edit(rng, MISTAKES, context, sql)
            elif flaw == "dialect" and not foreign:
                context, sql = edit(rng, FOREIGN_DDL, context, sql)
            language = "ko" if korean else "en"
            return Example(drawn.schema, language, complexity, intent.name, flaw, question, context, sql)


def weights(choices: dict) -> tuple[list, list[float]]:
    """{item: weight} as items and running sums, which `weighted` draws from."""
    return list(choices), list(accumulate(choices.values()))


def weighted(rng: Random, choices: tuple[list, list[float]]):
    """One item, by weight."""
    return rng.choices(choices[0], cum_weights=choices[1])[0]


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
            tuples = ", ".join(f"({', '.join(map(literal, row))})" for row in zip(*cells, strict=True))
            statements.append(f"INSERT INTO {table.name} VALUES {tuples}")
    return ";\n".join(statements) + ";"


# ------------------------------------------------------------------------------------------------------- flaws
# (what is edited, pattern, replacement): one mistake each; every one of them stops the row from running.
MISTAKES = (
    ("sql", r"SELECT ", "SELEC "),
    ("sql", r" FROM ", " FORM "),
    ("sql", r" FROM (\w+)", r" FROM \1_data"),
    ("sql", r"^SELECT (DISTINCT )?(\w+)", r"SELECT \1\2_value"),
    ("sql", r" WHERE ", " WHERE AND "),
    ("sql", r"'(?=[^']*$)", ""),
    ("sql", r"\)(?=[^)]*$)", ""),
    ("context", r"\);\n", ";\n"),
    ("context", r"CREATE TABLE", "CREATE TABEL"),
    ("context", r" VALUES \([^,]*, ", " VALUES ("),
    ("context", r" VALUES", " VALUE"),
)
# What MySQL, PostgreSQL and standard SQL write in a CREATE TABLE and SQLite does not parse.
FOREIGN_DDL = (
    ("context", r" INTEGER PRIMARY KEY", " INT NOT NULL AUTO_INCREMENT PRIMARY KEY"),
    ("context", r" INTEGER PRIMARY KEY", " INTEGER GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"),
    ("context", r"\);\n", ") ENGINE=InnoDB;\n"),
    ("context", r" TEXT,", " VARCHAR(50) CHARACTER SET utf8,"),
    ("context", r" DATE\b", " TIMESTAMP DEFAULT NOW()"),
)


def edit(rng: Random, edits: Sequence[tuple[str, str, str]], context: str, sql: str) -> tuple[str, str]:
    """(context, sql) after one of the edits whose pattern occurs in what it edits."""
    texts = {"context": context, "sql": sql}
    target, pattern, replacement = rng.choice([e for e in edits if re.search(e[1], texts[e[0]])])
    texts[target] = re.sub(pattern, replacement, texts[target], count=1)
    return texts["context"], texts["sql"]


def dated(d: Draw) -> tuple[Table, Column] | None:
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
    where = d.either(f"whose {column.label} is in {year}", f"{column.korean}[이/가] {year}년인")
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {test} = {year}"
    return sql, {**d.listing(columns), "where": where, **d.things(table)}


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
    where = d.either(f"whose {column.label} is in the last {n} days", f"{column.korean}[이/가] 최근 {n}일 이내인")
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {column.name} >= {since}"
    return sql, {**d.listing(columns), "where": where, **d.things(table)}


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
    return sql, {**d.listing(columns), "where": where, **d.things(table)}


def first_rows(d: Draw) -> Built:
    """SQL Server: TOP; standard SQL: FETCH FIRST."""
    table = d.pick([t for t in d.schema.tables if t.ordered])
    if table is None:
        return None
    by, n = d.pick(table.ordered), d.pick((2, 3, 4))
    columns = d.columns(table, avoid=[by])
    where = d.either(f"among the {n} with the largest {by.label}", f"{by.korean} 값이 가장 큰 {n}{table.counter}의")
    body = f"{names(columns)} FROM {table.name} ORDER BY {by.name} DESC"
    sql = d.pick((f"SELECT TOP {n} {body}", f"SELECT {body} FETCH FIRST {n} ROWS ONLY"))
    return sql, {**d.listing(columns), "where": where, **d.things(table)}


def with_casts(d: Draw) -> Built:
    """PostgreSQL: casts with ::, and > ANY."""
    table = d.pick([t for t in d.schema.tables if t.measures])
    if table is None:
        return None
    measure = d.pick(table.measures)
    columns = d.columns(table, avoid=[measure])
    bound = d.pick(
        (
            f"(SELECT AVG({measure.name})::NUMERIC FROM {table.name})",
            f"ANY (SELECT AVG({measure.name}) FROM {table.name})",
        )
    )
    where = d.either(f"whose {measure.label} is above the average", f"{measure.korean}[이/가] 평균보다 큰")
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {measure.name} > {bound}"
    return sql, {**d.listing(columns), "where": where, **d.things(table)}


# ------------------------------------------------------------------------------------------- what is drawn from
FLAW_TABLE, COMPLEXITY_TABLE = weights(FLAWS), weights(COMPLEXITIES)
DOMAINS = list(dict.fromkeys(schema.domain for schema in SCHEMAS))
SCHEMAS_FOR = {
    (domain, joins): [s for s in SCHEMAS if s.domain == domain and (True, s.relations, s.paths)[joins]]
    for domain in DOMAINS
    for joins in (0, 1, 2)
}
INTENT_TABLE = {c: weights({i: i.weight for i in INTENTS if i.complexity == c}) for c in COMPLEXITIES}
EMPTY_INTENTS = {
    c: weights({i: i.weight for i in INTENTS if i.complexity == c and i.name in CAN_BE_EMPTY}) for c in COMPLEXITIES
}
EMPTY_COMPLEXITIES = weights({c: share for c, share in COMPLEXITIES.items() if EMPTY_INTENTS[c][0]})
FOREIGN = weights(
    {
        Intent(build.__name__, "basic SQL", weight, build, FILTERED_EN, FILTERED_KO): weight
        for build, weight in ((in_year, 2), (in_last_days, 3), (ignoring_case, 2), (first_rows, 2), (with_casts, 1))
    }
)
