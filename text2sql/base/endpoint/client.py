"""Asks one model at a server that speaks OpenAI's API, as fast as its limits allow and until it has answered.

The `openai` package's client with its own hidden retries turned off: every attempt passes the gate (limits.py), is
counted, and its failure is read in one place (failures.py). The key comes from the environment and is struck out of
everything the server sends back.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import httpx2
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAioHttpClient,
    DefaultHttpxClient,
    OpenAI,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from text2sql.base.endpoint.address import OPENAI, Endpoint, headers_for, key_for, strike_out
from text2sql.base.endpoint.cost import body_tokens, check_budget, estimate_tokens
from text2sql.base.endpoint.failures import Failure, Kind, NoAnswer, Refused, failure_inside, parsed, read_failure
from text2sql.base.endpoint.limits import Gate, Ticket
from text2sql.base.errors import UserError
from text2sql.base.params import EndpointParams
from text2sql.base.text import one_line

Item = TypeVar("Item")

NO_KEY = "none"
CHAT = "/chat/completions"
LONGEST_WAIT = 600.0  # seconds that a run sits out, asked to or not; for more it ends, to be run again later
GIVEN_UP_IN_A_ROW = 10  # requests without an answer, and no answer between them, that end a run
# So many refusals, and no answer yet, are about all rows: those that speak of a prompt, and those that may.
REFUSED_AT_FIRST = {Kind.TOO_LONG: 20, Kind.FILTERED: 20, Kind.UNSURE: 3}
# Two names of one parameter; a server that refuses the first is asked with the second.
OTHER_NAME = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens", "seed": "random_seed"}
_UNKNOWN = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|extra_forbidden|deprecated"
    r"|cannot find field|does not (accept|exist)",
    re.IGNORECASE,
)


@dataclass
class Traffic:
    """What one run sent: attempts, retries by cause, answers, tokens, and requests without an answer with the reason.

    refused: by the server, whoever asks. given_up: after so many attempts; another run may have more luck.
    """

    sent: int = 0
    retries: Counter = field(default_factory=Counter)
    answers: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    refused: dict[Any, str] = field(default_factory=dict)
    given_up: dict[Any, str] = field(default_factory=dict)
    given_up_in_a_row: int = 0

    def count(self, answer: dict[str, Any], body: bytes) -> None:
        """Books an answer; its tokens are estimated where the server does not tell them."""
        self.answers += 1
        self.given_up_in_a_row = 0
        known = answer["prompt_tokens"] is not None
        self.prompt_tokens += answer["prompt_tokens"] if known else body_tokens(json.loads(body))
        self.answer_tokens += answer["completion_tokens"] if known else estimate_tokens(answer["content"] or "")


def open_http(endpoint: Endpoint, key: str | None) -> AsyncOpenAI:
    """The package's client over aiohttp, which does twice the requests a second of its default transport."""

    async def check(request: httpx2.Request) -> None:
        leave_out_placeholder(request)

    count = endpoint.params.concurrency
    limits = httpx2.Limits(max_connections=count, max_keepalive_connections=count)
    hooks = {"request": [check]}
    http = DefaultAioHttpClient(limits=limits, follow_redirects=False, event_hooks=hooks)
    return AsyncOpenAI(**connection(endpoint, key), max_retries=0, http_client=http)


def open_blocking(endpoint: Endpoint, key: str | None) -> OpenAI:
    """The package's client for what is not a completion, with its own retries."""
    hooks = {"request": [leave_out_placeholder]}
    return OpenAI(
        **connection(endpoint, key),
        max_retries=5,
        http_client=DefaultHttpxClient(follow_redirects=False, event_hooks=hooks),
    )


def connection(endpoint: Endpoint, key: str | None) -> dict[str, Any]:
    """What both clients are opened with. Neither follows a redirect: it could carry the key elsewhere."""
    return {
        "api_key": NO_KEY,
        "base_url": endpoint.url,
        "timeout": endpoint.params.timeout,
        "default_headers": headers_for(endpoint.params, key),
        "default_query": endpoint.params.query,
    }


def leave_out_placeholder(request: httpx2.Request) -> None:
    """The package insists on a bearer's key, also where the server has it in another header, or needs none."""
    if request.headers.get("Authorization") == f"Bearer {NO_KEY}":
        del request.headers["Authorization"]


def options(params: EndpointParams, answer_tokens: int, temperature: float | None) -> dict[str, Any]:
    """The part of a request's body that is not its prompt; what a server does not take is left out by its parameter."""
    body: dict[str, Any] = {limit_name(params): answer_tokens}
    if temperature is not None:
        body["temperature"] = temperature
    if params.reasoning_effort is not None:
        body["reasoning_effort"] = params.reasoning_effort
    return body | params.extra_body


def limit_name(params: EndpointParams) -> str:
    """What the server calls the bound of an answer's tokens: OpenAI's new models know the new name alone, and servers
    that ignore what they do not know mostly know the old one."""
    if params.token_limit != "auto":
        return params.token_limit
    return "max_completion_tokens" if OPENAI in (params.base_url or "") else "max_tokens"


class Client:
    """The server with what every request to it shares: connections, limits, spending, and what it has taught so far.

    An async context manager. answered: whether an earlier run has answers of this server, so that a refusal is about
    its own request.
    """

    def __init__(self, endpoint: Endpoint, traffic: Traffic, answered: bool = False) -> None:
        self.endpoint, self.params, self.traffic, self.answered = endpoint, endpoint.params, traffic, answered
        self.url, self.key = endpoint.url, key_for(endpoint)
        self.http = open_http(endpoint, self.key)
        self.gate = Gate(self.params.requests_per_minute, self.params.tokens_per_minute)
        self.answered_at = 0.0  # when somebody was answered last
        self.names: dict[str, str] = {}  # parameters that the server knows by another name
        self.refusals: Counter[Kind] = Counter()
        self.asking = self.in_doubt = 0  # requests under way; of them, those that wait to learn whose their error is
        self.news = asyncio.Condition()
        self.under_way: set[asyncio.Task | None] = set()  # who waits for an answer, which will be paid
        self.stopped = False  # no attempt after those under way

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.__aexit__(kind, error, trace)

    async def for_each(self, items: Iterable[Item], work: Callable[[Item], Awaitable[None]]) -> None:
        """Does `work` on every item, `concurrency` of them at once, drawn as workers become free.

        A UserError ends it: nothing more is sent, and who waits for an answer has it first, because it is paid for.
        """
        source = iter(items)
        errors: list[UserError] = []

        async def worker() -> None:
            try:
                for item in source:
                    await work(item)
                    if self.stopped:
                        return
            except UserError as error:
                errors.append(error)
                self.stopped = True
                for other in workers - self.under_way:
                    other.cancel()

        async with asyncio.TaskGroup() as group:
            workers = {group.create_task(worker()) for _ in range(self.params.concurrency)}
        if errors:
            raise errors[0]
        if not self.answered and self.refusals[Kind.UNSURE] and not self.traffic.given_up:
            raise UserError(f"{self.url}: no request was answered; {next(iter(self.traffic.refused.values()))}")

    async def ask(self, path: str, body: bytes, answer_tokens: int) -> dict[str, Any]:
        """One answer: content, refusal, finish_reason, model, prompt_tokens, completion_tokens.

        In at most `max_attempts` attempts with growing, jittered waits between them; refusals for the rate do not
        count, they end after LONGEST_WAIT without an answer to anybody. Raises Refused for a request that the server
        will not answer, NoAnswer for one that was given up, UserError where going on is useless.
        """
        patience = Patience(self)
        retrying = AsyncRetrying(
            stop=patience.is_over,
            wait=patience.wait,
            before_sleep=patience.count,
            retry=retry_if_exception_type(NoAnswer),
            reraise=True,
        )
        self.asking += 1
        try:
            answer: dict[str, Any] = await retrying(self.attempt, path, body, answer_tokens)
        except NoAnswer as failure:
            self.give_up(failure)
            raise
        finally:
            self.asking -= 1
            await self.tell()
        self.traffic.count(answer, body)
        return answer

    async def attempt(self, path: str, body: bytes, answer_tokens: int) -> dict[str, Any]:
        """One attempt. Raises NoAnswer for what may pass, Refused for what concerns this request, else UserError."""
        check_budget(self.endpoint, self.traffic.prompt_tokens, self.traffic.answer_tokens)
        tokens = body_tokens(json.loads(body)) if self.params.tokens_per_minute else 0
        ticket = await self.gate.admit(tokens, answer_tokens)
        while True:
            names = dict(self.names)
            answer = await self.send(path, renamed(body, names))
            if not isinstance(answer, Failure):
                break
            if not self.learns(answer, body, names):
                raise await self.meaning(answer, body, ticket)
        self.gate.answered()
        self.answered_at = time.monotonic()
        if not self.answered:
            self.answered = True
            await self.tell()
        if answer["prompt_tokens"] is not None:
            self.gate.settle(ticket, answer["prompt_tokens"], answer["completion_tokens"])
        return answer

    async def send(self, path: str, body: bytes) -> dict[str, Any] | Failure:
        """Sends one request. Raises NoAnswer where the server sent nothing that can be read."""
        self.traffic.sent += 1
        self.under_way.add(asyncio.current_task())
        try:
            async with asyncio.timeout(self.params.timeout):
                response = await self.http.post(path, content=body, cast_to=httpx2.Response)
            return read_completion(strike_out(response.text, self.key))
        except (TimeoutError, APITimeoutError):
            raise NoAnswer("timeout or no connection") from None
        except APIStatusError as error:
            text = strike_out(error.response.text, self.key)
            return read_failure(error.status_code, error.response.headers, parsed(text))
        except (APIConnectionError, aiohttp.ClientError, httpx2.HTTPError):
            raise NoAnswer("connection cut") from None
        finally:
            self.under_way.discard(asyncio.current_task())

    def learns(self, failure: Failure, body: bytes, names: dict[str, str]) -> bool:
        """Whether the request should be sent again at once, because the server calls one of its parameters otherwise.

        names: those that it was sent with; another request may have learnt more since.
        """
        if failure.status not in (400, 422) or failure.kind not in (Kind.UNSURE, Kind.SETTING):
            return False
        text = f"{failure.said} {failure.marks}"
        for name in json.loads(body).keys() & OTHER_NAME.keys():
            if re.search(rf"\b{name}\b", text) and _UNKNOWN.search(text) and name not in names:
                if self.params.token_limit != "auto" and name != "seed":
                    return False
                self.names[name] = OTHER_NAME[name]
                return True
        return False

    async def meaning(self, failure: Failure, body: bytes, ticket: Ticket) -> Exception:
        """Whose error it is, given whether the server has answered anything so far: the exception to raise."""
        match failure.kind:
            case Kind.BUSY | Kind.PASSING:
                if failure.wait is not None and failure.wait > LONGEST_WAIT:
                    return UserError(
                        f"{self.url}: the server asks to wait {failure.wait:.0f} seconds; run again then, finished"
                        " answers are kept"
                    )
                if failure.kind is Kind.BUSY:
                    self.gate.refused(ticket, failure.wait)
                elif failure.wait is not None:
                    self.gate.pause(failure.wait)
                reason = f"HTTP {failure.status}"
                return NoAnswer(reason, str(failure), failure.wait, busy=failure.kind is Kind.BUSY)
            case Kind.KEY | Kind.SPENT:
                return self.useless(failure, body)
            case Kind.SETTING if self.answered:  # it was right before: a model that is being loaded anew, a proxy
                return NoAnswer(f"HTTP {failure.status}", str(failure))
            case Kind.SETTING:
                return self.useless(failure, body)
        if not self.answered and failure.kind is Kind.UNSURE and named(failure, body):
            return self.useless(failure, body)
        self.refusals[failure.kind] += 1
        if not self.answered and self.refusals[failure.kind] >= REFUSED_AT_FIRST[failure.kind]:
            # Perhaps about all rows, perhaps about the first few: who is still waiting for an answer will tell.
            async with self.news:
                self.in_doubt += 1
                self.news.notify_all()
                await self.news.wait_for(lambda: self.answered or self.in_doubt >= self.asking)
                self.in_doubt -= 1
            if not self.answered:
                return self.useless(failure, body)
        return Refused(failure)

    async def tell(self) -> None:
        """Wakes who waits to learn whose their error is."""
        if self.in_doubt:
            async with self.news:
                self.news.notify_all()

    def give_up(self, failure: NoAnswer) -> None:
        """Notes a request that got no answer. Raises UserError when the server seems to answer nobody."""
        self.traffic.given_up_in_a_row += 1
        if self.traffic.given_up_in_a_row >= GIVEN_UP_IN_A_ROW:
            raise UserError(
                f"{self.url}: {GIVEN_UP_IN_A_ROW} requests in a row got no answer, the last: {failure};"
                " see to the server and run again, finished answers are kept"
            )

    def useless(self, failure: Failure, body: bytes) -> UserError:
        """The line that ends a run whose every request would fail like this one."""
        return UserError(f"{self.url}: {remedy(self.endpoint, failure, json.loads(body))} ({failure})")


class Patience:
    """How often and how long one request is asked."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.tries = 0  # that failed by themselves, not for the rate
        self.busy_since: float | None = None
        self.backoff = wait_random_exponential(multiplier=0.5, max=30)

    def is_over(self, state: RetryCallState) -> bool:
        failure = failure_of(state)
        if not failure.busy:
            self.busy_since = None
            self.tries += 1
            return self.client.stopped or self.tries >= self.client.params.max_attempts
        now = time.monotonic()
        self.busy_since = self.busy_since or now
        return self.client.stopped or now - max(self.busy_since, self.client.answered_at) >= LONGEST_WAIT

    def wait(self, state: RetryCallState) -> float:
        """Seconds; where the server names them, or the gate holds all back, a little jitter keeps requests apart."""
        failure = failure_of(state)
        if failure.wait is not None:
            return failure.wait + self.backoff(state) / 10
        return min(self.backoff(state), 1.0) if failure.busy else self.backoff(state)

    def count(self, state: RetryCallState) -> None:
        self.client.traffic.retries[failure_of(state).reason] += 1


def failure_of(state: RetryCallState) -> NoAnswer:
    """The failure of the attempt before this wait."""
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, NoAnswer)
    return failure


def renamed(body: bytes, names: dict[str, str]) -> bytes:
    """The body with its parameters under the server's names."""
    if not names:
        return body
    values = {names.get(name, name): value for name, value in json.loads(body).items()}
    return json.dumps(values, separators=(",", ":")).encode()


def named(failure: Failure, body: bytes) -> str | None:
    """The parameter of the body that a refusal is about, None where it names none."""
    for name in json.loads(body).keys() - {"model", "messages", "prompt"}:
        if re.search(rf"\b{re.escape(name)}\b", f"{failure.said} {failure.marks}"):
            return name
    return None


def remedy(endpoint: Endpoint, failure: Failure, body: dict[str, Any]) -> str:
    """What is wrong, and which parameter or setting of the account to change."""
    section, status = endpoint.section, failure.status
    if failure.kind is Kind.SPENT:
        return "the account's quota is spent or its credit used up; finished answers are kept"
    if failure.kind is Kind.KEY:
        return f"the key was refused; check {endpoint.params.key_env or f'{section}.key_env'}"
    if 300 <= status < 400:
        return f"the server sends requests elsewhere; write its new address into {section}.base_url"
    if failure.kind is Kind.SETTING and status != 403:
        return f"no such model or address; check {endpoint.naming} and {section}.base_url"
    if status == 403:
        return f"the key may not do this; check its permissions and {endpoint.naming}"
    if failure.kind in (Kind.TOO_LONG, Kind.FILTERED):
        return f"the first {REFUSED_AT_FIRST[failure.kind]} requests were refused one by one, and none was answered"
    match named(failure, json.dumps(body).encode()):
        case "response_format":
            return f"the server does not take this response_format; set {section}.response_format to false"
        case "temperature":
            return f"the model does not take this temperature; set {section}.temperature to null"
        case "reasoning_effort":
            return f"the model does not take this effort; set {section}.reasoning_effort to null or to one it knows"
        case "max_tokens" | "max_completion_tokens" as name:
            return f"the server does not take this {name}; change {section}.token_limit or the number of tokens"
        case str(name):
            return f"the server does not take {name}; check {section}.extra_body"
    hint = f"{section}.response_format (false), " if "response_format" in body else ""
    return f"the request was refused; some servers and models take no {hint}{section}.temperature (null)"


def read_completion(text: str) -> dict[str, Any] | Failure:
    """What is kept of a completion, or the error inside it. Raises NoAnswer when the text is neither.

    The contents of a list (text, and with some servers thoughts) are joined without the thoughts.
    """
    try:
        completion = json.loads(text)
        if (failure := failure_inside(completion)) is not None:
            return failure
        choice = completion["choices"][0]
        message = choice["message"] if "message" in choice else {"content": choice["text"]}
        content, refusal = joined(message.get("content")), message.get("refusal")
        usage = completion.get("usage") or {}
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        if not all(isinstance(part, str | None) for part in (content, refusal)):
            raise TypeError("content is not text")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise NoAnswer("not a chat completion", f"not a chat completion: {one_line(text, 80)}") from None
    known = all(isinstance(count, int) for count in tokens)
    return {
        "content": content,
        "refusal": refusal,
        "finish_reason": choice.get("finish_reason"),
        "model": completion.get("model"),
        "prompt_tokens": tokens[0] if known else None,
        "completion_tokens": tokens[1] if known else None,
    }


def joined(content: Any) -> Any:
    """The text of a message's content: as it is, or joined from the parts of a list."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "".join(part for part in parts if isinstance(part, str))
