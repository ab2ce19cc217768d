"""Chats as JSON Lines: `{"messages": [{"role": "system" | "user" | "assistant", "content": …}, …]}`, or ShareGPT's
`{"conversations": [{"from": "system" | "human" | "gpt", "value": …}, …]}`.

The schema is the DDL found in the user's message, or else in the system's: from its first CREATE TABLE to its last
statement. The question is what the user says besides, or what follows a `### Question:` heading; the SQL is the
assistant's reply, out of its code fence if it has one. The first question of a chat with its reply is a row, and so is
a later one that brings its own schema; any other later turn means what it means by the turns before it, which a
question here does not carry, and is left out and counted.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from text2sql.base.errors import UserError
from text2sql.base.params import IngestParams
from text2sql.sources.left_out import LeftOut, Splits
from text2sql.sources.records import read_records, split_files, unread

# From the first CREATE TABLE to the last `)` or `;` that ends a line of the same block, or else to the last `;`.
DDL = re.compile(r"CREATE\s+TABLE\b(?:.*[);](?=\s*(?:$|\n|```))|.*;)", re.IGNORECASE | re.DOTALL)
QUESTION = re.compile(r"^#+\s*(?:question|질문)\s*:?\s*\n(.*?)(?=^#+\s|\Z)", re.IGNORECASE | re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(?:#+\s.*|```\w*)$", re.MULTILINE)
FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
COMMENT = re.compile(r"^\s*--[^\S\n]*", re.MULTILINE)
ROLES = {
    "developer": "system",
    "human": "user",
    **dict.fromkeys(("gpt", "model", "bot", "chatgpt"), "assistant"),
}


def load(params: IngestParams) -> Splits:
    """The rows of the file or folder at `ingest.path`. Raises UserError naming the first line that is no chat."""
    if not params.path:
        raise UserError("ingest.path: not set; give the file (or folder) of chats")
    files = split_files(params.path, params.test_path)
    return {"train": rows_of(files["train"]), "test": rows_of(files["test"], files["unread"])}


def rows_of(paths: list[Path], left_out: Iterable[Path] = ()) -> Iterator[dict | LeftOut]:
    for path in paths:
        for number, record in enumerate(read_records(path), 1):
            yield from rows_of_chat(turns_of(record, f"{path}, row {number}"), record.get("id"))
    yield from unread(left_out)


def turns_of(record: dict, where: str) -> list[tuple[str, str]]:
    """Who says what, in turn: messages of one role behind one another are one turn, one without content says nothing.

    Raises UserError for what is no chat.
    """
    shared = "conversations" in record
    who, what = ("from", "value") if shared else ("role", "content")
    try:
        messages = record["conversations" if shared else "messages"]
        said = [(ROLES.get(message[who], message[who]), text_in(message[what])) for message in messages]
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{where}: expected `messages`, a list of role and content (or `conversations`, of from and value)"
        ) from error
    if not all(isinstance(text, str) for turn in said for text in turn):
        raise UserError(f"{where}: a message's content is no text; give it as one string")
    turns = groupby(said, key=lambda message: message[0])
    return [(role, "\n".join(content for _, content in messages)) for role, messages in turns]


def text_in(content: Any) -> Any:
    """A message's content, whose parts may be listed as `{"type": "text", "text": …}`."""
    if isinstance(content, list) and all(isinstance(part, dict) and "text" in part for part in content):
        return "\n".join(part["text"] for part in content)
    return content or ""


def rows_of_chat(turns: list[tuple[str, str]], id: object) -> Iterator[dict | LeftOut]:
    system = "\n".join(content for role, content in turns if role == "system")
    asked = [(said, reply) for (role, said), (by, reply) in pairwise(turns) if (role, by) == ("user", "assistant")]
    if not asked:
        yield LeftOut("a chat without a question and its reply")
    earlier = False
    for said, reply in asked:
        if earlier and not DDL.search(said):
            yield LeftOut("a later turn of a chat, which needs the turns before it")
            continue
        context, question = parts_of(said, system)
        yield {"id": id, "context": context, "question": question, "answer": sql_of(reply)}
        earlier = True


def parts_of(said: str, system: str) -> tuple[str, str]:
    """The schema and the question of a user's message."""
    ddl = DDL.search(said) or DDL.search(system)
    asked = QUESTION.search(said)
    question = asked[1] if asked else HEADING.sub("", said.replace(ddl[0], "") if ddl else said)
    return (ddl[0] if ddl else ""), COMMENT.sub("", question).strip()


def sql_of(reply: str) -> str:
    fenced = FENCED.search(reply)
    return (fenced[1] if fenced else reply).strip()
