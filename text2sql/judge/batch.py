"""OpenAI's Batch API: the same requests as a file, answered within a day at half the price.

What was handed over is noted in `batches.jsonl` beside the answers before and after the batch is made, so that a killed
run finds its batches again instead of paying for new ones. Results come in any order and join by the request's key.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from openai import APIConnectionError, APIStatusError, NotFoundError, OpenAI
from openai.types import Batch
from tqdm import tqdm

from text2sql.base.endpoint.address import key_for, strike_out
from text2sql.base.endpoint.client import open_blocking, read_completion, remedy
from text2sql.base.endpoint.cost import check_budget
from text2sql.base.endpoint.failures import Failure, Kind, NoAnswer, Refused, parsed, read_failure
from text2sql.base.errors import UserError
from text2sql.base.files import json_line
from text2sql.base.params import JudgeParams
from text2sql.base.resume import whole_lines
from text2sql.judge.cache import AnswerStore
from text2sql.judge.chat import UNREADABLE_AT_FIRST, JudgeTraffic
from text2sql.judge.requests import endpoint_of

Requests = Callable[[], Iterator[tuple[str, str]]]

# Well under what the API takes in one file (50,000 requests, 200 MB), to bound memory.
FILE_REQUESTS, FILE_BYTES = 10_000, 50_000_000
LAST = ("completed", "expired", "cancelled", "failed")  # statuses of a batch that will bring no more answers
LONGEST_POLL = 60.0  # seconds between two looks at a batch


def ask_in_batches(
    requests: Requests, store: AnswerStore, params: JudgeParams, traffic: JudgeTraffic, answered: bool, progress: tqdm
) -> None:
    """Hands over what `requests()` yields, waits, stores the answers; again for what failed or could not be read.

    The first batch is a small one, unless answers of this server could be read before. A request that comes back
    without an answer `max_attempts` times is given up, one that the server refuses is not asked again. Raises UserError
    when the server refuses the batch or all requests, no answer can be read, or the budget is spent.
    """
    endpoint, attempts = endpoint_of(params), Counter[str]()
    key = key_for(endpoint)
    notes = Notes(store.path.with_name("batches.jsonl"), params.base_url)
    with open_blocking(endpoint, key) as client:
        try:
            adopt(client, notes)
            earlier = set(notes.open())
            while True:
                for name in notes.open():
                    try:
                        problem = collect(client, name, store, params, traffic, answered, attempts, progress, key)
                    except NotFoundError:  # deleted, or made with another account's key
                        notes.write(closed=name)
                        lost = f"{params.base_url}, batch {name}: the server no longer has it or its files"
                        if name not in earlier:
                            raise UserError(f"{lost}; run again to ask its requests again") from None
                        progress.write(f"{lost}; asking its requests again", file=sys.stderr)
                        continue
                    notes.write(closed=name)
                    if problem:
                        raise UserError(f"{params.base_url}, batch {name}: {problem}")
                    traffic.check(params)
                check_budget(endpoint, traffic.prompt_tokens, traffic.answer_tokens)
                most = FILE_REQUESTS if traffic.readable else UNREADABLE_AT_FIRST
                for file in list_files(requests(), traffic, most):
                    hand_over(client, file, notes, traffic)
                    if not traffic.readable:
                        break
                if not notes.open():
                    return
        except APIStatusError as error:
            text = strike_out(error.response.text, key)
            failure = read_failure(error.status_code, error.response.headers, parsed(text))
            said = "the server fails; run again to go on"
            if failure.kind not in (Kind.PASSING, Kind.BUSY):
                said = remedy(endpoint, failure, {})
            raise UserError(f"{params.base_url}: {said} ({failure})") from None
        except APIConnectionError:
            raise UserError(f"{params.base_url}: no connection; run again to go on, the batches are noted") from None


class Notes:
    """Lines in a file that only grows: {"intended": hash}, {"made": batch, "of": hash}, {"dropped": hash} for one that
    was never made, {"closed": batch} for one whose answers are stored or lost.

    Each line also names the server, so that batches of another one are left alone.
    """

    def __init__(self, path: Path, base_url: str) -> None:
        self.path, self.base_url = path, base_url
        self.lines = [line for line in whole_lines(path) if line["server"] == base_url]

    def write(self, **line: str) -> None:
        line["server"] = self.base_url
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json_line(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(line)

    def open(self) -> list[str]:
        """Batches that were made and whose answers were not all stored."""
        closed = {line.get("closed") for line in self.lines}
        return [line["made"] for line in self.lines if "made" in line and line["made"] not in closed]

    def unconfirmed(self) -> set[str]:
        """Files whose batch was to be made when the run was killed."""
        known = {line.get("of") for line in self.lines} | {line.get("dropped") for line in self.lines}
        return {line["intended"] for line in self.lines if "intended" in line} - known


def adopt(client: OpenAI, notes: Notes) -> None:
    """Looks on the server for batches that a killed run made and could not note any more."""
    if not (unconfirmed := notes.unconfirmed()):
        return
    known = {line.get("made") for line in notes.lines}
    for batch in client.batches.list(limit=100):  # page after page
        digest = (batch.metadata or {}).get("requests_sha256")
        if digest in unconfirmed and batch.id not in known:
            notes.write(made=batch.id, of=digest)
            unconfirmed.discard(digest)
    for digest in unconfirmed:
        notes.write(dropped=digest)


def list_files(requests: Iterator[tuple[str, str]], traffic: JudgeTraffic, most: int) -> Iterator[bytes]:
    """The requests as files in the API's format, at most so many in one, custom_id being the request's key.

    What was given up or refused is left out.
    """
    lines: list[bytes] = []
    size = 0
    for key, encoded in requests:
        if key in traffic.given_up or key in traffic.refused:
            continue
        line = f'{{"custom_id":"{key}","method":"POST","url":"/v1/chat/completions","body":{encoded}}}\n'.encode()
        if lines and (len(lines) >= most or size + len(line) > FILE_BYTES):
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines)


def hand_over(client: OpenAI, file: bytes, notes: Notes, traffic: JudgeTraffic) -> None:
    """Uploads one file and makes its batch."""
    # Equal files of later rounds are batches of their own: the count of notes so far tells them apart.
    digest = hashlib.sha256(file + str(len(notes.lines)).encode()).hexdigest()
    uploaded = client.files.create(file=("requests.jsonl", file), purpose="batch")
    notes.write(intended=digest)
    batch = client.with_options(max_retries=0).batches.create(
        input_file_id=uploaded.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"requests_sha256": digest},
    )
    notes.write(made=batch.id, of=digest)
    traffic.sent += file.count(b"\n")


def collect(
    client: OpenAI,
    name: str,
    store: AnswerStore,
    params: JudgeParams,
    traffic: JudgeTraffic,
    answered: bool,
    attempts: Counter[str],
    progress: tqdm,
    key: str | None,
) -> str | None:
    """Waits for one batch and stores its answers; counts an attempt for each request that it left without one.

    Returns what is wrong where the server refused the batch, or a request in it, in a way that no repeating fixes.
    """
    batch = wait_for(client, name, progress)
    if batch.status == "failed":
        problems = (batch.errors.data if batch.errors else None) or []
        return f"it was refused: {problems[0].message if problems else 'no reason given'}"
    failures: dict[str, Failure] = {}
    asked = {line["custom_id"]: line["body"] for line in read_file(client, batch.input_file_id, key)}
    unanswered = set(asked)
    for file in filter(None, (batch.output_file_id, batch.error_file_id)):
        for line in read_file(client, file, key):
            request = line.get("custom_id")
            if request is None or request not in asked:
                traffic.retries["answer to another request"] += 1
                continue
            try:
                answer = answer_in(line)
            except NoAnswer as nothing:
                traffic.retries[nothing.reason] += 1
                continue
            if isinstance(answer, Failure):
                failures[request] = answer
                continue
            unanswered.discard(request)
            if all(earlier.get("batch") != name for earlier in store.answers(request)):
                store.append(request, {**answer, "batch": name})
                traffic.count(answer, json.dumps(asked[request]).encode())
                traffic.read(answer, params)
                progress.update()
    store.sync()
    problem = None
    for request, failure in failures.items():
        if failure.kind in (Kind.BUSY, Kind.PASSING):
            traffic.retries[f"HTTP {failure.status}"] += 1
        elif failure.kind in (Kind.KEY, Kind.SPENT):
            problem = f"{remedy(endpoint_of(params), failure, asked[request])} ({failure})"
        elif failure.kind in (Kind.TOO_LONG, Kind.FILTERED) or answered or traffic.answers:
            traffic.refused[request] = str(Refused(failure))
            unanswered.discard(request)
            progress.update()
        else:  # nothing was ever answered: it is about all requests
            problem = f"{remedy(endpoint_of(params), failure, asked[request])} ({failure})"
    if unanswered:
        again = f"batch {name} {batch.status}: {len(unanswered)} of {len(asked)} requests have no answer"
        progress.write(f"judge: {again}; they are asked again", file=sys.stderr)
    for request in unanswered:
        attempts[request] += 1
        if attempts[request] >= params.max_attempts:
            traffic.given_up[request] = f"no answer in {params.max_attempts} batches"
    return problem


def answer_in(line: dict[str, Any]) -> dict[str, Any] | Failure:
    """The answer in a line of an output or error file, or the failure. Raises NoAnswer where it brings neither."""
    response = line.get("response") or {}
    status = response.get("status_code")
    if not isinstance(status, int):
        code = (line.get("error") or {}).get("code")  # batch_expired, batch_cancelled
        raise NoAnswer(str(code or "no response"))
    if status != 200:
        return read_failure(status, {}, response.get("body"))
    return read_completion(json.dumps(response.get("body")))


def wait_for(client: OpenAI, name: str, progress: tqdm) -> Batch:
    """The batch when it is done, looked at ever more rarely."""
    pause = 0.1
    while (batch := client.batches.retrieve(name)).status not in LAST:
        counts = batch.request_counts
        progress.set_postfix(batch=batch.status, done=f"{counts.completed}/{counts.total}" if counts else "?")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_POLL)
    return batch


def read_file(client: OpenAI, name: str, key: str | None) -> Iterator[dict[str, Any]]:
    """The JSON objects in the lines of a file on the server; a broken line is none."""
    for line in client.files.content(name).content.split(b"\n"):
        with contextlib.suppress(ValueError):
            value = json.loads(strike_out(line.decode("utf-8", "replace"), key))
            if isinstance(value, dict):
                yield value
