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
