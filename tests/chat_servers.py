"""Loopback servers that behave as ten kinds of chat servers do: one table, from their documentation and their users.

A prompt that holds the word TOO_LONG is refused as too long, FILTERED as filtered, and the first that holds LIMITED is
turned away for the rate. Every other is answered, in the form in which that server answers.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "sk-loopback-0123456789"
WAIT = 0.7  # seconds that a refusal for the rate asks for


@dataclass(frozen=True)
class Refusal:
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Behaviour:
    """How a server answers. settings: what params.yaml must say beside the address. key: the header that brings it.

    limit_names: what it calls the bound of an answer's tokens; where it is `strict`, it refuses other fields with
    `unknown`. limited: a refusal for the rate, None where the server has none. message: the text as the answer's
    message.
    """

    too_long: Refusal
    no_model: Refusal
    path: str = "/v1"
    settings: dict[str, Any] = field(default_factory=dict)
    key: str | None = "Authorization"
    wrong_key: Refusal | None = None
    query: dict[str, str] = field(default_factory=dict)
    limit_names: tuple[str, ...] = ("max_tokens", "max_completion_tokens")
    strict: bool = False
    unknown: Callable[[str], Refusal] | None = None
    filtered: Refusal | None = None
    limited: Refusal | None = None
    message: Callable[[str], dict] = lambda text: {"role": "assistant", "content": text}
    wrong_path: Refusal = Refusal(404, {"error": {"message": "Not Found", "type": "invalid_request_error"}})


def error(message: str, **more: Any) -> dict:
    return {"error": {"message": message, **more}}


SERVERS = {
    "azure": Behaviour(
        path="/openai/deployments/judge",
        settings={"headers": {"api-key": "{key}"}, "query": {"api-version": "2024-10-21"}},
        key="api-key",
        query={"api-version": "2024-10-21"},
        wrong_key=Refusal(
            401, error("Access denied due to invalid subscription key or wrong API endpoint.", code="401")
        ),
        no_model=Refusal(404, error("The API deployment for this resource does not exist.", code="DeploymentNotFound")),
        limit_names=("max_tokens",),
        strict=True,
        unknown=lambda name: Refusal(
            400, error(f"Unrecognized request argument supplied: {name}", type="invalid_request_error", param=None)
        ),
        too_long=Refusal(
            400,
            error(
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 14429 tokens."
                " Please reduce the length of the messages.",
                type="invalid_request_error",
                param="messages",
                code="context_length_exceeded",
            ),
        ),
        filtered=Refusal(
            400,
            error(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                param="prompt",
                code="content_filter",
                status=400,
                innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {}}},
            ),
        ),
        limited=Refusal(
            429,
            error(
                "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have"
                " exceeded token rate limit of your current OpenAI S0 pricing tier."
                f" Please retry after {WAIT} seconds.",
                code="429",
            ),
        ),
    ),
    "mistral": Behaviour(
        wrong_key=Refusal(401, {"detail": "Unauthorized"}),
        no_model=Refusal(
            400, {"object": "error", "message": "Invalid model: missing", "type": "invalid_model", "code": "1500"}
        ),
        limit_names=("max_tokens",),
        strict=True,
        unknown=lambda name: Refusal(
            422,
            {
                "object": "error",
                "message": {
                    "detail": [
                        {
                            "type": "extra_forbidden",
                            "loc": ["body", name],
                            "msg": "Extra inputs are not permitted",
                            "input": 300,
                        }
                    ]
                },
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            },
        ),
        too_long=Refusal(
            400,
            {
                "object": "error",
                "message": "Prompt contains 40125 tokens and 0 draft tokens, too large for model with 32768 maximum"
                " context length",
                "type": "invalid_request_error",
                "param": None,
                "code": "3051",
            },
        ),
        limited=Refusal(429, {"message": "Requests rate limit exceeded"}, {"retry-after": str(WAIT)}),
        message=lambda text: {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": '{"verdict": "cannot_tell"}'}]},
                {"type": "text", "text": text},
            ],
        },
    ),
    "openrouter": Behaviour(
        path="/api/v1",
        wrong_key=Refusal(401, error("No auth credentials found", code=401)),
        no_model=Refusal(404, error("No endpoints found for missing.", code=404)),
        too_long=Refusal(
            400,
            error(
                "This endpoint's maximum context length is 8192 tokens. However, you requested about 14429 tokens."
                ' Please reduce the length of either one, or use the "middle-out" transform.',
                code=400,
            ),
        ),
        filtered=Refusal(
            403,
            error(
                "Your chosen model requires moderation and your input was flagged",
                code=403,
                metadata={"reasons": ["violence"], "flagged_input": "…", "provider_name": "p"},
            ),
        ),
        # An error of the model's provider comes inside a 200.
        limited=Refusal(
            200,
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": ""},
                        "finish_reason": "error",
                        "error": {
                            "code": 429,
                            "message": "Provider returned error",
                            "metadata": {"raw": f"model is temporarily rate-limited, retry in {WAIT}s"},
                        },
                    }
                ]
            },
        ),
        message=lambda text: {"role": "assistant", "content": text, "refusal": None, "reasoning": "Let me see. No."},
    ),
    "groq": Behaviour(
        path="/openai/v1",
        wrong_key=Refusal(401, error("Invalid API Key", type="invalid_request_error", code="invalid_api_key")),
        no_model=Refusal(
            404,
            error(
                "The model `missing` does not exist or you do not have access to it.",
                type="invalid_request_error",
                code="model_not_found",
            ),
        ),
        too_long=Refusal(
            413,
            error(
                "Request too large for model `m` in organization `org` service tier `on_demand` on tokens per minute"
                " (TPM): Limit 6000, Requested 14429, please reduce your message size and try again.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
        ),
        filtered=Refusal(
            400,
            error(
                "Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.",
                type="invalid_request_error",
                code="json_validate_failed",
                failed_generation="verdict: correct",
            ),
        ),
        limited=Refusal(
            429,
            error(
                "Rate limit reached for model `m` in organization `org` on tokens per minute (TPM): Limit 6000, Used"
                f" 5800, Requested 900. Please try again in {WAIT * 1000:.0f}ms. Visit the console for details.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
            {"x-ratelimit-remaining-requests": "14370", "x-ratelimit-reset-requests": "2m59.56s"},
        ),
    ),
    "gemini": Behaviour(
        path="/v1beta/openai",
        wrong_key=Refusal(
            400,
            [
                error(
                    "API key not valid. Please pass a valid API key.",
                    code=400,
                    status="INVALID_ARGUMENT",
                    details=[{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
                )
            ],
        ),
        no_model=Refusal(
            404, [error("models/missing is not found for API version v1main", code=404, status="NOT_FOUND")]
        ),
        too_long=Refusal(
            400,
            [
                error(
                    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                    code=400,
                    status="INVALID_ARGUMENT",
                )
            ],
        ),
        # A blocked prompt is answered with nothing.
        filtered=Refusal(
            200,
            {
                "choices": [{"index": 0, "finish_reason": "content_filter", "message": {"role": "assistant"}}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 0, "total_tokens": 100},
            },
        ),
        limited=Refusal(
            429,
            [
                error(
                    "You exceeded your current quota, please check your plan and billing details.",
                    code=429,
                    status="RESOURCE_EXHAUSTED",
                    details=[
                        {
                            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                            "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
                        },
                        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{WAIT}s"},
                    ],
                )
            ],
        ),
    ),
    "anthropic": Behaviour(
        wrong_key=Refusal(401, error("Invalid bearer token", type="authentication_error", code="unauthorized")),
        no_model=Refusal(404, error("model: missing", type="not_found_error")),
        too_long=Refusal(
            400, error("prompt is too long: 214429 tokens > 200000 maximum", type="invalid_request_error")
        ),
        limited=Refusal(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        # `response_format` is not kept to: prose around the object, in a fence.
        message=lambda text: {"role": "assistant", "content": f"Here is my review:\n\n```json\n{text}\n```\n"},
    ),
    "ollama": Behaviour(
        key=None,
        no_model=Refusal(404, error("model 'missing' not found", type="not_found_error", param=None, code=None)),
        limit_names=("max_tokens",),
        too_long=Refusal(
            400, error("the input length exceeds the context length", type="invalid_request_error", code=None)
        ),
        limited=Refusal(503, error("server busy, please try again.  maximum pending requests exceeded")),
        message=lambda text: {"role": "assistant", "content": text, "reasoning": "The queries differ, so no."},
    ),
    "lm_studio": Behaviour(
        key=None,
        no_model=Refusal(400, {"error": "No models loaded. Please load a model in the developer page."}),
        too_long=Refusal(
            200,
            {
                "error": "Trying to keep the first 14429 tokens when context the overflows. However, the model is"
                " loaded with context length of only 4096 tokens, which is not enough. Try to load the model with a"
                " larger context length, or provide a shorter input"
            },
        ),
        wrong_path=Refusal(200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
        message=lambda text: {"role": "assistant", "content": f"<think>\nA verdict of no? Wait.\n</think>\n\n{text}"},
    ),
    "llama_cpp": Behaviour(
        wrong_key=Refusal(401, error("Invalid API Key", code=401, type="authentication_error")),
        no_model=Refusal(404, error("model not found", code=404, type="not_found_error")),
        too_long=Refusal(
            400,
            error(
                "request (14429 tokens) exceeds the available context size (8192 tokens), try increasing it",
                code=400,
                type="exceed_context_size_error",
                n_prompt_tokens=14429,
                n_ctx=8192,
            ),
        ),
        limited=Refusal(503, error("Loading model", code=503, type="unavailable_error")),
        message=lambda text: {"role": "assistant", "content": text, "reasoning_content": "Hm. No."},
    ),
    "vllm": Behaviour(
        wrong_key=Refusal(401, {"error": "Unauthorized"}),
        no_model=Refusal(
            404, error("The model `missing` does not exist.", type="NotFoundError", param="model", code=404)
        ),
        too_long=Refusal(
            400,
            error(
                "'max_tokens' or 'max_completion_tokens' is too large: 300. This model's maximum context length is 4096"
                " tokens and your request has 4000 input tokens (300 > 4096 - 4000).",
                type="BadRequestError",
                param="max_tokens",
                code=400,
            ),
        ),
        # Qwen's template opens the thoughts in the prompt.
        message=lambda text: {"role": "assistant", "content": f'Is it {{"verdict": "incorrect"}}?\n</think>\n{text}'},
    ),
}


@dataclass
class Loopback:
    """A server under way: its address, and what it received."""

    url: str
    log: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def listening(answer: Callable[[dict, dict], Refusal]) -> Iterator[Loopback]:
    """A server whose `answer(body, entry)` says what to send; entry: path, query, headers and time of the request."""
    server = Loopback("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            entry = {"path": parts.path, "query": query, "headers": self.headers, "body": body, "time": time.time()}
            server.log.append(entry)
            reply = answer(body, entry)
            data = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            kind = "text/html" if isinstance(reply.body, str) else "application/json"
            for name, value in ({"Content-Type": kind, "Content-Length": str(len(data))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def said(body: dict) -> str:
    """All text of a request's prompt."""
    return body.get("prompt") or "\n".join(message["content"] for message in body["messages"])


def completion(message: dict, finish_reason: str = "stop", usage: bool = True) -> Refusal:
    """A plain answer."""
    body: dict[str, Any] = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }  # fmt: skip
    if usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return Refusal(200, body)


@contextlib.contextmanager
def serving(behaviour: Behaviour, text: str) -> Iterator[Loopback]:
    """A server that behaves so and otherwise answers `text`; its address is that of its documentation's example."""
    limited: list[str] = []

    def answer(body: dict, entry: dict) -> Refusal:
        if entry["path"] != f"{behaviour.path}/chat/completions" or entry["query"] != behaviour.query:
            return behaviour.wrong_path
        if behaviour.wrong_key and behaviour.key:
            given = entry["headers"].get(behaviour.key, "").removeprefix("Bearer ")
            if given != KEY:
                return behaviour.wrong_key
        if body["model"] == "missing":
            return behaviour.no_model
        known = {"model", "messages", "temperature", "response_format", *behaviour.limit_names}
        if behaviour.strict and behaviour.unknown and (unknown := body.keys() - known):
            return behaviour.unknown(unknown.pop())
        if "TOO_LONG" in said(body):
            return behaviour.too_long
        if "FILTERED" in said(body) and behaviour.filtered:
            return behaviour.filtered
        if "LIMITED" in said(body) and behaviour.limited and not limited:
            limited.append("once")
            return behaviour.limited
        return completion(behaviour.message(text))

    with listening(answer) as server:
        server.url += behaviour.path
        yield server
