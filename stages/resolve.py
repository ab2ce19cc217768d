"""Pins the base model: exact revision or checksum; converts a GGUF once; shows that it loads and answers.

Reads nothing but its parameters. Writes models/base/model.json, a pointer with what was found; the weights stay in a
cache.
Alone: python stages/resolve.py
"""

import checkout

from text2sql.base.params import read_params
from text2sql.base.process import prepare_process
from text2sql.base.stage import run_stage
from text2sql.models.resolve import resolve


def main() -> None:
    config, prompt = read_params("resolve", "prompt")
    prepare_process()
    resolve(config, "models/base", prompt.chat)


if __name__ == "__main__":
    run_stage(main, __doc__)
