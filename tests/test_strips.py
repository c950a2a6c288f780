"""Blocks in strips against the same blocks on everything at once."""

import pytest
import torch
from torch import nn

from vos.sam.fast import strips
from vos.sam.fast.strips import by_rows, in_strips
from vos.sam.networks.tiny_vit import TinyViT


class Chain(nn.Module):
    """Two convolutions of which the second looks up and down, remembering what it was given."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        torch.manual_seed(kernel + stride)
        self.widen = nn.Conv2d(3, 16, 1)
        self.look = nn.Conv2d(16, 5, kernel, stride, padding=kernel // 2)
        self.seen_rows: list[int] = []

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        self.seen_rows.append(maps.shape[2])
        return self.look(torch.relu(self.widen(maps)))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2), (7, 4)])
@pytest.mark.parametrize("height", [4, 8, 36, 64])
@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_strips_give_what_the_whole_gives(kernel, stride, height, batch, monkeypatch):
    chain = Chain(kernel, stride)
    maps = torch.randn(batch, 3, height, 20).contiguous(memory_format=torch.channels_last)
    expected = chain(maps)
    chain.seen_rows.clear()
    monkeypatch.setattr(strips, "_STRIP_BYTES", batch * 16 * 20 * 4 * 8)  # eight rows
    result = in_strips(chain, maps, values_per_pixel=16, reach=kernel // 2, stride=stride)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-6)
    assert len(chain.seen_rows) == -(-height // 8)
    assert max(chain.seen_rows) <= 8 + 2 * 4


@torch.no_grad()
def test_small_maps_and_small_budgets(monkeypatch):
    chain = Chain(5, 2)
    maps = torch.randn(1, 3, 16, 20)
    expected = chain(maps)
    chain.seen_rows.clear()
    in_strips(chain, maps, values_per_pixel=16, reach=2, stride=2)
    assert chain.seen_rows == [16], "what fits runs at once"
    monkeypatch.setattr(strips, "_STRIP_BYTES", 1)
    result = in_strips(chain, maps, values_per_pixel=16, reach=2, stride=2)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-6)


def test_training_runs_at_once_and_has_gradients(monkeypatch):
    monkeypatch.setattr(strips, "_STRIP_BYTES", 1)
    chain = Chain(3, 1)
    maps = torch.randn(1, 3, 16, 20, requires_grad=True)
    in_strips(chain, maps, values_per_pixel=16, reach=1).square().sum().backward()
    assert chain.seen_rows == [16]
    (expected,) = torch.autograd.grad(chain(maps).square().sum(), maps)
    assert expected.abs().max() > 0
    torch.testing.assert_close(maps.grad, expected)


@pytest.mark.parametrize("shape", [(100, 6), (2, 5, 10, 6), (1, 6)])
@torch.no_grad()
def test_rows(shape, monkeypatch):
    monkeypatch.setattr(strips, "_STRIP_BYTES", 7 * 9 * 4)  # seven rows
    layer, rows, seen = nn.Linear(6, 9), torch.randn(shape), []

    def block(some: torch.Tensor) -> torch.Tensor:
        seen.append(some.numel() // 6)
        return layer(some)

    torch.testing.assert_close(by_rows(block, rows, num_hidden=9), layer(rows))
    assert max(seen) <= 7
    assert sum(seen) == rows.numel() // 6


@torch.no_grad()
def test_the_blocks_of_tiny_vit_in_strips(monkeypatch):
    """Each by itself: what comes later may hide it."""
    torch.manual_seed(0)
    encoder = TinyViT().eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    first, second, third, fourth = encoder.layers
    inputs = {
        encoder.patch_embed: torch.randn(2, 3, 96, 224),
        first.blocks[0]: torch.randn(2, 64, 24, 56),
        first.downsample: torch.randn(2, 64, 24, 56),
        second.downsample: torch.randn(2, 128, 24, 56),
        third.downsample: torch.randn(2, 160, 24, 56),
        fourth.blocks[0]: torch.randn(2, 320, 24, 56),
    }
    expected = {block: block(maps) for block, maps in inputs.items()}
    monkeypatch.setattr(strips, "_STRIP_BYTES", 40_000)
    for block, maps in inputs.items():
        torch.testing.assert_close(block(maps), expected[block], atol=1e-5, rtol=1e-4)
