"""Blocks in strips against the same blocks on everything at once."""

import pytest
import torch
from torch import nn

from vos.sam.fast.strips import by_rows, in_strips

# Of a map so wide the least number of rows is all that fits.
WIDE = 1e9


def chain(kernel: int, stride: int) -> nn.Module:
    """Two convolutions of which the second reaches up and down."""
    torch.manual_seed(kernel + stride)
    second = nn.Conv2d(16, 5, kernel, stride, padding=kernel // 2)
    return nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), second)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2), (7, 4)])
@pytest.mark.parametrize("height", [4, 8, 36, 64])
@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_strips_give_what_the_whole_gives(kernel, stride, height, batch):
    block = chain(kernel, stride)
    maps = torch.randn(batch, 3, height, 20).contiguous(memory_format=torch.channels_last)
    result = in_strips(block, maps, values_per_pixel=WIDE, reach=kernel // 2, stride=stride)
    torch.testing.assert_close(result, block(maps), atol=1e-6, rtol=1e-6)


def test_rows_beyond_a_strip_are_needed():
    """Else the test above would pass of itself; with gradients nothing is cut."""
    block, maps = chain(5, 1), torch.randn(1, 3, 36, 20)
    whole = block(maps)
    with torch.no_grad():
        too_few = in_strips(block, maps, values_per_pixel=WIDE, reach=1)
        assert not torch.allclose(too_few, whole, atol=1e-2)
    assert torch.equal(in_strips(block, maps, values_per_pixel=WIDE, reach=1), whole)


@pytest.mark.parametrize("shape", [(100, 6), (2, 5, 10, 6), (1, 6)])
@torch.no_grad()
def test_rows(shape):
    layer, rows = nn.Linear(6, 9), torch.randn(shape)
    torch.testing.assert_close(by_rows(layer, rows, num_hidden=10**9), layer(rows))
