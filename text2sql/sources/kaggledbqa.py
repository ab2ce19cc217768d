"""KaggleDBQA: questions on real databases of Kaggle, in Spider's form.

`ingest.path` is its folder: `examples/<db_id>_fewshot.json` trains, `examples/<db_id>_test.json` evaluates,
`KaggleDBQA_tables.json` describes the schemas, and `databases/<db_id>/<db_id>.sqlite`, where it was unpacked, answers.
`examples/<db_id>.json` holds the rows of both once more, and is not read.
"""

from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.left_out import Splits
from text2sql.sources.records import chain_files, mapped_by
from text2sql.sources.spider import rows_of, schemas_of

COLUMNS = {"db_id": "db_id", "question": "question", "answer": "query"}


def load(params: IngestParams) -> Splits:
    """Few-shot examples to train on, test questions to evaluate with. Raises UserError for what is missing."""
    if not params.path:
        raise UserError("ingest.path: not set; give the folder with KaggleDBQA_tables.json and examples/")
    folder = Path(params.path)
    schemas = schemas_of(folder / "KaggleDBQA_tables.json")
    files = {
        split: sorted((folder / "examples").glob(f"*_{name}.json"))
        for split, name in (("train", "fewshot"), ("test", "test"))
    }
    if not any(files.values()):
        raise UserError(f"{folder / 'examples'}: holds no …_fewshot.json or …_test.json; unpack KaggleDBQA there")
    columns = COLUMNS | mapped_by(params)
    return {
        split: rows_of(chain_files(paths), columns, schemas, folder / "databases", f"{folder} ({split})")
        for split, paths in files.items()
    }
