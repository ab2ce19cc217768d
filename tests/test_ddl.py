"""The tables that a script's text defines, whatever its dialect, and the texts that it inserts."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from text2sql.sources.schemas import ddl_of_spider
from text2sql.sql.ddl import commented, inserted_texts, read_script

SPIDER = Path(__file__).parents[1].parent / "shared" / "data" / "spider"


def table(script: str, dialect: str = "sqlite"):
    (found,) = read_script(script, dialect).tables
    return found


@pytest.mark.parametrize(
    ("script", "dialect", "name", "columns", "key"),
    [
        ("CREATE TABLE t (a INT PRIMARY KEY, b CHAR(20) NOT NULL)", "sqlite", "t", ["a INT", "b CHAR(20)"], ("a",)),
        ("CREATE TABLE IF NOT EXISTS t (a, PRIMARY KEY (a))", "sqlite", "t", ["a "], ("a",)),
        ("create temp table `a b` (`c``d` decimal(8, 2) default (1 + 2))", "mysql", "a b", ["c`d decimal(8, 2)"], ()),
        ('CREATE TABLE "s"."T" ("a ""b"" c" text[], CONSTRAINT x UNIQUE ("a ""b"" c"))', "postgres", "s.T",
         ['a "b" c text[]'], ()),
        ("CREATE TABLE [dbo].[Order Lines] ([Unit Price] money)", "tsql", "dbo.Order Lines", ["Unit Price money"], ()),
        ("CREATE TABLE 'q' ('x' INT, key TEXT, KEY i (x), INDEX j (x))", "mysql", "q", ["x INT", "key TEXT"], ()),
        ("CREATE TABLE t (a INT CHECK (a IN (1, 2)), b TEXT DEFAULT 'x, y)')", "sqlite", "t", ["a INT", "b TEXT"], ()),
        ("CREATE VIRTUAL TABLE f USING fts5(title, body)", "sqlite", "f", ["title ", "body "], ()),
        ("CREATE TABLE t AS SELECT (1) AS a", "sqlite", "t", [], ()),
        ("CREATE OR REPLACE VIEW v AS SELECT a FROM t", "postgres", "v", [], ()),
        ("CREATE MATERIALIZED VIEW v AS SELECT a FROM t", "postgres", "v", [], ()),
        ("CREATE TABLE t (a timestamp with time zone, b double precision NULL)", "postgres", "t",
         ["a timestamp with time zone", "b double precision"], ()),
    ],
)  # fmt: skip
def test_names_types_and_keys_stand_as_in_the_text(script, dialect, name, columns, key):
    found = table(script, dialect)
    assert (found.name, found.primary_key) == (name, key)
    assert [f"{column.name} {column.type}" for column in found.columns] == columns
    assert found.statement == script


def test_foreign_keys_are_read_where_they_are_said():
    script = read_script(
        "CREATE TABLE a (x INT REFERENCES p(id), y INT, z INT, FOREIGN KEY (y, z) REFERENCES s.q (k, l));"
        "CREATE TABLE p (id INT); ALTER TABLE ONLY p ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES a;",
        "postgres",
    )
    a, p = script.tables
    assert a.foreign_keys == ((("x",), "p", ("id",)), (("y", "z"), "s.q", ("k", "l")))
    assert p.foreign_keys == ((("id",), "a", ()),)


def test_comments_are_read_in_every_form():
    own = table("CREATE TABLE t ( -- the people\n a INT, -- number\n b TEXT /* name; 'x' */, c INT)")
    assert (own.comment, [column.comment for column in own.columns]) == ("the people", ["number", "name; 'x'", ""])
    mysql = table("CREATE TABLE t (a INT COMMENT 'it''s, a' NOT NULL) ENGINE=InnoDB COMMENT='people'", "mysql")
    assert (mysql.comment, mysql.columns[0].comment) == ("people", "it's, a")
    postgres = table(
        "CREATE TABLE s.t (a INT); COMMENT ON TABLE s.t IS 'people'; COMMENT ON COLUMN s.t.a IS 'number';", "postgres"
    )
    assert (postgres.comment, postgres.columns[0].comment) == ("people", "number")


def test_a_statement_about_a_table_stays_with_it_and_others_stay_where_they_are():
    script = read_script(
        "CREATE TYPE mood AS ENUM ('a;b'); CREATE TABLE t (m mood); CREATE TABLE u (x INT);"
        "CREATE UNIQUE INDEX i ON t (m); CREATE TABLE t_1 PARTITION OF t DEFAULT; DROP TABLE IF EXISTS w;",
        "postgres",
    )
    first, t, u, last = script.parts
    assert (first, last) == ("CREATE TYPE mood AS ENUM ('a;b')", "DROP TABLE IF EXISTS w")
    assert t.statement.split(";\n") == [
        "CREATE TABLE t (m mood)", "CREATE UNIQUE INDEX i ON t (m)", "CREATE TABLE t_1 PARTITION OF t DEFAULT"
    ]  # fmt: skip
    assert u.statement == "CREATE TABLE u (x INT)" and script.types == [first]


def test_values_stand_beside_their_columns_and_the_rest_stays_as_it_was():
    found = table("CREATE TABLE t (a TEXT NOT NULL, -- the 'a'\n  b TEXT\n)")
    assert found.with_values({"a": ["'x'", "'*/ y'"], "b": ["'z'"]}) == (
        "CREATE TABLE t (a TEXT NOT NULL /* e.g. 'x', '* / y' */, -- the 'a'\n  b TEXT /* e.g. 'z' */\n)"
    )
    assert found.with_values({}) == found.statement


def test_a_comment_ends_where_it_should():
    assert commented("x */ ); DROP TABLE t; /* y\nz") == "/* x * / ); DROP TABLE t; / * y z */"
    assert commented("") == ""


def test_an_unpaired_quote_is_not_guessed_at():
    with pytest.raises(ValueError, match="unpaired quote"):
        read_script("CREATE TABLE t (a TEXT DEFAULT 'x);")


def test_inserted_texts_are_found_by_column():
    script = """
    CREATE TABLE T (a TEXT, n INT, b TEXT); CREATE TABLE u (c TEXT);
    INSERT INTO t VALUES ('x', 1, NULL), ('it''s (a), b', 2, 'y'), ('x', 3, upper('z'));
    INSERT INTO t (b, a) VALUES ('only b', 'only a'); -- INSERT INTO u VALUES ('no')
    REPLACE INTO "u" SELECT 'selected'; INSERT INTO none VALUES ('q');
    """
    assert inserted_texts(script) == {
        ("t", "a"): ("'x'", "'it''s (a), b'", "'only a'"), ("t", "b"): ("'y'", "'only b'"),
    }  # fmt: skip
    assert inserted_texts(script, None, 1) == {("t", "a"): ("'x'",)}


def test_real_files_are_read_as_sqlite_reads_them():
    """Columns, types and keys by SQLite's own account of what a statement defines."""
    script = """
    CREATE TABLE "people"("id" integer primary key autoincrement, `Full Name` varchar ( 50 ) collate nocase,
      [born] date default (date('now')), constraint "u" unique ("id", [born]));
    CREATE TABLE pets (name text not null, owner int references people ("id") on delete cascade, kind,
      primary key (name, owner), foreign key (owner) references people);
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        for found in read_script(script, "sqlite").tables:
            described = connection.execute(f'PRAGMA table_info("{found.name}")').fetchall()
            assert [row[1] for row in described] == [column.name for column in found.columns]
            bare = lambda text: text.lower().replace(" ", "")  # noqa: E731
            assert [bare(row[2]) for row in described] == [bare(column.type) for column in found.columns]
            assert {row[1] for row in described if row[5]} == set(found.primary_key)
            links = connection.execute(f'PRAGMA foreign_key_list("{found.name}")').fetchall()
            assert sorted((row[2], row[3]) for row in links) == sorted(
                (parent, name) for own, parent, _ in found.foreign_keys for name in own
            )


@pytest.mark.skipif(not SPIDER.is_dir(), reason="Spider's tables.json is not there (../shared/data/spider)")
def test_all_of_spiders_schemas_are_read_whole():
    for schema in json.loads((SPIDER / "tables.json").read_text(encoding="utf-8")):
        names = schema["table_names_original"]
        tables = read_script(ddl_of_spider(schema), "sqlite").tables
        assert [found.name for found in tables] == [name for name in names if not name.lower().startswith("sqlite_")]
        for found in tables:
            owner = names.index(found.name)
            columns = [column for place, column in schema["column_names_original"] if place == owner]
            assert [column.name for column in found.columns] == columns
