"""A judged run from rows to files: build the requests, refuse what is too dear, ask, write."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from text2sql.base.endpoint.address import key_for
from text2sql.base.endpoint.cost import body_tokens, check_cost, cost_usd
from text2sql.base.errors import UserError
from text2sql.base.files import atomic_write, read_jsonl
from text2sql.base.params import JudgeParams
from text2sql.base.text import printable
from text2sql.dataset.rows import count_rows, read_batches
from text2sql.judge.batch import ask_in_batches
from text2sql.judge.cache import AnswerStore
from text2sql.judge.chat import JudgeTraffic, ask_all, settled
from text2sql.judge.requests import (
    CANARY,
    SIDES,
    Template,
    encode,
    endpoint_of,
    is_results,
    read_answer,
    read_template,
    request_body,
    request_key,
)
from text2sql.judge.results import Entry, write_results
from text2sql.sql.golds import golds_text

# Tokens of a usual answer. A model that reasons first uses more; `judge.max_tokens` is the bound.
ANSWER_TOKENS = {"resolve_yn": 10, "verdict": 80}
NAMED = 5  # ids in a line about rows without an answer
NEEDED = ("id", "context", "question", "answer")


@dataclass
class Pending:
    """What is still to be asked: distinct requests and their prompt tokens."""

    requests: int = 0
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Request:
    """A row with the body that asks about it."""

    row: dict[str, Any]
    body: dict[str, Any]
    encoded: str
    key: str


def judge_rows(
    rows: Iterable[dict[str, Any]], params: JudgeParams, out: str | Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judges rows (id, context, question, answer, sql; ex, outcome, error, results where known).

    Returns the metrics and the record of this run: what it sent, retried and waited for.

    Writes `out` (JSON Lines, sorted by id) and, into the folder of the same name without its suffix, requests.jsonl,
    answers.csv, disagreements.jsonl and metrics.json, all the same bytes however often the run was killed. Answers at
    hand in `judge.cache` are not paid again.

    Raises UserError for bad rows, a bad address, a cost above the budget, a server that refuses, and, after the files
    are written, for requests that got no answer: run again to ask those alone.
    """
    out = Path(out)
    folder = out.with_suffix("")
    template = read_template(params.template)
    started = time.monotonic()
    with AnswerStore(params.cache, endpoint_of(params).place) as store:
        entries, pending = write_requests(rows, folder / "requests.jsonl", store, template, params)
        usual = pending.requests * ANSWER_TOKENS[params.template]
        check_cost(endpoint_of(params), pending.requests, pending.prompt_tokens, usual)
        requests = partial(unanswered, folder / "requests.jsonl", entries, store, template, params)
        traffic = JudgeTraffic()
        if pending.requests:
            ask(requests, pending.requests, entries, store, params, traffic)
        canary = self_check(store, template, params) if params.canary else None
        metrics = write_results(out, entries, store, traffic, canary, template, params)
    if canary == "fooled":
        print("judge: the canary fooled the judge (a wrong query that says it is right); distrust it", file=sys.stderr)
    if traffic.given_up:
        accept_failures(traffic, entries, params)
    return metrics, run_record(traffic, time.monotonic() - started)


def accept_failures(traffic: JudgeTraffic, entries: Sequence[Entry], params: JudgeParams) -> None:
    """Names the rows that got no answer. Raises UserError when there are more of them than `max_failures`."""
    ids = [entry.id for entry in entries if entry.key in traffic.given_up]
    shown = ", ".join(map(printable, ids[:NAMED])) + (" …" if len(ids) > NAMED else "")
    reason = next(iter(traffic.given_up.values()))
    said = f"{len(ids)} of {len(entries)} requests got no answer ({shown}), the first: {reason}"
    if len(ids) > params.max_failures:
        raise UserError(f"{said}; run again to ask those alone")
    print(f"judge: {said}; they count as judge_error, judge.max_failures allows {params.max_failures}", file=sys.stderr)


def estimate(rows: Iterable[dict[str, Any]], params: JudgeParams) -> str:
    """What judging these rows would cost from here, as text. Sends nothing and writes nothing but an empty cache."""
    template = read_template(params.template)
    pending = Pending()
    with AnswerStore(params.cache, endpoint_of(params).place) as store:
        seen: set[str] = set()
        for request in build_requests(rows, template, params):
            count_pending(request, seen, pending, store, params)
    return describe(pending, params)


def describe(pending: Pending, params: JudgeParams) -> str:
    """The estimate as lines of text: the tokens, then the cost with each model of the price table."""
    usual, most = pending.requests * ANSWER_TOKENS[params.template], pending.requests * params.max_tokens
    lines = [
        f"{pending.requests:,} requests to send (answers at hand are not paid again), template {params.template}",
        f"about {pending.prompt_tokens:,} prompt tokens; {usual:,} answer tokens are usual, {most:,} the most",
        f"{'model':<28} {'usual':>10} {'at most':>10}   ({params.transport})",
    ]
    for model in dict.fromkeys([params.model, *params.prices]):
        price = params.prices.get(model)
        costs = [cost_usd(price, pending.prompt_tokens, tokens, params.transport) for tokens in (usual, most)]
        shown = [f"{'unknown' if cost is None else f'${cost:.4f}':>10}" for cost in costs]
        lines.append(f"{model:<28} {shown[0]} {shown[1]}" + ("   <- judge.model" if model == params.model else ""))
    return "\n".join(lines)


def scored_rows(table: str | Path, scores: str | Path, results: str | Path) -> Iterator[dict[str, Any]]:
    """Evaluation rows with what scoring says about each (sql, ex, outcome, error, results), joined by id.

    Raises UserError when a file is missing, before any row is read, and when the three do not hold the same ids.
    """
    count_rows(table)
    scored = {
        score["id"]: {name: score[name] for name in ("sql", "ex", "outcome", "error")} for score in read_jsonl(scores)
    }
    shown = {line["id"]: {"results": {side: line[side] for side in SIDES}} for line in read_jsonl(results)}
    return joined(table, {scores: scored, results: shown})


def joined(table: str | Path, found: dict[str | Path, dict[str, dict]]) -> Iterator[dict[str, Any]]:
    """The table's rows, with all their golds as `answer`, and with what every file of `found` holds about their ids."""
    for batch in read_batches(table, ["id", "context", "question", "answer", "alternatives"], size=1024):
        for read in batch.to_pylist():
            row = {name: read[name] for name in NEEDED} | {"answer": golds_text(read)}
            for path, about in found.items():
                if row["id"] not in about:
                    raise UserError(f"{path}: nothing about {row['id']!r} of {table}; run the score stage again")
                row = row | about.pop(row["id"])
            yield row
    for path, about in found.items():
        if about:
            raise UserError(f"{path}: {next(iter(about))!r} is not in {table}; run the score stage again")


def build_requests(rows: Iterable[dict[str, Any]], template: Template, params: JudgeParams) -> Iterator[Request]:
    """The canary's request if it is asked for, then one per row. Raises UserError for a bad row or a second id."""
    if params.canary:
        yield request_of(CANARY, template, params)
    for row in checked(rows):
        yield request_of(row, template, params)


def request_of(row: dict[str, Any], template: Template, params: JudgeParams) -> Request:
    """The request about one row."""
    body = request_body(row, template, params)
    encoded = encode(body)
    return Request(row, body, encoded, request_key(encoded, template))


def checked(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, each with the text columns the judge needs; `sql` may be None or empty where there was no SQL."""
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        for name in NEEDED:
            if not isinstance(row.get(name), str):
                raise UserError(f"row {number} ({row.get('id')}): {name} is missing or no text; fix the input")
        if not isinstance(row.get("sql", 0), str | None):
            raise UserError(f"row {number} ({row['id']}): sql is missing or no text; fix the input")
        if row.get("results") is not None and not is_results(row["results"]):
            raise UserError(f"row {number} ({row['id']}): results are not those of data/results/; fix the input")
        if row["id"] in seen:
            raise UserError(f"row {number}: the id {row['id']!r} stands twice; give every row its own")
        seen.add(row["id"])
        yield row


def count_pending(request: Request, seen: set[str], pending: Pending, store: AnswerStore, params: JudgeParams) -> None:
    """Adds a request to what is pending, unless an equal one was counted or needs no asking."""
    if request.key in seen:
        return
    seen.add(request.key)
    if not settled(store.answers(request.key), params):
        pending.requests += 1
        pending.prompt_tokens += body_tokens(request.body)


def write_requests(
    rows: Iterable[dict[str, Any]], path: Path, store: AnswerStore, template: Template, params: JudgeParams
) -> tuple[list[Entry], Pending]:
    """Writes the rows' requests as lines of OpenAI's batch format (custom_id is the row's id), in input order."""
    entries: list[Entry] = []
    pending, seen = Pending(), set[str]()
    with atomic_write(path, "wb") as file:
        for request in build_requests(rows, template, params):
            count_pending(request, seen, pending, store, params)
            if request.row is CANARY:
                continue
            row = request.row
            execution = (row.get("ex"), row.get("outcome"), row.get("error"))
            entries.append(Entry(row["id"], request.key, file.tell(), *execution))
            line = {"custom_id": row["id"], "method": "POST", "url": "/v1/chat/completions", "body": request.body}
            file.write(encode(line).encode() + b"\n")
    return entries, pending


def unanswered(
    path: Path, entries: list[Entry], store: AnswerStore, template: Template, params: JudgeParams
) -> Iterator[tuple[str, str]]:
    """(key, encoded body) of every distinct request that needs asking: the canary's, then in input order."""
    seen: set[str] = set()
    if params.canary:
        request = request_of(CANARY, template, params)
        seen.add(request.key)
        if not settled(store.answers(request.key), params):
            yield request.key, request.encoded
    with open(path, "rb") as lines:
        for entry, line in zip(entries, lines, strict=True):
            if entry.key not in seen and not settled(store.answers(entry.key), params):
                yield entry.key, encode(json.loads(line)["body"])
            seen.add(entry.key)


def ask(
    requests: Callable[[], Iterator[tuple[str, str]]],
    total: int,
    entries: Sequence[Entry],
    store: AnswerStore,
    params: JudgeParams,
    traffic: JudgeTraffic,
) -> None:
    """Sends the requests by the transport that the parameters name, with a progress bar on stderr."""
    key_for(endpoint_of(params))  # a missing key shows before the bar does
    earlier = [answer for entry in entries for answer in store.answers(entry.key)[-1:]]
    traffic.readable = any(not isinstance(read_answer(params.template, answer), str) for answer in earlier)
    seconds = 0.5 if sys.stderr.isatty() else 10  # between two updates
    with tqdm(total=total, unit="request", desc="judge", file=sys.stderr, mininterval=seconds) as progress:
        if params.transport == "batch":
            ask_in_batches(requests, store, params, traffic, bool(earlier), progress)
        else:
            asyncio.run(ask_all(requests(), store, params, traffic, bool(earlier), progress))


def self_check(store: AnswerStore, template: Template, params: JudgeParams) -> str:
    """What the judge made of the canary: held (not called correct), fooled, or judge_error."""
    answers = store.answers(request_of(CANARY, template, params).key)
    read = read_answer(template.name, answers[-1]) if answers else "no answer"
    if isinstance(read, str):
        return "judge_error"
    return "fooled" if read.verdict == "correct" else "held"


def run_record(traffic: JudgeTraffic, seconds: float) -> dict[str, Any]:
    """What this one run sent and waited for; unlike the metrics it differs from run to run."""
    return {
        "sent": traffic.sent,
        "answers": traffic.answers,
        "unreadable_answers": traffic.unreadable,
        "retries": dict(sorted(traffic.retries.items())),
        "refused": len(traffic.refused),
        "given_up": len(traffic.given_up),
        "prompt_tokens": traffic.prompt_tokens,
        "completion_tokens": traffic.answer_tokens,
        "seconds": round(seconds, 1),
    }
