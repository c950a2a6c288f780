"""Leaving the padding of the square input out of the encoder: 44 % of it for 854 x 480 pixels.

The image encoder gets the picture and a margin of padding; the features of the rest are those of a
picture that is nothing but padding, computed once. That is not what the encoder would give: its
filters and windows carry a little of the picture far into the padding and of the padding far into
the picture, and the global attention of a ViT carries it everywhere. What it saves and what it
costs stands in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_MARGIN_SHARE: Final = 3 / 16
_NUM_STEPS: Final = 16


class PaddingSkipper:
    """Encodes pictures without most of their padding, and keeps the features of padding alone.

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
    step = side // _NUM_STEPS
    return min(side, -(-int(used_px + _MARGIN_SHARE * side) // step) * step)
