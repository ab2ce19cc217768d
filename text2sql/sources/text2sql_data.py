"""The JSON format of jkkummerfeld/text2sql-data (GeoQuery, ATIS, Advising …), with the filled database beside it.

`ingest.path` is `<name>.json`; `<name>.sqlite` in the same folder (or `ingest.database`) answers the questions. An
entry is a query with variables and all the sentences that ask it: each sentence becomes a row, with its values put into
its text and into the entry's equivalent queries, of which the first is the gold and the others are as right.
`ingest.config` says which of the two published splits holds rows out: `question` (default: known queries with other
words and values) or `query` (queries unseen in training).
The small sets come in ten folds instead: `question:3` holds fold 3 out; without a number all their rows are read as
training rows, and `select` holds queries out. Rows of other splits (dev, exclude) are left out and counted.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sources.records import read_json_list
from text2sql.sources.schemas import schema_of_database

SPLITS = ("question", "query")


def load(params: IngestParams) -> Splits:
    """The train and test rows; dev stays unread. Raises UserError for a missing file or an entry of another format."""
    if not params.path:
        raise UserError("ingest.path: not set; give the data set's JSON file")
    kind, _, fold = (params.config or "question").partition(":")
    if kind not in SPLITS:
        raise UserError(
            f"ingest.config: {params.config!r} is no split of this format; choose one of {', '.join(SPLITS)}"
        )
    path = Path(params.path)
    entries = read_json_list(path)
    database = Path(params.database) if params.database else path.with_suffix(".sqlite")
    schema = schema_of_database(database)
    by = f"{kind}-split"
    folds = folds_of(entries, by)
    if fold and fold not in folds:
        raise UserError(
            f"ingest.config: {path} has no fold {fold!r} by {by}; "
            + (f"there are {', '.join(folds)}" if folds else "it comes in train, dev and test: leave the number out")
        )
    sides = {fold: "test"} if fold else {}
    sides = {name: sides.get(name, "train") for name in folds} or {"train": "train", "test": "test"}
    return {split: rows_of(entries, path, database, schema, by, split, sides) for split in ("train", "test")}


def folds_of(entries: list[dict], by: str) -> list[str]:
    """The names of the folds of a set that comes in folds; none for one that comes in train, dev and test."""
    named = {str(entry.get(by)) for entry in entries}
    named |= {str(sentence.get(by)) for entry in entries for sentence in entry.get("sentences", ())}
    return sorted((name for name in named if name.isdecimal()), key=int)


def rows_of(
    entries: list[dict],
    path: Path,
    database: Path,
    schema: str,
    by: str,
    split: str,
    sides: Mapping[str, str] = MappingProxyType({"train": "train", "test": "test"}),
) -> Iterator[dict | LeftOut]:
    """The rows of a split; sides: from each name in the column `by` to the split that its rows belong to."""
    for number, entry in enumerate(entries, 1):
        try:
            examples = {variable["name"]: variable["example"] for variable in entry["variables"]}
            for sentence in entry["sentences"]:
                name = str((sentence if by == "question-split" else entry)[by])
                if name not in sides and split == "train":
                    yield LeftOut(f"its {by} is {name}")
                elif sides.get(name) == split:
                    values = examples | sentence["variables"]
                    yield {
                        "db_id": path.stem,
                        "context": schema,
                        "question": filled(sentence["text"], values),
                        "answer": filled(entry["sql"][0], values),
                        "alternatives": [filled(sql, values) for sql in entry["sql"][1:]],
                        "database": str(database),
                    }
        except (KeyError, TypeError, IndexError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}, entry {number}: does not fit the format of text2sql-data ({problem})") from error


def filled(text: str, values: dict[str, str]) -> str:
    """The text with every variable replaced by its value, longer names first (state_name10 before state_name1)."""
    for name in sorted(values, key=len, reverse=True):
        text = text.replace(name, values[name])
    return text
