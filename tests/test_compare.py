"""The comparator's laws, beyond the pairs of tests/conformance: tolerance, ties, columns, exact match."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2sql.engines.sqlite import Answer, build, query
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold, answer_gold, plan
from text2sql.scoring.matching import Slice
from text2sql.sql.exact_match import em_ast, em_text


def answer(rows, columns=None):
    return Answer(columns or len(rows[0]), rows)


def gold(rows):
    return Gold(answer(rows), [Slice(rows, len(rows))])


def fits(expected, rows):
    return compare(gold(expected), answer(rows)).ex


CELLS = st.one_of(
    st.none(),
    st.integers(-2, 2),
    st.sampled_from([0.0, 0.5, 1.0, 1e-12, 1 + 1e-12, float("inf")]),
    st.sampled_from(["", "a", "1"]),
    st.sampled_from([b"", b"a"]),
)
TABLES = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=6))


@given(TABLES, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_shuffled_rows_and_columns_are_the_same_answer(rows, chance):
    order = list(range(len(rows[0])))
    chance.shuffle(order)
    moved = [tuple(row[i] for i in order) for row in rows]
    chance.shuffle(moved)
    assert fits(rows, moved) and fits(moved, rows)


@given(TABLES, TABLES)
@settings(max_examples=300, deadline=None)
def test_comparing_is_symmetric_and_keeps_its_ranks(rows, others):
    forth, back = compare(gold(rows), answer(others)), compare(gold(others), answer(rows))
    assert (forth.ex, forth.ex_strict) == (back.ex, back.ex_strict)
    assert forth.ex or not forth.ex_strict
    if forth.ex:
        assert len(rows) == len(others)


def test_numbers_are_matched_within_tolerance():
    assert fits([(1.0,)], [(1.0 + 9e-10,)]) and not fits([(1.0,)], [(1.0 + 2e-9,)])
    assert fits([(1e12,)], [(1e12 + 100,)]) and not fits([(10**12,)], [(10**12 + 1,)])
    assert fits([(2**53 + 1,)], [(float(2**53),)])
    assert fits([(0,)], [(5e-17,)]) and fits([(float("inf"),)], [(float("inf"),)])
    assert not fits([(1.0,)], [("1.0",)]) and not fits([(1.0,)], [(None,)])


def test_close_rows_are_paired_off_not_chained():
    step = 8e-10
    chain = [(1.0,), (1.0 + step,), (1.0 + 2 * step,)]
    assert fits(chain, [(x + step,) for (x,) in chain])
    assert not fits([(1.0,), (1.0,)], [(1.0,), (1.0 + 2 * step,)])
    crossed = [(1.0, 2.0 + step), (1.0 + step, 2.0)]
    assert fits(crossed, [(1.0 + step / 2, 2.0), (1.0, 2.0 + step)])


def test_many_columns_and_many_rows_are_decided_at_once():
    rng = random.Random(0)
    rows = [(rng.random(), rng.randint(0, 3), rng.choice("ab"), rng.random()) for _ in range(3000)]
    moved = [(d + 1e-12, c, a, b) for a, b, c, d in rows]
    rng.shuffle(moved)
    zeros = [(0,) * 100] * 20
    ring = [tuple(int(i in (k, (k + 1) % 12)) for i in range(12)) for k in range(12)]
    halves = [tuple(int(i in (k, k // 6 * 6 + (k + 1) % 6)) for i in range(12)) for k in range(12)]
    begun = time.process_time()
    assert fits(rows, moved)
    assert not fits(rows, [(d, c, a, b + 1) for d, c, a, b in moved])
    assert fits(zeros, zeros) and not fits(zeros, [(0,) * 99 + (1,), *zeros[1:]])
    assert not fits(ring, halves)  # every column and every row alike, and yet no permutation
    assert time.process_time() - begun < 3


SETUP = """CREATE TABLE p(name TEXT, pay INTEGER, nick TEXT COLLATE NOCASE);
INSERT INTO p VALUES ('ann', 10, 'x'), ('bob', 20, 'X'), ('cid', 20, 'y'), ('dan', 5, NULL);"""


def groups(sql):
    """The names of the rows in each group of ties, and how many of them an answer holds."""
    found = answer_gold(build(SETUP), plan(sql))
    return [("".join(sorted(row[0][0] for row in part.rows)), part.take) for part in found.slices]


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("SELECT name FROM p", [("abcd", 4)]),
        ("SELECT name FROM p ORDER BY pay", [("d", 1), ("a", 1), ("bc", 2)]),
        ("SELECT name, pay FROM p ORDER BY 2 DESC, 1 DESC", [("c", 1), ("b", 1), ("a", 1), ("d", 1)]),
        ("SELECT name AS pay FROM p ORDER BY pay", [("a", 1), ("b", 1), ("c", 1), ("d", 1)]),
        ("SELECT name, -pay AS n FROM p ORDER BY n + 0", [("bc", 2), ("a", 1), ("d", 1)]),
        ("SELECT name FROM p ORDER BY pay > 5 DESC, name", [("a", 1), ("b", 1), ("c", 1), ("d", 1)]),
        ("SELECT name FROM p ORDER BY nick", [("d", 1), ("ab", 2), ("c", 1)]),
        ("SELECT name FROM p ORDER BY nick COLLATE BINARY NULLS LAST", [("b", 1), ("a", 1), ("c", 1), ("d", 1)]),
        ("SELECT name FROM p ORDER BY pay DESC LIMIT 1", [("bc", 1)]),
        ("SELECT name FROM p ORDER BY pay DESC LIMIT 1 OFFSET 1", [("bc", 1)]),
        ("SELECT name FROM p ORDER BY pay DESC LIMIT 1, 2", [("bc", 1), ("a", 1)]),
        ("SELECT name FROM p ORDER BY pay DESC LIMIT (SELECT 3) -- three", [("bc", 2), ("a", 1)]),
        ("SELECT name -- who\nFROM p ORDER BY pay DESC LIMIT 2;", [("bc", 2)]),
        ("SELECT name FROM p LIMIT 2", [("abcd", 2)]),
        ("SELECT name FROM p ORDER BY pay LIMIT 0", []),
        ("SELECT name FROM p UNION SELECT 'eve' ORDER BY name DESC LIMIT 2", [("e", 1), ("d", 1)]),
        ("WITH q AS (SELECT * FROM p ORDER BY pay LIMIT 3) SELECT name FROM q", [("abd", 3)]),
        ("SELECT DISTINCT name FROM p ORDER BY p.name LIMIT 1", [("a", 1)]),
        ("SELECT name FROM p -- note\n ORDER BY pay", [("d", 1), ("a", 1), ("bc", 2)]),
        ("SELECT name FROM p /* ORDER BY pay */", [("abcd", 4)]),
        ("SELECT name FROM p -- ORDER BY pay LIMIT 1", [("abcd", 4)]),
        ("SELECT name FROM p ORDER -- by\nBY pay", [("d", 1), ("a", 1), ("bc", 2)]),
        ("SELECT name FROM p ORDER/**/BY/**/pay -- DESC", [("d", 1), ("a", 1), ("bc", 2)]),
        ("SELECT name FROM p ORDER BY pay DESC -- down", [("bc", 2), ("a", 1), ("d", 1)]),
        ("SELECT name FROM p ORDER BY pay -- a, b\n DESC -- down\n LIMIT 3 -- three", [("bc", 2), ("a", 1)]),
        ("SELECT name FROM p ORDER BY pay DESC /* x */ LIMIT /* 2, */ 1 -- y\n OFFSET /* z */ 1 -- w", [("bc", 1)]),
        ("SELECT name -- n\n, -pay AS n -- m\n FROM p ORDER BY n + 0 -- o", [("bc", 2), ("a", 1), ("d", 1)]),
        ("SELECT name, pay FROM p ORDER BY 2 -- second\n DESC", [("bc", 2), ("a", 1), ("d", 1)]),
        ("SELECT name FROM p ORDER BY pay LIMIT 2 /* open", [("d", 1), ("a", 1)]),
        ("SELECT DISTINCT name FROM p ORDER BY pay", [("d", 1), ("a", 1), ("b", 1), ("c", 1)]),
    ],
)
def test_ties_are_found_by_the_golds_own_sort_keys(sql, expected):
    assert groups(sql) == expected


@pytest.mark.parametrize("compound", [False, True])
@pytest.mark.parametrize(
    "key",
    [
        *(
            "2",
            "(2)",
            "+2",
            "((+2))",
            "-(-2)",
            "0x2",
            "2 COLLATE NOCASE",
            "(2 COLLATE NOCASE)",
            "/* 1 */ 2 -- 1",
            "pay",
        ),
        *("'2'", "2.0", "1 + 1", "(SELECT 2)", "CAST(2 AS INTEGER)", "abs(2)"),
    ],
)
def test_an_ordinal_is_what_sqlite_takes_for_one(key, compound):
    """SQLite itself says whether a key is an ordinal: it then sorts by the second column, else not at all."""
    connection = build(SETUP)
    sql = f"SELECT name, pay FROM p {'UNION ALL SELECT NULL, 7 ' * compound}ORDER BY {key}\n"
    found = answer_gold(connection, plan(sql))
    pays = [row[1] for row in query(connection, "SELECT name, pay FROM p" + " UNION ALL SELECT 0, 7" * compound).rows]
    if compound and key in ("'2'", "2.0", "1 + 1", "(SELECT 2)", "CAST(2 AS INTEGER)", "abs(2)"):
        assert found.outcome == "syntax"  # SQLite: does not match any column
    elif [row[1] for row in found.answer.rows] == sorted(pays):
        assert [{row[1] for row in part.rows} for part in found.slices] == [{pay} for pay in sorted(set(pays))]
    else:
        assert [len(part.rows) for part in found.slices] == [len(pays)]


def test_parentheses_around_a_sort_key_change_nothing():
    for key in ("n", "(n)", "((n)) DESC", "(n COLLATE NOCASE)", "(pay)", "(pay) DESC", "(SELECT pay)", "(-(pay))"):
        plain = key.replace("(n COLLATE NOCASE)", "n").replace("((n))", "n").replace("(n)", "n").replace("(pay)", "pay")
        assert groups(f"SELECT name, -pay AS n FROM p ORDER BY {key}") == groups(
            f"SELECT name, -pay AS n FROM p ORDER BY {plain}"
        )


@pytest.mark.parametrize(
    "sql, ambiguous",
    [
        ("SELECT name FROM p ORDER BY pay DESC LIMIT 1", True),
        ("SELECT pay FROM p ORDER BY pay DESC LIMIT 1", False),  # the tied rows are equal
        ("SELECT name FROM p ORDER BY pay DESC LIMIT 2", False),
        ("SELECT name FROM p LIMIT 1", True),
        ("SELECT name FROM p ORDER BY pay", False),
    ],
)
def test_a_gold_whose_limit_cuts_a_tie_is_ambiguous(sql, ambiguous):
    assert answer_gold(build(SETUP), plan(sql)).ambiguous is ambiguous


def test_every_permutation_of_ties_is_right_and_no_other():
    connection = build(SETUP)
    expected = answer_gold(connection, plan("SELECT name FROM p ORDER BY pay DESC LIMIT 3"))
    right = [["bob", "cid", "ann"], ["cid", "bob", "ann"]]
    wrong = [["bob", "bob", "ann"], ["bob", "ann", "cid"], ["bob", "cid", "dan"], ["bob", "cid"]]
    assert all(compare(expected, answer([(n,) for n in names])).ex_strict for names in right)
    assert not any(compare(expected, answer([(n,) for n in names])).ex for names in wrong)


def test_the_three_verdicts_stand_side_by_side():
    connection = build(SETUP)
    expected = answer_gold(connection, plan("SELECT name, pay FROM p"))

    def verdict(sql):
        found = compare(expected, query(connection, sql))
        return found.ex, found.ex_strict, found.ex_set

    assert verdict("SELECT name, pay FROM p ORDER BY 1 DESC") == (True, True, True)
    assert verdict("SELECT pay, name FROM p") == (True, False, False)
    assert verdict("SELECT name, pay FROM p UNION ALL SELECT 'ann', 10") == (False, False, True)


def test_exact_match_of_text_ignores_white_space_between_tokens_only():
    assert em_text("SELECT  a ,b\nFROM t ;", "SELECT a, b FROM t")
    assert not em_text("SELECT 'a  b'", "SELECT 'a b'")
    assert not em_text("SELECT a FROM t", "select a FROM t")


def test_exact_match_of_trees_folds_names_and_never_literals():
    assert em_ast("SELECT a AS n FROM t WHERE b = 'X'", "select A n from T where (B) = 'X'") is False
    assert em_ast("SELECT a AS n FROM t WHERE b = 'X'", "select A n from T where B = 'X'")
    assert em_ast("SELECT `a` FROM t", "SELECT [A] FROM t")
    assert not em_ast("SELECT a FROM t WHERE b = 'X'", "SELECT a FROM t WHERE b = 'x'")
    assert not em_ast('SELECT a FROM t WHERE b = "X"', 'SELECT a FROM t WHERE b = "x"')
    deep = "SELECT " + "date(" * 24 + "a" + ")" * 24 + " FROM t"  # sqlglot's time doubles with every call
    assert em_ast(deep, deep.lower()) and not em_ast(deep, deep + " AS u")
    assert not em_ast("SELECT a FROM t", "SELECT " + "(" * 5000 + "a" + ")" * 5000 + " FROM t")
