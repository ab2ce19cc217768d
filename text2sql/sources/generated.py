"""The generated data set as a source, in SQLite's dialect or in PostgreSQL's."""

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources import synthetic, synthetic_postgres
from text2sql.sources.left_out import Splits
from text2sql.sql.dialect_names import dialect_name

DRAWING = {"sqlite": synthetic.draw, "postgres": synthetic_postgres.draw}


def load(params: IngestParams) -> Splits:
    """`ingest.rows` rows of the data set that `ingest.seed` names, all to train on; `select` holds databases out.

    Raises UserError for an `ingest.dialect` that it is not made in.
    """
    dialect = dialect_name(params.dialect or "sqlite")
    if dialect not in DRAWING:
        raise UserError(f"ingest.dialect: the synthetic source writes {' or '.join(DRAWING)}, not {dialect}")
    return {"train": synthetic.rows(params.rows, params.seed, DRAWING[dialect], dialect), "test": ()}
