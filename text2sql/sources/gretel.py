"""gretelai/synthetic_text_to_sql: 105,851 generated questions over 100 domains, 5,851 of them its test split.

From the hub at a pinned commit, or from the local copy of its Parquet files at `ingest.path`. Its INSERTs stand in the
context; about half the rows do not survive `validate`.
"""

from text2sql.base.params import IngestParams
from text2sql.sources.left_out import Splits
from text2sql.sources.records import local_or_hub, mapped_by, renamed

NAME = "gretelai/synthetic_text_to_sql"
REVISION = "740ab236e64503fba51be1101df7a1be83bf455d"
COLUMNS = {
    "id": "id",
    "domain": "domain",
    "complexity": "sql_complexity",
    "question": "sql_prompt",
    "context": "sql_context",
    "answer": "sql",
}


def load(params: IngestParams) -> Splits:
    """Its train and test split. Raises UserError when neither hub, cache nor `ingest.path` has them."""
    splits = local_or_hub(NAME, params, REVISION)
    columns = COLUMNS | mapped_by(params)
    return {split: renamed(records, columns, f"{NAME} ({split})", columns) for split, records in splits.items()}
