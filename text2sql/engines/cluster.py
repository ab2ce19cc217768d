"""Work items on a Ray cluster. Ray is an extra: this is imported where it is asked for.

A task takes some items, runs them in a guarded process as this machine would, and leaves nothing behind: Ray runs it
again where its worker or its machine dies. Ray gives out tasks and brings results; limits, verdicts and what becomes of
hostile SQL are `pool`'s, there as here.
"""

import logging
import os
import socket
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import ray
import sqlglot

from text2sql.base.errors import UserError
from text2sql.engines.pool import guarded_workers, portable
from text2sql.engines.protocol import Engines, Opener

CONNECT_SECONDS = 10
TASK_SECONDS = 10.0  # that a task is made to take: long beside the half second in which its process starts
LARGEST = 64  # chunks of one task


class Task(NamedTuple):
    """What a machine needs to know beside the items."""

    function: Callable[..., Any]
    dialects: tuple[str, ...] | None  # of the engines that the function takes; None: it takes none
    open_dialects: Opener
    limits: Mapping[str, Any]
    folder: str
    path: list[str]  # Python's, of modules
    software: dict[str, str]


class Cluster:
    """A cluster that this process is connected to."""

    def __init__(self, open_dialects: Opener) -> None:
        self.open_dialects = open_dialects

    def run(
        self, function: Callable[..., Any], engines: Engines | None, most: int | None, limits: Mapping, items: Iterable
    ) -> Iterator[Any]:
        """The results in the order of the items, of which only those of a few tasks are held at a time.

        Arguments as of `compute.workforce`. Raises what the function raises, and UserError where a machine of the
        cluster cannot stand in for this one or the cluster is lost.
        """
        dialects = None if engines is None else tuple(engines)
        task = Task(function, dialects, self.open_dialects, limits, os.getcwd(), sys.path, software(engines or {}))
        try:
            yield from self._results(ray.put(task), most, limits["chunk"], iter(items))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error  # a task's own error, without Ray's traceback
            reason = str(cause).strip().splitlines()[0]
            raise UserError(f"the Ray cluster does not go on ({reason}); see `ray status` and run again") from error

    def _results(self, task: Any, most: int | None, chunk: int, items: Iterator) -> Iterator[Any]:
        size = chunk
        running: deque = deque()  # in the order of the items
        while True:
            ahead = most or 2 * int(ray.cluster_resources().get("CPU", 1))
            while len(running) < ahead and (block := list(islice(items, size))):
                running.append(_answer.remote(task, block))
            if not running:
                return
            results, problem, seconds = ray.get(running.popleft())
            if problem is not None:
                raise problem
            size = max(chunk, min(LARGEST * chunk, int(len(results) * TASK_SECONDS / seconds)))
            yield from results


@contextmanager
def connected(open_dialects: Opener) -> Iterator[Cluster]:
    """The cluster at RAY_ADDRESS. Raises UserError where there is none, at once and not after Ray's two minutes."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        said = f"RAY_ADDRESS is {address!r}" if address else "RAY_ADDRESS is not set"
        raise UserError(f"compute: ray, but {said}; set it to the address of the cluster's head, as in 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        code = {"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}  # this checkout's, as stages set it
        ray.init(address, runtime_env=code, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the Ray cluster at {address} (RAY_ADDRESS) cannot be reached: {reason}; start it with `ray start --head`,"
            " or set compute to local"
        ) from error
    try:
        yield Cluster(open_dialects)
    finally:
        ray.shutdown()


def software(engines: Engines) -> dict[str, str]:
    """The versions on which results depend, by name: machines with the same ones give the same bytes."""
    versions = {"SQLite": sqlite3.sqlite_version, "sqlglot": sqlglot.__version__}
    return versions | {engine.name: engine.version for engine in engines.values()}


@ray.remote(max_retries=-1)
def _answer(task: Task, items: list) -> tuple[list, Exception | None, float]:
    """On a machine of the cluster: the results, what went wrong, and the seconds it took."""
    began = time.monotonic()
    try:
        return _answers(task, items), None, time.monotonic() - began
    except Exception as error:  # Ray would add its own traceback to the line that a user reads
        return [], portable(error), time.monotonic() - began


def _answers(task: Task, items: list) -> list:
    here = f"the cluster's machine {socket.gethostname()}"
    try:
        os.chdir(task.folder)
    except OSError as error:
        raise UserError(f"{here} does not see {task.folder}; share the project's folder under that path") from error
    sys.path[:] = task.path  # without the stage's own folder, which Ray puts first
    with task.open_dialects(task.dialects or ()) as engines:
        if (versions := software(engines)) != task.software:
            differ = [
                f"{name} {versions.get(name, 'missing')}, here {task.software.get(name, 'missing')}"
                for name in sorted(versions.keys() | task.software.keys())
                if versions.get(name) != task.software.get(name)
            ]
            raise UserError(f"{here} has {'; '.join(differ)}; results could differ, so give it the same environment")
        function = task.function if task.dialects is None else partial(task.function, engines=engines)
        with guarded_workers(function, workers=1, **task.limits) as run:
            return list(run(items))
