"""guarded_map: order kept, culprits lost alone, limits enforced, nothing left behind."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from text2sql.engines.pool import Lost, alarm, guarded_map, guarded_workers

loaded = []


def load():
    loaded.append(os.getpid())


def work(item):
    """What a worker does with an item, by its name."""
    match item:
        case "hang":
            while True:
                pass
        case "hang in C":
            import sqlite3

            limits = sqlite3.connect(":memory:")
            return len(limits.execute("SELECT hex(zeroblob(4e8))").fetchone()[0])
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "memory":
            return len(bytearray(2**30))
        case "alarm":
            with alarm(0.1):
                time.sleep(0.01)
            with alarm(0.1):
                time.sleep(30)
        case "loaded":
            return list(loaded)
        case "write":
            try:
                Path("written-by-a-worker").write_text("x")
            except OSError as error:
                return type(error).__name__
        case "wrong":
            raise LookupError("what the function raises")
        case "pid":
            time.sleep(0.02)
            return os.getpid()
    return item * 2


TOO_LONG = "stopped at the hard time limit"


def lost(results):
    return {index: result.reason for index, result in enumerate(results) if isinstance(result, Lost)}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1000])
def test_results_come_in_input_order(workers, count):
    assert list(guarded_map(work, range(count), workers=workers, seconds=5)) == [2 * n for n in range(count)]


@pytest.mark.parametrize("workers", [1, 2])
def test_only_culprits_are_lost(workers):
    items = list(range(200))
    culprits = {0: "hang", 40: "segfault", 41: "memory", 64: "exit", 65: "hang", 199: "segfault"}
    for index, culprit in culprits.items():
        items[index] = culprit
    results = list(guarded_map(work, items, workers=workers, seconds=0.3))
    assert lost(results) == {0: "timeout", 40: "crash", 41: "memory", 64: "crash", 65: "timeout", 199: "crash"}
    assert [r for r in results if not isinstance(r, Lost)] == [2 * n for n in range(200) if n not in culprits]


def test_one_long_call_into_c_is_killed():
    begun = time.monotonic()
    results = list(guarded_map(work, [1, "hang in C", 2], workers=1, seconds=0.2, memory_bytes=4 * 2**30))
    assert results == [2, Lost("timeout", TOO_LONG), 4]
    assert time.monotonic() - begun < 3


def test_an_alarm_bounds_a_part_of_an_item():
    begun = time.monotonic()
    assert list(guarded_map(work, [1, "alarm", 2], workers=1, seconds=20)) == [2, Lost("timeout", TOO_LONG), 4]
    assert time.monotonic() - begun < 3


def test_several_runs_share_workers_and_what_the_initializer_loaded():
    with guarded_workers(work, workers=1, seconds=5, initializer=load) as run:
        first, second = list(run(["pid", "loaded"])), list(run(["pid", "loaded", 4]))
    assert first == second[:2] and second[2] == 8
    assert len(first[1]) == 1 and first[1] != [first[0]], "loaded once, before the worker was forked"


def test_workers_write_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(guarded_map(work, ["write"], workers=1, seconds=5)) == ["OSError"]
    assert all(path.stat().st_size == 0 for path in tmp_path.iterdir())


def test_exceptions_of_the_function_are_raised_here():
    with pytest.raises(LookupError, match="what the function raises"):
        list(guarded_map(work, [1, "wrong"], workers=1, seconds=5))


def test_a_function_that_no_worker_can_import_is_named():
    probe = "import sys\ndef f(x): return x\nfrom text2sql.engines.pool import guarded_map\n"
    probe += "list(guarded_map(f, [1], workers=1, seconds=1))"
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert "cannot be imported by a worker process" in ended.stderr


def test_endless_input_is_drawn_as_needed():
    stream = guarded_map(work, itertools.count(), workers=2, seconds=5)
    assert list(itertools.islice(stream, 5)) == [0, 2, 4, 6, 8]
    stream.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_closing_leaves_no_process():
    stream = guarded_map(work, itertools.repeat("pid"), workers=2, seconds=60, chunk=2)
    pids = set(itertools.islice(stream, 50))
    assert all(map(alive, pids))
    stream.close()
    assert not any(map(alive, pids))


def test_a_killed_parent_leaves_no_process():
    probe = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import itertools, test_pool, time\nfrom text2sql.engines.pool import guarded_map\n"
        "for pid in guarded_map(test_pool.work, itertools.repeat('pid'), workers=2, seconds=60, chunk=2):\n"
        "    print(pid, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", probe], stdout=subprocess.PIPE, text=True) as parent:
        pids = {int(parent.stdout.readline()) for _ in range(20)}
        parent.kill()
    for _ in range(50):
        if not any(map(alive, pids)):
            return
        time.sleep(0.1)
    pytest.fail("workers outlived their parent")
