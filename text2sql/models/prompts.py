"""The prompt: one builder for training, evaluation and `ask`, so that all arms and all steps see the same.

The templates are the text files in `prompts/`; the completion begins right after their last line end.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, TemplateError, meta

from text2sql.base.errors import UserError
from text2sql.base.params import PromptParams
from text2sql.base.text import one_line
from text2sql.models import schema
from text2sql.models.values import values_of
from text2sql.sql.context import schema_of
from text2sql.sql.ddl import Script, Table, read_script
from text2sql.sql.reasoning import is_mark, opened_by

if TYPE_CHECKING:  # prompts are text: the model card, `ask` and the judge build them without a tokenizer
    from transformers import PreTrainedTokenizerBase

FOLDER = Path("prompts")
BREAK = "\n\n"  # between an example and what follows it, in bare text
ROLES = ("user", "assistant")
REQUIRED, OPTIONAL = {"context", "question"}, {"notes", "dialect"}  # fields of a template
# What people call the dialects, by sqlglot's names.
DIALECTS = {
    "sqlite": "SQLite", "postgres": "PostgreSQL", "mysql": "MySQL", "tsql": "T-SQL (SQL Server)", "duckdb": "DuckDB",
    "oracle": "Oracle", "bigquery": "BigQuery", "snowflake": "Snowflake", "redshift": "Redshift",
    "clickhouse": "ClickHouse", "databricks": "Databricks", "spark": "Spark SQL", "hive": "Hive", "presto": "Presto",
    "trino": "Trino", "teradata": "Teradata",
}  # fmt: skip
# The day that chat templates are told, so that the same parameters give the same prompt on every day: the one that
# Llama 3.1's own template names where it has no clock. `prompt.chat_kwargs.date_string` overrides it in such templates.
TODAY = datetime(2024, 7, 26)

Prompt = tuple[str, ...]  # what is asked and what is answered in turn, for each example; last what is to be answered


# Templates -------------------------------------------------------------------------------------------------------


def read_templates(config: PromptParams, folder: Path = FOLDER) -> dict[str, str]:
    """Language ("en", "ko") to the template that its questions get; the same one for both unless it is `auto`.

    Raises UserError for a template that is missing, has wrong fields, or lacks {dialect} where config.dialect is true.
    """
    names = {language: language if config.template == "auto" else config.template for language in ("en", "ko")}
    templates = {language: read_template(folder / f"{name}.txt") for language, name in names.items()}
    for language, template in templates.items():
        if config.dialect is True and "dialect" not in fields_of(template):
            path = folder / f"{names[language]}.txt"
            raise UserError(f"{path}: {{dialect}} is missing, which prompt.dialect asks for; add it, or set auto")
    return templates


def read_template(path: Path) -> str:
    """One template's text. Raises UserError when it is missing or its fields are not those of a prompt."""
    try:
        template = path.read_text(encoding="utf-8")
        fields = fields_of(template)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such template; fix prompt.template or write the file") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}; a brace that is meant as text is written twice") from error
    if not REQUIRED <= fields <= REQUIRED | OPTIONAL:
        may = " and ".join(f"{{{name}}}" for name in sorted(OPTIONAL))
        raise UserError(
            f"{path}: {{context}} and {{question}} must stand in braces, and nothing else, though {may} may"
        )
    return template


def fields_of(text: str) -> set[str]:
    """The names in a template's braces. Raises ValueError for a brace without its partner."""
    return {field for _, field, _, _ in Formatter().parse(text) if field is not None}


def fill(template: str, fields: Mapping[str, str]) -> str:
    """A template with its fields filled; a paragraph that has optional fields alone, all empty, is left out.

    Paragraphs stand between blank lines, so that a heading goes with its field.
    """
    given = {name: "" for name in OPTIONAL} | dict(fields)
    return "".join(part.format(**given) for part in _paragraphs(template, given))


def without_optional(template: str) -> str:
    """A template without the paragraphs of optional fields, still to be filled."""
    return "".join(_paragraphs(template, {}))


def _paragraphs(template: str, fields: Mapping[str, str]) -> list[str]:
    """The paragraphs to fill, each with the blank lines behind it."""
    found = re.findall(r".+?(?:\n{2,}|\Z)", template, re.DOTALL)
    named = [(part, fields_of(part)) for part in found]
    return [part for part, names in named if not names or names - OPTIONAL or any(fields.get(name) for name in names)]


# One row's prompt ------------------------------------------------------------------------------------------------


def build_prompt(
    row: Mapping, templates: Mapping[str, str], config: PromptParams, *, values: schema.Values | None = None
) -> str:
    """The prompt text for one row: keys context, question, language, and dialect, db_id, database, notes where known.

    A language without a template gets `en`. values: where the schema's values come from, by default the row's database
    or the INSERTs of its context. Raises UserError for notes that the template has no place for.
    """
    template = templates.get(row["language"], templates["en"])
    return fill(template, fields_for(row, template, config) | {"context": context_for(row, config, values)})


def with_examples(
    row: Mapping, examples: Sequence[Mapping], templates: Mapping[str, str], config: PromptParams
) -> Prompt:
    """The prompt for a row behind examples (training rows, the most alike first), each in the form of the row's own.

    The most alike stands last, next to the question.
    """
    return (*turns_of(examples, templates, config), build_prompt(row, templates, config))


def turns_of(examples: Sequence[Mapping], templates: Mapping[str, str], config: PromptParams) -> Prompt:
    """What stands before a row's own prompt: each example's, and its answer."""
    return tuple(text for one in reversed(examples) for text in (build_prompt(one, templates, config), one["answer"]))


def fields_for(row: Mapping, template: str, config: PromptParams) -> dict[str, str]:
    """What fills a template beside the context."""
    fields = {"question": row["question"]}
    if notes := notes_for(row, config):
        if "notes" not in fields_of(template):
            raise UserError(
                "the prompt's template has no {notes}, and rows bring some;"
                " add it to the file in prompts/, or set prompt.notes: false"
            )
        fields["notes"] = notes
    dialect = row.get("dialect") or "sqlite"
    if config.dialect is True or (config.dialect == "auto" and dialect != "sqlite"):
        fields["dialect"] = DIALECTS.get(dialect, dialect)
    return fields


def notes_for(row: Mapping, config: PromptParams) -> str:
    """What the asker knows beside the schema, where it is shown."""
    return (row.get("notes") or "").strip() if config.notes else ""


def context_for(row: Mapping, config: PromptParams, values: schema.Values | None = None) -> str:
    """What stands for {context}: the row's script, or what of its schema is to be shown."""
    if config.context == "full":
        return row["context"]
    plain = config.schema_ == "full" and config.schema_format == "ddl" and not config.values
    script = None if plain else script_of(row)
    if script is None:
        return schema_of(row["context"], row.get("dialect"))
    view = View(row, config, values)
    parts: Sequence[Table | str] = script.parts
    if config.schema_ == "cut" or config.schema_format != "ddl":
        parts = [*script.types, *view.tables(script)]
    return view.assemble(parts, [view.write(part) for part in parts])


def script_of(row: Mapping) -> Script | None:
    """The tables of a row's context; None where it cannot be read, and is shown whole: more than needed, never less."""
    try:
        return read_script(row["context"], row.get("dialect"))
    except ValueError:
        return None


class View(NamedTuple):
    """How one row's schema is shown."""

    row: Mapping
    config: PromptParams
    values: schema.Values | None

    def asked(self) -> str:
        return f"{self.row['question']} {notes_for(self.row, self.config)}"

    def tables(self, script: Script) -> list[Table]:
        """The tables to show: all, or those nearest to the question."""
        if self.config.schema_ == "full":
            return script.tables
        places = schema.nearest_places(script.tables, self.asked(), self.config.schema_tables)
        return [script.tables[place] for place in places]

    def write(self, part: Table | str, valued: bool = True) -> str:
        values = (self.values or values_of(self.row, self.config.values)) if valued and self.config.values else None
        return schema.written(part, values, self.config.schema_format)

    def assemble(self, parts: Sequence[Table | str], pieces: Sequence[str]) -> str:
        return schema.assembled(parts, pieces, self.config.schema_format, self.row.get("db_id"))


def shown_tables(row: Mapping, config: PromptParams) -> tuple[list[Table], list[Table]]:
    """(tables that the row's prompt shows, all of its schema's)."""
    script = script_of(row)
    return (View(row, config, None).tables(script), script.tables) if script else ([], [])


def fit_prompt(
    row: Mapping,
    templates: Mapping[str, str],
    config: PromptParams,
    *,
    values: schema.Values | None,
    tokens: Callable[[str], int],
    own_size: Callable[[str], int],
    room: int,
) -> tuple[str, list[str], bool]:
    """The prompt of `build_prompt`, its schema cut to a model's room; a line about each thing that was cut; and whether
    it had to be for want of room.

    tokens: length of a prompt; own_size: of a piece of one. Raises UserError where there is no room for any schema.
    """
    script = script_of(row)
    # Without values first: of a large database they are read only for the tables that are shown.
    prompt = build_prompt(row, templates, config.model_copy(update={"values": 0}))
    if script is None or tokens(prompt) <= room:
        prompt = build_prompt(row, templates, config, values=values)
    view = View(row, config, values)
    if script is None or tokens(prompt) <= room:
        shown = view.tables(script) if script else []
        names = [one_line(table.name) for table in shown]
        cut = script is not None and len(shown) < len(script.tables)
        return prompt, [schema.tables_line(names, len(script.tables))] if script and cut else [], False
    template = templates.get(row["language"], templates["en"])
    fields = fields_for(row, template, config)
    with_context = lambda context: fill(template, fields | {"context": context})  # noqa: E731
    types = script.types if config.schema_format == "ddl" else []
    context, lines = schema.fit(
        view.tables(script),
        view.asked(),
        view.write,
        lambda tables, pieces: view.assemble([*types, *tables], [*map(view.write, types), *pieces]),
        tokens=lambda context: tokens(with_context(context)),
        own_size=own_size,
        room=room,
        total=len(script.tables),
    )
    return with_context(context), lines, True


# Tokens ----------------------------------------------------------------------------------------------------------


def messages(prompt: Prompt, system: str | None = None) -> list[dict[str, str]]:
    """A prompt as the turns of a chat, behind a system message if there is one."""
    first = [{"role": "system", "content": system}] if system is not None else []
    return [*first, *({"role": ROLES[place % 2], "content": text.strip()} for place, text in enumerate(prompt))]


def bare_text(prompt: Prompt) -> str:
    """A prompt as one text: behind each example's answer stands BREAK."""
    return "".join(text + BREAK * (place % 2) for place, text in enumerate(prompt))


def prompt_ids(
    prompt: Prompt | str,
    tokenizer: "PreTrainedTokenizerBase",
    chat: bool,
    *,
    system: str | None = None,
    chat_kwargs: Mapping[str, Any] | None = None,
) -> list[int]:
    """The token ids that a prompt is for the model: as bare text, or as the turns of the model's chat template.

    A text alone is a prompt without examples. system: the message before the first turn; chat_kwargs: further variables
    for the template. A template that asks for the day is told TODAY. Raises UserError for a chat template that is
    missing or fails, or knows no such variable.
    """
    prompt = (prompt,) if isinstance(prompt, str) else prompt
    if not chat:
        ids = tokenizer(bare_text(prompt))["input_ids"]
        return ids[: len(ids) - _tail(tokenizer)]
    if tokenizer.chat_template is None:
        raise UserError("params.yaml, prompt.chat: the model has no chat template; set false, or take one that has")
    given = dict(chat_kwargs or {})
    try:
        template = tokenizer.get_chat_template()
        if given and (unknown := sorted(given.keys() - _variables(template))):
            raise UserError(
                f"params.yaml, prompt.chat_kwargs: the model's chat template reads no {', '.join(unknown)}; remove it"
            )
        stop_the_clock(template)
        return tokenizer.apply_chat_template(  # type: ignore[return-value]
            messages(prompt, system), add_generation_prompt=True, return_dict=False, **given
        )
    except (TemplateError, ValueError) as error:
        remedy = "set false" if system is None else "set prompt.system or prompt.chat to null or false"
        raise UserError(
            f"params.yaml, prompt.chat: the model's chat template fails ({one_line(error)}); {remedy}"
        ) from error


def tokenize(prompt: Prompt | str, tokenizer: "PreTrainedTokenizerBase", config: PromptParams) -> list[int]:
    """`prompt_ids` as the parameters say."""
    return prompt_ids(prompt, tokenizer, config.chat, system=config.system, chat_kwargs=config.chat_kwargs)


@lru_cache(maxsize=16)
def _tail(tokenizer: "PreTrainedTokenizerBase") -> int:
    """How many tokens of its own a tokenizer puts behind a text: an end, behind which nothing is to be written."""
    ids, own = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    first = next((at for at in range(len(ids)) if ids[at : at + len(own)] == own), None)
    if first is None:  # the text itself is read in another way beside them
        return sum(1 for _ in takewhile(set(tokenizer.all_special_ids).__contains__, reversed(ids)))
    return len(ids) - first - len(own)


@lru_cache(maxsize=16)
def _variables(template: str) -> set[str]:
    """The variables that a chat template reads and does not set itself."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"])
    text = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", template)  # transformers' own tag
    return meta.find_undeclared_variables(environment.parse(text))


def stop_the_clock(template: str) -> None:
    """Has the template's `strftime_now` tell TODAY. transformers compiles each template once and keeps it."""
    from transformers.utils.chat_template_utils import (
        _compile_jinja_template,  # seconds, and only where tokens are made
    )

    _compile_jinja_template(template).globals["strftime_now"] = TODAY.strftime


def fingerprint(seen: str | Sequence[int]) -> str:
    """SHA-256 of what a model is given: of a text, or of token ids."""
    text = seen if isinstance(seen, str) else json.dumps(list(seen), separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def completion_ids(sql: str, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The token ids that training asks for: the SQL and the end of sequence."""
    return [*tokenizer(sql, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def answer_text(tokens: list[int], tokenizer: "PreTrainedTokenizerBase") -> str:
    """The text of an answer's token ids, of special tokens with those alone that mark the model's reasoning."""
    special = set(tokenizer.all_special_ids)
    marks = {token for token in special.intersection(tokens) if is_mark(str(tokenizer.convert_ids_to_tokens(token)))}
    kept = [token for token in tokens if token not in special or token in marks] if marks else tokens
    text = tokenizer.decode(kept, skip_special_tokens=not marks)
    assert isinstance(text, str)  # of one answer; of several it would be a list
    return text


def opened_reasoning(ids: list[int], tokenizer: "PreTrainedTokenizerBase") -> str:
    """The mark that a chat template ends a prompt with, behind which the model reasons; else nothing.

    It is put before the answer's text, which then says by itself what of it is reasoning.
    """
    return opened_by(str(tokenizer.decode(ids[-8:])))


def in_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
