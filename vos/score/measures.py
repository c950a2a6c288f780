"""J and F of single masks: region similarity and contour accuracy (Perazzi et al., CVPR 2016).

Both come out exactly as from full-size masks, yet nearly all of a frame is never looked at:
masks are cut to the box around both, and a boundary pixel finds its partner through a few
look-ups in a summed-area table instead of a dilation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.records import Labels
from vos.score.labels import VOID

_TOLERANCE_SHARE: Final = 0.008  # of the frame's diagonal
_SQUARE_OF_FOUR: Final = np.ones((2, 2), np.uint8)

Mask = NDArray[np.bool_]
Scores = NDArray[np.float64]


def boundary_tolerance_px(frame_hw: tuple[int, ...]) -> int:
    """Give the distance within which two boundary pixels match: ceil(0.008 x diagonal)."""
    height, width = frame_hw
    return math.ceil(_TOLERANCE_SHARE * math.sqrt(height**2 + width**2))


def score_labels(annotation: Labels, prediction: Labels, num_objects: int) -> tuple[Scores, Scores]:
    """Score one frame.

    Args:
        annotation: (H, W) uint8: ids 1 to ``num_objects``, 255 where void; every other value is
            background.
        prediction: (H, W) uint8: ids 1 to ``num_objects``; every other value is background.
        num_objects: 0 to 254.

    Returns:
        J and F: (num_objects,) float64 each, in [0, 1].
    """
    tolerance_px = boundary_tolerance_px(annotation.shape)
    j, f = np.ones(num_objects), np.ones(num_objects)
    if np.array_equal(annotation, prediction):
        return j, f
    if annotation.max() == VOID:
        prediction = np.where(annotation == VOID, np.uint8(0), prediction)
    frame_tile = _tile_around(annotation | prediction)
    annotation, prediction = annotation[frame_tile], prediction[frame_tile]
    for row in range(num_objects):
        annotated, predicted = annotation == row + 1, prediction == row + 1
        tile = _tile_around((annotated | predicted).view(np.uint8))
        annotated, predicted = annotated[tile], predicted[tile]
        j[row] = region_j(annotated, predicted)
        f[row] = boundary_f(annotated, predicted, tolerance_px)
    return j, f


def region_j(annotated: Mask, predicted: Mask) -> float:
    """Give the intersection over union of two masks; 1 where both are empty.

    Args:
        annotated: (H, W) bool.
        predicted: (H, W) bool.
    """
    num_union = np.count_nonzero(annotated | predicted)
    return np.count_nonzero(annotated & predicted) / num_union if num_union else 1.0


def boundary_f(annotated: Mask, predicted: Mask, tolerance_px: int) -> float:
    """Give the F-measure of two masks' boundaries.

    Precision is the share of predicted boundary pixels with an annotated one within
    ``tolerance_px``, recall the reverse; F is their harmonic mean. A mask without boundary, empty
    or filling the frame, gives 1 beside another such mask, else 0.

    Args:
        annotated: (H, W) bool.
        predicted: (H, W) bool.
        tolerance_px: Radius in pixels, inclusive.
    """
    if np.array_equal(annotated, predicted):
        return 1.0
    annotated_edge, predicted_edge = boundary_map(annotated), boundary_map(predicted)
    annotated_at, predicted_at = np.flatnonzero(annotated_edge), np.flatnonzero(predicted_edge)
    if not (annotated_at.size and predicted_at.size):
        return float(annotated_at.size == predicted_at.size)
    precision = _num_near(predicted_at, annotated_edge, tolerance_px) / predicted_at.size
    recall = _num_near(annotated_at, predicted_edge, tolerance_px) / annotated_at.size
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def boundary_map(mask: Mask) -> Mask:
    """Mark the pixels that differ from their neighbour to the right, below, or both.

    Beyond the last row and column the mask continues as it is: the frame's edge is no boundary.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool, one pixel wide.
    """
    # Largest minus smallest of each pixel and those three; cv2 leaves out what lies outside.
    edge = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_GRADIENT, _SQUARE_OF_FOUR, anchor=(0, 0))
    return edge.view(np.bool_)


def _num_near(points: NDArray[np.intp], edge: Mask, radius_px: int) -> int:
    """Count the points with an edge pixel within a radius.

    The disk is a union of rectangles, and a summed-area table tells from four of its values
    whether a rectangle holds any edge; most points are settled by the first, the squarest.

    Args:
        points: (N,) indices into the flattened picture.
        edge: (H, W) bool, the picture.
        radius_px: Euclidean distance between pixel centres, inclusive.
    """
    width = edge.shape[1]
    # A margin of the radius keeps all rectangles inside; the table adds a row and a column.
    margin = (radius_px,) * 4
    padded = cv2.copyMakeBorder(edge.view(np.uint8), *margin, cv2.BORDER_CONSTANT, value=0)
    table = cv2.integral(padded).ravel()
    stride = width + 2 * radius_px + 1
    at = points + points // width * (stride - width) + radius_px * (stride + 1)
    for half_width, half_height in _rectangles_of_disk(radius_px):
        top, bottom = at - half_height * stride, at + (half_height + 1) * stride
        left, right = -half_width, half_width + 1
        num_left = table[bottom + left] - table[top + left]
        num_right = table[bottom + right] - table[top + right]
        at = at[num_left == num_right]
        if not at.size:
            break
    return int(points.size - at.size)


@lru_cache
def _rectangles_of_disk(radius_px: int) -> tuple[tuple[int, int], ...]:
    """List half width and half height of rectangles whose union is the disk, squarest first."""
    half_heights = {
        math.isqrt(radius_px**2 - half_height**2): half_height
        for half_height in range(radius_px + 1)
    }
    return tuple(sorted(half_heights.items(), key=min, reverse=True))


def _tile_around(labels: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Give the box around all non-zero pixels, one pixel wider where the picture goes on.

    With that pixel, a boundary cut from the tile is the one cut from the whole picture.
    """
    x, y, width, height = cv2.boundingRect(labels)
    return slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)
