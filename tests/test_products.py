"""Products as convolutions against torch's own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vos.sam.fast.products import apply, linear, plus_product, weighted_sums


@pytest.fixture(autouse=True, params=["AVX2", "AVX512"])
def capability(request, monkeypatch) -> None:
    """The vector unit that torch is made to report, which decides how products run."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("shape", "outputs"),
    [((512, 32), 24), ((2, 300, 16), 40), ((4, 8, 16, 64), 16), ((9, 32), 64), ((700, 8), 3)],
)
def test_equals_linear(shape, outputs, bias):
    rows, weight = drawn(*shape), drawn(outputs, shape[-1])
    offsets = drawn(outputs) if bias else None
    result = linear(rows, weight, offsets)
    torch.testing.assert_close(result, F.linear(rows, weight, offsets), atol=1e-5, rtol=1e-5)
    assert result.is_contiguous()


def test_no_rows_give_no_rows():
    assert linear(drawn(0, 8), drawn(5, 8)).shape == (0, 5)


def test_rows_and_weights_in_any_order_of_memory():
    weight = drawn(48, 32).T
    for rows in (drawn(48, 600).T, drawn(3, 500, 96)[:, ::2, 8:56]):
        result = linear(rows, weight)
        torch.testing.assert_close(result, F.linear(rows, weight), atol=1e-5, rtol=1e-5)
        assert result.is_contiguous()


@pytest.mark.parametrize(("num_rows", "num_sums"), [(600, 24), (600, 3), (9, 24), (0, 24)])
def test_weighted_sums(num_rows, num_sums):
    weights, rows = drawn(num_rows, num_sums), drawn(num_rows, 40)
    expected = weights.T @ rows
    for one, other in ((weights, rows), (weights.T.contiguous().T, rows.T.contiguous().T)):
        sums = weighted_sums(one, other)
        assert sums.shape == (num_sums, 40)
        torch.testing.assert_close(sums, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("num_rows", "num_values"), [(600, 24), (600, 3), (9, 24), (0, 24)])
def test_plus_product(num_rows, num_values):
    rows, weights, values = drawn(num_rows, 40), drawn(num_rows, num_values), drawn(num_values, 40)
    before = rows.clone()
    for one, other in ((weights, values), (weights.T.contiguous().T, values.T.contiguous().T)):
        result = plus_product(rows, one, other)
        torch.testing.assert_close(result, rows + weights @ values, atol=1e-4, rtol=1e-5)
    assert torch.equal(rows, before)


def test_gradients_are_those_of_linear():
    gradients = []
    for product in (linear, F.linear):
        leaves = [drawn(2, 256, 24), drawn(32, 24), drawn(32)]
        for leaf in leaves:
            leaf.requires_grad_()
        product(*leaves).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(*gradients, atol=1e-2, rtol=1e-4)


def test_other_dtypes_and_autocast_keep_their_product():
    rows, weight = drawn(512, 32), drawn(64, 32)
    assert torch.equal(linear(rows.double(), weight.double()), rows.double() @ weight.double().T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear(rows, weight), F.linear(rows, weight))


def test_a_layer_of_another_class_or_with_hooks_runs_as_it_is():
    class Doubled(nn.Linear):
        def forward(self, rows):
            return 2 * super().forward(rows)

    rows, layer, doubled = drawn(512, 32), nn.Linear(32, 64), Doubled(32, 64)
    torch.testing.assert_close(apply(layer, rows), layer(rows), atol=1e-5, rtol=1e-5)
    assert torch.equal(apply(doubled, rows), doubled(rows))
    layer.register_forward_hook(lambda module, inputs, result: result + 1)
    assert torch.equal(apply(layer, rows), layer(rows))
