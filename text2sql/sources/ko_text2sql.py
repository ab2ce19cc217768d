"""shangrilar/ko_text2sql: Korean questions on MySQL schemas; `ingest.config` is `origin` (default) or `clean`.

From the hub at the commit in `ingest.revision`, or from a local copy at `ingest.path`. Its test split asks about the
game database (db_id 1), so the training rows of that database are left out and counted, by the number or, where a row
has none, by their tables.
"""

from text2sql.base.params import IngestParams
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sources.records import local_or_hub, mapped_by, renamed
from text2sql.sources.schemas import name_of_schema

NAME = "shangrilar/ko_text2sql"
COLUMNS = {name: name for name in ("db_id", "context", "question", "answer")}
HELD_OUT = "1"


def load(params: IngestParams) -> Splits:
    """Training rows of every database but the held-out one, and the test split. Raises UserError as the hub does."""
    splits = local_or_hub(NAME, params, None, config="origin")
    columns = COLUMNS | mapped_by(params)
    rows = {split: renamed(records, columns, f"{NAME} ({split})", columns) for split, records in splits.items()}
    test = [row if isinstance(row, LeftOut) else row | dialect_of(params) for row in rows["test"]]
    tables = {name_of_schema(row["context"] or "") for row in test if not isinstance(row, LeftOut)}
    return {"train": (held_out(row, tables) or row | dialect_of(params) for row in rows["train"]), "test": test}


def dialect_of(params: IngestParams) -> dict[str, str]:
    return {"dialect": params.dialect or "mysql"}


def held_out(row: dict, tables: set[str]) -> LeftOut | None:
    """Why a training row is left out; `tables` are those of the test split's contexts, as one name each."""
    if isinstance(row, LeftOut):
        return row
    if row["db_id"] == HELD_OUT or (not row["db_id"] and name_of_schema(row["context"] or "") in tables):
        return LeftOut("about the game database, which the test split asks about")
    return None
