"""Boxes around masks: inclusive (x0, y0, x1, y1), frame pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def tight_boxes_xyxy(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give the smallest boxes that hold all of each mask.

    Args:
        masks: (K, H, W) bool.

    Returns:
        (K, 4) int64, both corners inside the mask's extent; (0, 0, -1, -1) for an empty mask.
    """
    rectangles = np.array([cv2.boundingRect(mask.view(np.uint8)) for mask in masks], dtype=np.int64)
    corners_xy, sizes_xy = rectangles.reshape(-1, 2, 2).swapaxes(0, 1)
    return np.concatenate([corners_xy, corners_xy + sizes_xy - 1], axis=1)


def mask_box_xyxy(mask: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Give the (4,) box of one (H, W) mask as :func:`tight_boxes_xyxy`; None for an empty mask."""
    (box_xyxy,) = tight_boxes_xyxy(mask[None])
    return None if box_xyxy[2] < 0 else box_xyxy


def mask_slices(mask: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Give the rows and columns that hold all of an (H, W) mask; None for an empty mask."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (slice(top, top + height), slice(left, left + width)) if width else None


def grow_box_xyxy(
    box_xyxy: NDArray[np.int64], margin_px: int, frame_hw: tuple[int, int], *, beyond_px: int = 0
) -> NDArray[np.int64]:
    """Move every side of a box outward, no further than the frame's outermost pixels.

    Args:
        box_xyxy: (..., 4) int64 frame pixels.
        margin_px: Frame pixels, 0 or more.
        frame_hw: Height and width of the frame.
        beyond_px: How far beyond its last pixels the right and the bottom side may come; 1 for box
            prompts, as in the published code.

    Returns:
        (..., 4) int64, within [0, W - 1] x [0, H - 1] for ``beyond_px`` 0.
    """
    height, width = frame_hw
    outward = np.array([-margin_px, -margin_px, margin_px, margin_px])
    farthest = np.array([width, height, width, height]) - 1 + beyond_px
    grown: NDArray[np.int64] = np.clip(box_xyxy + outward, 0, farthest)
    return grown


def box_centres_xy(boxes_xyxy: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the (K, 2) integer means of the corners of (K, 4) boxes."""
    return (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) // 2
