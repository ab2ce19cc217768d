"""Several golds of one question: the first stands in a row's `answer`, the others in one cell, `alternatives`."""

import json
from collections.abc import Mapping, Sequence


def alternatives_in(cell: str | None) -> tuple[str, ...]:
    """The further golds that a cell holds: a JSON list of SQL, or nothing."""
    return tuple(json.loads(cell)) if cell else ()


def alternatives_cell(golds: Sequence[str]) -> str | None:
    """Further golds as a cell; null where there are none."""
    return json.dumps(list(golds), ensure_ascii=False) if golds else None


def golds_in(row: Mapping[str, str | None]) -> tuple[str, ...]:
    """All golds of a row {answer, alternatives?}, the answer first."""
    return (row["answer"] or "", *alternatives_in(row.get("alternatives")))


def golds_text(row: Mapping[str, str | None]) -> str:
    """All golds of a row as one text, for whoever reads them."""
    return "\n-- or\n".join(golds_in(row))
