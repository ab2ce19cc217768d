"""Pins the base model: exact revision or checksum; converts a GGUF once.

Reads nothing but its parameters. Writes models/base/model.json, a pointer; the weights stay in a cache.
Alone: python stages/resolve.py
"""

import checkout

from text2sql.base.params import read_params
from text2sql.base.stage import run_stage
from text2sql.models.pin import resolve


def main() -> None:
    (config,) = read_params("resolve")
    resolve(config, "models/base")


if __name__ == "__main__":
    run_stage(main, __doc__)
