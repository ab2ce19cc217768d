"""The judge beside the usual parallel script, on a server that misbehaves (tests/judge_server.py).

The peer restates what OpenAI's cookbook script does (api_request_parallel_processor): one asyncio loop that takes a
request per turn if a token bucket has room, five attempts, results appended as they come. Its pause after a 429 is
cut from 15 seconds to 0.1, or its runs would take hours here.

    python benchmarks/judge.py [faults speed rate kills memory] [--json FILE]     all: about 20 minutes
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from bisect import bisect_left
from collections import Counter, deque
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from judge_server import answer_text  # noqa: E402

from text2sql.base.errors import UserError  # noqa: E402
from text2sql.base.files import read_json, read_jsonl, write_json, write_jsonl  # noqa: E402
from text2sql.base.params import JudgeParams  # noqa: E402
from text2sql.judge.requests import encode, read_answer  # noqa: E402
from text2sql.judge.run import judge_rows  # noqa: E402

FAULTS = {
    "429": 0.05, "429_retry_after": 0.03, "500": 0.05, "cut": 0.03, "hang": 0.01, "garbage": 0.02, "wrong_schema": 0.02,
    "invalid_json": 0.02, "wrong_keys": 0.02, "empty": 0.02, "refusal": 0.01, "duplicated": 0.01, "slow": 0.01,
}  # fmt: skip


@contextlib.contextmanager
def judge_server(**settings):
    """The server in a process of its own; yields its address."""
    command = [sys.executable, str(ROOT / "tests/judge_server.py"), json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
            received(url, seconds=10)
            yield url
        finally:
            process.kill()


def received(url, seconds=0):
    """The server's log; tries for so many seconds until the server is up."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"{url}/log") as response:
                return [json.loads(line) for line in response.read().decode().splitlines()]
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def judge_params(url, folder, **changes):
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["judge"]
    unlimited = {"requests_per_minute": None, "tokens_per_minute": None, "max_cost_usd": None, "canary": False}
    values |= {"base_url": f"{url}/v1", "concurrency": 64, "timeout": 5.0, "cache": str(folder / "cache")} | unlimited
    return JudgeParams.model_validate(values | {"max_asks": 5} | changes)


def make_rows(count, words=0):
    return [
        {
            "id": f"q{number:06}",
            "context": "CREATE TABLE t (a INTEGER, b TEXT);" + " -- note" * words,
            "question": f"What is the a of {number}?",
            "answer": f"SELECT a FROM t WHERE b = '{number}'",
            "sql": f"SELECT a FROM t WHERE b = '{number}' LIMIT 1",
        }
        for number in range(count)
    ]


def truth(folder):
    """Row id to the verdict that the server has for it, from the requests that were sent."""
    verdicts = {}
    for line in read_jsonl(folder / "judged/requests.jsonl"):
        encoded = encode(line["body"])
        digest = hashlib.sha256(encoded.encode()).hexdigest()
        answer = {"content": answer_text(line["body"], digest, canary=True)}
        verdicts[line["custom_id"]] = read_answer("verdict", answer).verdict
    return verdicts


async def peer(bodies, url, out, requests_per_minute=1e9, tokens_per_minute=1e9, token_length=4):
    """The cookbook's way. `bodies`: encoded requests. Appends [request, response or errors] to `out`."""
    import aiohttp

    retries, active, started = deque(), set(), set()
    room = {"requests": requests_per_minute, "tokens": tokens_per_minute}
    limited_at, refilled_at = 0.0, time.monotonic()
    source, current = iter(bodies), None
    headers = {"Authorization": "Bearer none"}

    async def call(session, number, body, attempts_left, errors):
        nonlocal limited_at
        failure = None
        try:
            async with session.post(f"{url}/v1/chat/completions", headers=headers, json=body) as response:
                answer = await response.json()
            if "error" in answer:
                failure = answer
                if "Rate limit" in answer["error"].get("message", ""):
                    limited_at = time.monotonic()
        except Exception as error:
            failure = repr(error)
        if failure is None:
            append([body, answer])
        else:
            errors.append(failure)
            if attempts_left:
                retries.append((number, body, attempts_left - 1, errors))
                return
            append([body, [str(error) for error in errors]])
        active.discard(number)

    def append(line):
        with open(out, "a") as file:
            file.write(json.dumps(line) + "\n")

    async with aiohttp.ClientSession() as session:
        exhausted = False
        while True:
            if current is None:
                if retries:
                    current = retries.popleft()
                elif not exhausted:
                    encoded = next(source, None)
                    if encoded is None:
                        exhausted = True
                    else:
                        current = (len(started), json.loads(encoded), 4, [])
                        started.add(current[0])
                        active.add(current[0])
            now = time.monotonic()
            for name, limit in (("requests", requests_per_minute), ("tokens", tokens_per_minute)):
                room[name] = min(limit, room[name] + limit * (now - refilled_at) / 60)
            refilled_at = now
            if current is not None:
                tokens = sum(len(message["content"]) for message in current[1]["messages"]) // token_length + 12
                if room["requests"] >= 1 and room["tokens"] >= tokens:
                    room["requests"] -= 1
                    room["tokens"] -= tokens
                    task = asyncio.create_task(call(session, *current))
                    started.add(task)
                    task.add_done_callback(started.discard)
                    current = None
            if not active and exhausted:
                return
            await asyncio.sleep(0.001)
            if time.monotonic() - limited_at < 0.1:
                await asyncio.sleep(0.1)


def bench_faults(folder, count=5_000):
    """Lost, doubled, misplaced and wrongly counted rows with 30 % faults."""
    rows = make_rows(count)
    runs = 1
    with judge_server(faults=FAULTS, hang=10.0) as url:
        start = time.monotonic()
        params = judge_params(url, folder)
        while True:
            try:
                judge_rows(rows, params, folder / "judged.jsonl")
                break
            except UserError as error:
                print(f"run {runs}: {error}", file=sys.stderr)
                runs += 1
        seconds = time.monotonic() - start
        sent = received(url)
    expected = truth(folder)
    judged = list(read_jsonl(folder / "judged.jsonl"))
    ids = [row["id"] for row in judged]
    ours = {
        "lost": len(set(expected) - {row["id"] for row in judged if row["verdict"] != "judge_error"}),
        "doubled": len(ids) - len(set(ids)),
        "misplaced": sum(a != b for a, b in zip(ids, sorted(expected), strict=True)),
        "wrong verdict": sum(row["verdict"] != expected[row["id"]] for row in judged),
        "paid twice": paid_twice(sent),
        "requests sent": len(sent),
        "runs": runs,
        "seconds": round(seconds, 1),
    }
    bodies = [encode(line["body"]) for line in read_jsonl(folder / "judged/requests.jsonl")]
    with judge_server(faults=FAULTS, hang=10.0) as url:
        start = time.monotonic()
        asyncio.run(peer(bodies, url, folder / "peer.jsonl"))
        seconds = time.monotonic() - start
        sent = received(url)
    lines = [json.loads(line) for line in (folder / "peer.jsonl").read_text().splitlines()]
    verdicts = [peer_verdict(line[1]) for line in lines]
    order = {body: number for number, body in enumerate(bodies)}
    places = [order[encode(line[0])] for line in lines]
    names = sorted(expected)
    theirs = {
        "lost": len(bodies) - sum(verdict is not None for verdict in verdicts),
        "doubled": len(places) - len(set(places)),
        "misplaced": sum(place != number for number, place in enumerate(places)),
        # As the exercise reads them: line by line beside the rows.
        "wrong verdict": sum(verdict != expected[name] for verdict, name in zip(verdicts, names, strict=False)),
        "paid twice": paid_twice(sent),
        "requests sent": len(sent),
        "runs": 1,
        "seconds": round(seconds, 1),
    }
    return {"ours": ours, "peer": theirs}


USABLE = (None, "duplicated", "slow")


def paid_twice(log):
    """Good answers to requests that had one already."""
    good = Counter(entry["request"] for entry in log if entry["delivered"] and entry["fault"] in USABLE)
    return sum(number - 1 for number in good.values())


def peer_verdict(answer):
    """The verdict in what the peer stored, None where there is none to read."""
    try:
        read = read_answer("verdict", answer["choices"][0]["message"])
    except (TypeError, KeyError, IndexError):
        return None
    return None if isinstance(read, str) else read.verdict


def bench_speed(folder, count=4_000, repeats=6):
    """Requests a second without limits and faults, from the first to the last that the server sees.

    Each run on a fresh server; who goes first alternates. Both keep up to 100 connections, which is aiohttp's default.
    """
    rows = make_rows(count)
    rates = {"ours": [], "peer": []}
    bodies = []

    def ours(url, number):
        judge_rows(rows, judge_params(url, folder / str(number), concurrency=100), folder / "judged.jsonl")

    def theirs(url, number):
        asyncio.run(peer(bodies, url, folder / f"peer{number}.jsonl"))

    with judge_server() as url:  # unmeasured: it imports what both need, and makes the bodies that the peer sends
        ours(url, "first")
        bodies = [encode(line["body"]) for line in read_jsonl(folder / "judged/requests.jsonl")]
    for number in range(repeats):
        ways = [("ours", ours), ("peer", theirs)]
        for name, way in ways if number % 2 == 0 else reversed(ways):
            with judge_server() as url:
                way(url, number)
                rates[name].append(rate_of(received(url)))
    medians = {name: {"requests a second": round(statistics.median(values))} for name, values in rates.items()}
    for name, values in rates.items():
        medians[name]["lowest"], medians[name]["highest"] = round(min(values)), round(max(values))
        medians[name]["times the peer"] = round(statistics.median(values) / statistics.median(rates["peer"]), 2)
    return medians


def rate_of(log):
    times = [entry["time"] for entry in log]
    return (len(times) - 1) / (max(times) - min(times))


def bench_rate(folder, minutes=2.0):
    """Use of 2,500 requests and 100,000 tokens a minute, as the server's log shows it."""
    limits = {"requests_per_minute": 2_500, "tokens_per_minute": 100_000}
    found = {}
    for binding, limit, token_length in (("requests", 2_500, 80), ("tokens", 100_000, 4)):
        each = 1 if binding == "requests" else 450
        rows = make_rows(int(limit / each * minutes), words=0 if binding == "requests" else 25)
        bodies = None
        for way in ("ours", "peer"):
            with judge_server(delay=0.5, token_length=token_length) as url:
                if way == "ours":
                    judge_rows(rows, judge_params(url, folder / binding, **limits), folder / "judged.jsonl")
                    bodies = [encode(line["body"]) for line in read_jsonl(folder / "judged/requests.jsonl")]
                else:
                    asyncio.run(peer(bodies, url, folder / f"peer-{binding}.jsonl", *limits.values(), token_length))
                log = sorted(received(url), key=lambda entry: entry["time"])
            times = [entry["time"] for entry in log]
            units = [1 if binding == "requests" else entry["tokens"] for entry in log]
            windows = [
                sum(units[number : bisect_left(times, start + 60)])
                for number, start in enumerate(times)
                if number == 0 or start + 60 <= times[-1]
            ]
            column = found.setdefault(way, {})
            column[f"{binding}: least of a 60 s window, %"] = round(100 * min(windows) / limit, 2)
            column[f"{binding}: most of a 60 s window, %"] = round(100 * max(windows) / limit, 2)
    return found


def bench_kills(folder, count=1_000, kills=10):
    """Answers paid twice and files that differ after ten kill -9."""
    write_jsonl(folder / "rows.jsonl", make_rows(count))

    def command(name, url):
        (folder / name).mkdir(exist_ok=True)
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        values["judge"] = judge_params(url, folder / name, concurrency=16).model_dump()
        (folder / name / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        if not (folder / name / "stages").exists():
            os.symlink(ROOT / "stages", folder / name / "stages")
        out = str(folder / name / "judged.jsonl")
        return [sys.executable, "-m", "text2sql", "judge", str(folder / "rows.jsonl"), "--out", out]

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with judge_server(delay=0.1) as url:
        subprocess.run(command("calm", url), cwd=folder / "calm", check=True, **quiet)
    chance = random.Random(7)
    with judge_server(delay=0.1) as url:
        for _ in range(kills):
            process = subprocess.Popen(command("killed", url), cwd=folder / "killed", **quiet)
            before = len(received(url))
            goal = before + chance.randrange(1, count // kills)
            while process.poll() is None and len(received(url)) < goal:
                time.sleep(0.02)
            time.sleep(chance.random() * 0.1)
            process.kill()
            process.wait()
        subprocess.run(command("killed", url), cwd=folder / "killed", check=True, **quiet)
        log = received(url)
    files = [path.relative_to(folder / "calm") for path in (folder / "calm").glob("judged*/**/*") if path.is_file()]
    files.append(Path("judged.jsonl"))
    stored = [line["key"] for line in read_jsonl(folder / "killed/cache/answers.jsonl")]
    delivered = Counter(entry["request"] for entry in log if entry["delivered"])
    return {
        "ours": {
            "kills": kills,
            "requests": count,
            "answered": len(delivered),
            "stored answers paid again": len(stored) - len(set(stored)),
            "answers a killed process had not read yet": sum(number - 1 for number in delivered.values()),
            "requests under way at a kill, sent again": len(log) - count,
            "files compared": len(files),
            "files that differ": sum(
                (folder / "calm" / name).read_bytes() != (folder / "killed" / name).read_bytes() for name in files
            ),
        }
    }


def bench_memory(folder, counts=(10_000, 100_000)):
    """Peak resident memory of a judged run, in a process of its own."""
    found = {}
    for count in counts:
        write_jsonl(folder / "rows.jsonl", make_rows(count, words=100))
        with judge_server() as url:
            script = (
                "import sys, json; sys.path[:0] = json.loads(sys.argv[1]); from pathlib import Path; import judge; "
                "judge.measure_memory(sys.argv[2], Path(sys.argv[3]))"
            )
            paths = json.dumps([str(ROOT), str(ROOT / "benchmarks")])
            (folder / str(count)).mkdir()
            command = [sys.executable, "-c", script, paths, url, str(folder / str(count))]
            done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        found[f"{count:,} rows: peak MiB"] = int(done.stdout)
    return {"ours": found}


def measure_memory(url, folder):
    judge_rows(read_jsonl(folder.parent / "rows.jsonl"), judge_params(url, folder), folder / "judged.jsonl")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


BENCHES = {
    "faults": bench_faults,
    "speed": bench_speed,
    "rate": bench_rate,
    "kills": bench_kills,
    "memory": bench_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run (default: all)")
    parser.add_argument("--json", type=Path, help="also write the results here, beside those of other parts")
    args = parser.parse_args()
    os.environ.pop("OPENAI_API_KEY", None)
    results = {}
    for name in args.names or BENCHES:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = BENCHES[name](Path(folder))
        table = Table("", *results[name], title=f"{name}: {BENCHES[name].__doc__.splitlines()[0]}")
        for line in next(iter(results[name].values())):
            table.add_row(line, *(f"{column[line]:,}" for column in results[name].values()))
        Console().print(table)
    if args.json:
        written = read_json(args.json) if args.json.exists() else {}
        written |= {name: {**result, "measured": where()} for name, result in results.items()}
        write_json(args.json, written)


def where():
    """Date, machine and versions."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    versions = {name: version(name) for name in ("openai", "aiohttp", "httpx2", "uvicorn", "starlette")}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {model.partition(':')[2].strip() or platform.machine()}",
        "python": platform.python_version(),
        **versions,
    }


if __name__ == "__main__":
    main()
