"""The generated data set: what it promises about its rows, checked by running them on SQLite."""

import re
import sqlite3
from collections import Counter, defaultdict
from itertools import islice
from random import Random

import pytest
import sqlglot

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.dataset.rows import COLUMNS
from text2sql.sources import generated, synthetic
from text2sql.sources.synthetic import COMPLEXITIES, DOMAINS, FLAWS
from text2sql.sources.synthetic_intents import INTENTS, between, settle_particles
from text2sql.sources.synthetic_schemas import SCHEMAS

SEED = 11
GRETEL = ["id", "domain", "sql_complexity", "sql_prompt", "sql_context", "sql"]


@pytest.fixture(scope="module")
def examples():
    return [synthetic.draw(SEED, index) for index in range(3000)]


def verdict(context: str, sql: str) -> str:
    """The exercise's rule for a valid row: "" when the context inserts, the SQL runs and returns rows."""
    if "INSERT" not in context.upper():
        return "no_insert"
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(context)
        return "" if connection.execute(sql).fetchall() else "empty"
    except sqlite3.Error:
        return "error"
    finally:
        connection.close()


def answer(context: str, sql: str) -> list:
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(context)
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# ---------------------------------------------------------------------------------------------------- determinism
def test_same_seed_same_rows_and_another_seed_other_rows():
    assert list(synthetic.generate(60, 5)) == list(synthetic.generate(60, 5))
    assert list(synthetic.generate(60, 5)) != list(synthetic.generate(60, 6))


def test_fewer_rows_are_the_beginning_of_more():
    assert list(synthetic.generate(40, 5)) == list(islice(synthetic.generate(400, 5), 40))


def test_rows_are_made_one_at_a_time():
    assert len(list(islice(synthetic.rows(10**9, 5), 3))) == 3


# ----------------------------------------------------------------------------------------------------------- rows
def test_generate_gives_gretels_columns():
    rows = list(synthetic.generate(50, SEED))
    assert all(list(row) == GRETEL for row in rows)
    assert [row["id"] for row in rows] == list(range(50))


def test_rows_are_the_same_examples_in_the_projects_columns():
    gretel, project = list(synthetic.generate(50, SEED)), list(synthetic.rows(50, SEED))
    assert all({*row, "notes", "alternatives"} == {*COLUMNS} for row in project)  # which these have none of
    assert len({row["id"] for row in project}) == 50
    for theirs, ours in zip(gretel, project, strict=True):
        assert (theirs["sql_prompt"], theirs["sql_context"], theirs["sql"]) == (
            ours["question"],
            ours["context"],
            ours["answer"],
        )
        assert ours["dialect"] == "sqlite" and ours["database"] is None


def test_db_id_is_the_schema_and_its_cells_vary(examples):
    tables, cells = defaultdict(set), defaultdict(set)
    for example in examples:
        if example.flaw == "":
            create, insert = example.context.split("INSERT", 1)
            tables[example.schema.name].add(create)
            cells[example.schema.name].add(insert)
    assert len(tables) == len(SCHEMAS)
    assert all(len(found) == 1 for found in tables.values())
    assert all(len(found) > 1 for found in cells.values())


# -------------------------------------------------------------------------------------------------------- schemas
def signature(schema) -> tuple:
    """What a schema is apart from its names: how many tables, their columns' types and roles, how tables refer."""
    order = [table.name for table in schema.tables]
    return tuple(
        tuple(
            sorted(
                (c.type, c.kind, c.nullable, bool(c.aggregates), order.index(c.table) if c.table else -1)
                for c in table.columns
            )
        )
        for table in schema.tables
    )


def test_at_least_sixty_schemas_differ_in_more_than_names():
    assert len({schema.name for schema in SCHEMAS}) == len(SCHEMAS)
    assert len({signature(schema) for schema in SCHEMAS}) >= 60


def test_every_domain_has_schemas_of_one_two_and_three_tables():
    listed = """
        technology sports logistics space energy finance agriculture
        justice retail media education healthcare fashion music
    """
    assert listed.split() == DOMAINS
    for domain in DOMAINS:
        assert {len(schema.tables) for schema in SCHEMAS if schema.domain == domain} == {1, 2, 3}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_schema_is_made_by_sqlite_as_declared(schema):
    connection = sqlite3.connect(":memory:")
    connection.executescript(";".join(schema.create_tables))
    for table in schema.tables:
        declared = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        assert [(row[1], row[2]) for row in declared] == [(c.name, c.type) for c in table.columns]
        keys = connection.execute(f"PRAGMA foreign_key_list({table.name})").fetchall()
        assert {row[2] for row in keys} == {c.table for c in table.columns if c.table}
    connection.close()


def test_korean_words_end_in_hangul_so_that_particles_can_follow():
    for schema in SCHEMAS:
        for table in schema.tables:
            assert all("가" <= word[-1] <= "힣" for word in [table.korean, *(c.korean for c in table.columns)])
            assert len({c.korean for c in table.columns}) == len({c.label for c in table.columns}) == len(table.columns)


def test_foreign_keys_refer_to_rows_that_exist(examples):
    for example in examples[:400]:
        if example.flaw == "":
            connection = sqlite3.connect(":memory:")
            connection.executescript(example.context)
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            connection.close()


# ------------------------------------------------------------------------------------------------------ questions
def test_all_domains_complexities_and_languages_occur_and_hard_classes_are_rarer(examples):
    assert {example.schema.domain for example in examples} == set(DOMAINS)
    complexities = Counter(example.complexity for example in examples)
    assert set(complexities) == set(COMPLEXITIES)
    common = min(complexities[name] for name in ("basic SQL", "aggregation", "single join"))
    assert all(complexities[name] < common for name in set(COMPLEXITIES) - {"basic SQL", "aggregation", "single join"})
    korean = sum(example.language == "ko" for example in examples) / len(examples)
    assert 0.25 < korean < 0.35


def test_korean_questions_are_korean_and_english_ones_are_not(examples):
    for example in examples:
        assert bool(re.search("[가-힣]", example.question)) == (example.language == "ko"), example.question


def test_every_intent_occurs_and_has_three_phrasings_in_both_languages(examples):
    for intent in INTENTS:
        assert len(set(intent.english)) >= 3 and len(set(intent.korean)) >= 3, intent.name
    drawn = {synthetic.draw(SEED, index).intent for index in range(3000, 6000)} | {e.intent for e in examples}
    assert {intent.name for intent in INTENTS} <= drawn


def test_questions_leave_no_slot_and_no_particle_open(examples):
    assert not [e.question for e in examples if re.search(r"[\[\]{}@]|  |^\s|\bNone\b", e.question)]


def test_text_values_of_the_query_are_quoted_as_they_are_in_the_question(examples):
    for example in examples:
        if example.flaw == "":
            for value in re.findall(r"'([^']*)'", example.sql.replace("'%Y'", "")):
                assert value.strip("%") in example.question, example


@pytest.mark.parametrize(
    ("open", "settled"),
    [
        ("이름[을/를]", "이름을"),
        ("가격[과/와] 나이[을/를]", "가격과 나이를"),
        ("'P'[으로/로]", "'P'로"),
        ("'L'[으로/로]", "'L'로"),
        ("'M'[으로/로]", "'M'으로"),
        ("300[을/를]", "300을"),
        ("2.5[을/를]", "2.5를"),
        ("물[으로/로]", "물로"),
    ],
)
def test_particles_follow_the_sound_before_them(open, settled):
    assert settle_particles(open) == settled


@pytest.mark.parametrize(("low", "high"), [(1, 2), (0.1, 0.2), (1234.5, 98765), (7.001, 7.003), (99, 101)])
def test_bound_lies_strictly_between(low, high):
    assert low < between(low, high) < high


def test_bound_is_as_round_as_it_can_be():
    assert between(1234, 1999) == 1600 and between(13, 17) == 15 and between(1, 2) == 1.5
    assert between(7.00001, 7.00002) is None  # no three decimals lie between


# ------------------------------------------------------------------------------------------------ sound and flawed
def test_close_to_half_of_the_rows_are_invalid(examples):
    invalid = sum(bool(verdict(example.context, example.sql)) for example in examples)
    assert 0.40 <= invalid / len(examples) <= 0.50


def test_sound_rows_are_valid_and_each_flaw_shows_as_itself(examples):
    expected = {"": "", "no_insert": "no_insert", "dialect": "error", "broken": "error", "empty": "empty"}
    for example in examples:
        assert verdict(example.context, example.sql) == expected[example.flaw], example
    counts = Counter(example.flaw for example in examples)
    assert set(counts) == set(FLAWS) and min(counts.values()) > 0.05 * len(examples)


@pytest.mark.parametrize("edits", ["MISTAKES", "FOREIGN_DDL"])
def test_every_kind_of_edit_is_drawn_and_stops_the_row(edits, examples):
    kinds = getattr(synthetic, edits)
    for number, kind in enumerate(kinds):
        stopped = 0
        for example in examples[:300]:
            target = example.context if kind[0] == "context" else example.sql
            if example.flaw == "" and re.search(kind[1], target):
                assert verdict(*synthetic.edit(Random(number), [kind], example.context, example.sql)) == "error"
                stopped += 1
        assert stopped, kind


def test_foreign_dialects_parse_in_a_dialect_of_their_own(examples):
    queries = [e.sql for e in examples if e.intent in ("in_year", "in_last_days", "ignoring_case", "first_rows")]
    assert len(queries) > 50
    for sql in queries:
        assert any(parses(sql, dialect) for dialect in ("mysql", "postgres", "tsql")), sql


def parses(sql: str, dialect: str) -> bool:
    try:
        return bool(sqlglot.parse_one(sql, dialect=dialect))
    except sqlglot.errors.ParseError:
        return False


def test_answers_are_telling_without_its_condition_a_query_answers_otherwise(examples):
    checked = 0
    for example in examples[:1500]:
        tree = sqlglot.parse_one(example.sql, dialect="sqlite") if example.flaw == "" else None
        if tree is None or not tree.args.get("where") or "LEFT JOIN" in example.sql:
            continue
        without = tree.copy()
        without.set("where", None)
        assert Counter(answer(example.context, example.sql)) != Counter(
            answer(example.context, without.sql(dialect="sqlite"))
        ), example
        checked += 1
    assert checked > 300


def test_rows_picked_by_order_and_limit_have_no_ties(examples):
    checked = 0
    for example in examples:
        if example.flaw == "" and re.search(r" LIMIT \d+$", example.sql):
            turned = re.sub(r" (DESC|ASC) LIMIT", r" \1, random() LIMIT", example.sql)
            assert len({tuple(answer(example.context, turned)) for _ in range(5)}) == 1, example
            checked += 1
    assert checked > 100


def test_queries_are_of_one_style(examples):
    for example in examples:
        if example.flaw == "":
            assert "\n" not in example.sql and not example.sql.endswith((";", " ")) and "  " not in example.sql
            assert sqlglot.parse_one(example.sql, dialect="sqlite")


def test_schemas_stay_small():
    assert max(len("\n".join(schema.create_tables)) for schema in SCHEMAS) <= 400


def ingest(dialect: str | None) -> IngestParams:
    return IngestParams(
        source="synthetic", path=None, test_path=None, config=None, revision=None, columns={}, database=None,
        dialect=dialect, rows=200, seed=SEED,
    )  # fmt: skip


def test_the_data_set_is_also_written_in_postgresqls_dialect_and_in_no_other():
    rows = list(generated.load(ingest("PostgreSQL"))["train"])
    assert {row["dialect"] for row in rows} == {"postgres"} and rows == list(
        generated.load(ingest("postgres"))["train"]
    )
    sql = " ".join(row["answer"] for row in rows)
    for construct in ("DISTINCT ON", "FILTER (WHERE", "ILIKE", "DATE_TRUNC(", "STRING_AGG(", "= ANY (ARRAY["):
        assert construct in sql, construct
    assert "strftime" not in sql and not any(" REAL" in row["context"] for row in rows)
    assert list(generated.load(ingest(None))["train"]) == list(synthetic.rows(200, SEED))
    with pytest.raises(UserError, match="writes sqlite or postgres, not tsql"):
        generated.load(ingest("mssql"))
