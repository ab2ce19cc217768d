"""The explorer: one page, opened from disk, that shows every evaluation question and what both arms made of it.

Everything in the page is data that nobody vouches for: SQL runs again in the sandbox, in processes that can be killed,
and the page's script writes text, never markup. The data are packed (zlib, base64), so that 5,000 questions stay small.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from text2sql.base.files import atomic_write
from text2sql.engines.pool import Lost, cores, guarded_map
from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, build, open_database, other_dialects, query
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold, answer_gold, plan
from text2sql.scoring.score import MATCHES, Question
from text2sql.sql.dialect import Untranslatable, to_sqlite

RAN = (*MATCHES, "mismatch")  # outcomes of predictions that have a result; the others did not get that far
LIMITS = Limits(seconds=10.0)  # of a statement: more than it had when it was scored, so that it finishes again

# What is shown of long things.
ROWS = 5  # of a result
COLUMNS = 8
CELL = 60  # characters of a cell or a column's name
TEXT = 4_000  # characters of a generated text or of a query
CONTEXT = 12_000  # characters of a schema


class Prediction(NamedTuple):
    """A generated query that ran when it was scored, and the verdict."""

    sql: str
    right: bool


class Task(NamedTuple):
    """A question whose gold is to be run again, with each arm's prediction (None where it had no result)."""

    question: Question
    predictions: tuple[Prediction | None, ...]


def write_explorer(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    questions: Sequence[Question],
    scores: Mapping[str, Sequence[Mapping]],
    generations: Mapping[str, Sequence[Mapping]],
    judgements: Mapping[str, Sequence[Mapping]],
) -> None:
    """Writes the page; the same input gives the same bytes.

    rows: of the evaluation table. questions: their golds with databases, as `scoring.arm_items` makes them. scores,
    generations, judgements: by arm, in the order of the rows; judgements may be empty.
    """
    arms = list(scores)
    tasks = [
        Task(question, tuple(prediction(scores[arm][number]) for arm in arms))
        for number, question in enumerate(without_broken_golds(questions, scores[arms[0]]))
    ]
    schemas: dict[str, int] = {}  # a context is kept once, however many questions are about it
    entries = []
    for number, (row, results) in enumerate(zip(rows, run_again(tasks), strict=True)):
        judged = [judgements[arm][number] if arm in judgements else None for arm in arms]
        entries.append(
            {
                **{key: row[key] for key in ("id", "db_id", "question", "complexity", "domain", "language")},
                "schema": schemas.setdefault(shorten(row["context"], CONTEXT), len(schemas)),
                "gold": shorten(row["answer"], TEXT),
                "gold_results": results["gold"],
                "databases": results.get("databases", 0),
                "problem": results.get("problem"),
                "arms": [
                    arm_entry(scores[arm][number], generations[arm][number], judge, result)
                    for arm, judge, result in zip(arms, judged, results["arms"], strict=True)
                ],
            }
        )
    with atomic_write(path) as file:
        file.write(page({"rows": entries, "schemas": list(schemas)}))


def without_broken_golds(questions: Sequence[Question], scores: Sequence[Mapping]) -> list[Question]:
    """The questions, those whose gold failed when it was scored without their databases: it is not to be run again."""
    return [
        question._replace(problem=score["error"]) if score["outcome"] == "gold_error" else question
        for question, score in zip(questions, scores, strict=True)
    ]


def prediction(score: Mapping[str, Any]) -> Prediction | None:
    """What of a score can be run again."""
    return Prediction(score["sql"], score["outcome"] in MATCHES) if score["outcome"] in RAN else None


def arm_entry(score: Mapping, generation: Mapping, judge: Mapping | None, result: dict | None) -> dict[str, Any]:
    """One arm's part of a question: text, SQL (None where the text is nothing else), outcome, result, verdict."""
    text, sql = generation["text"], score["sql"]
    return {
        "outcome": score["outcome"],
        "ex": score["ex"],
        "error": score["error"],
        "text": shorten(text, TEXT),
        "finish_reason": generation["finish_reason"],
        "sql": None if sql is None else shorten(sql, TEXT),
        "result": result,
        "judge": judge and {"verdict": judge["verdict"], "reason": judge["reason"] or judge["error"]},
    }


def shorten(text: str, length: int) -> str:
    """The text, or its beginning with the number of characters left out."""
    return text if len(text) <= length else f"{text[:length]} … ({len(text) - length} more characters)"


def page(data: Any) -> str:
    """The page with its data in it. The browser runs and styles with nothing but what stands here, and fetches nothing.

    Its content security policy names script and style by their digests.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader(__name__, "."), autoescape=True)
    parts = {name: (Path(__file__).parent / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    digests = {name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for name, text in parts.items()}
    packed = zlib.compress(json.dumps(data, separators=(",", ":"), allow_nan=False).encode(), 9)
    return environment.get_template("page.html").render(
        **parts, digests=digests, data=base64.b64encode(packed).decode()
    )


def run_again(tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
    """For every task what `examine` gives, or a `problem` in words where its process had to be stopped."""
    from tqdm import tqdm

    seconds = 4 * LIMITS.seconds
    examined = guarded_map(examine, tasks, workers=cores(), seconds=seconds, initializer=other_dialects)
    examined = tqdm(examined, total=len(tasks), unit="row", desc="explorer", disable=None)
    for task, found in zip(tasks, examined, strict=True):
        if isinstance(found, Lost):
            found = {"gold": {}, "arms": [None] * len(task.predictions), "problem": found.error}
        yield found


# --- In the worker processes -----------------------------------------------------------------------------------------


def examine(task: Task) -> dict[str, Any]:
    """First rows of the gold's and of each prediction's results.

    `arms`: for each prediction its result on the first database that shows the verdict: where a wrong one differs from
    the gold, or else where the gold has rows. `gold`: the gold's results on those databases, by number (from 1).
    """
    question = task.question
    nothing: dict[str, Any] = {"gold": {}, "arms": [None] * len(task.predictions)}
    gold_sql = to_sqlite(question.gold_sql, question.dialect)
    databases = open_all(question)
    if not databases or isinstance(gold_sql, Untranslatable):
        return nothing
    gold_plan = plan(gold_sql)
    golds = [answer_gold(database, gold_plan, LIMITS) for database in databases]
    if failed := next((gold for gold in golds if isinstance(gold, Failure)), None):
        return nothing | {"gold": {1: first_rows(failed)}}
    filled = first(bool(gold.answer.rows) for gold in golds)
    arms: list[dict[str, Any] | None] = []
    for predicted in task.predictions:
        sql = predicted and to_sqlite(predicted.sql, question.dialect)
        if predicted is None or isinstance(sql, Untranslatable):
            arms.append(None)
            continue
        answers = [query(database, sql, LIMITS) for database in databases]
        number = filled if predicted.right else first(map(differ, golds, answers))
        arms.append({"database": number + 1, **first_rows(answers[number])})
    numbers = {arm["database"] for arm in arms if arm} or {filled + 1}
    gold = {number: first_rows(golds[number - 1].answer) for number in sorted(numbers)}
    return {"gold": gold, "arms": arms, "databases": len(databases)}


def open_all(question: Question) -> list[Connection]:
    """A question's databases, in the order in which it is scored on them; none where one cannot be made."""
    if question.problem is not None:
        return []
    opened = [open_database(question.database, LIMITS)] if question.database is not None else []
    built = [built_once(setup) for setup in question.setups]
    return [] if any(isinstance(database, Failure) for database in built) else [*opened, *built]


@lru_cache(maxsize=256)
def built_once(setup: str) -> Connection | Failure:
    """The database of a script; many questions are about the same one."""
    return build(setup, LIMITS)


def differ(gold: Gold, answer: Answer | Failure) -> bool:
    """Whether an answer is not the gold's."""
    return isinstance(answer, Failure) or not compare(gold, answer).ex


def first(truths: Iterable[bool]) -> int:
    """The place of the first that is true; 0 where none is."""
    return next((place for place, true in enumerate(truths) if true), 0)


def first_rows(answer: Answer | Failure) -> dict[str, Any]:
    """What is shown of a result: its first rows and columns, and how many of both it has; or its error."""
    if isinstance(answer, Failure):
        return {"error": f"{answer.outcome}: {answer.error}"}
    return {
        "columns": [shorten(name, CELL) for name in answer.names[:COLUMNS]],
        "rows": [[cell(value) for value in row[:COLUMNS]] for row in answer.rows[:ROWS]],
        "row_count": len(answer.rows),
        "column_count": answer.columns,
    }


def cell(value: Any) -> Any:
    """A value as JSON that a browser shows as SQLite would: a number it cannot hold goes as text."""
    if isinstance(value, bytes):
        value = f"x'{value[: CELL // 2].hex()}'" + (" …" if len(value) > CELL // 2 else "")
    if isinstance(value, str):
        return shorten(value, CELL)
    if isinstance(value, (int, float)) and not -(2**53) < value < 2**53:
        return str(value)
    return value
