"""Which backend answers."""

import importlib.util
import subprocess
import sys

import pytest
from conftest import ROOT
from tiny_runs import run

from text2sql.base.errors import UserError

pytestmark = pytest.mark.usefixtures("in_the_project")


def test_vllm_that_is_not_installed_is_one_line(pointer, tmp_path):
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    with pytest.raises(UserError, match=r"generate\.backend: vllm is not installed; `pip install -e '\.\[vllm\]'"):
        run(pointer, tmp_path, backend="vllm")


def test_a_servers_client_loads_no_torch():
    """A small machine can ask a server; the backends are imported one at a time."""
    heavy = "{'torch', 'transformers'} & set(sys.modules)"
    code = f"import sys; from text2sql.generation import generate, server; assert not {heavy}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


STUB = {
    "vllm/__init__.py": """
import time
class SamplingParams: ...
class LLM:
    def __init__(self, **how):
        print(sorted(how.items()), flush=True)
        time.sleep(60)
""",
    "vllm/lora/__init__.py": "",
    "vllm/lora/request.py": "class LoRARequest: ...",
}


def test_an_engine_of_vllm_that_never_starts_is_one_line(pointer, tmp_path):
    """A stub stands for vLLM, which only starts on a card: an engine that hangs."""
    for name, text in STUB.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = f"""
import os, sys
sys.path[:0] = [{str(tmp_path)!r}, "tests"]
from tiny_runs import generation
from text2sql.generation import vllm
assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
vllm.START_SECONDS = 0.5
vllm.VLLM({pointer!r}, None, False, generation(backend="vllm", dtype="fp16"))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "('dtype', 'float16')" in done.stdout and "('trust_remote_code', False)" in done.stdout
    assert done.stderr.splitlines()[-1] == (
        "error: vLLM has not started within 0 seconds; set generate.backend: transformers, or see its log"
    )
