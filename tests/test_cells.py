"""Cells: one value has one form, whichever engine it comes from, and the comparator tells them apart as it should."""

import datetime
import math
from decimal import Decimal

import pytest

from text2sql.engines import cells
from text2sql.engines.sqlite import Answer
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold, plan
from text2sql.scoring.matching import Slice

DAY, MIDNIGHT = datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2)


def verdict(gold, predicted, kinds=("other", "other")):
    """`ex` and `ex_strict` of two answers of one column, whose kinds are given."""
    expected = Answer(1, [(cell,) for cell in gold], kinds=kinds[:1])
    found = compare(
        Gold(expected, [Slice(expected.rows, len(gold))]), Answer(1, [(cell,) for cell in predicted], kinds=kinds[1:])
    )
    return found.ex, found.ex_strict


SAME, LOOSELY, DIFFERENT = (True, True), (True, False), (False, False)


@pytest.mark.parametrize(
    "gold, predicted, expected",
    [
        ([Decimal("1.50")], [Decimal("1.5")], SAME),
        ([Decimal("2.00")], [2], SAME),
        ([Decimal("0.1")], [0.1], SAME),
        ([Decimal("0.333333333333")], [1 / 3], SAME),
        ([Decimal("0.33")], [1 / 3], DIFFERENT),
        ([Decimal("0.3333333333333333")], [Decimal("0.3333333333333334")], DIFFERENT),
        ([Decimal("1E+400"), 0.5], [0.5, Decimal("1E+400")], SAME),
        ([Decimal("1.5")], ["1.5"], DIFFERENT),
        ([cells.NAN, 1.0], [1.0, cells.NAN], SAME),
        ([cells.NAN], [None], DIFFERENT),
        ([(1, None)], [(1, None)], SAME),
        ([(1, 2)], [(2, 1)], DIFFERENT),
        ([cells.json_cell('{"a": 1.0, "b": [true, null]}')], [cells.json_cell('{"b":[true,null],"a":1}')], SAME),
        ([cells.json_cell("1.5")], [cells.json_cell('"1.5"')], DIFFERENT),
        ([cells.json_cell("true")], [cells.json_cell("1")], DIFFERENT),
        ([cells.json_cell('"x"')], ["x"], DIFFERENT),
        ([datetime.timedelta(days=1)], [datetime.timedelta(hours=24)], SAME),
    ],
)
def test_values_compare_by_value(gold, predicted, expected):
    assert verdict(gold, predicted) == verdict(predicted, gold) == expected


@pytest.mark.parametrize(
    "gold, predicted, kinds, expected",
    [
        ([True, False], [True, False], ("boolean", "boolean"), SAME),
        ([True, False], [1, 0], ("boolean", "other"), LOOSELY),
        ([True, False], [Decimal(1), 0.0], ("boolean", "other"), LOOSELY),
        ([True], ["true"], ("boolean", "other"), DIFFERENT),
        ([None], [None], ("boolean", "other"), SAME),
        ([DAY], [MIDNIGHT], ("date", "timestamp"), LOOSELY),
        ([DAY, None], [None, MIDNIGHT], ("date", "timestamp"), LOOSELY),
        ([DAY], [MIDNIGHT.replace(hour=1)], ("date", "timestamp"), DIFFERENT),
        ([DAY], ["2024-01-02"], ("date", "other"), DIFFERENT),
        ([MIDNIGHT], [MIDNIGHT], ("timestamp", "timestamp"), SAME),
    ],
)
def test_kinds_decide_where_python_says_equal(gold, predicted, kinds, expected):
    assert verdict(gold, predicted, kinds) == verdict(predicted, gold, kinds[::-1]) == expected


def test_dates_meet_timestamps_under_a_permutation_of_the_columns_too():
    expected = Answer(2, [(DAY, "a"), (DAY, "b")], kinds=("date", "other"))
    predicted = Answer(2, [("b", MIDNIGHT), ("a", MIDNIGHT)], kinds=("other", "timestamp"))
    found = compare(Gold(expected, [Slice(expected.rows, 2)]), predicted)
    assert (found.ex, found.ex_strict) == (True, False)


def test_numbers_that_python_cannot_compare_have_one_form():
    assert cells.number(float("nan")) is cells.NAN and cells.number(Decimal("NaN")) is cells.NAN
    assert cells.number(Decimal("-Infinity")) == -math.inf and cells.number(1.5) == 1.5


def test_json_has_one_spelling():
    assert str(cells.json_cell('{"b": 1.50, "a": [1e2, -0.0, "é"], "c": 1e999}')) == (
        '{"a":[100,0,"é"],"b":1.5,"c":1E+999}'
    )
    with pytest.raises(ValueError):
        cells.json_cell("{")


def test_an_instant_is_in_utc():
    east = datetime.timezone(datetime.timedelta(hours=9))
    assert cells.utc(datetime.datetime(2024, 1, 2, 9, tzinfo=east)) == MIDNIGHT


def test_a_cell_without_a_literal_is_no_literal():
    with pytest.raises(TypeError, match="bytes"):
        cells.spell(b"x")


@pytest.mark.parametrize(
    "sql, dialect, limited, offset",
    [
        ("SELECT a FROM t ORDER BY a LIMIT 5 OFFSET 2", None, True, "2"),
        ("SELECT a FROM t ORDER BY a LIMIT 2, 5", "mysql", True, "2"),
        ("SELECT a FROM t ORDER BY a OFFSET 2 LIMIT 5", "postgres", True, "2"),
        ("SELECT a FROM t ORDER BY a OFFSET 1 + 1 ROWS FETCH NEXT 5 ROWS ONLY", "postgres", True, "1 + 1"),
        ("SELECT a FROM t ORDER BY a FETCH FIRST 5 ROWS ONLY", "postgres", True, None),
        ("SELECT a FROM t ORDER BY a LIMIT ALL", "postgres", True, None),
        ("SELECT offset FROM fetch ORDER BY offset", None, False, None),
    ],
)
def test_limits_are_found_in_each_dialect(sql, dialect, limited, offset):
    found = plan(sql, dialect)
    assert (found.limited, found.offset and found.offset.strip()) == (limited, offset)
    assert [term.key for term in found.order] == ["offset" if "fetch ORDER" in sql else "a"]
