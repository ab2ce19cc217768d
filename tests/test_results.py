"""Results are kept short, and say what is left out."""

import datetime
import json
from decimal import Decimal

from text2sql.engines.cells import NAN, json_cell
from text2sql.engines.sqlite import build, query
from text2sql.scoring.results import first_rows


def test_results_are_cut_in_rows_columns_and_cells_and_say_so():
    values = ", ".join(f"({number}, '{'x' * 500}')" for number in range(9))
    database = build(f"CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES {values}")
    columns = f"*, x'00ff', 1e999, 9007199254740993, '', NULL, {', '.join('1234')}"
    answer = query(database, f"SELECT {columns} FROM t")
    result = first_rows(answer.names, answer.rows)
    assert (result["row_count"], result["column_count"]) == (9, 11)
    assert (len(result["rows"]), len(result["rows"][0]), len(result["columns"])) == (5, 8, 8)
    number, text, *rest = result["rows"][3]
    assert number == 3 and text == f"{'x' * 60} … (440 more characters)"
    assert rest[:5] == ["x'00ff'", "inf", "9007199254740993", "", None]
    assert len(json.dumps(result)) < 6_000


def test_long_names_are_cut_too():
    assert first_rows(("n" * 70,), [(1,)])["columns"] == ["n" * 60 + " … (10 more characters)"]


def test_no_rows_are_a_result_too():
    assert first_rows(("a",), []) == {"columns": ["a"], "rows": [], "row_count": 0, "column_count": 1}


def test_cells_of_every_engine_go_as_json():
    day = datetime.date(2024, 6, 15)
    row = (True, Decimal("1.50"), NAN, day, datetime.timedelta(hours=30), ("a", (1, None)), json_cell('{"b": 1}'))
    shown = first_rows("abcdefg", [row])["rows"][0]
    assert shown == [True, "1.50", "NaN", "2024-06-15", "1 day, 6:00:00", '["a",[1,null]]', '{"b":1}']
    assert json.loads(json.dumps(shown)) == shown
