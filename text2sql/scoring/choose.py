"""Which of several candidate queries to believe: the one whose result most of them agree on.

An empty result says little: every wrong name or value gives the same one. So it is believed only where no candidate
finds anything, as in execution-guided decoding (Wang et al., 2018, arXiv:1807.03100). docs/arms.md has what that
brings.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from text2sql.engines.sqlite import Answer, Failure
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold, plan
from text2sql.scoring.matching import Slice


def choose(queries: Sequence[str], answers: Sequence[Answer | Failure], dialect: str | None = None) -> tuple[int, int]:
    """(place of the chosen candidate, how many candidates have its result; 0 where that is empty).

    dialect: of the queries; None is SQLite. Results are compared as in scoring: as bags of rows, in order where the
    query sorts. Failures have no vote, nor have empty results beside others. Of equally large groups the one with the
    earliest candidate wins; without any result it is the first candidate, (0, 0).
    """
    groups: list[list[int]] = []
    for place, answer in enumerate(answers):
        if isinstance(answer, Failure):
            continue
        for group in groups:
            if same(queries[group[0]], answers[group[0]], answer, dialect):  # type: ignore[arg-type]
                group.append(place)
                break
        else:
            groups.append([place])
    found = [group for group in groups if not empty(answers[group[0]])]  # type: ignore[arg-type]
    largest = max(found or groups, key=len, default=[])
    return (largest[0] if largest else 0, len(largest) if found else 0)


def empty(answer: Answer) -> bool:
    """Whether a result has no row, or nothing but NULL, as the maximum of no rows is."""
    return all(cell is None for row in answer.rows for cell in row)


def same(query: str, answer: Answer, other: Answer, dialect: str | None) -> bool:
    """Whether another answer is the query's own answer."""
    expected = comparable(answer)
    slices = (
        [Slice([row], 1) for row in expected.rows]
        if plan(query, dialect).order
        else [Slice(expected.rows, len(expected.rows))]
    )
    return compare(Gold(expected, slices), comparable(other)).ex


def comparable(answer: Answer) -> Answer:
    """The answer with the servers' own types as SQLite's."""
    return Answer(answer.columns, [tuple(map(plain, row)) for row in answer.rows])


def plain(cell: Any) -> Any:
    if isinstance(cell, Decimal):
        return float(cell)
    return cell if cell is None or isinstance(cell, int | float | str | bytes) else str(cell)
