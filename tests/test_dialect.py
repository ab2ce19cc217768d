"""SQL of other dialects, run on SQLite: what it must answer, and what is named because it has no SQLite form."""

import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from text2sql.base.errors import UserError
from text2sql.base.files import read_jsonl
from text2sql.engines.sqlite import Answer, Failure, build, query
from text2sql.sql.clock import NOW
from text2sql.sql.dialect import Untranslatable, declared, left_out, to_sqlite, to_sqlite_ddl, without_database

SETUP = (
    "CREATE TABLE t (id INTEGER, day DATE, stamp {stamp}, name VARCHAR(20), n INTEGER, x {x}); "
    "INSERT INTO t VALUES (1, '2024-01-31', '2024-03-31 10:20:30', 'Ann', 7, -2.5)"
)
OWN_TYPES = {"mysql": ("DATETIME", "DOUBLE"), "bigquery": ("DATETIME", "FLOAT64"), "tsql": ("DATETIME2", "FLOAT")}
KOREAN_GAMES = Path(__file__).parent / "data" / "korean_games.jsonl"


def setup(dialect: str) -> str:
    stamp, x = OWN_TYPES.get(dialect, ("TIMESTAMP", "DOUBLE PRECISION"))
    return SETUP.format(stamp=stamp, x=x)


def translated(sql: str, dialect: str) -> str | Untranslatable:
    """A query about the one row of `t`."""
    return to_sqlite(sql, dialect, declared(setup(dialect), dialect))


def answer(expression: str, dialect: str) -> object:
    """The value of an expression over the one row of `t`."""
    sql = translated(f"SELECT {expression} FROM t", dialect)
    assert isinstance(sql, str), sql
    result = query(build(to_sqlite_ddl(setup(dialect), dialect)), sql)
    assert isinstance(result, Answer), (sql, result)
    return result.rows[0][0]


MYSQL = [
    # the clock stands at clock.NOW
    ("NOW()", NOW),
    ("CURDATE()", NOW[:10]),
    ("CURRENT_TIMESTAMP", NOW),
    ("DATE_SUB(NOW(), INTERVAL 7 DAY)", "2024-06-08 12:34:56"),
    ("NOW() - INTERVAL 1 HOUR", "2024-06-15 11:34:56"),
    ("CURDATE() - INTERVAL 1 YEAR", "2023-06-15"),
    # a date stays a date, an instant an instant; a month's end never overflows into the month after
    ("DATE_ADD(day, INTERVAL 1 MONTH)", "2024-02-29"),
    ("DATE_SUB(stamp, INTERVAL 1 MONTH)", "2024-02-29 10:20:30"),
    ("day + INTERVAL 1 DAY", "2024-02-01"),
    ("DATE_ADD(day, INTERVAL n HOUR)", "2024-01-31 07:00:00"),
    ("DATE_ADD(day, INTERVAL n DAY)", "2024-02-07"),
    ("DATEDIFF(stamp, day)", 60),
    ("TIMESTAMPDIFF(MONTH, day, stamp)", 2),
    ("TIMESTAMPDIFF(MONTH, stamp, day)", -2),
    ("TIMESTAMPDIFF(YEAR, '2000-06-16', NOW())", 23),
    ("TIMESTAMPDIFF(HOUR, '2024-03-31 00:00:00', stamp)", 10),
    ("YEAR(stamp)", 2024),
    ("MONTH(stamp)", 3),
    ("QUARTER(stamp)", 1),
    ("DAYOFWEEK(day)", 4),
    ("WEEKDAY(day)", 2),
    ("WEEK(day)", 4),
    ("DAYNAME(day)", "Wednesday"),
    ("LAST_DAY('2024-02-10')", "2024-02-29"),
    ("DATE(stamp)", "2024-03-31"),
    ("EXTRACT(YEAR FROM stamp)", 2024),
    ("DATE_FORMAT(stamp, '%Y-%m')", "2024-03"),
    ("DATE_FORMAT(stamp, '%M %e, %y %h:%i %p')", "March 31, 24 10:20 AM"),
    # texts
    ("CONCAT(name, '-', n)", "Ann-7"),
    ("CONCAT(name, NULL)", None),
    ("CONCAT_WS('-', name, NULL, n)", "Ann-7"),
    ('"name"', "name"),
    ("`name`", "Ann"),
    ('name = "Ann"', 1),
    ("name || 0", 0),  # OR
    ("LEFT(name, 2)", "An"),
    ("RIGHT(name, 2)", "nn"),
    ("LPAD(n, 3, '0')", "007"),
    ("LENGTH('한글')", 6),
    ("CHAR_LENGTH('한글')", 2),
    ("LOCATE('n', name)", 2),
    ("SUBSTRING_INDEX(day, '-', 1)", "2024"),
    ("'50%' LIKE '50\\\\%'", 1),
    ("'507' LIKE '50\\\\%'", 0),
    ("name LIKE 'aNN'", 1),
    # numbers and conditions
    ("IF(n > 5, 'big', 'small')", "big"),
    ("IFNULL(NULL, n)", 7),
    ("n / 2", 3.5),
    ("n DIV 2", 3),
    ("n / 0", None),
    ("CAST('2.6' AS SIGNED)", 2),
    ("CAST(2.6 AS SIGNED)", 3),
    ("GREATEST(n, NULL)", None),
    ("NULL <=> NULL", 1),
    ("n XOR 1", 0),
    ("TRUNCATE(2.79, 1)", 2.7),
    ("FIELD(name, 'Bob', 'Ann')", 2),
    ("COUNT(DISTINCT name, n)", 1),
    ("COUNT(DISTINCT name, NULL)", 0),
    ("GROUP_CONCAT(name SEPARATOR ';')", "Ann"),
]

POSTGRES = [
    ("NOW() - INTERVAL '7 days'", "2024-06-08 12:34:56"),
    ("NOW() - INTERVAL '1 month 2 days'", "2024-05-13 12:34:56"),
    ("CURRENT_DATE - 7", "2024-06-08"),
    ("CURRENT_DATE - day::date", 136),
    ("stamp::date - day", 60),
    ("day + 1", "2024-02-01"),
    ("n - 1", 6),
    ("n - id", 6),
    ("'2024-02-03'::date - day", 3),
    ("EXTRACT(DAY FROM stamp - day)", 60),
    ("EXTRACT(EPOCH FROM (stamp - stamp))", 0),
    ("stamp::date", "2024-03-31"),
    ("date_trunc('month', stamp)", "2024-03-01"),
    ("EXTRACT(DOW FROM day)", 3),
    ("to_char(stamp, 'YYYY-MM')", "2024-03"),
    ("2.5::int", 3),
    ("2.345::numeric(10, 1)", 2.3),
    ("n / 2", 3),
    ("name ILIKE 'a%'", 1),
    ("name LIKE 'a%'", 0),  # case counts, unlike in SQLite
    ("name LIKE 'A_n'", 1),
    ("'a*b' LIKE 'a*%'", 1),
    ("'aXb' LIKE 'a*%'", 0),
    ("name NOT LIKE 'a%'", 1),
    ("CONCAT(name, NULL, n)", "Ann7"),
    ("name || NULL", None),
    ("GREATEST(n, NULL)", 7),
    ("string_agg(name, ',')", "Ann"),
    ("TRUE", 1),
    ("n IS DISTINCT FROM NULL", 1),
    ("COUNT(*) FILTER (WHERE n > 9)", 0),
]


@pytest.mark.parametrize(("expression", "expected"), MYSQL)
def test_mysql(expression, expected):
    assert answer(expression, "mysql") == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(("expression", "expected"), POSTGRES)
def test_postgres(expression, expected):
    assert answer(expression, "postgres") == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("mysql", "SELECT RAND()"),
        ("mysql", "SELECT UUID()"),
        ("mysql", "SELECT name FROM t WHERE name REGEXP '^A'"),
        ("mysql", "SELECT a, COUNT(*) FROM t GROUP BY a WITH ROLLUP"),
        ("mysql", "SELECT GROUP_CONCAT(name ORDER BY n) FROM t"),
        ("mysql", "SELECT FIND_IN_SET('a', name) FROM t"),
        ("mysql", "SELECT DATE_FORMAT(day, '%v') FROM t"),
        ("mysql", "SHOW TABLES"),
        ("postgres", "SELECT name FROM t WHERE n > ALL (SELECT n FROM t)"),
        ("postgres", "SELECT name FROM t WHERE n > ANY (SELECT n FROM t)"),
        ("postgres", "SELECT name FROM t ORDER BY n FETCH FIRST 1 ROWS WITH TIES"),
        ("tsql", "SELECT TOP 1 WITH TIES name FROM t ORDER BY n"),
        ("tsql", "SELECT DATEADD(month, 1, 0)"),
        ("mysql", "SELECT ROUND(n, id), TRUNCATE(n, 1) FROM t"),
        ("mysql", "SELECT TRUNCATE(n, id) FROM t"),
        ("bigquery", "SELECT SAFE_CAST(name AS INT64) FROM t"),
        ("oracle", "SELECT name FROM t WHERE ROWNUM = 1"),
        ("postgres", "SELECT name FROM t WHERE n BETWEEN SYMMETRIC 9 AND 1"),
        ("postgres", "SELECT DISTINCT ON (n) * FROM t"),
        ("duckdb", "SELECT * EXCLUDE (name) FROM t"),
        ("bigquery", "SELECT * EXCEPT (name) FROM t"),
        ("mysql", "SELECT GREATEST(2, '10') FROM t"),
        ("tsql", "SELECT name FROM t WHERE name LIKE '[A-C]%'"),
        ("tsql", "SELECT TOP (10) PERCENT name FROM t"),
        ("postgres", "SELECT AGE(day, stamp) FROM t"),
        ("postgres", "SELECT ARRAY_AGG(name) FROM t"),
        ("postgres", "SELECT * FROM generate_series(1, 3)"),
        ("postgres", "SELECT no_such_function(name) FROM t"),
    ],
)
def test_what_has_no_sqlite_form_is_named(dialect, sql):
    result = to_sqlite(sql, dialect)
    assert isinstance(result, Untranslatable) and result.outcome == "dialect"
    assert result.reason and "\n" not in result.reason


@pytest.mark.parametrize(
    ("dialect", "expression", "expected"),
    [
        ("tsql", "'a' + 'b' + CAST(1 AS VARCHAR)", "ab1"),
        ("tsql", "1 + 2", 3),
        ("snowflake", "MONTHNAME(CAST('2024-02-29' AS DATE))", "Feb"),
        ("snowflake", "DAYNAME(CAST('2024-02-29' AS DATE))", "Thu"),
        ("bigquery", "CAST(2.5 AS INT64)", 3),
        ("bigquery", "CAST(-1.7 AS INT64)", -2),
    ],
)
def test_what_other_dialects_mean_is_kept(dialect, expression, expected):
    assert answer(expression, dialect) == expected


def test_rownum_is_named_where_the_columns_are_known():
    result = translated("SELECT name FROM t WHERE ROWNUM = 1", "oracle")
    assert isinstance(result, Untranslatable) and result == Untranslatable("ROWNUM has no SQLite form")


def test_a_part_of_what_is_no_date_does_not_fit():
    result = translated("SELECT EXTRACT(DAY FROM day - DATE '2024-01-01') FROM t", "postgres")
    assert result == Untranslatable("DAY of a number", "schema")


@pytest.mark.parametrize("operator", ["%", "//"])
def test_what_duckdb_divides_by_zero_fails(operator):
    sql = translated(f"SELECT n {operator} (n - n) FROM t", "duckdb")
    found = query(build(to_sqlite_ddl(setup("duckdb"), "duckdb")), sql)
    assert isinstance(found, Failure) and "division by zero" in found.error


def test_texts_are_greatest_and_least_without_regard_to_case():
    assert (answer("LEAST('a', 'B')", "mysql"), answer("GREATEST(2, 10)", "mysql")) == ("a", 10)
    assert answer("LEAST('a', 'B')", "postgres") == "B"


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT DISTINCT ON (a) a, n FROM r ORDER BY a DESC, n", [("y", 2), ("x", 1)]),
        ("SELECT DISTINCT ON (1) a AS k, n FROM r ORDER BY k, 2 DESC LIMIT 1", [("x", 4)]),
        ("SELECT DISTINCT ON (a) n FROM r ORDER BY a, n OFFSET 1", [(2,)]),
        ("SELECT k FROM (SELECT DISTINCT ON (a) a AS k, n FROM r ORDER BY a, n DESC) q WHERE n = 4", [("x",)]),
        ("SELECT DISTINCT ON (a) a, SUM(n) FROM r GROUP BY a, n > 3 ORDER BY a, 2", [("x", 1), ("y", 2)]),
    ],
)
def test_distinct_on_takes_its_order_and_limit_with_it(sql, rows):
    ddl = "CREATE TABLE r (a VARCHAR(9), n INT); INSERT INTO r VALUES ('x', 1), ('y', 2), ('x', 4)"
    text = to_sqlite(sql, "postgres", declared(ddl, "postgres"))
    assert query(build(to_sqlite_ddl(ddl, "postgres")), text).rows == rows


@pytest.mark.parametrize("sql", ["SELECT FROM WHERE", "SELECT (1", "", "SELECT 1; SELECT 2"])
def test_what_is_no_sql_of_its_dialect_is_a_syntax_error(sql):
    result = to_sqlite(sql, "mysql")
    assert isinstance(result, Untranslatable) and result.outcome == "syntax"


@pytest.mark.parametrize("dialect", ["sqlite", "SQLite", None])
def test_sqlite_runs_as_it_is(dialect):
    for text in ('SELECT  a FROM t WHERE b = "x" -- c', "no SQL at all", ""):
        assert to_sqlite(text, dialect) is text
        assert to_sqlite_ddl(text, dialect) is text


def test_an_unknown_dialect_is_the_users_error():
    with pytest.raises(UserError, match="unknown SQL dialect"):
        to_sqlite("SELECT 1", "mysqul")


def test_an_unknown_name_stays_an_error():
    """SQLite would take "nope" for a text; the translation must not turn a wrong column into a constant."""
    for dialect, sql in (("mysql", "SELECT `nope` FROM t"), ("postgres", 'SELECT "nope" FROM t')):
        failure = query(build(to_sqlite_ddl(setup(dialect), dialect)), translated(sql, dialect))
        assert isinstance(failure, Failure) and failure.outcome == "schema"


def test_limit_with_offset_and_null_order():
    assert to_sqlite("SELECT n FROM t LIMIT 2, 3", "mysql") == "SELECT n FROM t LIMIT 3 OFFSET 2"
    assert to_sqlite("SELECT n FROM t ORDER BY n", "postgres") == "SELECT n FROM t ORDER BY n NULLS LAST"


def test_mysql_ddl_keeps_its_constraints():
    ddl = to_sqlite_ddl(
        "CREATE TABLE IF NOT EXISTS `p` (`id` INT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT '번호', "
        "name VARCHAR(255) UNIQUE NOT NULL, grade ENUM('a','b') NOT NULL DEFAULT 'a', level INT CHECK (level > 0), "
        "made TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, "
        "twice INT GENERATED ALWAYS AS (level * 2) STORED, PRIMARY KEY (`id`), "
        "UNIQUE KEY u (level, grade), KEY k (level), CONSTRAINT f FOREIGN KEY (id) REFERENCES p(id) ON DELETE CASCADE) "
        "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4; INSERT INTO p (name, level) VALUES ('x', 3);",
        "mysql",
    )
    connection = sqlite3.connect(":memory:")
    connection.executescript(ddl)
    assert connection.execute("SELECT * FROM p").fetchall() == [(1, "x", "a", 3, NOW, 6)]
    assert connection.execute("PRAGMA foreign_key_list(p)").fetchone()[2:5] == ("p", "id", "id")
    for values in ("(NULL, 'a', 1)", "('x', 'a', 1)", "('y', 'c', 1)", "('y', 'a', 0)", "('y', 'a', 3)"):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(f"INSERT INTO p (name, grade, level) VALUES {values}")


def test_postgres_ddl():
    ddl = to_sqlite_ddl(
        "CREATE TABLE t (id SERIAL PRIMARY KEY, ok BOOLEAN DEFAULT TRUE, parent INT REFERENCES t(id));", "postgres"
    )
    connection = sqlite3.connect(":memory:")
    connection.executescript(ddl)
    connection.execute("INSERT INTO t (parent) VALUES (NULL)")
    assert connection.execute("SELECT id, ok FROM t").fetchall() == [(1, 1)]


def test_korean_game_rows_run_on_their_schemas():
    for row in read_jsonl(KOREAN_GAMES):
        ddl = to_sqlite_ddl(row["context"], "mysql")
        sql = to_sqlite(row["answer"], "mysql", declared(row["context"], "mysql"))
        assert isinstance(ddl, str) and isinstance(sql, str), (row["id"], ddl, sql)
        assert isinstance(query(build(ddl), sql), Answer), row["id"]


@pytest.mark.parametrize("statement", ["REPLACE INTO t VALUES (1, 'x')", "REPLACE t (a, b) VALUES (1, 'y'), (1, 'x')"])
def test_rows_that_replace_others_are_rows_of_the_context_too(statement):
    script = to_sqlite_ddl(f"CREATE TABLE t (a INT PRIMARY KEY, b TEXT); {statement};", "mysql")
    assert build(script).execute("SELECT * FROM t").fetchall() == [(1, "x")]


def test_rows_that_have_no_sqlite_form_are_named_not_dropped():
    found = to_sqlite_ddl("CREATE TABLE t (a INT); COPY t FROM '/data/t.csv';", "postgres")
    assert found == Untranslatable("COPY in a context has no SQLite form (statement 2)")


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [("postgres", "TRUNCATE t"), ("mysql", "TRUNCATE TABLE t"), ("mysql", "RENAME TABLE t TO u"),
     ("postgres", "DROP TABLE t"), ("postgres", "MERGE INTO t USING t s ON TRUE WHEN MATCHED THEN DELETE")],
)  # fmt: skip
def test_what_would_empty_or_rename_a_table_is_named(dialect, statement):
    found = to_sqlite_ddl(f"CREATE TABLE t (a INT); {statement};", dialect)
    assert isinstance(found, Untranslatable) and found.reason.endswith("(statement 2)")


def test_statements_that_hold_no_table_view_or_row_are_left_out_by_name():
    script = (
        "SET x = 1; CREATE TABLE a (x int); COMMENT ON TABLE a IS 'q'; COMMENT ON COLUMN a.x IS 'r';"
        " CREATE INDEX i ON a(x); CREATE UNIQUE INDEX j ON a(x); ALTER TABLE a OWNER TO b; INSERT INTO a VALUES (1);"
    )
    assert Counter(left_out(script, "postgres")) == {
        "SET": 1, "COMMENT ON": 2, "CREATE INDEX": 1, "ALTER TABLE": 1,
    }  # fmt: skip
    assert to_sqlite_ddl(script, "postgres").count(";") == 3


# Types: what `test_translation.py` asks the servers for goes without saying here; these dialects have no server


TYPED = "CREATE TABLE p (id INT PRIMARY KEY, a VARCHAR(9), b VARCHAR(9), born DATE, pay INT, price DECIMAL(8,2));"


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        ("tsql", "SELECT a + ' ' + b FROM p", [("Ann Lee",)]),
        ("tsql", "SELECT a + N' ' + b FROM [dbo].p WHERE born = N'20240110'", [("Ann Lee",)]),
        ("tsql", "SELECT id FROM p WHERE a + b = 'annlee'", [(1,)]),
        ("tsql", "SELECT AVG(pay), pay / 2 FROM p GROUP BY pay", [(3, 1)]),
        ("tsql", "SELECT price / pay FROM p", [(2.5,)]),
        ("tsql", "SELECT SUM(price) / SUM(pay) FROM p", [(2.5,)]),
        ("tsql", "SELECT LEN('ab  ')", [(2,)]),
        ("bigquery", "SELECT pay / 2 FROM p", [(1.5,)]),
        ("bigquery", "SELECT ROUND(pay, -1) FROM p", [(0,)]),
        ("duckdb", "SELECT pay / 2, pay // 2, born - DATE '2024-01-01' FROM p", [(1.5, 1, 9)]),
        ("snowflake", "SELECT pay / 2 FROM p", [(1.5,)]),
        ("tsql", "SELECT a + pay FROM p", "dialect"),
        ("tsql", "SELECT born + 1 FROM p", "dialect"),
        ("tsql", "SELECT a, COUNT(*) FROM p", "schema"),
        ("bigquery", "SELECT AVG(born - born) FROM p", "dialect"),
        ("bigquery", "SELECT id FROM p WHERE a = 3", "schema"),
        ("oracle", "SELECT id FROM p WHERE born > a", "dialect"),
        ("postgres", "SELECT pay / nowhere FROM p", "schema"),
        ("postgres", "SELECT q.x / q.y FROM nowhere AS q", "schema"),
    ],
)
def test_operators_mean_what_the_types_of_their_sides_say(dialect, sql, expected):
    script = f"{TYPED} INSERT INTO p VALUES (1, 'Ann', 'Lee', '2024-01-10', 3, 7.50);"
    found = to_sqlite(sql, dialect, declared(script, dialect))
    if isinstance(expected, str):
        assert isinstance(found, Untranslatable) and found.outcome == expected, found
    else:
        assert query(build(to_sqlite_ddl(script, dialect)), found).rows == expected, found


def test_without_types_nothing_is_guessed():
    for sql in ("SELECT a / b FROM t", "SELECT a - b FROM t", "SELECT a FROM t WHERE b > CURRENT_DATE"):
        assert to_sqlite(sql, "postgres").outcome == "dialect"
    assert to_sqlite("SELECT a + 1, b * 2 FROM t", "postgres") == "SELECT a + 1, b * 2 FROM t"


def test_mysql_folds_letters_that_sqlite_does_not():
    script = "CREATE TABLE t (a VARCHAR(9)); INSERT INTO t VALUES ('José'), ('서울');"
    assert to_sqlite("SELECT a FROM t WHERE a = 'x'", "mysql", declared(script, "mysql")).outcome == "dialect"
    korean = script.replace("José", "부산")
    assert isinstance(to_sqlite("SELECT a FROM t WHERE a = 'x'", "mysql", declared(korean, "mysql")), str)


def test_a_column_with_a_binary_collation_is_compared_letter_by_letter():
    script = "CREATE TABLE t (a VARCHAR(9) COLLATE utf8mb4_bin, b VARCHAR(9)); INSERT INTO t VALUES ('Ann', 'Ann');"
    sql = to_sqlite("SELECT a = 'ann', b = 'ann' FROM t", "mysql", declared(script, "mysql"))
    assert query(build(to_sqlite_ddl(script, "mysql")), sql).rows == [(0, 1)]


def test_rows_are_kept_as_their_columns_types_keep_them():
    script = to_sqlite_ddl(
        "CREATE TABLE t (d DATE, ts TIMESTAMP, p NUMERIC(5,1), n INT, ok BOOLEAN, r REAL, tm TIME);"
        "INSERT INTO t VALUES ('2024-1-5', '2024-01-05T10:00Z', 2.25, 2.5, 'yes', 0.1, '9:05');"
        "INSERT INTO t (ts, d) VALUES ('2024-01-05', TIMESTAMP '2024-01-05 10:00:00');",
        "postgres",
    )
    assert build(script).execute("SELECT * FROM t").fetchall() == [
        ("2024-01-05", "2024-01-05 10:00:00", 2.3, 3, 1, 0.10000000149011612, "09:05:00"),
        ("2024-01-05", "2024-01-05 00:00:00", None, None, None, None, None),
    ]


def test_mysql_tables_are_named_without_their_database():
    assert without_database("SELECT shop.t.a FROM shop.t JOIN `shop`.`u` x ON x.a = t.a WHERE b = 'shop.t'") == (
        "SELECT t.a FROM t JOIN `u` x ON x.a = t.a WHERE b = 'shop.t'"
    )
    for same in ("SELECT t.a FROM t", "SELECT t.a FROM information_schema.t", "SELECT s.a FROM t AS s"):
        assert without_database(same) == same
    assert without_database("SELECT city.a FROM city.city") == "SELECT city.a FROM city"


# Dumps


def test_a_schemas_name_before_a_table_is_no_part_of_its_name():
    script = to_sqlite_ddl(
        "CREATE SCHEMA sales; CREATE TABLE sales.item (id int); INSERT INTO sales.item VALUES (3);", "postgres"
    )
    for sql in ("SELECT id FROM item", "SELECT sales.item.id FROM sales.item", "SELECT i.id FROM sales.item i"):
        assert query(build(script), to_sqlite(sql, "postgres")).rows == [(3,)]
    two = to_sqlite_ddl("CREATE TABLE a.t (x int); CREATE TABLE b.t (y int);", "postgres")
    assert isinstance(two, Untranslatable) and "two tables of one name" in two.reason


def test_go_ends_a_statement_of_sql_server():
    script = to_sqlite_ddl("CREATE TABLE [dbo].[s] ([Id] [int] NOT NULL)\nGO\nINSERT INTO s VALUES (1)\ngo\n", "tsql")
    assert query(build(script), to_sqlite("SELECT TOP 3 Id FROM dbo.s", "tsql")).rows == [(1,)]
    assert query(build(script), to_sqlite("SELECT N'서울' FROM s", "tsql")).rows == [("서울",)]


def test_statements_of_sql_server_need_no_semicolon_and_a_routine_inserts_nothing():
    script = to_sqlite_ddl(
        "SET NOCOUNT ON\nCREATE TABLE t (a INT)\nGO -- a batch\nINSERT INTO t (a)\nSELECT 1\n"
        "INSERT INTO t VALUES (2)\nGO\nCREATE PROCEDURE p AS\nBEGIN\nINSERT INTO t VALUES (9)\nEND\nGO\n"
        "ALTER TABLE t\nADD CONSTRAINT c UNIQUE (a)\n",
        "tsql",
    )
    assert build(script).execute("SELECT a FROM t").fetchall() == [(1,), (2,)]
    assert "UNIQUE (`a`)" in script


PG_DUMP = r"""
\restrict k3y
SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.city (id integer NOT NULL, name text, big boolean);
ALTER TABLE public.city OWNER TO postgres;
CREATE SEQUENCE public.city_id_seq AS integer START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;
ALTER SEQUENCE public.city_id_seq OWNED BY public.city.id;
CREATE TABLE public.shop (id integer, city_id integer);
ALTER TABLE ONLY public.city ALTER COLUMN id SET DEFAULT nextval('public.city_id_seq'::regclass);
COPY public.city (id, name, big) FROM stdin;
1	Seoul; \tit's	t
2	\N	f
\.
COPY public.shop (id, city_id) FROM stdin;
7	1
\.
SELECT pg_catalog.setval('public.city_id_seq', 2, true);
ALTER TABLE ONLY public.city ADD CONSTRAINT city_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.shop ADD CONSTRAINT shop_fkey FOREIGN KEY (city_id) REFERENCES public.city(id);
"""


def test_a_pg_dump_is_built_with_its_copied_rows_and_the_keys_that_alter_adds():
    built = build(to_sqlite_ddl(PG_DUMP, "postgres"))
    sql = to_sqlite("SELECT c.name, c.big FROM public.city c ORDER BY c.id", "postgres")
    assert query(built, sql).rows == [("Seoul; \tit's", 1), (None, 0)]
    (schema,) = built.execute("SELECT group_concat(sql, ' ') FROM sqlite_master").fetchone()
    assert "PRIMARY KEY (`id`)" in schema and "FOREIGN KEY (`city_id`) REFERENCES `city` (`id`)" in schema


MYSQLDUMP = """
/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
DROP TABLE IF EXISTS `city`;
CREATE TABLE `city` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `name` varchar(20) DEFAULT NULL,
  PRIMARY KEY (`id`), KEY `by_name` (`name`)
) ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8mb4;
LOCK TABLES `city` WRITE;
/*!40000 ALTER TABLE `city` DISABLE KEYS */;
INSERT INTO `city` VALUES (1,'Seoul'),(2,'it\\'s');
/*!40000 ALTER TABLE `city` ENABLE KEYS */;
UNLOCK TABLES;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`%`*/ /*!50003 TRIGGER t BEFORE INSERT ON city FOR EACH ROW SET @a = 1 */;;
DELIMITER ;
/*!50001 CREATE VIEW `names` AS select `city`.`name` AS `name` from `city` */;
"""


def test_a_mysqldump_is_built_with_what_its_conditional_comments_hold():
    built = build(to_sqlite_ddl(MYSQLDUMP, "mariadb"))
    assert query(built, to_sqlite("SELECT name FROM names ORDER BY 1", "mysql")).rows == [("it's",), ("Seoul",)]


@pytest.mark.parametrize("statement", ["UPDATE t SET a = 2", "DELETE FROM t", "ALTER TABLE t DROP COLUMN a"])
def test_what_would_change_rows_or_tables_is_named_with_its_statement(statement):
    found = to_sqlite_ddl(f"CREATE TABLE t (a INT); {statement};", "postgres")
    assert isinstance(found, Untranslatable) and found.reason.endswith("(statement 2)")


def test_a_date_less_an_interval_has_a_year():
    sql = to_sqlite("SELECT EXTRACT(YEAR FROM DATE '2024-02-01' - INTERVAL '15 months')", "postgres")
    assert query(build(""), sql).rows == [(2022,)]
