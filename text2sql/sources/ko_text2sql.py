"""shangrilar/ko_text2sql: Korean questions on MySQL schemas; `ingest.config` is `origin` (default) or `clean`.

From the hub at the commit in `ingest.revision`, or from a local copy at `ingest.path`. Its test split asks about the
game database (db_id 1), so the training rows of that database are left out.
"""

from collections.abc import Iterable

from text2sql.base.params import IngestParams
from text2sql.sources.records import local_or_hub, renamed

NAME = "shangrilar/ko_text2sql"
COLUMNS = {name: name for name in ("db_id", "context", "question", "answer")}
HELD_OUT = "1"


def load(params: IngestParams) -> dict[str, Iterable[dict]]:
    """Training rows of every database but the held-out one, and the test split. Raises UserError as the hub does."""
    splits = local_or_hub(NAME, params, None, config="origin")
    rows = {split: renamed(records, COLUMNS, f"{NAME} ({split})", COLUMNS) for split, records in splits.items()}
    dialect = {"dialect": params.dialect or "mysql"}
    return {
        "train": (row | dialect for row in rows["train"] if row["db_id"] != HELD_OUT),
        "test": (row | dialect for row in rows["test"]),
    }
