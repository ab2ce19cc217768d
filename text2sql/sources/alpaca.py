"""Alpaca's records: `{"instruction": …, "input": …, "output": SQL}`, as JSON or JSON Lines.

The schema is the DDL in the input, or else in the instruction. The question is what the input says besides, with or
without SQL's comment marks, or else what the instruction says.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.chat import parts_of, sql_of
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sources.records import read_records, split_files, unread


def load(params: IngestParams) -> Splits:
    """The rows of the file or folder at `ingest.path`. Raises UserError naming the first row of another form."""
    if not params.path:
        raise UserError("ingest.path: not set; give the file (or folder) with instruction, input and output")
    files = split_files(params.path, params.test_path)
    return {"train": rows_of(files["train"]), "test": rows_of(files["test"], files["unread"])}


def rows_of(paths: list[Path], left_out: Iterable[Path] = ()) -> Iterator[dict | LeftOut]:
    for path in paths:
        for number, record in enumerate(read_records(path), 1):
            texts = [record.get(name) or "" for name in ("instruction", "input", "output")]
            if "instruction" not in record or "output" not in record or not all(isinstance(t, str) for t in texts):
                raise UserError(f"{path}, row {number}: expected the texts `instruction`, `input` and `output`")
            instruction, given, output = texts
            context, question = parts_of(given, instruction)
            if not question:
                question = parts_of(instruction, "")[1]
            yield {"id": record.get("id"), "context": context, "question": question, "answer": sql_of(output)}
    yield from unread(left_out)
