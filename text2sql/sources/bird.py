"""BIRD and its mini-dev: questions with the evidence that their asker knows, on databases with rows.

`ingest.path` is the folder as it was unpacked, however deep: `train.json` and `dev.json` (or mini-dev's
`mini_dev_sqlite.json`), beside each `…_tables.json` and `…_databases/<db_id>/<db_id>.sqlite`. Mini-dev has its golds in
three dialects, of which `ingest.dialect` takes one: sqlite (default), mysql or postgres. The evidence becomes `notes`.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sources.records import mapped_by, read_records
from text2sql.sources.spider import rows_of, schemas_of
from text2sql.sql.dialect_names import dialect_name

COLUMNS = {"id": "question_id", "db_id": "db_id", "question": "question", "answer": "SQL", "notes": "evidence"}
FILES = {"train": ("train.json",), "test": ("dev.json", "mini_dev_{0}.json", "mini_dev_{0}.jsonl")}
MINI_DEV = {"sqlite": "sqlite", "mysql": "mysql", "postgres": "postgresql"}  # how its files name the dialects


def load(params: IngestParams) -> Splits:
    """The questions of train and dev with their schemas. Raises UserError for a missing folder, file, or schema."""
    if not params.path:
        raise UserError("ingest.path: not set; give the folder with BIRD's train.json or dev.json")
    folder = Path(params.path)
    dialect = MINI_DEV.get(dialect_name(params.dialect or "sqlite"))
    if dialect is None:
        raise UserError(f"ingest.dialect: BIRD has no {params.dialect}; choose one of {', '.join(MINI_DEV)}")
    files = {
        split: [path for name in names for path in sorted(folder.rglob(name.format(dialect)))]
        for split, names in FILES.items()
    }
    if not any(files.values()):
        raise UserError(f"{folder}: holds no train.json, dev.json or mini_dev_{dialect}.json; unpack BIRD there")
    return {split: chain.from_iterable(rows_in(path, params) for path in paths) for split, paths in files.items()}


def rows_in(path: Path, params: IngestParams) -> Iterator[dict | LeftOut]:
    """The rows of one file of questions, with the schemas and databases beside it, first those of its name."""
    beside, named = path.parent, path.stem.split("_")

    def is_other(found: Path) -> bool:
        return found.name.split("_")[0] not in named

    tables = sorted(sorted(beside.glob("*tables.json")), key=is_other)
    folders = sorted(sorted(folder for folder in beside.glob("*databases") if folder.is_dir()), key=is_other)
    schemas = {name: ddl for file in reversed(tables) for name, ddl in schemas_of(file).items()}
    databases = folders[0] if folders else beside
    return rows_of(read_records(path), COLUMNS | mapped_by(params), schemas, databases, str(path))
