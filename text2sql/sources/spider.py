"""Spider's official files or the hub's Parquet, its variants, and Spider-KO, the same questions in Korean.

`ingest.path` is the folder with `train_spider.json`, `train_others.json`, `dev.json` (or Parquet files named train…
and validation…), `tables.json` and, where it was unpacked, `database/<db_id>/<db_id>.sqlite`. The context is made from
tables.json, or where that is not there from the database, which answers the questions. Evaluation is the dev split, as
the public test split came later and apart. A variant whose questions stand in another column (Spider-Syn, Spider-DK)
names it in `ingest.columns.question`.

`spider_ko` takes its questions from huggingface-KREW/spider-ko (pinned by `ingest.revision`), or from files in the
folder whose name says `ko` (train_ko.json, dev_ko.json, spider-ko/validation.csv …), and the schemas from tables.json.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sources.records import chain_files, mapped_by, read_json_list, renamed, split_files, words_of
from text2sql.sources.schemas import database_in, ddl_of_spider, schema_of_database

KO_NAME = "huggingface-KREW/spider-ko"
FILES = {"train": ("train_spider.json", "train_others.json"), "test": ("dev.json",), "unread": ("test.json",)}


def load(params: IngestParams) -> Splits:
    """The questions of each split with their schemas. Raises UserError for a missing folder, file, or schema."""
    if not params.path:
        raise UserError("ingest.path: not set; give the folder with Spider's tables.json")
    folder = Path(params.path)
    tables = folder / "tables.json"
    if not tables.is_file() and not (folder / "database").is_dir():
        raise UserError(f"{tables}: no such file, and no folder database/ beside it; one of them brings the schemas")
    schemas = schemas_of(tables) if tables.is_file() else {}
    if params.source == "spider_ko":
        records, question = korean_records(folder, params), "question_ko"
    else:
        records, question = english_records(folder), "question"
    columns = {"db_id": "db_id", "question": question, "answer": "query"} | mapped_by(params)
    return {
        split: rows_of(found, columns, schemas, folder / "database", f"{folder} ({split})")
        for split, found in records.items()
    }


def schemas_of(tables: Path) -> dict[str, str]:
    """From each database's name to its DDL, by a file in the form of Spider's tables.json."""
    return {schema["db_id"]: ddl_of_spider(schema) for schema in read_json_list(tables)}


def english_records(folder: Path) -> Splits:
    files = {split: [folder / name for name in names if (folder / name).is_file()] for split, names in FILES.items()}
    if not files["train"] and not files["test"]:
        parquet = {
            split: [path for path in paths if path.suffix == ".parquet"]
            for split, paths in split_files(folder).items()
            if any(folder.rglob("*.parquet"))
        }
        if not any(parquet.values()):
            raise UserError(
                f"{folder}: holds none of {', '.join(FILES['train'] + FILES['test'])}, and no Parquet files named "
                "train… or validation…; unpack Spider there"
            )
        files = parquet
    return {"train": chain_files(files["train"]), "test": chain_files(files["test"], files["unread"])}


def korean_records(folder: Path, params: IngestParams) -> Splits:
    korean = {
        split: [path for path in paths if "ko" in words_of(path.relative_to(folder))]
        for split, paths in split_files(folder).items()
    }
    if any(korean.values()):
        return {"train": chain_files(korean["train"]), "test": chain_files(korean["test"], korean["unread"])}
    from text2sql.sources.hub import from_hub  # loads the hub's client, which takes seconds

    return from_hub(KO_NAME, params.config, params.revision)


def rows_of(
    records: Iterable[dict | LeftOut],
    columns: Mapping[str, str | None],
    schemas: Mapping[str, str],
    databases: Path,
    source: str,
) -> Iterator[dict | LeftOut]:
    """The questions with the schema and, where it is there, the SQLite file of their database.

    schemas: DDL by database; databases: the folder of the SQLite files. Raises UserError naming a row whose database
    is in neither.
    """
    schema_in = cache(schema_of_database)
    needed = [name for name in ("db_id", "question", "answer") if columns[name]]
    for number, row in enumerate(renamed(records, columns, source, needed), 1):
        if isinstance(row, LeftOut):
            yield row
            continue
        name = row["db_id"]
        database = database_in(databases, name) if name else None
        if name not in schemas and database is None:
            raise UserError(f"{source}, row {number}: database {name!r} is not in tables.json; add its schema")
        yield row | {
            "context": schemas[name] if name in schemas else schema_in(str(database)),
            "database": str(database) if database else None,
        }
