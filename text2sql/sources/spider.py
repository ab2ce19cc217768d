"""Spider's official files, and Spider-KO, the same questions in Korean.

`ingest.path` is the folder with `tables.json`, `train_spider.json`, `train_others.json`, `dev.json` and, where it was
unpacked, `database/<db_id>/<db_id>.sqlite`. The context is made from tables.json; the database, where it is there,
answers the questions. Evaluation is the dev split, as the public test split came later and apart.

`spider_ko` takes its questions from huggingface-KREW/spider-ko (pinned by `ingest.revision`), or from files in the
folder whose name says `ko` (train_ko.json, dev_ko.json, spider-ko/validation.csv …), and the schemas from tables.json.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.records import (
    chain_files,
    read_json_list,
    renamed,
    split_files,
    words_of,
)
from text2sql.sources.schemas import ddl_of_spider

KO_NAME = "huggingface-KREW/spider-ko"
FILES = {"train": ("train_spider.json", "train_others.json"), "test": ("dev.json",)}


def load(params: IngestParams) -> dict[str, Iterable[dict]]:
    """The questions of each split with their schemas. Raises UserError for a missing folder, file, or schema."""
    if not params.path:
        raise UserError("ingest.path: not set; give the folder with Spider's tables.json")
    folder = Path(params.path)
    tables = folder / "tables.json"
    schemas = {schema["db_id"]: ddl_of_spider(schema) for schema in read_json_list(tables)}
    if params.source == "spider_ko":
        records, question = korean_records(folder, params), "question_ko"
    else:
        files = {
            split: [folder / name for name in names if (folder / name).is_file()] for split, names in FILES.items()
        }
        if not any(files.values()):
            raise UserError(f"{folder}: holds none of {', '.join(sum(FILES.values(), ()))}; unpack Spider there")
        records, question = {split: chain_files(paths) for split, paths in files.items()}, "question"
    return {split: rows_of(found, question, schemas, folder, split) for split, found in records.items()}


def korean_records(folder: Path, params: IngestParams) -> dict[str, Iterable[dict]]:
    korean = {
        split: [path for path in paths if "ko" in words_of(path.relative_to(folder))]
        for split, paths in split_files(folder).items()
    }
    if any(korean.values()):
        return {split: chain_files(paths) for split, paths in korean.items()}
    from text2sql.sources.hub import from_hub  # loads the hub's client, which takes seconds

    return from_hub(KO_NAME, params.config, params.revision)


def rows_of(
    records: Iterable[dict], question: str, schemas: dict[str, str], folder: Path, split: str
) -> Iterator[dict]:
    columns = {"db_id": "db_id", "question": question, "answer": "query"}
    for number, row in enumerate(renamed(records, columns, f"{folder} ({split})", columns), 1):
        name = row["db_id"]
        if name not in schemas:
            raise UserError(
                f"{folder} ({split}), row {number}: database {name!r} is not in tables.json; add its schema"
            )
        database = folder / "database" / name / f"{name}.sqlite"
        yield row | {"context": schemas[name], "database": str(database) if database.is_file() else None}
