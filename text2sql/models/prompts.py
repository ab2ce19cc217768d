"""The prompt: one builder for training and generation, so that all arms and both steps see the same tokens.

The templates are the text files in `prompts/`; the completion begins right after their last line end.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from text2sql.base.errors import UserError
from text2sql.base.params import PromptParams
from text2sql.sql.context import schema_of
from text2sql.sql.reasoning import is_mark, opened_by

if TYPE_CHECKING:  # prompts are text: the model card, `ask` and the judge build them without a tokenizer
    from transformers import PreTrainedTokenizerBase

FOLDER = Path("prompts")
BREAK = "\n\n"  # between an example and what follows it, in bare text
ROLES = ("user", "assistant")

Prompt = tuple[str, ...]  # what is asked and what is answered in turn, for each example; last what is to be answered


def read_templates(config: PromptParams, folder: Path = FOLDER) -> dict[str, str]:
    """Language ("en", "ko") to the template that its questions get; the same one for both unless it is `auto`.

    Raises UserError for a template that is missing, or whose fields are not {context} and {question}.
    """
    names = {language: language if config.template == "auto" else config.template for language in ("en", "ko")}
    return {language: read_template(folder / f"{name}.txt") for language, name in names.items()}


def read_template(path: Path) -> str:
    """One template's text. Raises UserError when it is missing or its fields are not {context} and {question}."""
    try:
        template = path.read_text(encoding="utf-8")
        fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such template; fix prompt.template or write the file") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}; a brace that is meant as text is written twice") from error
    if fields != {"context", "question"}:
        raise UserError(f"{path}: {{context}} and {{question}} must stand in braces, and nothing else")
    return template


def build_prompt(row: Mapping, templates: Mapping[str, str], config: PromptParams) -> str:
    """The prompt text for one row (keys context, question, language; a language without a template gets `en`)."""
    template = templates.get(row["language"], templates["en"])
    context = row["context"] if config.context == "full" else schema_of(row["context"])
    return template.format(context=context, question=row["question"])


def with_examples(
    row: Mapping, examples: Sequence[Mapping], templates: Mapping[str, str], config: PromptParams
) -> Prompt:
    """The prompt for a row behind examples (training rows, the most alike first), each in the form of the row's own.

    The most alike stands last, next to the question.
    """
    turns = [text for one in reversed(examples) for text in (build_prompt(one, templates, config), one["answer"])]
    return (*turns, build_prompt(row, templates, config))


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as the turns of a chat."""
    return [{"role": ROLES[place % 2], "content": text.strip()} for place, text in enumerate(prompt)]


def bare_text(prompt: Prompt) -> str:
    """A prompt as one text: behind each example's answer stands BREAK."""
    return "".join(text + BREAK * (place % 2) for place, text in enumerate(prompt))


def prompt_ids(prompt: Prompt, tokenizer: "PreTrainedTokenizerBase", chat: bool) -> list[int]:
    """The token ids that a prompt is for the model: as bare text, or as the turns of the model's chat template.

    Raises UserError for a chat template that is missing or fails.
    """
    if not chat:
        ids = tokenizer(bare_text(prompt))["input_ids"]
        # Some tokenizers end every text with the end token, behind which nothing is to be written.
        return ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids
    if tokenizer.chat_template is None:
        raise UserError("params.yaml, prompt.chat: the model has no chat template; set false, or take one that has")
    try:
        return tokenizer.apply_chat_template(messages(prompt), add_generation_prompt=True, return_dict=False)  # type: ignore[return-value]
    except TemplateError as error:
        said = " ".join(str(error).split())
        raise UserError(f"params.yaml, prompt.chat: the model's chat template fails ({said}); set false") from error


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
