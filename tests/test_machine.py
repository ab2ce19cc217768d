"""Where a run takes place, as the system itself says."""

import importlib.metadata
import sqlite3
from pathlib import Path

import pytest

from text2sql.base import machine


def test_this_machine_is_described_by_its_processor_and_libraries():
    found = machine.machine(3)
    assert set(found) == {"processor", "instructions", "threads", "card", "versions"}
    assert found["threads"] == 3 and found["processor"]
    assert found["versions"]["sqlite"] == sqlite3.sqlite_version
    assert found["versions"]["torch"] == importlib.metadata.version("torch")
    assert found == machine.machine(3)


def test_the_processor_is_the_one_that_the_system_names():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or "model name" not in cpuinfo.read_text():
        pytest.skip("this system names no processor in /proc/cpuinfo")
    assert f": {machine.processor()}\n" in cpuinfo.read_text()
    assert all(f" {name} " in cpuinfo.read_text().replace("\n", " ") for name in machine.instructions())


def test_a_system_that_tells_nothing_is_no_error(monkeypatch):
    monkeypatch.setattr(machine, "read", lambda path: "")
    found = machine.machine(1)
    assert found["processor"] and (found["instructions"], found["card"]) == ("", None)


def test_a_library_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(machine, "LIBRARIES", ("torch", "no-such-library"))
    assert set(machine.versions()) == {"python", "sqlite", "torch"}
