"""Where a run takes place: processor or card, and library versions. bf16 and SQLite differ from one to the other."""

import importlib.metadata
import platform
import re
import sqlite3
from pathlib import Path
from typing import Any

# What texts, adapters and verdicts can depend on.
LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "vllm", "sqlglot", "numpy", "dvc")
# The instruction sets that decide in which precision, and in which order, a processor adds.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")


def machine(threads: int) -> dict[str, Any]:
    """This machine: `processor`, its `instructions`, `threads` as given, `card` (None without one) and `versions`.

    threads: that the work here uses; no library need be loaded to know the rest.
    """
    return {
        "processor": processor(),
        "instructions": " ".join(instructions()),
        "threads": threads,
        "card": card(),
        "versions": versions(),
    }


def processor() -> str:
    """The processor's name as its maker gives it; where the system does not tell, its architecture."""
    named = re.search(r"^model name\s*:\s*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Which of INSTRUCTIONS the processor has, in Linux's names; none where the system does not tell."""
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    return [name for name in INSTRUCTIONS if flags and name in flags[1].split()]


def card() -> str | None:
    """The graphics cards by their driver's names, `2 x NVIDIA H200`; None without one."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = [name[1].strip() for path in files if (name := re.search(r"^Model:\s*(.+)$", read(path), re.MULTILINE))]
    counts = {name: names.count(name) for name in names}
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items()) or None


def versions() -> dict[str, str]:
    """The versions of Python, SQLite and those of LIBRARIES that are installed."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def read(path: str | Path) -> str:
    """A file of the system's; nothing where this system has none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
