"""Names and values as SQL text: SQLite reads back what was written."""

import math
import sqlite3
from contextlib import closing

import pytest

from text2sql.sql.spelling import literal, quoted, spelled


@pytest.mark.parametrize(
    "word, expected", [("name", "name"), ("Group", '"Group"'), ("a b", '"a b"'), ('x"y', '"x""y"')]
)
def test_names_are_quoted_where_sqlite_needs_it(word, expected):
    assert spelled(word) == expected
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t ({spelled(word)} TEXT)")
        assert connection.execute("PRAGMA table_info(t)").fetchone()[1] == word


def test_a_korean_name_stays_bare():
    assert spelled("공원") == "공원"


@pytest.mark.parametrize("mark", ['"', "`"])
@pytest.mark.parametrize("name", ["a", "order", 'x"y', "x`y", "a; DROP TABLE t", "공원"])
def test_a_quoted_name_is_that_name(name, mark):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t ({quoted(name, mark)} TEXT)")
        assert connection.execute("PRAGMA table_info(t)").fetchone()[1] == name


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        -7,
        2**63 - 1,
        1.5,
        0.1,
        1e300,
        -1e-9,
        math.inf,
        -math.inf,
        "",
        "it's",
        "a'';--",
        "a\0b",
        "공원",
        b"",
        b"\x00'",
    ],
)
def test_a_literal_is_read_as_its_value(value):
    with closing(sqlite3.connect(":memory:")) as connection:
        (read,) = connection.execute(f"SELECT {literal(value)}").fetchone()
    assert (read, type(read)) == (value, type(value))


def test_what_is_not_a_number_is_null_as_sqlite_keeps_it():
    assert literal(math.nan) == "NULL"
