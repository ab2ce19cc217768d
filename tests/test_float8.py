"""finetune.float8: what it multiplies, what it learns, and what it is refused for. Processors can do it too, slowly; the
stage asks for a card."""

import pytest
from conftest import tiny_architecture
from tiny_runs import losses, table, train

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.models import load
from text2sql.training import float8
from text2sql.training.finetune import add_adapter
from text2sql.training.tree import tree_of  # noqa: F401

pytestmark = pytest.mark.usefixtures("in_the_project")


def test_a_product_is_that_of_the_rounded_numbers():
    import torch

    source = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(shape, generator=source, dtype=torch.bfloat16) for shape in ((3, 5, 32), (48, 32)))
    layer = torch.nn.Linear(32, 48, bias=True, dtype=torch.bfloat16)
    layer.weight.data = weight
    x.requires_grad_()
    found = float8.Float8Linear(layer)(x)
    found.backward(torch.ones_like(found))

    def rounded(rows):
        numbers, scale = float8.to_float8(rows)
        return numbers.float() * scale

    expected = rounded(x.detach().flatten(0, 1)) @ rounded(weight).t() + layer.bias.float()
    assert (found.flatten(0, 1).float() - expected).abs().max() < 0.02 * expected.abs().max()
    back = rounded(torch.ones(15, 48)) @ rounded(weight.t().contiguous()).t()
    assert (x.grad.flatten(0, 1).float() - back).abs().max() < 0.02 * back.abs().max()


@pytest.fixture
def allowed(monkeypatch):
    """A stub for a card: all that float8 computes is real, on the processor."""
    monkeypatch.setattr(float8, "check", lambda config, plain: None)
