"""OpenAI's Batch API: the same requests as a file, answered within a day at half the price.

What was handed over is noted in `batches.jsonl` beside the answers before and after the batch is made, so that a killed
run finds its batches again instead of paying for new ones. Results come in any order and join by the request's key.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2sql.errors import UserError
from text2sql.files import json_line, read_jsonl
from text2sql.judge.cache import AnswerStore
from text2sql.judge.client import (
    REMEDY,
    NoAnswer,
    Traffic,
    api_key,
    check_budget,
    count_answer,
    read_completion,
    strike_out,
)

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch
    from tqdm import tqdm

    from text2sql.params import JudgeParams

Requests = Callable[[], Iterator[tuple[str, str]]]

# Well under what the API takes in one file (50,000 requests, 200 MB), to bound memory.
FILE_REQUESTS, FILE_BYTES = 10_000, 50_000_000
LAST = ("completed", "expired", "cancelled", "failed")  # statuses of a batch that will bring no more answers
LONGEST_POLL = 60.0  # seconds between two looks at a batch


def ask_in_batches(requests: Requests, store: AnswerStore, params: "JudgeParams", progress: "tqdm") -> Traffic:
    """Hands over what `requests()` yields, waits, stores the answers; again for what failed or could not be read.

    A request that comes back without an answer `max_attempts` times is given up. Raises UserError when the server
    refuses the batch or a request, or the budget is spent.
    """
    from openai import APIConnectionError, APIStatusError, OpenAI

    traffic, attempts = Traffic(), Counter[str]()
    key = api_key(params.base_url)
    notes = Notes(store.path.with_name("batches.jsonl"), params.base_url)
    with OpenAI(api_key=key or "none", base_url=params.base_url, timeout=params.timeout, max_retries=5) as client:
        try:
            adopt(client, notes)
            while True:
                for name in notes.open():
                    problem = collect(client, name, store, params, traffic, attempts, progress, key)
                    notes.write(closed=name)
                    if problem:
                        raise UserError(f"{params.base_url}, batch {name}: {problem}")
                check_budget(traffic, params)
                for file in list_files(requests(), traffic):
                    hand_over(client, file, notes, traffic)
                if not notes.open():
                    return traffic
        except APIStatusError as error:
            said = strike_out(" ".join(error.message.split()), key)[:300]
            remedy = REMEDY.get(error.status_code, "the server fails; run again to go on")
            raise UserError(f"{params.base_url}: {remedy} (HTTP {error.status_code}: {said})") from None
        except APIConnectionError:
            raise UserError(f"{params.base_url}: no connection; run again to go on, the batches are noted") from None


class Notes:
    """Lines in a file that only grows: {"intended": hash}, {"made": batch, "of": hash}, {"closed": batch}.

    Each line also names the server, so that batches of another one are left alone.
    """

    def __init__(self, path: Path, base_url: str) -> None:
        self.path, self.base_url = path, base_url
        lines = read_jsonl(path) if path.exists() else ()
        self.lines = [line for line in lines if line["server"] == base_url]

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
        made = Counter(line["of"] for line in self.lines if "made" in line)
        return set(Counter(line["intended"] for line in self.lines if "intended" in line) - made)


def adopt(client: "OpenAI", notes: Notes) -> None:
    """Looks on the server for batches that a killed run made and could not note any more."""
    if not (unconfirmed := notes.unconfirmed()):
        return
    known = {line.get("made") for line in notes.lines}
    for batch in client.batches.list(limit=100).data:
        digest = (batch.metadata or {}).get("requests_sha256")
        if digest in unconfirmed and batch.id not in known:
            notes.write(made=batch.id, of=digest)


def list_files(requests: Iterator[tuple[str, str]], traffic: Traffic) -> Iterator[bytes]:
    """The requests as files in the API's format, custom_id being the request's key; what was given up is left out."""
    lines: list[bytes] = []
    size = 0
    for key, encoded in requests:
        if key in traffic.given_up:
            continue
        line = f'{{"custom_id":"{key}","method":"POST","url":"/v1/chat/completions","body":{encoded}}}\n'.encode()
        if lines and (len(lines) >= FILE_REQUESTS or size + len(line) > FILE_BYTES):
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines)


def hand_over(client: "OpenAI", file: bytes, notes: Notes, traffic: Traffic) -> None:
    """Uploads one file and makes its batch."""
    # Equal files of later rounds are batches of their own: the count of batches made so far tells them apart.
    digest = hashlib.sha256(file + str(sum("made" in line for line in notes.lines)).encode()).hexdigest()
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
    client: "OpenAI",
    name: str,
    store: AnswerStore,
    params: "JudgeParams",
    traffic: Traffic,
    attempts: Counter[str],
    progress: "tqdm",
    key: str | None,
) -> str | None:
    """Waits for one batch and stores its answers; counts an attempt for each request that it left without one.

    Returns what is wrong where the server refused the batch, or a request in it, in a way that no repeating mends.
    """
    batch = wait_for(client, name, progress)
    if batch.status == "failed":
        problems = (batch.errors.data if batch.errors else None) or []
        return f"it was refused: {problems[0].message if problems else 'no reason given'}"
    refused = None
    unanswered = {line["custom_id"] for line in read_file(client, batch.input_file_id, key)}
    for file in filter(None, (batch.output_file_id, batch.error_file_id)):
        for line in read_file(client, file, key):
            response = line.get("response") or {"status_code": None, "body": {}}
            try:
                if response["status_code"] != 200:
                    raise NoAnswer(f"HTTP {response['status_code']}")
                answer = read_completion(json.dumps(response["body"]))
            except NoAnswer as failure:
                traffic.retries[failure.reason] += 1
                if response["status_code"] in REMEDY:
                    refused = f"{REMEDY[response['status_code']]} (HTTP {response['status_code']}: {response['body']})"
                continue
            unanswered.discard(line["custom_id"])
            if all(earlier.get("batch") != name for earlier in store.answers(line["custom_id"])):
                store.append(line["custom_id"], {**answer, "batch": name})
                count_answer(traffic, answer, params)
                progress.update()
    store.sync()
    for request in unanswered:
        attempts[request] += 1
        if attempts[request] >= params.max_attempts:
            traffic.given_up[request] = f"no answer in {params.max_attempts} batches"
    return refused


def wait_for(client: "OpenAI", name: str, progress: "tqdm") -> "Batch":
    """The batch when it is done, looked at ever more rarely."""
    pause = 0.1
    while (batch := client.batches.retrieve(name)).status not in LAST:
        counts = batch.request_counts
        progress.set_postfix(batch=batch.status, done=f"{counts.completed}/{counts.total}" if counts else "?")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_POLL)
    return batch


def read_file(client: "OpenAI", name: str, key: str | None) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file on the server."""
    for line in client.files.content(name).content.split(b"\n"):
        if line.strip():
            yield json.loads(strike_out(line.decode("utf-8", "replace"), key))
