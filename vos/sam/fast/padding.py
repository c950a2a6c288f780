"""Leaving out the padding of the square input: 44 % of its pixels for a frame of 854 x 480.

The image encoder sees the picture and a margin of padding; the features of all the rest are those
of a picture that is nothing but padding, computed once. That is not what the encoder would give:
its filters and windows carry a little of the picture far into the padding and of the padding far
into the picture, and the global attention of a ViT carries it everywhere.

The mask decoder sees the picture's cells and a margin too, and of the rest one cell in nine, which
counts as nine. Its tokens attend to the padding, so that masks would change without it; but there
neighbours are alike. The one in the middle of a block stands for it, because positional
encodings are smooth: one that is off the middle is off by half a cell for all of the padding.

What it saves and what it costs stands in docs/performance.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MARGIN_SHARE: Final = 3 / 16
_STEPS: Final = 16
_MARGIN_CELLS: Final = 1
_BLOCK_CELLS: Final = 3  # along a side; odd, so that there is one in the middle


class PaddingFeatures:
    """Encodes pictures without most of their padding, and knows what padding looks like.

    Args:
        encode_images: (B, 3, H, W) to (B, C, h, w), for sizes that are multiples of a 16th of the
            full input.
    """

    def __init__(self, encode_images: Callable[[Tensor], Tensor]) -> None:
        self._encode_images = encode_images
        self._empty: Tensor | None = None

    def encode(self, images: Tensor, used_hw: tuple[int, int]) -> Tensor:
        """Encode (B, 3, S, S) normalised images of which all is 0 outside of ``used_hw``."""
        side = images.shape[2]
        height, width = (_with_margin(used_px, side) for used_px in used_hw)
        if height == width == side:
            return self._encode_images(images)
        features = self._encode_images(images[:, :, :height, :width])
        if self._empty is None or self._empty.dtype != features.dtype:
            self._empty = self._encode_images(torch.zeros_like(images[:1]))
        num_cells = self._empty.shape[2]
        whole = self._empty.repeat(len(images), 1, 1, 1)
        whole[:, :, : height * num_cells // side, : width * num_cells // side] = features
        return whole


def _with_margin(used_px: int, side: int) -> int:
    """Give the side to encode: the picture's, the margin, rounded up to a 16th of the input."""
    step = side // _STEPS
    return min(side, -(-int(used_px + _MARGIN_SHARE * side) // step) * step)


@dataclass(frozen=True, slots=True, eq=False)
class Thinned:
    """Cells that stand for all h w of them.

    Attributes:
        kept: (N,) int64 which they are, in reading order of all: first the rectangle of those that
            stand for themselves.
        exact_hw: Rows and columns of that rectangle.
        log_counts: (N,) float32 logarithm of how many cells each stands for.
        stand_ins: (h w,) int64 which of the N stands for a cell.
    """

    kept: Tensor
    exact_hw: tuple[int, int]
    log_counts: Tensor
    stand_ins: Tensor


@lru_cache(maxsize=8)
def thin_padding(
    needed_hw: tuple[int, int], cells_hw: tuple[int, int], device: torch.device
) -> Thinned | None:
    """Say which cells of the padding stand for the others.

    Args:
        needed_hw: Rows and columns of cells that the picture is made of.
        cells_hw: Of all cells.
        device: Where the decoder runs.

    Returns:
        The cells; None if there is no padding to thin.
    """
    height, width = cells_hw
    rows, columns = (
        min(of_all, needed + _MARGIN_CELLS)
        for needed, of_all in zip(needed_hw, cells_hw, strict=True)
    )
    if (rows, columns) == cells_hw:
        return None
    places = np.arange(height * width).reshape(cells_hw)
    kept, counts = [places[:rows, :columns].ravel()], [np.ones(rows * columns, dtype=np.int64)]
    stand_ins = np.empty(cells_hw, dtype=np.int64)
    stand_ins[:rows, :columns] = np.arange(rows * columns).reshape(rows, columns)
    num_kept = rows * columns
    beside, below = ((0, rows), (columns, width)), ((rows, height), (0, width))
    for (top, bottom), (left, right) in (beside, below):
        row_middles, row_lengths = _blocks(top, bottom)
        column_middles, column_lengths = _blocks(left, right)
        blocks_hw = len(row_middles), len(column_middles)
        blocks = num_kept + np.arange(math.prod(blocks_hw)).reshape(blocks_hw)
        by_row = blocks.repeat(row_lengths, axis=0)
        stand_ins[top:bottom, left:right] = by_row.repeat(column_lengths, axis=1)
        kept.append(places[np.ix_(row_middles, column_middles)].ravel())
        counts.append(np.outer(row_lengths, column_lengths).ravel())
        num_kept += blocks.size
    return Thinned(
        torch.from_numpy(np.concatenate(kept)).to(device),
        (rows, columns),
        torch.from_numpy(np.concatenate(counts)).float().log().to(device),
        torch.from_numpy(stand_ins.ravel()).to(device),
    )


def _blocks(first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut a row of cells into blocks, those left over into single ones; middles and lengths."""
    num_whole, num_single = divmod(end - first, _BLOCK_CELLS)
    lengths = np.repeat([_BLOCK_CELLS, 1], [num_whole, num_single])
    return first + np.cumsum(lengths) - 1 - lengths // 2, lengths
