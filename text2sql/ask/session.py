"""From a question to an answer: the context that fits, the model's SQL, the database's rows."""

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from text2sql.ask.database import Database
from text2sql.base.arms import BASE_MODEL, kind
from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.base.params import ArmParams, GenerateParams, PromptParams
from text2sql.base.process import prepare_process
from text2sql.base.text import one_line
from text2sql.dataset.labels import language_of
from text2sql.engines.sqlite import Answer, Failure
from text2sql.generation import generate
from text2sql.generation.made import check_made
from text2sql.models import pin, prompts
from text2sql.models.prompts import Prompt
from text2sql.scoring.choose import choose
from text2sql.sql.extract import extract

TRAIN = Path("data/selected/train.parquet")
METRICS = Path("metrics/arms")
SERVER_CONTEXT = 8192  # tokens that a served model is taken to have; its own figure is not part of the API
BYTES_PER_TOKEN = 3  # of SQL and English, on the safe side, where the tokenizer is at the server

TEMPLATE = 512  # tokens that a chat template adds, at most


class Model(NamedTuple):
    """`answer(prompts, samples, seed)` gives texts; `tokens` and `own_tokens` measure a prompt and a piece of one;
    `examples(row)` gives the training rows that the arm shows before a question, the most alike first."""

    answer: Callable[..., list[list[str]]]
    tokens: Callable[[Prompt], int]
    own_tokens: Callable[[str], int]
    room: int  # tokens that a prompt may have
    examples: Callable[[Mapping[str, str]], list[dict]]


class Reply(NamedTuple):
    """What became of a question: `answer` is None where nothing was run; `agreed` of `samples` candidates have it.

    `tried` are the queries before this one and why the database gave them no answer.
    """

    question: str
    sql: str
    answer: Answer | Failure | None
    cut: list[str]
    agreed: int
    samples: int
    tried: tuple[tuple[str, str], ...] = ()
    examples: int = 0  # training rows that the prompt shows
    unsure: str | None = None  # why too few of the candidates agree, by what was measured


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
def load(prompt: PromptParams, config: GenerateParams, name: str, arm: ArmParams) -> Model:
    """The arm, ready to answer. Raises UserError where it is not there."""
    examples = examples_of(arm.shots)
    if by_server(config, arm):
        size = lambda text: len(text.encode("utf-8", "backslashreplace")) // BYTES_PER_TOKEN + 1  # noqa: E731
        answer = generate.open_arm({}, arm.model, prompt, config, name)
        room = SERVER_CONTEXT - config.max_new_tokens
        return Model(answer, lambda built: size(prompts.bare_text(built)), size, room, examples)
    prepare_process()
    from text2sql.models import load  # takes seconds, here in the background

    pointer = pin.read_pointer("models/base")
    answer = generate.open_arm(pointer, arm.model, prompt, config, name)
    room = (load.max_positions(load.load_config(pointer)) or SERVER_CONTEXT) - config.max_new_tokens
    tokenizer = cache(lambda: load.load_tokenizer(pointer))  # half a second, and rarely needed

    def tokens(built: Prompt) -> int:
        texts = (prompt.system or "", *built)
        most = sum(len(text.encode("utf-8", "backslashreplace")) + TEMPLATE for text in texts)  # a byte is a token
        return most if most <= room else len(prompts.tokenize(built, tokenizer(), prompt))

    own_tokens = lambda text: len(tokenizer()(text, add_special_tokens=False)["input_ids"])  # noqa: E731
    return Model(answer, tokens, own_tokens, room, examples)


def examples_of(shots: int) -> Callable[[Mapping[str, str]], list[dict]]:
    """What chooses so many training rows for a row. Raises UserError where there are none to choose from."""
    if not shots:
        return lambda row: []
    from text2sql.dataset.examples import Retriever
    from text2sql.dataset.rows import read_rows

    rows: list[dict] = read_rows(TRAIN)
    retriever = Retriever(rows)
    return lambda row: [rows[place] for place in retriever.nearest(row, shots)]


def by_server(config: GenerateParams, arm: ArmParams) -> bool:
    """Whether a server answers for the arm, so that its tokenizer is not here."""
    return config.backend == "openai" or kind(arm.model) == "reference"


def check_arm(config: GenerateParams, arm: ArmParams) -> None:
    """Raises UserError where the arm's files are not there, before anything slow begins."""
    if arm.shots and not TRAIN.is_file():
        raise UserError(f"{TRAIN}: the arm shows training rows, and they are not there; run `dvc repro` or `dvc pull`")
    if by_server(config, arm):
        return
    if not Path("models/base/model.json").is_file():
        raise UserError("models/base: no model yet; run `dvc repro resolve` in the project's folder")
    check_made(arm.model)
    model = Path(arm.model)
    stands_alone = model.is_file() or (model / "config.json").is_file()  # an exported file, a merged model
    if arm.model != BASE_MODEL and not (stands_alone or pin.is_adapter(model)):
        raise UserError(f"{arm.model}: no fine-tuned model yet; run `dvc repro`, or ask an untrained arm with --arm")


class Measured(NamedTuple):
    """The arm whose samples were measured, and how many `of` its candidates must agree for an answer to be credible;
    None where no number was enough."""

    arm: str
    agreed: int | None
    of: int


def measured_samples(arms: Mapping[str, ArmParams], name: str, metrics: Path = METRICS) -> Measured | None:
    """What is known of the agreement of an arm's samples: of its own, or of an arm of the same model and shots."""
    asked = arms[name]
    alike = [other for other, arm in arms.items() if (arm.model, arm.shots) == (asked.model, asked.shots)]
    for other in sorted(alike, key=lambda other: other != name):
        if arms[other].samples > 1 and (metrics / f"{other}.json").is_file():
            found = read_json(metrics / f"{other}.json").get("samples")
            if found:
                return Measured(other, found["threshold"] and found["threshold"]["agreed"], found["n"])
    return None


def unsure(reply: Reply, measured: Measured | None) -> str | None:
    """Why a reply may well be wrong, by how many of its candidates agree; None where that is not known, or enough."""
    if measured is None or reply.samples == 1 or reply.answer is None:
        return None
    if measured.agreed is None:
        return f"however many candidates of {measured.arm} agree, its answers are as likely wrong as right"
    if reply.agreed * measured.of >= measured.agreed * reply.samples:
        return None
    return f"{measured.arm}'s answers are credible where {measured.agreed} of {measured.of} candidates agree"


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
    question: str, database: Database, model: Model, prompt: PromptParams, *, samples: int, seed: int, runs: bool,
    retries: int = 0,
) -> Reply:  # fmt: skip
    """Asks the model and, with `runs`, the database. Raises UserError where there is no SQL.

    A query that the database gives no answer to is asked for anew up to `retries` times, with what the database said.
    """
    tried: tuple[tuple[str, str], ...] = ()
    while True:
        reply = reply_once(question, tried, database, model, prompt, samples=samples, seed=seed, runs=runs)
        if not isinstance(reply.answer, Failure) or len(tried) == retries:
            return reply
        tried += ((reply.sql, reply.answer.error),)


def again(question: str, tried: tuple[tuple[str, str], ...]) -> str:
    """The question as the prompt shows it: after a failure with the query that failed and the database's words."""
    if not tried:
        return question
    sql, error = tried[-1]
    return f"{question}\n\nThis query failed:\n{sql}\nThe database said: {one_line(error)}\nWrite a query that works."


def reply_once(
    question: str, tried: tuple[tuple[str, str], ...], database: Database, model: Model, prompt: PromptParams, *,
    samples: int, seed: int, runs: bool,
) -> Reply:  # fmt: skip
    """One turn of `reply_to`."""
    templates = prompts.read_templates(prompt)
    row = {
        "db_id": database.name, "dialect": database.dialect, "context": database.script,
        "question": question, "language": language_of(question),
    }  # fmt: skip
    shown, turns = model.examples(row), prompts.turns_of([], templates, prompt)
    tokens = lambda text: model.tokens((*turns, text))  # noqa: E731
    row["question"] = again(question, tried)
    while True:  # examples make room for the schema, the least alike first
        turns = prompts.turns_of(shown, templates, prompt)
        text, cut, no_room = prompts.fit_prompt(
            row, templates, prompt, values=database.values(prompt.values), tokens=tokens,
            own_size=model.own_tokens, room=model.room,
        )  # fmt: skip
        if not no_room or not shown:
            break
        shown.pop()
    (texts,) = model.answer([(*turns, text)], samples=samples, seed=seed)
    found = [extract(text, dialect=database.dialect) for text in texts]
    queries = [one.sql for one in found if one.sql and one.outcome is None]
    if not queries:
        if found[0].outcome == "truncated":
            raise UserError("the model's SQL breaks off; raise generate.max_new_tokens, or ask for less at once")
        raise UserError("the model's answer holds no SQL; ask in other words")
    if not runs:
        return Reply(question, queries[0], None, cut, 0, samples, tried, len(shown))
    answers = {query: database.run(query) for query in dict.fromkeys(queries)}
    chosen, agreed = choose(queries, [answers[query] for query in queries])
    return Reply(question, queries[chosen], answers[queries[chosen]], cut, agreed, samples, tried, len(shown))
