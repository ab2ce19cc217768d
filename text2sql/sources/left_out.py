"""What a source does not read, so that the account of the data begins at what its files hold."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class LeftOut(NamedTuple):
    """What a source yields in the place of rows that it does not take."""

    reason: str
    rows: int = 1


Rows = Iterable[dict | LeftOut]
Splits = Mapping[str, Rows]  # `train` and `test`
