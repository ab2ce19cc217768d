"""Runs a function over untrusted items in child processes that can be killed without losing anything else.

A lean helper process imports the function once and forks the workers, so that a killed worker is replaced in
milliseconds and nothing of the parent (torch, threads, open files) is inherited. Items travel in chunks; a shared
counter tells which item of its chunk a worker is on, so that a kill costs that one item its result and no other.
"""

import gc
import json
import mmap
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any

CHUNK = 32  # items per message
AHEAD = 256  # chunks that may wait, finished, for a slow one before them
POLL_SECONDS = 0.05  # how often the parent looks at its workers' counters
FLUSH_SECONDS = 0.05  # a worker sends finished results at least this often, so that a kill repeats little

_COUNTER = struct.Struct("Q")
_ORDER = struct.Struct("cq")  # fork in slot n | end the process n

_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from text2sql.engines.pool import _serve; _serve(int(sys.argv[2]), int(sys.argv[3]))"
)


def cores() -> int:
    """How many processors this process may use; a container or `taskset` may give fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Lost:
    """Stands for the result of an item whose worker did not survive it, or that could not be computed at all."""

    reason: str  # timeout | memory | crash; or what `function` has for a reason
    error: str


def guarded_map(
    function: Callable[[Any], Any],
    items: Iterable,
    *,
    workers: int,
    seconds: float,
    memory_bytes: int = 512 * 2**20,
    chunk: int = CHUNK,
    initializer: Callable[[], object] | None = None,
) -> Iterator[Any]:
    """Yields `function(item)` for every item, in input order, computed in `workers` child processes.

    `function` and the items must be picklable, and `function` must live in an importable module (not in a script).
    An item gives `Lost` instead when its call outlives `seconds` of wall clock (its worker is killed), needs more
    than `memory_bytes` (resident, the interpreter included), or kills its worker; all other items are computed as
    if it had not been there. Workers write no file and no core dump. An exception that `function` raises, other
    than MemoryError, is raised here. `initializer` runs once, before any worker is forked: what it loads, they share.

    Items are drawn as they are needed and results held back only while an earlier item is not finished, so memory
    does not grow with their number. Closing the generator ends all processes.
    """
    with guarded_workers(
        function, workers=workers, seconds=seconds, memory_bytes=memory_bytes, chunk=chunk, initializer=initializer
    ) as run:
        yield from run(items)


@contextmanager
def guarded_workers(
    function: Callable[[Any], Any],
    *,
    workers: int,
    seconds: float,
    memory_bytes: int = 512 * 2**20,
    chunk: int = CHUNK,
    initializer: Callable[[], object] | None = None,
) -> Iterator[Callable[[Iterable], Iterator[Any]]]:
    """As `guarded_map`, for several runs with the same workers: gives the function from items to results.

    One run must be finished before the next begins. Leaving the block ends all processes.
    """
    with _helper(function, workers, seconds, memory_bytes, initializer) as helper:
        workforce = [_Worker(helper, slot) for slot in range(workers)]
        yield lambda items: _run(workforce, items, seconds, chunk)


def _run(workforce: "list[_Worker]", items: Iterable, seconds: float, chunk: int) -> Iterator[Any]:
    items = iter(items)
    chunks = (_Chunk(drawn) for drawn in iter(lambda: list(islice(items, chunk)), []))
    queue: deque[_Chunk] = deque()  # in input order, from the oldest unfinished one
    exhausted = False
    while True:
        for worker in workforce:
            if worker.chunk is None and not exhausted and len(queue) < AHEAD:
                drawn = next(chunks, None)
                if drawn is None:
                    exhausted = True
                    break
                queue.append(drawn)
                worker.give(drawn)
        while queue and queue[0].finished:
            yield from queue.popleft().results
        if exhausted and not queue:
            return
        if len(queue) >= AHEAD or exhausted or all(worker.chunk for worker in workforce):
            busy = {worker.connection: worker for worker in workforce if worker.chunk}
            for ready in wait(list(busy), timeout=POLL_SECONDS):
                busy[ready].collect()  # type: ignore[index]
            for worker in workforce:
                worker.check(seconds)


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """For part of a worker's item: the kernel ends the worker, and the item is lost to timeout, if it takes longer."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


_UNSET: Any = object()


@dataclass
class _Chunk:
    """Consecutive items; `todo` are the positions of those that the worker was last sent, in order."""

    items: list
    results: list = field(init=False)
    todo: list[int] = field(default_factory=list)
    received: int = 0
    suspect: int | None = None  # it killed a worker; once more, alone in a fresh one, before it is given up

    def __post_init__(self) -> None:
        self.results = [_UNSET] * len(self.items)

    @property
    def finished(self) -> bool:
        return not any(result is _UNSET for result in self.results)

    def next_todo(self) -> list[int]:
        if self.suspect is not None:
            return [self.suspect]
        return [position for position, result in enumerate(self.results) if result is _UNSET]


class _Worker:
    """The parent's view of one worker process: what it was given, and since when it is on its present item."""

    def __init__(self, helper: "_Helper", slot: int) -> None:
        self.helper, self.slot = helper, slot
        self.chunk: _Chunk | None = None
        self.start()

    def start(self) -> None:
        self.connection, self.pid = self.helper.fork(self.slot)

    def give(self, chunk: _Chunk) -> None:
        self.chunk = chunk
        chunk.todo, chunk.received = chunk.next_todo(), 0
        self.helper.set_counter(self.slot, 0)
        self.seen, self.since = 0, time.monotonic()
        message = pickle.dumps([chunk.items[position] for position in chunk.todo], pickle.HIGHEST_PROTOCOL)
        try:
            self.connection.send_bytes(message)
        except OSError:
            self.lose("crash", self.end())

    def collect(self) -> None:
        """Takes the results that are ready."""
        chunk = self.chunk
        assert chunk is not None
        try:
            kind, value = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            status = self.end()
            timed_out = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGXCPU)
            self.lose("timeout" if timed_out else "crash", status)
            return
        if kind == "error":
            raise value
        for result in value:
            chunk.results[chunk.todo[chunk.received]] = result
            chunk.received += 1
        if kind == "memory":
            self.end()
            self.helper.set_counter(self.slot, chunk.received)
            self.lose("memory", 0)
        elif chunk.received == len(chunk.todo):
            chunk.suspect = None
            self.chunk = None
            if not chunk.finished:
                self.give(chunk)

    def check(self, seconds: float) -> None:
        """Kills the worker when its present item has had its time."""
        if self.chunk is None:
            return
        counter, now = self.helper.counter(self.slot), time.monotonic()
        if counter != self.seen:
            self.seen, self.since = counter, now
        elif now - self.since > seconds and not self.connection.poll():
            self.end()
            self.lose("timeout", 0)

    def end(self) -> int:
        self.connection.close()
        return self.helper.end(self.pid)

    def lose(self, reason: str, status: int) -> None:
        """Records the loss of the item that the ended worker was on; a fresh worker takes the rest of its chunk."""
        chunk = self.chunk
        assert chunk is not None
        lost = chunk.todo[min(self.helper.counter(self.slot), len(chunk.todo) - 1)]
        if reason == "timeout" or chunk.suspect == lost:
            chunk.results[lost] = Lost(reason, _explain(reason, status))
            chunk.suspect = None
        else:
            chunk.suspect = lost
        self.chunk = None
        self.start()
        if not chunk.finished:
            self.give(chunk)


def _explain(reason: str, status: int) -> str:
    if reason == "timeout":
        return "stopped at the hard time limit"
    if reason == "memory":
        return "stopped at the memory limit"
    if os.WIFSIGNALED(status):
        return f"the process died of {signal.Signals(os.WTERMSIG(status)).name}"
    return f"the process ended with exit code {os.waitstatus_to_exitcode(status)}"


@dataclass
class _Helper:
    control: socket.socket
    counters: mmap.mmap

    def fork(self, slot: int) -> tuple[Connection, int]:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [_ORDER.pack(b"F", slot)], [theirs.fileno()])
        return Connection(ours.detach()), self.answer()

    def end(self, pid: int) -> int:
        """Kills the worker if it still lives; returns its wait status."""
        self.control.sendall(_ORDER.pack(b"E", pid))
        return self.answer()

    def answer(self) -> int:
        reply = self.control.recv(_ORDER.size, socket.MSG_WAITALL)
        if len(reply) < _ORDER.size:
            raise RuntimeError("the process that starts the workers has died")
        return _ORDER.unpack(reply)[1]

    def counter(self, slot: int) -> int:
        return _COUNTER.unpack_from(self.counters, slot * _COUNTER.size)[0]

    def set_counter(self, slot: int, value: int) -> None:
        _COUNTER.pack_into(self.counters, slot * _COUNTER.size, value)


@contextmanager
def _helper(
    function: Callable, workers: int, seconds: float, memory_bytes: int, initializer: Callable | None
) -> Iterator[_Helper]:
    """Starts the process that forks the workers; ends it and all of them on leaving."""
    task = pickle.dumps((function, seconds, memory_bytes, initializer))
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as file:
        file.truncate(workers * _COUNTER.size)
        counters = mmap.mmap(file.fileno(), workers * _COUNTER.size)
        process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path), str(theirs.fileno()), str(file.fileno())],
            pass_fds=[theirs.fileno(), file.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches the parent alone, which ends the rest in order
            env={**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC"},  # no verdict hangs on either
        )
    theirs.close()
    try:
        ours.sendall(struct.pack("Q", len(task)) + task)
        ready = Connection(os.dup(ours.fileno()))
        try:
            problem = ready.recv()
        except EOFError:
            problem = RuntimeError("the process that starts the workers has died")
        finally:
            ready.close()
        if problem is not None:
            raise problem
        yield _Helper(ours, counters)
    finally:
        ours.close()  # the helper reads the end of its orders and ends its workers and itself
        process.wait()
        counters.close()


def _serve(control_fd: int, counters_fd: int) -> None:
    """The helper process: imports the function, then forks and ends workers as ordered."""
    for interrupting in (signal.SIGINT, signal.SIGALRM, signal.SIGXCPU):  # however the parent takes them
        signal.signal(interrupting, signal.SIG_DFL)
    control = socket.socket(fileno=control_fd)
    counters = mmap.mmap(counters_fd, 0)
    os.close(counters_fd)
    (size,) = struct.unpack("Q", control.recv(8, socket.MSG_WAITALL))
    ready = Connection(os.dup(control_fd))
    try:
        function, seconds, memory_bytes, initializer = pickle.loads(control.recv(size, socket.MSG_WAITALL))
    except Exception as error:
        ready.send(TypeError(f"the function cannot be imported by a worker process: {error}"))
        return
    if initializer is not None:
        initializer()
    gc.freeze()
    ready.send(None)
    ready.close()
    workers: set[int] = set()

    def end(pid: int) -> int:
        os.kill(pid, signal.SIGKILL)  # a worker that died before is still there to be waited for
        workers.remove(pid)
        return os.waitpid(pid, 0)[1]

    while True:
        order, descriptors, _, _ = socket.recv_fds(control, _ORDER.size, 1)
        if not order:  # the parent is done, or gone
            for pid in list(workers):
                end(pid)
            return
        kind, number = _ORDER.unpack(order)
        if kind == b"E":
            control.sendall(_ORDER.pack(b"E", end(number)))
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            try:
                _work(function, Connection(descriptors[0]), counters, number * _COUNTER.size, seconds, memory_bytes)
            finally:
                os._exit(0)
        workers.add(pid)
        os.close(descriptors[0])
        control.sendall(_ORDER.pack(b"F", pid))


def _work(
    function: Callable, connection: Connection, counters: mmap.mmap, offset: int, seconds: float, memory_bytes: int
) -> None:
    """A worker: answers chunks until its connection closes."""
    _limit_resources(memory_bytes)
    while True:
        try:
            items = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        results, flushed = [], time.monotonic()
        for index, item in enumerate(items):
            _COUNTER.pack_into(counters, offset, index)
            # The parent's kill comes first; this ends a worker whose parent is gone.
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 2, resource.RLIM_INFINITY))
            try:
                results.append(function(item))
            except MemoryError:
                connection.send(("memory", results))
                return
            except Exception as error:
                connection.send(("error", portable(error)))
                return
            now = time.monotonic()
            if now - flushed > FLUSH_SECONDS and index + 1 < len(items):
                connection.send_bytes(pickle.dumps(("results", results), pickle.HIGHEST_PROTOCOL))
                results, flushed = [], now
        connection.send_bytes(pickle.dumps(("results", results), pickle.HIGHEST_PROTOCOL))


def _limit_resources(memory_bytes: int) -> None:
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        with open("/proc/self/statm") as statm:
            mapped, resident = (int(pages) * mmap.PAGESIZE for pages in statm.read().split()[:2])
    except OSError:  # not Linux: libraries' mapped but untouched pages then count as well
        mapped = resident = 0
    limit = memory_bytes + mapped - resident
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def portable(error: Exception) -> Exception:
    """The exception with its worker's traceback as a note, or a RuntimeError in its place if it cannot travel."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("\n".join(error.__notes__))
    return error
