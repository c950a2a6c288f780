"""Products as convolutions against torch's own linear layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vos.sam.fast.products import apply, linear, plus_product, weighted_sums


@pytest.fixture(params=["AVX2", "AVX512"])
def capability(request, monkeypatch) -> str:
    """The vector unit that torch is told it has."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return request.param


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def convolves(monkeypatch) -> list[int]:
    """Count the products that ran as convolutions."""
    calls = []
    conv2d = F.conv2d

    def counting(*inputs):
        calls.append(1)
        return conv2d(*inputs)

    monkeypatch.setattr(F, "conv2d", counting)
    return calls


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("shape", "outputs"),
    [((512, 32), 24), ((2, 300, 16), 40), ((4, 8, 16, 64), 16), ((9, 32), 64), ((700, 8), 3)],
)
def test_equals_linear(shape, outputs, bias, capability):
    rows, weight = drawn(*shape), drawn(outputs, shape[-1])
    own_bias = drawn(outputs) if bias else None
    expected = F.linear(rows, weight, own_bias)
    result = linear(rows, weight, own_bias)
    assert result.shape == expected.shape
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    assert result.is_contiguous()


def test_no_rows_give_no_rows():
    assert linear(drawn(0, 8), drawn(5, 8)).shape == (0, 5)


def test_rows_and_weights_in_any_order_of_memory(monkeypatch, capability):
    calls = convolves(monkeypatch)
    rows, weight = drawn(48, 600).T, drawn(48, 32).T
    torch.testing.assert_close(linear(rows, weight), F.linear(rows, weight), atol=1e-5, rtol=1e-5)
    assert linear(rows, weight).is_contiguous()
    apart = drawn(3, 500, 96)[:, ::2, 8:56]
    torch.testing.assert_close(linear(apart, weight), F.linear(apart, weight), atol=1e-5, rtol=1e-5)
    assert len(calls) == (3 if capability == "AVX512" else 0)


@pytest.mark.parametrize(("num_rows", "num_sums"), [(600, 24), (600, 3), (9, 24), (0, 24)])
def test_weighted_sums(num_rows, num_sums, capability):
    weights, rows = drawn(num_rows, num_sums), drawn(num_rows, 40)
    expected = weights.T @ rows
    for one, other in ((weights, rows), (weights.T.contiguous().T, rows.T.contiguous().T)):
        sums = weighted_sums(one, other)
        assert sums.shape == (num_sums, 40)
        torch.testing.assert_close(sums, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("num_rows", "num_values"), [(600, 24), (600, 3), (9, 24), (0, 24)])
def test_plus_product(num_rows, num_values, capability):
    rows, weights, values = drawn(num_rows, 40), drawn(num_rows, num_values), drawn(num_values, 40)
    before = rows.clone()
    for one, other in ((weights, values), (weights.T.contiguous().T, values.T.contiguous().T)):
        result = plus_product(rows, one, other)
        torch.testing.assert_close(result, rows + weights @ values, atol=1e-4, rtol=1e-5)
    assert torch.equal(rows, before)


def test_gradients_are_those_of_linear(capability):
    gradients = []
    for product in (linear, F.linear):
        leaves = [drawn(2, 256, 24), drawn(32, 24), drawn(32)]
        for leaf in leaves:
            leaf.requires_grad_()
        product(*leaves).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(*gradients, atol=1e-2, rtol=1e-4)


def test_other_dtypes_and_autocast_keep_their_product(monkeypatch, capability):
    calls = convolves(monkeypatch)
    rows, weight = drawn(512, 32), drawn(64, 32)
    assert torch.equal(linear(rows.double(), weight.double()), rows.double() @ weight.double().T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear(rows, weight), F.linear(rows, weight))
    assert not calls


def test_only_plain_layers_are_taken_apart(monkeypatch, capability):
    calls = convolves(monkeypatch)
    taken_apart = 1 if capability == "AVX512" else 0
    rows, layer = drawn(512, 32), nn.Linear(32, 64)
    torch.testing.assert_close(apply(layer, rows), layer(rows), atol=1e-5, rtol=1e-5)
    assert len(calls) == taken_apart

    class Doubled(nn.Linear):
        def forward(self, rows):
            return 2 * super().forward(rows)

    other = Doubled(32, 64)
    assert torch.equal(apply(other, rows), other(rows))
    layer.register_forward_hook(lambda own, inputs, result: result + 1)
    assert torch.equal(apply(layer, rows), layer(rows))
    assert len(calls) == taken_apart
