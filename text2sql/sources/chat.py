"""Chat-format JSON Lines: `{"messages": [{"role": "system" | "user" | "assistant", "content": …}, …]}`.

The schema is the DDL found in the user's message, or else in the system's: from its first CREATE TABLE to its last
statement. The question is what the user says besides, or what follows a `### Question:` heading; the SQL is the
assistant's reply, out of its code fence if it has one. Every pair of a question and its reply is a row.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.records import read_records, split_files

# From the first CREATE TABLE to the last `)` or `;` that ends a line of the same block.
DDL = re.compile(r"CREATE\s+TABLE\b.*[);](?=\s*(?:$|\n|```))", re.IGNORECASE | re.DOTALL)
QUESTION = re.compile(r"^#+\s*(?:question|질문)\s*:?\s*\n(.*?)(?=^#+\s|\Z)", re.IGNORECASE | re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(?:#+\s.*|```\w*)$", re.MULTILINE)
FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)


def load(params: IngestParams) -> dict[str, Iterable[dict]]:
    """The rows of the file or folder at `ingest.path`. Raises UserError naming the first line that is no chat."""
    if not params.path:
        raise UserError("ingest.path: not set; give the file (or folder) of chats")
    files = split_files(params.path, params.test_path)
    return {split: rows_of(paths) for split, paths in files.items()}


def rows_of(paths: list[Path]) -> Iterator[dict]:
    for path in paths:
        for number, record in enumerate(read_records(path), 1):
            try:
                turns = [(message["role"], message["content"]) for message in record["messages"]]
            except (TypeError, KeyError) as error:
                raise UserError(f"{path}, row {number}: expected `messages`, a list of role and content") from error
            system = "\n".join(content for role, content in turns if role == "system")
            for (role, said), (next_role, reply) in pairwise(turns):
                if (role, next_role) == ("user", "assistant"):
                    context, question = parts_of(said, system)
                    yield {"id": record.get("id"), "context": context, "question": question, "answer": sql_of(reply)}


def parts_of(said: str, system: str) -> tuple[str, str]:
    """The schema and the question of a user's message."""
    ddl = DDL.search(said) or DDL.search(system)
    asked = QUESTION.search(said)
    question = asked[1] if asked else HEADING.sub("", said.replace(ddl[0], "") if ddl else said)
    return (ddl[0] if ddl else ""), question.strip()


def sql_of(reply: str) -> str:
    fenced = FENCED.search(reply)
    return (fenced[1] if fenced else reply).strip()
