"""Asks a server that speaks OpenAI's chat-completions API, as fast as its limits allow and until it has answered.

The `openai` package's client with its own hidden retries turned off: every attempt passes the gate (limits.py) and is
counted. The key comes from the environment and is struck out of everything the server sends back.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, DefaultAioHttpClient
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential
from tqdm import tqdm

from text2sql.base.endpoint import KEY_VARIABLE, TRANSIENT, NoAnswer, key_for, retry_after, strike_out
from text2sql.base.errors import UserError
from text2sql.base.params import JudgeParams
from text2sql.judge.cache import AnswerStore
from text2sql.judge.cost import body_tokens, cost_usd
from text2sql.judge.limits import Gate
from text2sql.judge.requests import PROMPT_TOO_LONG, read_answer

SETTING = "judge.base_url"
LONGEST_WAIT = 600.0  # seconds of Retry-After that a run sits out; for more it ends, to be run again later
GIVEN_UP_IN_A_ROW = 10  # requests without an answer, and no answer between them, that end a run
REMEDY = {
    400: "the request was refused; some servers and models take no judge.response_format (false) or no "
    "judge.temperature (null)",
    401: f"the key was refused; check {KEY_VARIABLE}",
    403: "the key may not do this; check its permissions and judge.model",
    404: "no such model or address; check judge.model and judge.base_url",
    422: "the server does not take this request; check judge.response_format and judge.temperature",
}


# What is stored for a prompt that is longer than the model takes; nothing was paid for it.
TOO_LONG = {
    "content": None,
    "refusal": None,
    "finish_reason": PROMPT_TOO_LONG,
    "model": None,
    "prompt_tokens": 0,
    "completion_tokens": 0,
}


@dataclass
class Traffic:
    """What one run sent: attempts, retries by cause, answers, spending, and requests given up with the last cause."""

    sent: int = 0
    retries: Counter = field(default_factory=Counter)
    answers: int = 0
    unreadable: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    given_up: dict[str, str] = field(default_factory=dict)
    given_up_in_a_row: int = 0


def open_client(params: JudgeParams, key: str | None) -> AsyncOpenAI:
    """The package's client over aiohttp, which does twice the requests a second of its default transport."""
    connections = httpx2.Limits(max_connections=params.concurrency, max_keepalive_connections=params.concurrency)
    return AsyncOpenAI(
        api_key=key or "none",
        base_url=params.base_url,
        max_retries=0,
        timeout=params.timeout,
        http_client=DefaultAioHttpClient(limits=connections),
    )


async def ask_all(
    requests: Iterable[tuple[str, str]], store: AnswerStore, params: JudgeParams, progress: tqdm
) -> Traffic:
    """Asks every request (key, encoded body) until the store holds a readable answer or `max_asks` answers for it.

    Requests are drawn as workers become free, so memory does not grow with their number. A request that gets no
    answer in `max_attempts` attempts is given up and reported in the traffic. Raises UserError when going on is
    useless: a refused key, request or model, a spent budget, a server that answers nobody.
    """
    traffic = Traffic()
    gate = Gate(params.requests_per_minute, params.tokens_per_minute)
    key = key_for(params.base_url, SETTING)
    source = iter(requests)
    stopped: list[UserError] = []  # why the run ends early

    async with open_client(params, key) as client:
        server = Server(client, key, params, gate, traffic)

        async def work() -> None:
            for request, encoded in source:
                try:
                    await server.ask(request, encoded, store)
                except NoAnswer as failure:
                    give_up(traffic, request, failure.reason, params)
                if stopped:
                    return
                progress.set_postfix(retries=traffic.retries.total(), given_up=len(traffic.given_up), refresh=False)
                progress.update()

        async def work_until_stopped() -> None:
            try:
                await work()
            except UserError as error:
                stopped.append(error)
                # Who has sent a request waits for its answer and stores it: it is paid for.
                server.stopped = True
                for worker in workers - server.waiting_for_answer:
                    worker.cancel()

        async with asyncio.TaskGroup() as group:
            workers = {group.create_task(work_until_stopped()) for _ in range(params.concurrency)}
    if stopped:
        raise stopped[0]
    return traffic


def give_up(traffic: Traffic, request: str, reason: str, params: JudgeParams) -> None:
    """Notes a request that got no answer. Raises UserError when the server seems to answer nobody."""
    traffic.given_up[request] = f"{reason} (after {params.max_attempts} attempts)"
    traffic.given_up_in_a_row += 1
    if traffic.given_up_in_a_row >= GIVEN_UP_IN_A_ROW:
        raise UserError(
            f"{params.base_url}: {GIVEN_UP_IN_A_ROW} requests in a row got no answer, the last: {reason};"
            " see to the server and run again, finished answers are kept"
        )


@dataclass
class Server:
    """The server with what every request to it shares."""

    client: AsyncOpenAI
    key: str | None
    params: JudgeParams
    gate: Gate
    traffic: Traffic
    waiting_for_answer: set[asyncio.Task | None] = field(default_factory=set)
    stopped: bool = False  # no attempt after those under way

    async def ask(self, request: str, encoded: str, store: AnswerStore) -> None:
        """Asks until an answer can be read, or there are `max_asks` of them. Raises NoAnswer."""
        answers = store.answers(request)
        while not settled(answers, self.params) and not self.stopped:
            answer = await self.answer(encoded)
            store.append(request, answer)
            await store.synced()
            answers.append(answer)
            self.traffic.given_up_in_a_row = 0
            count_answer(self.traffic, answer, self.params)

    async def answer(self, encoded: str) -> dict[str, Any]:
        """One answer, in at most `max_attempts` attempts with growing, jittered waits between them."""
        backoff = wait_random_exponential(multiplier=0.5, max=30)

        def count(state: RetryCallState) -> None:
            self.traffic.retries[state.outcome.exception().reason] += 1  # type: ignore[union-attr]

        def wait(state: RetryCallState) -> float:
            failure = state.outcome.exception()  # type: ignore[union-attr]
            # After Retry-After the gate opens for all at once; a little jitter keeps them apart.
            return backoff(state) if failure.wait is None else failure.wait + backoff(state) / 10  # type: ignore[union-attr]

        enough = stop_after_attempt(self.params.max_attempts)
        retrying = AsyncRetrying(
            stop=lambda state: self.stopped or enough(state),
            wait=wait,
            before_sleep=count,
            retry=retry_if_exception_type(NoAnswer),
            reraise=True,
        )
        tokens = body_tokens(json.loads(encoded)) if self.params.tokens_per_minute else 0
        return await retrying(self.attempt, encoded.encode(), tokens)

    async def attempt(self, body: bytes, prompt_tokens: int) -> dict[str, Any]:
        """One attempt. Raises NoAnswer for what may pass, UserError for what will not."""
        check_budget(self.traffic, self.params)
        ticket = await self.gate.admit(prompt_tokens, self.params.max_tokens)
        self.traffic.sent += 1
        self.waiting_for_answer.add(asyncio.current_task())
        try:
            async with asyncio.timeout(self.params.timeout):
                response = await self.client.post("/chat/completions", content=body, cast_to=httpx2.Response)
        except (TimeoutError, APITimeoutError):
            raise NoAnswer("timeout or no connection") from None
        except APIStatusError as error:
            if is_too_long(error.status_code, error.body):
                return TOO_LONG
            failure = self.judge_status(error)
            if failure.wait is not None:
                self.gate.pause(failure.wait)
            raise failure from None
        except (APIConnectionError, aiohttp.ClientError, httpx2.HTTPError):
            raise NoAnswer("connection cut") from None
        finally:
            self.waiting_for_answer.discard(asyncio.current_task())
        answer = read_completion(strike_out(response.text, self.key))
        if answer["prompt_tokens"] is not None:
            self.gate.settle(ticket, answer["prompt_tokens"], answer["completion_tokens"])
        return answer

    def judge_status(self, error: APIStatusError) -> NoAnswer:
        """What an HTTP error means: NoAnswer for one that may pass. Raises UserError for one that will not."""
        status = error.status_code
        said = strike_out(" ".join(error.message.split()), self.key)[:300]
        if status == 429 and error.code == "insufficient_quota":
            raise UserError(f"{self.params.base_url}: the account's quota is spent; finished answers are kept")
        if status not in TRANSIENT and status < 500:
            raise UserError(
                f"{self.params.base_url}: {REMEDY.get(status, 'the server refuses')} (HTTP {status}: {said})"
            )
        wait = retry_after(error.response.headers)
        if wait is not None and wait > LONGEST_WAIT:
            raise UserError(
                f"{self.params.base_url}: the server asks to wait {wait:.0f} seconds; run again then, finished answers"
                " are kept"
            )
        return NoAnswer(f"HTTP {status}", wait)


def settled(answers: list[dict[str, Any]], params: JudgeParams) -> bool:
    """Whether a request needs no further asking: its last answer can be read, or it was asked often enough.

    A prompt that is too long for the model stays so.
    """
    if not answers or len(answers) >= params.max_asks:
        return bool(answers)
    last = answers[-1]
    return last["finish_reason"] == PROMPT_TOO_LONG or not isinstance(read_answer(params.template, last), str)


def is_too_long(status: int | None, body: Any) -> bool:
    """Whether an HTTP error says that one prompt is longer than the model takes, which concerns no other request."""
    said = json.dumps(body)
    return status in (400, 413) and ("context_length_exceeded" in said or "context length" in said)


def count_answer(traffic: Traffic, answer: dict[str, Any], params: JudgeParams) -> None:
    """Books an answer's tokens, and whether it can be read."""
    traffic.answers += 1
    traffic.unreadable += isinstance(read_answer(params.template, answer), str)
    traffic.prompt_tokens += answer["prompt_tokens"] or 0
    traffic.answer_tokens += answer["completion_tokens"] or 0


def check_budget(traffic: Traffic, params: JudgeParams) -> None:
    """Raises UserError when this run has spent `max_cost_usd`: answers can be longer than the estimate foresaw."""
    spent = cost_usd(params.prices.get(params.model), traffic.prompt_tokens, traffic.answer_tokens, params.transport)
    if params.max_cost_usd is not None and spent is not None and spent >= params.max_cost_usd:
        raise UserError(
            f"judge.max_cost_usd: this run has spent ${spent:.4f} of ${params.max_cost_usd:.4f}; finished answers are"
            " kept, raise the budget and run again"
        )


def read_completion(text: str) -> dict[str, Any]:
    """What is kept of a chat completion. Raises NoAnswer when the text is not one."""
    try:
        completion = json.loads(text)
        choice = completion["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        usage = completion.get("usage") or {}
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        if not all(isinstance(part, str | None) for part in (content, refusal)):
            raise TypeError("content is not text")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise NoAnswer("not a chat completion") from None
    known = all(isinstance(count, int) for count in tokens)
    return {
        "content": content,
        "refusal": refusal,
        "finish_reason": choice.get("finish_reason"),
        "model": completion.get("model"),
        "prompt_tokens": tokens[0] if known else None,
        "completion_tokens": tokens[1] if known else None,
    }
