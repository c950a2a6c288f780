"""Blocks of an encoder a few rows at a time, so that what lies inside them stays in the cache.

The widest maps of an encoder lie inside its blocks: they take up to 50 MB each, and are written and
read once. Of a strip of rows they take what a CPU's cache holds. The sums are the same to the last
bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_STRIP_BYTES: Final = 8 * 2**20


def in_strips(
    block: Callable[[Tensor], Tensor],
    maps: Tensor,
    *,
    values_per_pixel: float,
    reach: int,
    stride: int = 1,
) -> Tensor:
    """Run a block on strips of its input, with as many rows around each as it reaches.

    Where that cannot pay - on a GPU, for small maps - and while training or compiling it runs on
    all rows at once.

    Args:
        block: Gives (B, C', H / stride, W / stride) for (B, C, H, W), padding with zeros at the
            edges as convolutions do.
        maps: (B, C, H, W), H a multiple of the stride.
        values_per_pixel: Of its widest map, for each pixel of the input.
        reach: How many rows above and below a row of the input its output depends on.
        stride: Rows of the input for each of the output.
    """
    height = maps.shape[2]
    row_bytes = values_per_pixel * maps.shape[0] * maps.shape[3] * maps.element_size()
    num_rows = max(int(_STRIP_BYTES / row_bytes), 2 * reach, stride) // stride * stride
    if num_rows >= height or not _may_split(maps):
        return block(maps)
    margin = -(-reach // stride) * stride
    strips = []
    for first in range(0, height, num_rows):
        last = min(first + num_rows, height)
        above, below = min(margin, first), min(margin, height - last)
        strip = block(maps[:, :, first - above : last + below])
        strips.append(strip[:, :, above // stride : strip.shape[2] - below // stride])
    return torch.cat(strips, dim=2)


def by_rows(block: Callable[[Tensor], Tensor], rows: Tensor, *, num_hidden: int) -> Tensor:
    """Run a block that maps each row by itself on some of them at a time, under the same terms.

    Args:
        block: Gives (n, D) for (n, C).
        rows: (..., C).
        num_hidden: Length of the longest row inside the block.
    """
    num_rows = max(1, _STRIP_BYTES // (num_hidden * rows.element_size()))
    flat = rows.reshape(-1, rows.shape[-1])
    if num_rows >= len(flat) or not _may_split(rows):
        return block(rows)
    results = torch.cat([block(some) for some in torch.split(flat, num_rows)])
    return results.view(*rows.shape[:-1], -1)


def _may_split(maps: Tensor) -> bool:
    return (
        maps.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )
