"""AI Hub's NL2SQL data: JSON files of Korean questions, and schema files in the form of Spider's tables.json.

`ingest.path` is the unpacked folder, however deep: a file whose `data` has `utterance` and `query` holds questions, one
whose `data` has `table_names_original` holds schemas. Files under Training (TL…) train, those under Validation (VL…)
evaluate. A database file of the schema's name anywhere in the folder (SEOUL_1.sqlite, .db) answers its questions.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.left_out import Splits
from text2sql.sources.records import mapped_by, read_json_list, renamed, split_of
from text2sql.sources.schemas import DATABASES, ddl_of_spider

COLUMNS = {"db_id": "db_id", "question": "utterance", "answer": "query"}


def load(params: IngestParams) -> Splits:
    """The questions of both splits with their schemas. Raises UserError for what is missing or broken."""
    if not params.path:
        raise UserError("ingest.path: not set; give the folder with AI Hub's NL2SQL files")
    folder = Path(params.path)
    databases = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix in DATABASES}
    schemas: dict[str, str] = {}
    questions: dict[str, list[Path]] = {"train": [], "test": []}
    for path in sorted(folder.rglob("*.json")):
        records = read_json_list(path)
        if not records:
            raise UserError(f"{path}: holds no rows; give a file with at least one")
        if "table_names_original" in records[0]:
            schemas |= {schema["db_id"]: ddl_of_spider(schema) for schema in records}
        elif "utterance" in records[0]:
            questions["test" if split_of(path.relative_to(folder)) in ("validation", "test") else "train"].append(path)
    if not any(questions.values()):
        raise UserError(f"{folder}: no JSON file with AI Hub's `data: [{{db_id, utterance, query, …}}]`")
    columns = COLUMNS | mapped_by(params)
    return {split: rows_of(paths, columns, schemas, databases) for split, paths in questions.items()}


def rows_of(
    paths: list[Path], columns: Mapping[str, str | None], schemas: Mapping[str, str], databases: Mapping[str, Path]
) -> Iterator[dict]:
    for path in paths:
        records = read_json_list(path)
        for number, (record, row) in enumerate(
            zip(records, renamed(records, columns, str(path), columns), strict=True), 1
        ):
            if row["db_id"] not in schemas:
                raise UserError(f"{path}, row {number}: no schema file describes database {row['db_id']!r}; add it")
            database = databases.get(row["db_id"])
            yield row | {
                "id": record.get("utterance_id"),
                "context": schemas[row["db_id"]],
                "database": str(database) if database else None,
            }
