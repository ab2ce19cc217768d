"""Each question runs on the engine of its dialect where that is there; its databases are opened one way, in order, and
what cannot be opened or translated says why."""

import sqlite3
from contextlib import closing

import pytest

from text2sql.base.errors import UserError
from text2sql.base.params import EvaluationParams
from text2sql.dataset.verdict import run
from text2sql.engines import duckdb, question
from text2sql.engines.pool import guarded_map
from text2sql.engines.question import (
    ALONE,
    KEPT_ELSEWHERE,
    NO_ROWS,
    SQLITE,
    TRANSLATED,
    Question,
    available,
    databases,
    engine_of,
    foreign_rows,
    gold_answer,
    left_out_of,
    open_engines,
    row_question,
    setup_script,
    statement,
    translations,
    verdict_of,
    versions,
)
from text2sql.engines.sqlite import Answer, Failure, Limits, build, query

LIMITS = Limits(seconds=5.0)
DDL = "CREATE TABLE t (a INTEGER, b TEXT);"
FILLED = f"{DDL} INSERT INTO t VALUES (1, 'x'), (2, 'y');"
MYSQL = "CREATE TABLE `t` (a INT AUTO_INCREMENT PRIMARY KEY, b VARCHAR(9)); INSERT INTO t VALUES (1, 'x');"


def row(context: str = DDL, dialect: str = "sqlite", database: str | None = None) -> dict:
    return {"answer": "SELECT a FROM t", "context": context, "dialect": dialect, "database": database}


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "own.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(FILLED)
    connection.close()
    return str(path)


def answers(question: Question) -> list:
    return [query(database, question.gold_sql, LIMITS).rows for database in databases(question, LIMITS)]


def test_a_row_is_judged_on_its_own_file_whatever_else_it_brings(file):
    question = row_question(row(FILLED, database=file), (DDL,), "no filling helps")
    assert (question.database, question.setups, question.problem) == (file, (), None)
    assert answers(question) == [[(1,), (2,)]]


def test_fillings_stand_beside_a_context_with_rows_and_in_place_of_one_without(file):
    other = f"{DDL} INSERT INTO t VALUES (7, 'z');"
    assert answers(row_question(row(FILLED), (other,))) == [[(1,), (2,)], [(7,)]]
    assert answers(row_question(row(), (other,))) == [[(7,)]]


@pytest.mark.parametrize(
    ("given", "problem", "expected"),
    [
        (row(), None, NO_ROWS),
        (row(), "no_rows: no filling makes the gold return rows", "no_rows: no filling makes the gold return rows"),
        (row(FILLED), "no_rows: no filling makes the gold return rows", None),
        (row("ALTER TABLE t ADD b INT; INSERT INTO t VALUES (1);", "mysql"), None, "dialect: ALTER TABLE in a context"),
    ],
)
def test_a_question_without_a_database_says_why(given, problem, expected):
    question = row_question(given, (), problem)
    assert (question.problem or "").startswith(expected or "") and (question.problem is None) is (expected is None)


def test_a_database_is_opened_once_for_all_questions_about_it(file):
    first, second = (Question(sql, (FILLED,)) for sql in ("SELECT a FROM t", "SELECT b FROM t"))
    assert list(databases(first, LIMITS)) == list(databases(second, LIMITS))
    files = (Question(sql, database=file) for sql in ("SELECT a FROM t", "SELECT b FROM t"))
    assert len({database for question in files for database in databases(question, LIMITS)}) == 1


def test_a_setup_that_cannot_be_built_is_a_failure_in_its_place():
    good, bad = databases(Question("SELECT 1", (FILLED, "CREATE TABL")), LIMITS)
    assert not isinstance(good, Failure)
    assert isinstance(bad, Failure) and bad.outcome == "syntax"


def test_gold_and_setup_are_translated_from_their_dialects():
    question = Question("SELECT CONCAT(b, '!') FROM t", (MYSQL,), dialect="mysql", setup_dialect="mysql")
    assert gold_answer(question, LIMITS) == Answer(1, [("x!",)])
    assert isinstance(gold_answer(question._replace(gold_sql="SELECT UUID()"), LIMITS), Failure)
    assert statement("SELECT  1", Question("")) == statement("SELECT  1", Question("", dialect="SQLite")) == "SELECT  1"
    assert isinstance(setup_script("SELEC (", "mysql"), Failure)
    with pytest.raises(UserError, match="unknown SQL dialect 'klingon'"):
        statement("SELECT 1", Question("", dialect="klingon"))


def test_a_query_is_translated_by_the_types_of_its_context_or_file(file):
    assert statement("SELECT a / 2 FROM t", Question("", (FILLED,), dialect="postgres")) == "SELECT a / 2 FROM t"
    decimal = Question("", (FILLED,), dialect="postgres", ddl="CREATE TABLE t (a NUMERIC(5,1), b TEXT);")
    assert statement("SELECT a / 2 FROM t", decimal) == "SELECT CAST(a AS REAL) / 2 FROM t"
    own = Question("", database=file, dialect="postgres")
    assert statement("SELECT a / 2 FROM t", own) == "SELECT a / 2 FROM t"
    assert isinstance(statement("SELECT a FROM t WHERE b = 1", own), Failure)


def test_statements_that_translation_leaves_out_are_counted_by_name():
    script = "SET x = 1; CREATE TABLE t (a int); COMMENT ON TABLE t IS 'x'; COMMENT ON COLUMN t.a IS 'y';"
    rows = [(script, "PostgreSQL"), (script, "postgres"), (DDL, "sqlite"), (None, "mysql")]
    assert list(left_out_of(rows, ALONE)) == ["left out of scripts by translation: COMMENT ON (4), SET (2)"]
    assert list(left_out_of(rows, {"postgres": SQLITE})) == []


@pytest.mark.parametrize(
    "gold", ["SELECT a FROM t", "SELECT c FROM t", "SELEC", "DELETE FROM t", "SELECT YEAR(a) FROM t"]
)
def test_validation_and_scoring_see_the_same_answer(gold):
    (database,) = databases(Question(gold, (FILLED,)), LIMITS)
    seen, scored = run(FILLED, gold, "sqlite", None, LIMITS), query(database, gold, LIMITS)
    if isinstance(scored, Failure):
        scored = Failure(scored.outcome, f"SQL: {scored.error}")
    assert seen == scored


@pytest.mark.parametrize(
    ("script", "gold", "outcome", "said"),
    [
        ("CREATE TABLE t (a INT); CREATE TABEL u (a INT);", "SELECT 1", "syntax", "context, statement 2 of 2: near"),
        (
            "CREATE TABLE t (a INT)\n\nCREATE TABLE u (a INT)",
            "SELECT 1",
            "syntax",
            "a semicolon is missing before CREATE",
        ),
        (
            "CREATE TABLE t (a INT);INSERT INTO u VALUES (1);",
            "SELECT 1",
            "schema",
            "context, statement 2 of 2: no such table",
        ),
        (
            "CREATE TABLE t (a INT); CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END; SELEC;",
            "SELECT 1",
            "syntax",
            "context, statement 3 of 3",
        ),
        (
            "CREATE TABLE t (a INT PRIMARY KEY AUTO_INCREMENT);",
            "SELECT 1",
            "dialect",
            "(AUTO_INCREMENT is not SQLite's)",
        ),
        ("CREATE TABLE t (a INT);", "SELECT a::text FROM t", "dialect", "SQL: unrecognized token"),
        ("CREATE TABLE t (a DATE);", "SELECT a - INTERVAL '1 day' FROM t", "dialect", "(INTERVAL is not SQLite's)"),
        ("CREATE TABLE t (a INT);", "SELECT TOP 3 a FROM t", "dialect", "(TOP is not SQLite's)"),
        (
            "CREATE TABLE t (a TEXT);",
            "SELECT LEFT(a, 2) FROM t",
            "dialect",
            "(LEFT or RIGHT of a text",
        ),
        ("CREATE TABLE t (a TEXT);", "SELECT ISNULL(a, 0) FROM t", "dialect", "(the function ISNULL is not SQLite's)"),
        (
            "CREATE TABLE t (a INT)\nALTER TABLE t ADD COLUMN b INT;",
            "SELECT a FROM t",
            "syntax",
            "a semicolon is missing before ALTER",
        ),
        ("CREATE TABLE t (a TEXT);", "SELECT a FROM t WHERE a ILIKE 'x%' AND", "syntax", "SQL: "),
        ("CREATE TABLE t (a TEXT);", "SELECT 'a::b ILIKE', FROM t", "syntax", "SQL: near"),
    ],
)
def test_a_failure_says_which_text_and_statement_failed_and_whether_it_is_another_dialects(script, gold, outcome, said):
    found = gold_answer(Question(gold, (script,), dialect="sqlite", setup_dialect="sqlite"), LIMITS)
    assert isinstance(found, Failure)
    assert (found.outcome, said in found.error) == (outcome, True), found


def test_a_gold_that_runs_alone_leaves_no_database_open(file):
    assert gold_answer(Question("SELECT b FROM t", database=file), LIMITS) == Answer(1, [("x",), ("y",)])
    with sqlite3.connect(file) as writer:  # nothing holds a lock on it
        writer.execute("INSERT INTO t VALUES (3, 'z')")
    assert gold_answer(Question("SELECT COUNT(*) FROM t", database=file), LIMITS) == Answer(1, [(3,)])


# The choice of an engine

AUTO = EvaluationParams(engine="auto", postgres_url=None, mysql_url=None, trust_login=False)
TRANSLATING = EvaluationParams(engine="sqlite", postgres_url=None, mysql_url=None, trust_login=False)
LIST = "CREATE TABLE t (a INTEGER, b TEXT[]); INSERT INTO t VALUES (7, ['x', 'y']);"  # DuckDB's alone


@pytest.fixture(scope="module")
def engines() -> dict:
    return {"duckdb": duckdb.engine()}


def test_a_row_with_rows_of_its_own_runs_on_the_engine_of_its_dialect(engines):
    question = row_question(row(LIST, "DuckDB"), ("a filling",), engines=engines)
    engine = engine_of(question, engines)
    assert (engine.name, verdict_of(question, engine), question.setups) == ("duckdb", "duckdb", (LIST,))
    assert gold_answer(question._replace(gold_sql="SELECT b[1] FROM t"), LIMITS, engine) == Answer(1, [("x",)])


def test_fillings_for_the_rows_own_engine_stand_beside_its_rows_or_in_their_place(engines):
    other = LIST.replace("7", "8")
    for context, setups in ((LIST, (LIST, other)), ("CREATE TABLE t (a INTEGER, b TEXT[]);", (other,))):
        question = row_question(row(context, "duckdb"), (other,), engines=engines, harsh=(other,), filled_in="duckdb")
        assert (engine_of(question, engines).name, question.setups, question.harsh) == ("duckdb", setups, (other,))


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (row(FILLED), "sqlite"),
        (row(FILLED, None), "sqlite"),
        (row(DDL, "duckdb"), TRANSLATED),  # its databases were filled for SQLite
        (row(FILLED, "postgres"), TRANSLATED),  # an engine that is not given
        (row(FILLED, "tsql"), TRANSLATED),
        (row(DDL, "duckdb", "own.sqlite"), TRANSLATED),
    ],
)
def test_every_other_row_runs_on_sqlite(given, verdict, engines):
    question = row_question(given, (FILLED,), engines=engines)
    assert engine_of(question, engines) == SQLITE
    assert verdict_of(question, SQLITE) == verdict


def test_an_engine_is_opened_only_where_a_row_needs_it_and_it_may_be_used():
    needing = foreign_rows([("duckdb", None, False), ("sqlite", None, False)])
    with open_engines(needing, AUTO) as opened:
        assert list(opened) == ["duckdb"]
    for rows, choice in (
        ([("duckdb", None, False)], TRANSLATING),
        ([("postgres", "own.sqlite", False), ("postgres", None, True), (None, None, False)], AUTO),
    ):
        with open_engines(foreign_rows(rows), choice) as opened:
            assert opened == ALONE


def test_a_url_names_a_server_and_what_is_wrong_with_it():
    choice = EvaluationParams(
        engine="auto", postgres_url="postgresql://nobody@127.0.0.1:9/x", mysql_url=None, trust_login=False
    )
    rows = foreign_rows([("postgres", None, False)])
    with pytest.raises(UserError, match="PostgreSQL cannot be reached"), open_engines(rows, choice):
        pass


def test_rows_that_are_translated_are_counted_with_what_would_run_them_on_their_engine(monkeypatch):
    rows = foreign_rows(
        [("duckdb", None, False), ("DuckDB", None, False), ("duckdb", "x", False), ("tsql", None, False)]
    )
    assert list(translations(rows, AUTO)) == [
        "1 rows of dialect duckdb run on SQLite by translation: their databases are SQLite's",
        "1 rows of dialect tsql run on SQLite by translation: there is no engine for it here",
    ]
    assert not foreign_rows([("oracl", None, False)])  # known to nobody, and rejected
    assert "2 rows of dialect duckdb run on SQLite by translation: evaluation.engine is sqlite" in list(
        translations(rows, TRANSLATING)
    )
    monkeypatch.setattr(duckdb, "installed", lambda: False)  # stands for a machine without it
    assert not available("duckdb", AUTO)
    install = "`pip install -e '.[duckdb]' -c constraints.txt`"
    assert f"2 rows of dialect duckdb run on SQLite by translation; {install} runs them on DuckDB" in list(
        translations(rows, AUTO)
    )


def test_databases_of_an_engine_make_room_for_later_ones(engines):
    engine = engines["duckdb"]
    before = duckdb._instance().databases
    for number in range(2 * KEPT_ELSEWHERE):
        setup = LIST.replace("7", str(number))
        (database,) = databases(
            Question("SELECT 1", (setup,), dialect="duckdb", setup_dialect="duckdb"), LIMITS, engine
        )
        assert database.query("SELECT a FROM t") == Answer(1, [(number,)])
    assert duckdb._instance().databases - before <= KEPT_ELSEWHERE


def test_golds_about_one_schema_share_a_database_of_another_engine(engines, monkeypatch):
    built, build = [], question._build
    monkeypatch.setattr(question, "_build", lambda *of: built.append(of) or build(*of))
    question._kept.clear()
    for gold, answer in (("SELECT a FROM t", 7), ("SELECT a + 1 FROM t", 8)):
        asked = Question(gold, (LIST,), dialect="duckdb", setup_dialect="duckdb")
        assert gold_answer(asked, LIMITS, engines["duckdb"]) == Answer(1, [(answer,)])
    assert len(built) == 1


def test_databases_of_sqlite_make_room_by_their_size(monkeypatch):
    monkeypatch.setattr(question, "KEPT_BYTES", 2**20)
    question._kept.clear()
    for number in range(4):
        setup = f"CREATE TABLE t (a TEXT); INSERT INTO t VALUES (hex(zeroblob({400_000 + number})))"
        (database,) = databases(Question("SELECT 1", (setup,)), LIMITS)
        assert database.query("SELECT length(a) FROM t") == Answer(1, [(800_000 + 2 * number,)])
    assert 0 < sum(kept.bytes for kept in question._kept.databases.values()) < 3 * 2**20
    question._kept.clear()


def test_the_versions_of_all_engines_are_known(engines):
    found = versions(engines)
    assert next(iter(found)) == "sqlite" and found["duckdb"] == engines["duckdb"].version


def test_a_file_whose_newest_rows_are_in_its_log_is_refused_by_name(tmp_path):
    writer = sqlite3.connect(tmp_path / "live.db")
    writer.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE);")
    whole = Question("SELECT a FROM t", database=str(tmp_path / "live.db"))
    assert gold_answer(whole, LIMITS) == Answer(1, [])
    writer.execute("INSERT INTO t VALUES (1)")
    writer.commit()
    failure = gold_answer(whole, LIMITS)
    assert failure.outcome == "refused" and "live.db-wal" in failure.error
    writer.close()  # which writes the log's rows into the file
    assert gold_answer(whole, LIMITS) == Answer(1, [(1,)])


def test_full_text_and_rtree_tables_of_a_file_answer(tmp_path):
    with closing(sqlite3.connect(tmp_path / "virtual.db")) as connection:
        connection.executescript(
            "CREATE VIRTUAL TABLE note USING fts5(body); INSERT INTO note VALUES ('red fox'), ('grey owl');"
            "CREATE VIRTUAL TABLE old USING fts4(body); INSERT INTO old VALUES ('red fox');"
            "CREATE VIRTUAL TABLE box USING rtree(id, low, high); INSERT INTO box VALUES (1, 0, 9), (2, 20, 29);"
        )
    contents = (tmp_path / "virtual.db").read_bytes()
    for sql, rows in {
        "SELECT body FROM note WHERE note MATCH 'fox' ORDER BY bm25(note)": [("red fox",)],
        "SELECT highlight(note, 0, '[', ']') FROM note('owl')": [("grey [owl]",)],
        "SELECT snippet(old) FROM old WHERE body MATCH 'red'": [("<b>red</b> fox",)],
        "SELECT id FROM box WHERE low >= 10 AND high <= 30": [(2,)],
    }.items():
        assert gold_answer(Question(sql, database=str(tmp_path / "virtual.db")), LIMITS) == Answer(1, rows), sql
    for attack in ("INSERT INTO note VALUES ('x')", "SELECT fts5(1)", "SELECT * FROM pragma_journal_mode"):
        assert isinstance(gold_answer(Question(attack, database=str(tmp_path / "virtual.db")), LIMITS), Failure)
    assert (tmp_path / "virtual.db").read_bytes() == contents


_held: list = []


def hold(megabytes: int) -> int:
    """Builds a database that stays, as a worker's do."""
    built = build(
        "CREATE TABLE t (a TEXT); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < "
        f"{megabytes}) INSERT INTO t SELECT hex(zeroblob(500000)) FROM c"
    )
    assert not isinstance(built, Failure), built
    _held.append(built)
    return built.bytes // 2**20


def test_memory_that_other_databases_hold_decides_nothing_about_this_one():
    found = list(guarded_map(hold, [30] * 4, workers=1, seconds=20.0, memory_bytes=110 * 2**20))
    assert found == [found[0]] * 4 and found[0] >= 28
