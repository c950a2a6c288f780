"""Boxes around masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mask_box_xyxy(mask: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Give the smallest box that holds all of a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        (4,) int64 frame pixels, both corners inside the mask's extent; None for an empty mask.
    """
    (rows,) = np.nonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    y0, y1 = rows[0], rows[-1]
    (columns,) = np.nonzero(mask[y0 : y1 + 1].any(axis=0))
    return np.array([columns[0], y0, columns[-1], y1], dtype=np.int64)


def grow_box_xyxy(
    box_xyxy: NDArray[np.int64], margin_px: int, frame_hw: tuple[int, int]
) -> NDArray[np.int64]:
    """Move every side of a box outward, no further than the frame's outermost pixels.

    Args:
        box_xyxy: (..., 4) int64 frame pixels.
        margin_px: Frame pixels, 0 or more.
        frame_hw: Height and width of the frame.

    Returns:
        (..., 4) int64, within [0, W - 1] x [0, H - 1].
    """
    height, width = frame_hw
    outward = np.array([-margin_px, -margin_px, margin_px, margin_px])
    farthest = np.array([width - 1, height - 1, width - 1, height - 1])
    grown: NDArray[np.int64] = np.clip(box_xyxy + outward, 0, farthest)
    return grown
