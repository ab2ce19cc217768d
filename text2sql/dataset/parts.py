"""The two parts of the evaluation: on the tuning part runs are ranked, on the test part the chosen one is judged.

With `select.tuning: 0.0` all questions are the test part.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

Part = Literal["test", "tuning"]


def places_by_part(rows: Sequence[Mapping], selection: Mapping) -> dict[Part, list[int]]:
    """The places of the evaluation rows (key id) in each part, the tuning part only where there is one.

    selection: data/selection.json.
    """
    tuning = set(selection.get("tuning", {}).get("ids", ()))
    places: dict[Part, list[int]] = {"test": [place for place, row in enumerate(rows) if row["id"] not in tuning]}
    if tuning:
        places["tuning"] = [place for place, row in enumerate(rows) if row["id"] in tuning]
    return places


def judged_sizes(rows: Sequence[Mapping], databases: Sequence[str], selection: Mapping) -> list[int]:
    """How many questions each database of the test part has. rows: as `places_by_part` takes them; databases: of each,
    by `clusters.databases_of`."""
    return list(Counter(databases[place] for place in places_by_part(rows, selection)["test"]).values())
