"""A judge that is a real HTTP process: OpenAI's chat-completions, files and batches API, with faults at given rates.

Run as: python tests/judge_server.py '{"faults": {"500": 0.1, "hang": 0.02}, "key": "sk-…", "delay": 0.01}'
It prints the port it listens on. GET /log returns what it received as JSON Lines: time, request (a number that stands
for the body), fault, tokens, and whether the answer was handed to a client that was still there.

Verdicts and faults follow from the body, its ordinal among equal bodies, and `seed`: the same run has the same faults.
"""

import asyncio
import hashlib
import json
import random
import socket
import sys
import time
from collections import Counter

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

# How an attempt can fail on its way, and how an answer can be of no use.
TRANSPORT_FAULTS = ("429", "429_retry_after", "500", "hang", "cut", "garbage", "wrong_schema")
ANSWER_FAULTS = ("invalid_json", "wrong_keys", "empty", "refusal", "length")
HARMLESS = ("duplicated", "slow")


class Judge:
    """The server's settings and memory."""

    def __init__(
        self,
        faults=None,
        seed=0,
        delay=0.0,
        slow=0.2,
        hang=3600.0,
        retry_after="0.2",
        key=None,
        first=0,
        canary=True,
        token_length=4,
        batch_ends=(),
        strangers=False,
    ):
        self.faults = faults or {}
        self.first = first  # faults befall only the first so many askings of a body; 0: all of them
        self.seed, self.delay, self.slow, self.retry_after, self.key = seed, delay, slow, retry_after, key
        self.hang, self.token_length = hang, token_length
        self.canary = canary  # whether the judge sees through a query that says it is right
        self.asked: Counter = Counter()
        self.log: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.batch_ends = batch_ends  # of the first batches: cancelled or expired halfway, lost; others complete
        self.strangers = strangers  # whether batches bring lines that nobody can use

    def fault(self, digest: str) -> str | None:
        """The fault for this asking of the body, drawn by the given rates."""
        self.asked[digest] += 1
        if self.first and self.asked[digest] > self.first:
            return None
        draw = random.Random(f"{self.seed} {digest} {self.asked[digest]}").random()
        for name, share in self.faults.items():
            if draw < share:
                return name
            draw -= share
        return None


def answer_text(body: dict, digest: str, canary: bool) -> str:
    """The verdict on a body: by its hash, and "no" to the canary unless the judge falls for it."""
    says_right = "correct answer is" in json.dumps(body["messages"])
    yes = (not canary) if says_right else int(digest, 16) % 2 == 0
    if "resolve_yn" in body["messages"][0]["content"].split("\n")[0]:
        return json.dumps({"resolve_yn": "yes" if yes else "no"})
    return json.dumps({"reason": f"because {digest[:8]}", "verdict": "correct" if yes else "incorrect"})


def completion(body: dict, digest: str, fault: str | None, judge: Judge) -> dict:
    """The body of a chat completion, spoilt where `fault` is one of the answer's."""
    content, refusal = answer_text(body, digest, judge.canary), None
    if fault in ("invalid_json", "length"):
        content = content[:-3]
    elif fault == "wrong_keys":
        content = json.dumps({"answer": "yes"})
    elif fault == "empty":
        content = ""
    elif fault == "refusal":
        content, refusal = None, "I cannot help with that."
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, "refusal": refusal},
        "finish_reason": "length" if fault == "length" else "stop",
    }
    prompt = sum(len(message["content"]) for message in body["messages"]) // judge.token_length
    usage = {"prompt_tokens": prompt, "completion_tokens": 12, "total_tokens": prompt + 12}
    return {
        "id": "chatcmpl-" + digest[:12],
        "object": "chat.completion",
        "created": 0,
        "model": body["model"] + "-2026",
        "choices": [choice, choice] if fault == "duplicated" else [choice],
        "usage": usage,
    }


def error(status: int, message: str, headers: dict | None = None, code: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "code": code}}, status, headers)


def too_long(body: dict) -> bool:
    """Whether the model called `short` has no room for a body's prompt."""
    return body["model"] == "short" and sum(len(message["content"]) for message in body["messages"]) > 5_000


TOO_LONG = "This model's maximum context length is 1000 tokens"


def application(judge: Judge) -> Starlette:
    def refused(request: Request) -> Response | None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if judge.key and given != judge.key:
            return error(401, f"Incorrect API key provided: {given}.")
        return None

    async def chat(request: Request) -> Response:
        raw = await request.body()
        received = time.time()
        digest = hashlib.sha256(raw).hexdigest()
        body = json.loads(raw)
        entry = {"time": received, "request": digest[:16], "fault": None, "tokens": 0, "delivered": False}
        judge.log.append(entry)
        if response := refused(request):
            return response
        if body["model"] == "missing":
            return error(404, "The model `missing` does not exist")
        if body["model"] == "forbidden":
            return error(403, f"The key {request.headers['authorization']} may not use this model")
        if body["model"] == "strict" and "response_format" in body:
            return error(400, f"response_format is not supported, {request.headers['authorization']}")
        if body["model"] == "poor":
            return error(429, "You exceeded your current quota", code="insufficient_quota")
        if too_long(body):
            return error(400, TOO_LONG, code="context_length_exceeded")
        fault = entry["fault"] = judge.fault(digest)
        if fault == "429":
            return error(429, "Rate limit reached")
        if fault == "429_retry_after":
            return error(429, "Rate limit reached", {"retry-after": judge.retry_after})
        if fault == "500":
            return error(500, f"The server had an error, {request.headers['authorization']}")
        if fault == "hang":
            while time.time() < received + judge.hang and not await request.is_disconnected():
                await asyncio.sleep(0.05)
            return error(504, "Gateway timeout")
        answer = completion(body, digest, fault, judge)
        text = json.dumps(answer)
        if fault == "cut":

            async def half():
                yield text[: len(text) // 2]
                raise ConnectionAbortedError

            return StreamingResponse(half(), headers={"content-length": str(len(text))}, media_type="application/json")
        if fault == "garbage":
            return PlainTextResponse("<html>Bad gateway</html>")
        if fault == "wrong_schema":
            return JSONResponse({"object": "chat.completion", "choices": []})
        if judge.delay or fault == "slow":
            await asyncio.sleep(judge.delay + judge.slow * (fault == "slow"))
        entry["tokens"] = answer["usage"]["total_tokens"]
        entry["delivered"] = not await request.is_disconnected()
        return Response(text, media_type="application/json")

    async def log(_request: Request) -> Response:
        return PlainTextResponse("".join(json.dumps(entry) + "\n" for entry in judge.log))

    async def upload(request: Request) -> Response:
        if response := refused(request):
            return response
        # The client sends purpose and file as multipart/form-data; the file is the part that has a file name.
        boundary = request.headers["content-type"].split("boundary=")[1].strip('"').encode()
        parts = (await request.body()).split(b"--" + boundary)
        part = next(part for part in parts if b"filename=" in part)
        name = f"file-{len(judge.files)}"
        judge.files[name] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        return JSONResponse(file_object(name))

    def file_object(name: str) -> dict:
        size = len(judge.files[name])
        return {"id": name, "object": "file", "bytes": size, "created_at": 0, "filename": name, "purpose": "batch"}

    async def content(request: Request) -> Response:
        return Response(judge.files[request.path_params["name"]], media_type="application/jsonl")

    async def create(request: Request) -> Response:
        asked = await request.json()
        name = f"batch-{len(judge.batches)}"
        lines = [json.loads(line) for line in judge.files[asked["input_file_id"]].splitlines()]
        done, failed = [], []
        end = judge.batch_ends[len(judge.batches)] if len(judge.batches) < len(judge.batch_ends) else "completed"
        for number, line in enumerate(lines):
            if end in ("cancelled", "expired") and number >= len(lines) // 2:
                problem = {"code": f"batch_{end}", "message": "This request was not executed"}
                failed.append({"id": "x", "custom_id": line["custom_id"], "response": None, "error": problem})
                continue
            if too_long(line["body"]):
                problem = {"error": {"message": TOO_LONG, "code": "context_length_exceeded"}}
                response = {"status_code": 400, "request_id": "r", "body": problem}
                failed.append({"id": "x", "custom_id": line["custom_id"], "response": response, "error": None})
                continue
            raw = json.dumps(line["body"], separators=(",", ":")).encode()
            digest = hashlib.sha256(raw).hexdigest()
            fault = judge.fault(digest)
            entry = {"time": time.time(), "request": digest[:16], "fault": fault, "tokens": 0, "delivered": True}
            judge.log.append(entry)
            if fault in ("hang", "cut"):
                continue  # a batch can expire with requests unanswered
            if fault in TRANSPORT_FAULTS:
                response = {"status_code": 500, "request_id": "r", "body": {"error": {"message": "server error"}}}
                failed.append({"id": "x", "custom_id": line["custom_id"], "response": response, "error": None})
                continue
            answer = completion(line["body"], digest, fault, judge)
            entry["tokens"] = answer["usage"]["total_tokens"]
            response = {"status_code": 200, "request_id": "r", "body": answer}
            done.append({"id": "x", "custom_id": line["custom_id"], "response": response, "error": None})
        random.Random(judge.seed).shuffle(done)  # the Batch API promises no order
        batch = {
            "id": name,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "created_at": 0,
            "metadata": asked.get("metadata"),
            "request_counts": {"total": len(lines), "completed": len(done), "failed": len(failed)},
            "stages": ["validating", "in_progress", "finalizing"],
            "end": end,
        }
        for field, part in (("output_file_id", done), ("error_file_id", failed)):
            if part:
                batch[field] = f"file-{len(judge.files)}"
                judge.files[batch[field]] = "".join(json.dumps(line) + "\n" for line in part).encode()
                if judge.strangers:
                    stranger = json.dumps({**part[0], "custom_id": "somebody else's"})
                    judge.files[batch[field]] += f'{stranger}\n{{"response": null}}\n[]\n{{"custom_id": "br'.encode()
        judge.batches[name] = batch
        return JSONResponse({**batch, "status": "validating", "output_file_id": None, "error_file_id": None})

    async def listed(_request: Request) -> Response:
        data = [{**batch, "status": "in_progress"} for batch in judge.batches.values()]
        return JSONResponse({"object": "list", "data": data, "has_more": False})

    async def retrieve(request: Request) -> Response:
        batch = judge.batches.get(request.path_params["name"])
        if batch is None or batch["end"] == "lost":
            return error(404, "no such batch")
        if json.loads(judge.files[batch["input_file_id"]].split(b"\n")[0])["body"]["model"] == "missing":
            problem = {"object": "list", "data": [{"code": "model_not_found", "message": "no such model"}]}
            return JSONResponse({**batch, "status": "failed", "errors": problem})
        if batch["stages"]:
            status = batch["stages"].pop(0)
            return JSONResponse({**batch, "status": status, "output_file_id": None, "error_file_id": None})
        return JSONResponse({**batch, "status": batch["end"]})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/files", upload, methods=["POST"]),
            Route("/v1/files/{name}/content", content),
            Route("/v1/batches", create, methods=["POST"]),
            Route("/v1/batches", listed),
            Route("/v1/batches/{name}", retrieve),
            Route("/log", log),
        ]
    )


def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    config = uvicorn.Config(application(Judge(**settings)), log_level="critical", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
