"""Means and rounding as the metrics files have them."""

from typing import Any


def mean(values: Any) -> float:
    """The mean of numbers or booleans, of which there is at least one."""
    values = list(values)
    return sum(values) / len(values)


def rounded(value: float | None) -> float | None:
    """To the 6 digits that metrics files hold (four, shown as percent, would be rounded twice); None stays."""
    return None if value is None else round(value, 6)
