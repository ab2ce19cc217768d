"""From a question to an answer: the context that fits, the model's SQL, the database's rows."""

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from text2sql.ask.choose import choose
from text2sql.ask.database import Database
from text2sql.ask.schema import fit
from text2sql.base.arms import FINETUNED
from text2sql.base.errors import UserError
from text2sql.base.params import GenerateParams, PromptParams
from text2sql.base.process import prepare_process
from text2sql.dataset.labels import language_of
from text2sql.engines.sqlite import Answer, Failure
from text2sql.generation import generate
from text2sql.models import pin, prompts
from text2sql.sql.extract import extract

ADAPTER = Path("models/finetuned")
SERVER_CONTEXT = 8192  # tokens that a served model is taken to have; its own figure is not part of the API
BYTES_PER_TOKEN = 3  # of SQL and English, on the safe side, where the tokenizer is at the server

TEMPLATE = 512  # tokens that a chat template adds, at most


class Model(NamedTuple):
    """`answer(prompts, samples, seed)` gives texts; `tokens` and `own_tokens` measure a prompt and a piece of one."""

    answer: Callable[..., list[list[str]]]
    tokens: Callable[[str], int]
    own_tokens: Callable[[str], int]
    room: int  # tokens that a prompt may have


class Reply(NamedTuple):
    """What became of a question: `answer` is None where nothing was run; `agreed` of `samples` candidates have it."""

    question: str
    sql: str
    answer: Answer | Failure | None
    cut: list[str]
    agreed: int
    samples: int


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """No search for garbage while libraries are imported: a second of looking at a million objects that all stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@without_collector()
def load(prompt: PromptParams, config: GenerateParams, arm: str) -> Model:
    """The arm, ready to answer. Raises UserError where it is not there."""
    if config.backend == "openai":
        size = lambda text: len(text.encode("utf-8", "backslashreplace")) // BYTES_PER_TOKEN + 1  # noqa: E731
        answer = generate.open_arm({}, None, prompt.chat, config, arm)
        return Model(answer, size, size, SERVER_CONTEXT - config.max_new_tokens)
    prepare_process()
    from text2sql.models import load  # takes seconds, here in the background

    pointer = pin.read_pointer("models/base")
    answer = generate.open_arm(pointer, ADAPTER if arm == FINETUNED else None, prompt.chat, config, arm)
    room = (load.max_positions(load.load_config(pointer)) or SERVER_CONTEXT) - config.max_new_tokens
    tokenizer = cache(lambda: load.load_tokenizer(pointer))  # half a second, and rarely needed

    def tokens(text: str) -> int:
        most = len(text.encode("utf-8", "backslashreplace")) + TEMPLATE  # no token is shorter than a byte
        return most if most <= room else len(prompts.prompt_ids(text, tokenizer(), prompt.chat))

    return Model(answer, tokens, lambda text: len(tokenizer()(text, add_special_tokens=False)["input_ids"]), room)


def check_arm(config: GenerateParams, arm: str) -> None:
    """Raises UserError where the arm's files are not there, before anything slow begins."""
    if config.backend == "openai":
        return
    if not Path("models/base/model.json").is_file():
        raise UserError("models/base: no model yet; run `dvc repro resolve` in the project's folder")
    if arm == FINETUNED and not pin.is_adapter(ADAPTER):
        raise UserError(f"{ADAPTER}: no fine-tuned model yet; run `dvc repro`, or ask the base model with --arm base")


@contextlib.contextmanager
def in_background(function: Callable[..., Any], *arguments: Any) -> Iterator[Future]:
    """A call in a thread of its own that does not outlive the program: loading a model while a schema is read."""
    future: Future = Future()

    def work() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    yield future


def reply_to(
    question: str, database: Database, model: Model, prompt: PromptParams, *, samples: int, seed: int, runs: bool
) -> Reply:
    """Asks the model and, with `runs`, the database. Raises UserError where there is no SQL."""
    templates = prompts.read_templates(prompt)
    row = {"question": question, "language": language_of(question), "dialect": database.dialect}
    build = lambda context: prompts.build_prompt(row | {"context": context}, templates, prompt)  # noqa: E731
    context, cut = fit(
        database.tables, question, lambda context: model.tokens(build(context)), model.room, model.own_tokens
    )
    (texts,) = model.answer([build(context)], samples=samples, seed=seed)
    found = [extract(text, dialect=database.dialect) for text in texts]
    queries = [one.sql for one in found if one.sql and one.outcome is None]
    if not queries:
        if found[0].outcome == "truncated":
            raise UserError("the model's SQL breaks off; raise generate.max_new_tokens, or ask for less at once")
        raise UserError("the model's answer holds no SQL; ask in other words")
    if not runs:
        return Reply(question, queries[0], None, cut, 0, samples)
    answers = {query: database.run(query) for query in dict.fromkeys(queries)}
    chosen, agreed = choose(queries, [answers[query] for query in queries])
    return Reply(question, queries[chosen], answers[queries[chosen]], cut, agreed, samples)
