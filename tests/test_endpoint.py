"""Asking servers that speak OpenAI's API: whose error it is, how long to wait, and the settings that servers need.

Loopback servers (chat_servers.py) behave as ten kinds of servers do; the judge and generation ask them alike.
"""

import email.utils
import json
import time
from datetime import UTC, datetime

import pytest
from chat_servers import KEY, SERVERS, WAIT, Refusal, completion, error, listening, said, serving
from conftest import ASKED, ROOT

from text2sql.base.endpoint import client, limits
from text2sql.base.endpoint.failures import Kind, asked_wait, failure_inside, moment, read_failure, seconds
from text2sql.base.errors import UserError
from text2sql.base.files import read_jsonl
from text2sql.base.params import GenerateParams, JudgeParams, check, read_params
from text2sql.generation.server import Server
from text2sql.judge.run import judge_rows

VERDICT = json.dumps({"reason": "same rows", "verdict": "correct"})


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def plain(text=VERDICT):
    return completion({"role": "assistant", "content": text})


def rows(*words):
    """A row for each word, which stands in its question."""
    return [
        {
            "id": f"q{number:03}", "context": "CREATE TABLE t (a INTEGER);", "answer": "SELECT a FROM t",
            "sql": "SELECT a FROM t", "question": f"What is number {number}? {word}",
        }
        for number, word in enumerate(words)
    ]  # fmt: skip


def judge(url, folder, *words, **changes):
    """Judges a row for each word. Returns (metrics, verdict rows)."""
    values = {
        "enabled": True, "base_url": url, "model": "m", "template": "verdict", "response_format": True,
        "max_tokens": 300, "show_results": 0, "canary": False, "transport": "chat", "concurrency": 4, "max_asks": 3,
        "max_failures": 0, "cache": str(folder / "cache"),
    }  # fmt: skip
    params = JudgeParams.model_validate(ASKED | values | changes)
    metrics, _sent = judge_rows(rows(*words), params, folder / "out.jsonl")
    return metrics, list(read_jsonl(folder / "out.jsonl"))


def server(url, chat=True, **changes):
    values = {
        "backend": "openai", "base_url": url, "max_new_tokens": 20, "batch_tokens": "auto", "quantization": "none",
        "cuda_graphs": True, "dtype": "auto", "models": {"base": "m"}, "concurrency": 4,
    }  # fmt: skip
    (prompt,) = read_params("prompt", path=ROOT / "params.yaml")
    prompt = prompt.model_copy(update={"chat": chat})
    return Server(prompt, GenerateParams.model_validate(ASKED | values | changes), "base")


def generate(url, *texts, **changes):
    """The completions of the texts, by their index."""
    opened, found = server(url, **changes), {}
    for piece in opened.complete([(text,) for text in texts], [None] * len(texts), (), (0, 1)):
        found |= piece
    return found


def verdicts(found):
    return [row["verdict"] for row in found]


# Ten kinds of servers

WORDS = ("fine", "TOO_LONG", "FILTERED", "LIMITED", "also fine")


@pytest.mark.parametrize("name", SERVERS)
class TestServers:
    def test_the_judge_gets_its_verdicts_and_a_refusal_is_its_own_rows(self, name, tmp_path):
        behaviour = SERVERS[name]
        with serving(behaviour, VERDICT) as loopback:
            metrics, found = judge(loopback.url, tmp_path, *WORDS, **behaviour.settings)
        filtered = "judge_error" if behaviour.filtered else "correct"
        assert verdicts(found) == ["correct", "judge_error", filtered, "correct", "correct"]
        assert found[1]["error"].startswith("the prompt is longer than the model takes (HTTP ")
        assert metrics["judge_errors"]["refused"] == 1 + bool(behaviour.filtered)

    def test_generation_keeps_a_refusal_with_the_servers_words_and_goes_on(self, name, tmp_path):
        behaviour = SERVERS[name]
        with serving(behaviour, "SELECT 1") as loopback:
            found = generate(loopback.url, *WORDS, **behaviour.settings)
        assert len(found) == 5 and all("SELECT 1" in found[index].text for index in (0, 3, 4))
        assert (found[1].text, found[1].finish_reason) == ("", "prompt_too_long") and found[1].error
        if behaviour.filtered:
            assert found[2].text == "" and found[2].finish_reason in ("refused", "content_filter")

    def test_one_refusal_for_the_rate_holds_back_every_request_as_long_as_asked(self, name, tmp_path):
        behaviour = SERVERS[name]
        asks = behaviour.limited and asked_wait(
            429, behaviour.limited.headers, behaviour.limited.body, json.dumps(behaviour.limited.body)
        )
        if asks is None:
            pytest.skip("this server does not say how long")
        with serving(behaviour, VERDICT) as loopback:
            judge(loopback.url, tmp_path, "LIMITED", *["later"] * 8, concurrency=1, **behaviour.settings)
        times = [entry["time"] for entry in loopback.log]
        assert asks == pytest.approx(WAIT) and times[1] - times[0] >= asks
        assert len(times) == 10

    def test_a_refused_key_ends_the_run_at_once_without_showing_it(self, name, tmp_path, monkeypatch):
        behaviour = SERVERS[name]
        if behaviour.wrong_key is None:
            pytest.skip("this server asks for no key")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
        with serving(behaviour, VERDICT) as loopback, pytest.raises(UserError) as caught:
            judge(loopback.url, tmp_path, *["fine"] * 30, **behaviour.settings)
        assert "the key was refused; check OPENAI_API_KEY" in str(caught.value)
        assert "somebody" not in str(caught.value) and len(loopback.log) <= 8

    def test_a_missing_model_and_a_wrong_address_end_the_run_at_once(self, name, tmp_path):
        behaviour = SERVERS[name]
        with serving(behaviour, VERDICT) as loopback:
            for url, model in ((loopback.url, "missing"), (loopback.url.removesuffix(behaviour.path), "m")):
                loopback.log.clear()
                with pytest.raises(UserError, match="no such model or address; check judge"):
                    judge(url, tmp_path, *["fine"] * 30, model=model, **behaviour.settings)
                assert len(loopback.log) <= 8


# Whose error is it?


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("Input is too long for requested model."), Kind.TOO_LONG),
        (400, error("The prompt is too long: 140000, model maximum context length: 131071"), Kind.TOO_LONG),
        (400, error("Input tokens exceed the configured limit of 272000 tokens."), Kind.TOO_LONG),
        (400, error("Invalid 'messages[1].content': string too long.", code="string_above_max_length"), Kind.TOO_LONG),
        (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096"}, Kind.TOO_LONG),
        (400, error("The decoder prompt (length 5000) is longer than the maximum model length"), Kind.TOO_LONG),
        (413, "<html><h1>413 Request Entity Too Large</h1></html>", Kind.TOO_LONG),
        (429, error("Request too large for gpt-4o on tokens per min (TPM): Limit 10000"), Kind.TOO_LONG),
        (429, error("Too many tokens, please wait before trying again."), Kind.BUSY),
        (400, error("Content Exists Risk", type="invalid_request_error"), Kind.FILTERED),
        (400, error("Output data may contain inappropriate content.", code="data_inspection_failed"), Kind.FILTERED),
        (400, error("Invalid prompt: your prompt was flagged.", code="invalid_prompt"), Kind.FILTERED),
        (403, error("Content violates usage guidelines."), Kind.FILTERED),
        (429, error("You exceeded your current quota", code="insufficient_quota"), Kind.SPENT),
        (402, error("Insufficient Balance"), Kind.SPENT),
        (400, error("Your credit balance is too low to access the API."), Kind.SPENT),
        (429, error("quota", details=[{"violations": [{"quotaId": "GenerateRequestsPerDayPerModel"}]}]), Kind.SPENT),
        (401, "Unauthorized", Kind.KEY),
        (400, error("API key expired. Please renew the API key."), Kind.KEY),
        (429, error("Rate limit reached"), Kind.BUSY),
        (498, error("Flex tier capacity exceeded"), Kind.BUSY),
        (503, [error("The model is overloaded. Please try again later.", status="UNAVAILABLE")], Kind.BUSY),
        (404, error("Not Found"), Kind.SETTING),
        (308, "", Kind.SETTING),
        (403, error("The key may not use this model"), Kind.SETTING),
        (403, "<title>Attention Required!</title>", Kind.UNSURE),  # a firewall that dislikes the SQL of a prompt
        (400, error("Bad request"), Kind.UNSURE),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "field not allowed", "type": "value_error"}]}, Kind.UNSURE),
        (500, error("The server had an error"), Kind.PASSING),
        (502, "<html>Bad gateway</html>", Kind.PASSING),
        (408, "", Kind.PASSING),
    ],
)
def test_an_error_is_the_requests_the_accounts_the_configurations_or_passes(status, body, kind):
    assert read_failure(status, {}, body).kind is kind


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"choices": [{"message": {"content": ""}, "finish_reason": "error"}]}, 502, Kind.PASSING),
        ({"choices": [{"error": {"code": 400, "message": "content policy"}}]}, 400, Kind.FILTERED),
        ({"error": {"code": 429, "message": "Rate limit"}}, 429, Kind.BUSY),
        ({"error": {"code": 402, "message": "no credits"}}, 402, Kind.SPENT),
        ([{"error": {"code": "timeout", "message": "upstream"}}], 502, Kind.PASSING),
        ({"error": None, "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}, None, None),
    ],
)
def test_an_error_inside_a_200_is_an_error(body, status, kind):
    found = failure_inside(body)
    assert (found and (found.status, found.kind)) == (kind and (status, kind))


def test_an_error_inside_a_200_is_not_kept_as_an_answer(tmp_path):
    broken = {"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": {"code": 502}}]}
    well = []
    with listening(lambda body, entry: plain() if well else Refusal(200, broken)) as loopback:
        with pytest.raises(UserError, match="2 of 2 requests got no answer"):
            judge(loopback.url, tmp_path, "a", "b", max_attempts=1)
        assert not (tmp_path / "cache/answers.jsonl").read_text()
        well.append(True)
        assert verdicts(judge(loopback.url, tmp_path, "a", "b")[1]) == ["correct", "correct"]


class TestAllRowsOrOne:
    """A refusal in words that nobody knows is about all rows only while nothing was ever answered."""

    def test_an_unknown_refusal_that_comes_before_the_first_answer_is_its_rows_own(self, tmp_path):
        def answer(body, entry):
            if "odd" in said(body):
                return Refusal(400, error("Bad request"))
            time.sleep(0.3)  # models are slower than firewalls
            return plain()

        with listening(answer) as loopback:
            _, found = judge(loopback.url, tmp_path, *["odd"] * 5, *["fine"] * 3, concurrency=8)
            assert verdicts(found) == ["judge_error"] * 5 + ["correct"] * 3
            assert found[0]["error"] == "refused by the server (HTTP 400: Bad request)"
            texts = [*["odd"] * 5, *["fine"] * 3]
            completions = generate(loopback.url, *texts, concurrency=8)
        assert [completions[index].finish_reason for index in range(8)] == ["refused"] * 5 + ["stop"] * 3
        assert completions[0].error == found[0]["error"]

    def test_when_every_request_is_refused_the_run_ends_after_three(self, tmp_path):
        with listening(lambda body, entry: Refusal(400, error("Bad request"))) as loopback:
            with pytest.raises(UserError, match=r"the request was refused; .*judge.response_format.*Bad request"):
                judge(loopback.url, tmp_path, *["any"] * 40)
            assert len(loopback.log) <= 8
            with pytest.raises(UserError, match="no request was answered; refused by the server"):
                judge(loopback.url, tmp_path, "a", "b")
            with pytest.raises(UserError, match=r"the request was refused; .*generate\.temperature"):
                generate(loopback.url, *["any"] * 40)

    def test_a_rerun_knows_that_the_server_has_answered_before(self, tmp_path):
        with listening(lambda body, entry: Refusal(400, error("No")) if "odd" in said(body) else plain()) as loopback:
            first = judge(loopback.url, tmp_path, "odd", "odd", "fine", concurrency=1)
            assert judge(loopback.url, tmp_path, "odd", "odd", "fine", concurrency=1) == first
        assert first[0]["judge_errors"] == {"refused": 2, "no_answer": 0, "unreadable": 0}

    def test_twenty_prompts_refused_one_by_one_and_none_answered_are_about_all(self, tmp_path):
        refusal = Refusal(400, error("maximum context length is 16 tokens"))
        with listening(lambda body, entry: refusal) as loopback:
            with pytest.raises(UserError, match="the first 20 requests were refused one by one, and none was answered"):
                judge(loopback.url, tmp_path, *["any"] * 100)
            assert len(loopback.log) <= 30
            assert verdicts(judge(loopback.url, tmp_path, *["any"] * 19)[1]) == ["judge_error"] * 19

    def test_refusals_before_the_first_answer_are_not_kept_by_a_run_that_ends(self, tmp_path):
        """A piece that generation has yielded is kept; what may be about all rows is not yielded yet."""
        with listening(lambda body, entry: Refusal(400, error("Bad request"))) as loopback:
            opened = server(loopback.url)
            pieces = opened.complete([("any",)] * 40, [None] * 40, (), (0, 1))
            with pytest.raises(UserError):
                next(pieces)

    def test_a_model_that_is_gone_in_the_middle_is_asked_for_again(self, tmp_path):
        gone = []

        def answer(body, entry):
            if "gone" in said(body) and not gone:
                gone.append(True)
                return Refusal(404, error("model 'm' not found"))
            return plain()

        with listening(answer) as loopback:
            assert verdicts(judge(loopback.url, tmp_path, "a", "gone", "b", concurrency=1)[1]) == ["correct"] * 3

    def test_an_empty_account_ends_the_run_also_in_the_middle(self, tmp_path):
        with listening(
            lambda body, entry: Refusal(402, error("Insufficient credits")) if "third" in said(body) else plain()
        ) as loopback:
            with pytest.raises(UserError, match="quota is spent or its credit used up; finished answers are kept"):
                judge(loopback.url, tmp_path, "a", "b", "third", "c", concurrency=1)
            assert len(loopback.log) == 3

    def test_rows_that_never_answer_are_named_and_accepted_up_to_max_failures(self, tmp_path, capsys):
        with listening(lambda body, entry: Refusal(500, "") if "dead" in said(body) else plain()) as loopback:
            words = ("dead", "fine", "dead", "fine")
            with pytest.raises(UserError, match=r"2 of 4 requests got no answer \(q000, q002\), the first: HTTP 500"):
                judge(loopback.url, tmp_path, *words, max_attempts=1, max_failures=1)
            metrics, found = judge(loopback.url, tmp_path, *words, max_attempts=1, max_failures=2)
        assert verdicts(found) == ["judge_error", "correct"] * 2 and metrics["judge_errors"]["no_answer"] == 2
        assert "(q000, q002)" in capsys.readouterr().err

    def test_generation_goes_on_around_a_row_without_an_answer_and_names_it_at_the_end(self, tmp_path):
        with listening(lambda body, entry: Refusal(500, "") if "dead" in said(body) else plain("SELECT 1")) as loopback:
            opened, found = server(loopback.url, max_attempts=1), {}
            with pytest.raises(UserError, match=r"1 of 4 rows got no answer, the first: HTTP 500.*finished rows are"):
                for piece in opened.complete([("a",), ("dead",), ("b",), ("c",)], [None] * 4, (), (0, 1)):
                    found |= piece
        assert set(found) == {0, 2, 3}


# Waiting


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"retry-after": "2"}, {}, 2),
        ({"retry-after-ms": "250", "retry-after": "1"}, {}, 0.25),
        ({"retry-after": "soon"}, {}, None),
        ({}, {"error": {"details": [{"retryDelay": "20s"}]}}, 20),
        ({}, [error("quota", details=[{"retryDelay": "1.5s"}])], 1.5),
        ({}, error("Please try again in 15s."), 15),
        ({}, error("Please try again in 1m30.5s. Visit the console"), 90.5),
        ({}, error("Please try again in 20ms."), 0.02),
        ({}, error("Please retry in 32.451s."), 32.451),
        ({}, error("Please retry after 8 seconds."), 8),
        ({}, error("Please wait 2 minutes and try again."), 120),
        ({}, error("Try again later."), None),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, {}, 360),
        (
            {"x-ratelimit-remaining-requests": "9000", "x-ratelimit-reset-requests": "8h",
             "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "17ms"},
            {},
            0.017,
        ),
        ({"x-ratelimit-reset-tokens": "20"}, {}, 20),
        ({}, {}, None),
    ],
)  # fmt: skip
def test_how_long_a_server_asks_to_wait(headers, body, wait):
    assert read_failure(429, headers, body).wait == wait


def test_moments_are_read_as_dates_and_unix_times():
    then = time.time() + 30
    date = email.utils.formatdate(then, usegmt=True)
    assert 25 <= read_failure(503, {"retry-after": date}, {}).wait <= 31
    for text in (str(then), str(int(then * 1000)), datetime.fromtimestamp(then, UTC).isoformat()):
        assert 25 <= moment(text) <= 31
    body = error("Rate limit exceeded: free-models-per-min.", metadata={"headers": {"X-RateLimit-Reset": str(then)}})
    assert 25 <= read_failure(429, {}, body).wait <= 31
    assert read_failure(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, {}).wait == 0
    assert (seconds("1h 2m, 3 s"), seconds("5 apples"), seconds("inf"), seconds("")) == (3723, None, None, None)


class TestPauses:
    def test_refusals_without_a_time_are_sat_out_with_growing_pauses_of_all_requests(self, tmp_path):
        """Longer than `max_attempts` would bear: a limit passes with time."""
        start = []

        def answer(body, entry):
            start.append(entry["time"])
            return plain() if entry["time"] - start[0] > 2 else Refusal(429, {"message": "slow down"})

        with listening(answer) as loopback:
            found = judge(loopback.url, tmp_path, *["any"] * 12, concurrency=6, max_attempts=1)[1]
        assert verdicts(found) == ["correct"] * 12
        assert len(loopback.log) <= 12 + 6 * 6  # a few waves of six, not hundreds of attempts

    def test_the_pause_doubles_with_every_wave_up_to_a_minute_and_an_answer_ends_it(self, monkeypatch):
        now = [1_000.0]
        monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
        gate = limits.Gate(None, None)
        pauses = []
        for _ in range(11):
            sent = limits.Ticket(0, now[0], None)
            now[0] += 0.1
            gate.refused(sent, None)
            gate.refused(sent, None)  # of the same wave
            pauses.append(max(0.0, gate.paused_until - now[0]))
            now[0] += pauses[-1]
        assert pauses == pytest.approx([0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 60, 60])
        gate.answered()
        gate.refused(limits.Ticket(0, now[0], None), None)
        assert gate.paused_until <= now[0]

    def test_a_limit_that_does_not_pass_ends_the_run(self, tmp_path, monkeypatch):
        monkeypatch.setattr(client, "LONGEST_WAIT", 1.0)
        monkeypatch.setattr(limits, "LONGEST_PAUSE", 0.3)
        message = "10 requests in a row got no answer, the last: HTTP 429: slow down"
        refusal = Refusal(429, {"message": "slow down"})
        with listening(lambda body, entry: refusal) as loopback, pytest.raises(UserError, match=message):
            judge(loopback.url, tmp_path, *["any"] * 40, concurrency=12)

    def test_a_wait_of_hours_ends_the_run_with_its_length(self, tmp_path):
        refusal = Refusal(429, error("Please try again in 7h12m."))
        message = "the server asks to wait 25920 seconds; run again then"
        with listening(lambda body, entry: refusal) as loopback, pytest.raises(UserError, match=message):
            generate(loopback.url, "any")


# Settings that servers need


def test_the_name_of_the_token_limit_is_learnt_once_from_the_servers_400(tmp_path):
    for known, other in (("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")):
        words = f"Unsupported parameter: '{other}' is not supported with this model. Use '{known}' instead."
        refusal = Refusal(400, error(words, param=other, code="unsupported_parameter"))
        with listening(lambda body, entry, refusal=refusal, other=other: refusal if other in body else plain()) as one:
            (folder := tmp_path / known).mkdir()
            assert verdicts(judge(one.url, folder, *["any"] * 6, concurrency=1)[1]) == ["correct"] * 6
            assert len(one.log) == 6 + (other == "max_tokens")
            one.log.clear()
            assert len(generate(one.url, *["any"] * 6)) == 6
            assert sum(other in entry["body"] for entry in one.log) <= 4 * (other == "max_tokens")
            assert all(entry["body"].get(known, 20) == 20 for entry in one.log)
            if other == "max_tokens":
                with pytest.raises(UserError, match=r"does not take this max_tokens; change judge\.token_limit"):
                    judge(one.url, tmp_path, "any", token_limit="max_tokens")


@pytest.mark.parametrize(
    ("refused", "words", "remedy"),
    [
        ("temperature", "'temperature' does not support 0.0 with this model", r"set judge\.temperature to null"),
        (
            "response_format",
            "'response_format.type' must be 'json_schema' or 'text'",
            r"set judge\.response_format to f",
        ),
        ("reasoning_effort", "Unsupported value: reasoning_effort", r"set judge\.reasoning_effort to null"),
        ("top_k", "Extra inputs are not permitted: top_k", r"does not take top_k; check judge\.extra_body"),
    ],
)
def test_a_parameter_that_the_server_does_not_take_is_named_with_its_remedy(refused, words, remedy, tmp_path):
    with listening(lambda body, entry: Refusal(400, error(words)) if refused in body else plain()) as loopback:
        with pytest.raises(UserError, match=remedy):
            judge(loopback.url, tmp_path, "any", reasoning_effort="low", extra_body={"top_k": 1})
        without = {"temperature": None, "response_format": False, "reasoning_effort": None, "extra_body": {}}
        assert verdicts(judge(loopback.url, tmp_path, "any", **without)[1]) == ["correct"]


def test_body_headers_query_and_effort_are_sent_as_the_parameters_say(tmp_path):
    settings = {
        "headers": {"api-key": "{key}", "X-Title": "text2sql"}, "query": {"api-version": "1"},
        "extra_body": {"top_p": 1.0, "provider": {"order": ["a"]}}, "reasoning_effort": "low", "temperature": None,
    }  # fmt: skip
    with listening(lambda body, entry: plain()) as loopback:
        judge(loopback.url, tmp_path, "any", **settings)
        generate(loopback.url, "any", **settings)
        assert len(loopback.log) == 2
    for entry in loopback.log:
        assert (entry["headers"]["api-key"], entry["headers"]["X-Title"]) == (KEY, "text2sql")
        assert "Authorization" not in entry["headers"] and entry["query"] == {"api-version": "1"}
        assert entry["body"]["provider"] == {"order": ["a"]} and entry["body"]["reasoning_effort"] == "low"
        assert "temperature" not in entry["body"]
    assert KEY not in (tmp_path / "out/requests.jsonl").read_text()


class TestKeys:
    def test_each_section_names_its_own_key(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MISTRAL_API_KEY", "sk-of-mistral")
        with listening(lambda body, entry: plain()) as loopback:
            judge(loopback.url, tmp_path, "any", key_env="MISTRAL_API_KEY")
            generate(loopback.url, "any", key_env=None)
            generate(loopback.url, "any")
        assert [entry["headers"].get("Authorization") for entry in loopback.log] == [
            "Bearer sk-of-mistral", None, f"Bearer {KEY}",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"key_env": "NOT_SET"}, "NOT_SET is not set; export the key, or point judge.base_url at a server"),
            ({"key_env": None, "headers": {"api-key": "{key}"}}, "judge.headers: {key} stands for a key, and"),
            (
                {"base_url": "http://gpu-box:8000/v1"},
                "judge.base_url: OPENAI_API_KEY would travel unencrypted to gpu-box; use https, or set judge.key_env",
            ),
            ({"base_url": "http://192.168.0.7/v1"}, "OPENAI_API_KEY would travel unencrypted to 192.168.0.7"),
        ],
    )
    def test_a_key_that_is_missing_or_would_be_read_on_its_way_is_one_line(self, changes, message, tmp_path):
        with pytest.raises(UserError) as caught:
            judge(changes.pop("base_url", "http://127.0.0.1:9/v1"), tmp_path, "any", **changes)
        assert message in str(caught.value) and KEY not in str(caught.value)

    def test_told_so_the_key_goes_over_plain_http_and_without_a_key_nothing_is_asked(self):
        server("http://gpu-box:8000/v1", key_over_http=True)
        server("http://gpu-box:8000/v1", key_env=None)
        server("http://[::1]:8000/v1")
        with pytest.raises(UserError, match=r"generate\.base_url: OPENAI_API_KEY would travel unencrypted"):
            server("http://gpu-box:8000/v1")

    def test_a_redirect_is_not_followed_with_the_key(self, tmp_path):
        with listening(lambda body, entry: plain()) as elsewhere:
            moved = Refusal(308, "", {"Location": f"{elsewhere.url}/v1/chat/completions"})
            message = r"elsewhere; write its new address into judge\.base_url"
            with listening(lambda body, entry: moved) as loopback, pytest.raises(UserError, match=message):
                judge(loopback.url, tmp_path, "any")
            assert not elsewhere.log

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"extra_body": {"messages": []}}, "messages is set by other parameters, or by the prompt"),
            ({"headers": {"bad name": "x"}}, "headers"),
            ({"key_env": "sk-123"}, "key_env"),
        ],
    )
    def test_settings_that_cannot_be_sent_are_one_line(self, change, message):
        with pytest.raises(UserError, match=message):
            check(ASKED | {"base_url": None, "concurrency": 1} | change, shape=GenerateParams.__base__)


def test_the_same_request_to_another_server_is_another_question(tmp_path):
    with listening(lambda body, entry: plain()) as one, listening(lambda body, entry: plain()) as two:
        for loopback in (one, two, one):
            judge(loopback.url, tmp_path, "any")
        judge(one.url, tmp_path, "any", query={"api-version": "2"})
        assert (len(one.log), len(two.log)) == (2, 1)


# Generation: the judge's limits, cost and budget

PRICES = {"m": {"input": 2.0, "output": 8.0}}


def test_generation_tells_what_it_sent_and_paid(capsys):
    with listening(lambda body, entry: plain("SELECT 1")) as loopback:
        opened = server(loopback.url, prices=PRICES)
        list(opened.complete([("a",), ("b",), ("c",)], [None] * 3, (), (0, 1)))
    cost = 3 * (100 * 2.0 + 20 * 8.0) / 1e6
    assert opened.record() == {
        "sent": 3, "retries": {}, "refused": 0, "prompt_tokens": 300, "completion_tokens": 60, "cost_usd": cost,
    }  # fmt: skip
    assert f"m: ${cost:.4f} for 3 answers" in capsys.readouterr().err


def test_generation_keeps_to_its_budget_before_and_while_it_runs():
    with listening(lambda body, entry: plain("SELECT 1")) as loopback:
        texts = ["a short question"] * 50
        with pytest.raises(UserError, match=r"50 requests to m would cost about \$0\.\d+, the budget is \$0\.0050"):
            generate(loopback.url, *texts, prices=PRICES, max_cost_usd=0.005)
        with pytest.raises(UserError, match=r"generate\.prices: no price for m, so generate\.max_cost_usd cannot be"):
            generate(loopback.url, *texts, max_cost_usd=1.0)
        assert not loopback.log
        # The server counts ten times the tokens of the estimate.
        with pytest.raises(UserError, match=r"generate\.max_cost_usd: this run has spent \$0\.01\d+ of \$0\.0100"):
            generate(loopback.url, *texts, prices=PRICES, max_cost_usd=0.01)
        assert 27 <= len(loopback.log) <= 34


def test_a_budget_holds_also_where_the_server_tells_no_tokens():
    silent = completion({"role": "assistant", "content": "SELECT " + "a, " * 400}, usage=False)
    with listening(lambda body, entry: silent) as loopback:
        with pytest.raises(UserError, match="this run has spent"):
            generate(loopback.url, *["any"] * 50, prices=PRICES, max_cost_usd=0.02)
        assert len(loopback.log) < 20


def test_generation_keeps_to_the_requests_of_a_minute():
    with listening(lambda body, entry: plain("SELECT 1")) as loopback:
        generate(loopback.url, *["any"] * 5, requests_per_minute=120)
    times = [entry["time"] for entry in loopback.log]
    assert times[-1] - times[0] >= 4 * 0.5 - 1.1  # an even pace, with a second's credit
