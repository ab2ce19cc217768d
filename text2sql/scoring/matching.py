"""Whether rows are drawn from the gold's: as a bag, within a tolerance, under one permutation of the columns."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Row = tuple[Any, ...]
TOLERANCE = 1e-9  # relative, and absolute near zero, between numbers of which at least one is not an integer
SEARCH_CELLS = 10_000_000  # cells looked at for a permutation of columns before two answers are called different


@dataclass(frozen=True)
class Slice:
    """Part of an answer: any `take` of these rows, in any order."""

    rows: list[Row]
    take: int


def fits(slices: Sequence[Slice], rows: list[Row]) -> bool:
    """Whether the rows, in their order, are one of the gold's legal answers. Their number is the gold's."""
    start = 0
    for part in slices:
        if not _drawn_from(part.rows, rows[start : start + part.take]):
            return False
        start += part.take
    return start == len(rows)


def _drawn_from(pool: list[Row], rows: list[Row]) -> bool:
    """Whether each of the rows equals a different row of the pool (P4, P6, P7)."""
    # Python's equality of tuples is exact on cells: 1 == 1.0 == Decimal(1), inf == inf, but 1 != '1' != b'1' != None.
    if not Counter(rows) - Counter(pool):
        return True
    if not any(isinstance(cell, float) for row in (*pool, *rows) for cell in row):
        return False
    return _drawn_within_tolerance(pool, rows)


def _drawn_within_tolerance(pool: list[Row], rows: list[Row]) -> bool:
    """Bipartite matching of rows to pool rows that are equal within tolerance.

    Being close is not transitive, so that counting rounded values would be wrong at some border. Rows are divided by
    their exact cells, then each is tried with those that are near it in the most varied inexact column.
    """
    width = len(rows[0])
    inexact = [i for i in range(width) if any(isinstance(row[i], float) for row in (*pool, *rows))]

    def exact_part(row: Row) -> Row:
        return tuple(("number",) if i in inexact and _number(cell) else cell for i, cell in enumerate(row))

    parts: dict[Row, tuple[list[Row], list[Row]]] = {}
    for row in pool:
        parts.setdefault(exact_part(row), ([], []))[0].append(row)
    for row in rows:
        parts.setdefault(exact_part(row), ([], []))[1].append(row)
    return all(_matched(own, wanted) for own, wanted in parts.values() if wanted)


def _matched(pool: list[Row], rows: list[Row]) -> bool:
    """Whether every row can be given a pool row of its own that is close to it. All agree in their exact cells."""
    if len(pool) < len(rows):
        return False
    numeric = [i for i, cell in enumerate(rows[0]) if _number(cell)]
    if not numeric:
        return True
    if len(pool) == len(rows):  # in nearly all cases sorting pairs them
        ordered = [sorted(table, key=lambda row: [row[i] for i in numeric]) for table in (pool, rows)]
        if all(map(_close_rows, *ordered)):
            return True
    varied = max(numeric, key=lambda i: len({row[i] for row in pool}))
    pool = sorted(pool, key=lambda row: row[varied])
    keys = [row[varied] for row in pool]
    near = [[i for i in _window(keys, row[varied]) if _close_rows(pool[i], row)] for row in rows]
    return _saturating(near)


def _window(keys: list, number: float) -> range:
    """The places in sorted keys that may be close to the number."""
    number = float(number)
    slack = 0 if math.isinf(number) else 2 * TOLERANCE * max(1.0, abs(number))
    return range(bisect_left(keys, number - slack), bisect_right(keys, number + slack))


def _saturating(near: list[list[int]]) -> bool:
    """Whether every left node can be matched to one of its neighbours, all different (augmenting paths)."""
    owner: dict[int, int] = {}
    for start in range(len(near)):
        came_from: dict[int, int | None] = {}  # right node -> right node from whose owner it was reached
        queue: list[tuple[int, int | None]] = [(start, None)]
        free = None
        for left, previous in queue:
            for right in near[left]:
                if right in came_from:
                    continue
                came_from[right] = previous
                if right not in owner:
                    free = right
                    break
                queue.append((owner[right], right))
            if free is not None:
                break
        if free is None:
            return False
        while free is not None:
            previous = came_from[free]
            owner[free] = start if previous is None else owner[previous]
            free = previous
    return True


def _close_rows(a: Row, b: Row) -> bool:
    return all(map(_close, a, b))


def _close(a: Any, b: Any) -> bool:
    """Whether two cells are one value: numbers within TOLERANCE if one of them is a float, all else exactly."""
    if isinstance(a, float) or isinstance(b, float):
        return _number(a) and _number(b) and math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return a == b and (type(a) is type(b) or (_number(a) and _number(b)))


def _number(cell: Any) -> bool:
    return isinstance(cell, (int, float, Decimal))


def fits_permuted(slices: Sequence[Slice], rows: list[Row]) -> bool:
    """Whether the rows are a legal answer with their columns in some other order.

    Columns are assigned one after the other; an assignment is given up as soon as the rows cut down to the columns
    assigned so far cannot be drawn from the gold's. Columns that are equal throughout are tried once. Inexact numbers
    take part as classes of close values, and a whole assignment is then checked in earnest.
    """
    if not rows:
        return True
    classes = _Classes([row for part in slices for row in part.rows], rows)
    wanted = [(number, tuple(map(classes, row))) for number, part in enumerate(slices) for row in part.rows]
    given = [
        (number, tuple(map(classes, row)))
        for number, row in zip((n for n, part in enumerate(slices) for _ in range(part.take)), rows, strict=True)
    ]
    width = len(rows[0])
    wanted_columns = [[row[i] for _, row in wanted] for i in range(width)]
    given_columns = [tuple(row[i] for _, row in given) for i in range(width)]
    # Telling columns first: they leave the fewest ways to go on.
    order = sorted(range(width), key=lambda i: -len(set(wanted_columns[i])))
    cells = 0

    def search(depth: int, wanted_ids: list[int], given_ids: list[int], chosen: list[int]) -> bool:
        nonlocal cells
        if depth == width:
            return not classes.inexact or fits(slices, _permuted(rows, order, chosen))
        ids: dict[tuple[int, Any], int] = {}
        column = wanted_columns[order[depth]]
        extended = [ids.setdefault(pair, len(ids)) for pair in zip(wanted_ids, column, strict=True)]
        counts = Counter(extended)
        for values in dict.fromkeys(given_columns[i] for i in range(width) if i not in chosen):
            cells += len(values)
            if cells > SEARCH_CELLS:
                return False
            pairs = [ids.get(pair, -1) for pair in zip(given_ids, values, strict=True)]
            if -1 in pairs or Counter(pairs) - counts:
                continue
            candidate = next(i for i in range(width) if i not in chosen and given_columns[i] == values)
            if search(depth + 1, extended, pairs, [*chosen, candidate]):
                return True
        return False

    return search(0, [number for number, _ in wanted], [number for number, _ in given], [])


def _permuted(rows: list[Row], order: list[int], chosen: list[int]) -> list[Row]:
    """The rows with their column chosen[k] at place order[k]."""
    source = [chosen[order.index(place)] for place in range(len(order))]
    return [tuple(row[i] for i in source) for row in rows]


class _Classes:
    """Maps cells to classes: cells that are one value share a class (close numbers may share one needlessly)."""

    def __init__(self, *tables: list[Row]) -> None:
        numbers = sorted({c for rows in tables for row in rows for c in row if _number(c)})
        self.inexact = any(isinstance(number, float) for number in numbers)
        self.classes: dict[Any, Any] = {}
        if not self.inexact:
            return
        representative = None
        previous = None
        for number in numbers:
            if previous is None or not math.isclose(previous, number, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                representative = number
            self.classes[number] = representative
            previous = number

    def __call__(self, cell: Any) -> Any:
        return self.classes.get(cell, cell) if _number(cell) else cell
