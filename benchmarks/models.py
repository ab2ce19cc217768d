"""Every architecture of tests/architectures.py from the pin to the merged model: the table of docs/models.md.

Tiny models with random weights, on the CPU, in fp32; about three minutes. Run from the project's folder:
python benchmarks/models.py [NAME ...]
"""

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.update(TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

import torch  # noqa: E402
from architectures import ARCHITECTURES, walk  # noqa: E402
from conftest import write_tiny_model  # noqa: E402

from text2sql.base.errors import UserError  # noqa: E402
from text2sql.models import load  # noqa: E402

WAYS = {
    "loop": "this project's loop",
    "generate": "`model.generate`",
    "switch": "the loop, then `model.generate`",
    "alone": "`model.generate`, a row at a time",
}


def main(names: list[str]) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    load.device_and_dtype = lambda: ("cpu", torch.float32)
    print("| architecture | model_type | answers by | result |\n|---|---|---|---|")
    passed, start = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tiny_model(folder / "tiny")
        tokenizer = load.load_tokenizer({"source": "folder", "name": str(folder / "tiny")})
        for number, architecture in enumerate(names):
            way, result = outcome(architecture, tokenizer, folder / str(number))
            passed += result == "same"
            print(f"| {architecture} | {ARCHITECTURES[architecture][0]} | {way} | {result} |", flush=True)
    print(f"\n{passed} of {len(names)} in {time.monotonic() - start:.0f} s", file=sys.stderr)


def outcome(name: str, tokenizer, folder: Path) -> tuple[str, str]:
    """By what an architecture answers, and whether all of its texts and models are the same."""
    try:
        found = walk(name, tokenizer, folder)
    except UserError as error:
        return "", f"refused: {error}"
    except Exception as error:  # whatever a model's code raises: the table says so
        return "", f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    checks = {
        "base": found["base"] == found["base alone"],
        "finetuned": found["finetuned"] == found["merged alone"],
        "saved": found["saved differs"] < 1e-4,
        "opened": found["opened differs"] < 1e-5,
    }
    wrong = [name for name, right in checks.items() if not right]
    return WAYS[found["way"]], f"differs: {', '.join(wrong)}" if wrong else "same"


if __name__ == "__main__":
    main(sys.argv[1:] or list(ARCHITECTURES))
