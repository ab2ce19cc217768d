"""Answers from a server that speaks OpenAI's API: a stub of one, real HTTP."""

import pytest
from tiny_runs import PROMPT, generation, run

from text2sql.base.errors import UserError
from text2sql.generation.generate import open_arm, seed_of

pytestmark = pytest.mark.usefixtures("in_the_project")


class Stub:
    """Stands in for a server with a model: it says so, by a text made of the prompt, and fails as it is told."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.failures: list = []  # for the next requests: (status, headers, body)
        self.busy = self.busiest = 0

    async def answer(self, request):
        import asyncio

        from starlette.responses import JSONResponse

        body = await request.json()
        self.asked.append(body | {"path": request.url.path, "key": request.headers.get("authorization")})
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        await asyncio.sleep(0)
        self.busy -= 1
        if self.failures:
            status, headers, content = self.failures.pop(0)
            return JSONResponse(content, status, headers)
        chat = "messages" in body
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        text = f"stub: {prompt[-30:]} 가수 {body.get('seed', '')}"
        if "stop" in body:
            text = f"{text}\n\nstub: another".partition(body["stop"][0])[0]
        choice = {"index": 0, "finish_reason": "length" if "2?" in prompt else "stop"}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 3, "total_tokens": len(prompt) + 3}
        return JSONResponse({"id": "1", "object": "x", "created": 1, "model": "m", "choices": [choice], "usage": usage})


@pytest.fixture
def stub(monkeypatch):
    """A stub on a free port of this machine, in a thread; its address is stub.url."""
    import socket
    import threading

    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Route

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    server = Stub()
    paths = ("/v1/chat/completions", "/v1/completions")
    app = Starlette(routes=[Route(path, server.answer, methods=["POST"]) for path in paths])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        server.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        runner = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [listening]})
        thread.start()
        yield server
        runner.should_exit = True
        thread.join()


def test_a_server_answers_row_by_row_under_the_arms_name(stub, tmp_path):
    rows = run({}, tmp_path, backend="openai", base_url=stub.url, arm="finetuned")
    assert [row["id"] for row in rows] == [f"q{number}" for number in range(7)]
    assert all(row["text"].startswith("stub: ") and row["text"].endswith(" 가수 ") for row in rows)
    assert [row["finish_reason"] for row in rows] == ["stop"] * 2 + ["length"] + ["stop"] * 4
    assert [row["completion_tokens"] for row in rows] == [3] * 7 and rows[0]["prompt_tokens"] > 30
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in stub.asked} == {("tuned", 0.0, 6)}
    assert {body["path"] for body in stub.asked} == {"/v1/completions"}
    assert {body["key"] for body in stub.asked} == {"Bearer sk-secret-of-the-test"}
    assert 1 <= stub.busiest <= 4
    assert "sk-secret" not in (tmp_path / "out.jsonl").read_text()


def test_a_chat_and_samples_through_a_server(stub):
    prompt = PROMPT.model_copy(update={"chat": True})
    answer = open_arm({}, "models/base", prompt, generation(backend="openai", base_url=stub.url), "base")
    seeds = {text: seed_of((text,), 5) for text in ("one", "two")}
    assert answer([("one",), ("two",)], samples=2, seed=4) == [
        ["stub: one 가수 ", f"stub: one 가수 {seeds['one']}"],
        ["stub: two 가수 ", f"stub: two 가수 {seeds['two']}"],
    ]
    assert seeds["one"] != seeds["two"]
    assert {body["path"] for body in stub.asked} == {"/v1/chat/completions"}


def test_a_bare_prompt_with_examples_tells_the_server_where_an_answer_ends(stub):
    """And one without examples does not, nor a chat."""
    config = generation(backend="openai", base_url=stub.url)
    answer = open_arm({}, "models/base", PROMPT, config, "base")
    last = "a question of thirty characters"[-30:]
    assert answer([("Q1", "A1", last), ("alone",)]) == [[f"stub: {last} 가수 "], ["stub: alone 가수 "]]
    assert {body["prompt"]: body.get("stop") for body in stub.asked} == {f"Q1A1\n\n{last}": ["\n\n"], "alone": None}
    stub.asked.clear()
    open_arm({}, "models/base", PROMPT.model_copy(update={"chat": True}), config, "base")([("Q1", "A1", "Q2")])
    assert "stop" not in stub.asked[0]


def test_samples_are_asked_for_by_seed_and_their_cost_is_told_where_a_price_is(stub, tmp_path):
    prices = {"base": {"input": 2.0, "output": 10.0}}
    rows = run({}, tmp_path, backend="openai", base_url=stub.url, samples=3, prices=prices)
    assert len({body["seed"] for body in stub.asked if "seed" in body}) == 14 and len(stub.asked) == 21
    assert {body["temperature"] for body in stub.asked if "seed" in body} == {0.7}
    assert len({one["text"] for row in rows for one in row["samples"]}) == 14
    assert [row["cost_usd"] for row in rows] == pytest.approx(
        [3 * (row["prompt_tokens"] * 2.0 + 3 * 10.0) / 1e6 for row in rows]
    )
    assert "cost_usd" not in run({}, tmp_path / "free", backend="openai", base_url=stub.url)[0]
    untold = {"choices": [{"text": "x", "finish_reason": "stop", "index": 0}], "model": "m", "id": "1", "object": "x"}
    stub.failures = [(200, {}, untold | {"created": 1})]
    rows = run({}, tmp_path / "untold", backend="openai", base_url=stub.url, prices=prices, concurrency=1)
    assert ["cost_usd" in row for row in rows] == [False] + [True] * 6


def test_a_server_that_answers_for_one_arm_only_is_one_line(stub, tmp_path):
    stub.failures = [(404, {}, {"error": {"message": "The model `tuned` does not exist"}})] * 20
    with pytest.raises(UserError, match=r"check generate\.models .*The model `tuned` does not exist"):
        run({}, tmp_path, backend="openai", base_url=stub.url, arm="finetuned", concurrency=1)


def test_a_server_that_fails_for_a_while_is_asked_again(stub, tmp_path):
    busy = (429, {"retry-after": "0.01"}, {"error": {"message": "later"}})
    stub.failures = [busy, (503, {}, {"error": {"message": "starting"}}), (200, {}, {"no": "completion"})]
    rows = run({}, tmp_path, backend="openai", base_url=stub.url, concurrency=1)
    assert len(rows) == 7 and len(stub.asked) == 10


def test_a_prompt_that_the_server_has_no_room_for_is_kept_with_its_reason(stub, tmp_path):
    stub.failures = [(400, {}, {"error": {"message": "This model's maximum context length is 8 tokens"}})]
    rows = run({}, tmp_path, backend="openai", base_url=stub.url, concurrency=1)
    assert [(row["finish_reason"], row["text"] == "") for row in rows] == [("prompt_too_long", True)] + [
        ("length" if number == 2 else "stop", False) for number in range(1, 7)
    ]


def test_a_server_that_refuses_stops_the_run_and_the_rerun_asks_the_rest(stub, tmp_path):
    whole = run({}, tmp_path / "whole", backend="openai", base_url=stub.url)
    stub.asked.clear()
    refused = (401, {}, {"error": {"message": "wrong key sk-secret-of-the-test"}})
    fine = (200, {}, {"choices": [{"text": "kept", "finish_reason": "stop", "index": 0}], "model": "m", "id": "1",
                      "object": "x", "created": 1})  # fmt: skip
    stub.failures = [fine, fine, refused]
    with pytest.raises(UserError) as caught:
        run({}, tmp_path / "out", backend="openai", base_url=stub.url, concurrency=1)
    assert "HTTP 401" in str(caught.value) and "[key]" in str(caught.value) and "sk-" not in str(caught.value)
    asked = len(stub.asked)
    rows = run({}, tmp_path / "out", backend="openai", base_url=stub.url, concurrency=1)
    assert [row["text"] for row in rows[:2]] == ["kept", "kept"] and rows[3:] == whole[3:]
    assert 4 <= len(stub.asked) - asked <= 5  # the third was refused; the fourth may have been on its way


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"base_url": None}, r"generate\.base_url: the server's address is missing; write"),
        ({"base_url": "http://localhost:1/v1?key=sk-1"}, r"generate\.base_url: the address holds more than host"),
    ],
)
def test_settings_that_no_server_can_be_asked_with(changes, problem, tmp_path):
    with pytest.raises(UserError, match=problem):
        run({}, tmp_path, backend="openai", **changes)


# Reference arms


def describe(folder, text: str) -> str:
    (folder / "servers").mkdir(exist_ok=True)
    (folder / "servers/other.yaml").write_text(text, encoding="utf-8")
    return str(folder / "servers/other.yaml")


def test_a_reference_arm_asks_the_server_that_its_file_describes(stub, tmp_path):
    """Whatever answers the other arms: the backend here is transformers."""
    file = describe(tmp_path, f"model: large\nbase_url: {stub.url}\nconcurrency: 2\n")
    rows = run({}, tmp_path, adapter=file, arm="gpt")
    assert all(row["text"].startswith("stub: ") for row in rows)
    assert {(body["model"], body["path"]) for body in stub.asked} == {("large", "/v1/chat/completions")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("base_url: http://localhost:1/v1\n", "other.yaml: names no model; write `model:`"),
        ("model: large\nspeed: 3\n", "other.yaml, speed: unknown key"),
        ("model: large\n", "other.yaml.base_url: the server's address is missing"),
        ("model: [\n", "other.yaml, line 2: not valid YAML"),
    ],
)
def test_a_servers_file_that_cannot_be_used_is_one_line(text, problem, tmp_path):
    with pytest.raises(UserError, match=problem):
        run({}, tmp_path, adapter=describe(tmp_path, text), arm="gpt")
