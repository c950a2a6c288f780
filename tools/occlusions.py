"""Find occlusions in a sequence's annotations, and how soon an object is found after them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RECENT = 10
HIDDEN_SHARE = 0.7  # of the median area of the recent frames
MAX_GAP = 5  # frames in sight between two of one occlusion
FOUND_IOU = 0.5


@dataclass(frozen=True)
class Occlusion:
    """Frames in which much of an object is hidden.

    Attributes:
        first_hidden: The first of them.
        least_visible: The one with the smallest mask.
        first_visible: The first one after them.
    """

    first_hidden: int
    least_visible: int
    first_visible: int


def find_occlusions(areas_px: NDArray[np.int64]) -> tuple[Occlusion, ...]:
    """Find where a mask is empty or much smaller than it was just before, and is so no more later.

    An object that goes away grows smaller too, but the median follows that.

    Args:
        areas_px: (T,) area of the annotated mask in every frame.
    """
    hidden = [
        index
        for index in range(1, len(areas_px))
        if areas_px[index] < HIDDEN_SHARE * _recent_area(areas_px, index)
    ]
    spans: list[tuple[int, int]] = []
    for index in hidden:
        if spans and index - spans[-1][1] <= MAX_GAP:
            spans[-1] = spans[-1][0], index
        else:
            spans.append((index, index))
    return tuple(
        Occlusion(first, first + int(areas_px[first : last + 1].argmin()), last + 1)
        for first, last in spans
        if last + 1 < len(areas_px)
    )


def frames_until_found(ious: NDArray[np.float64], occlusion: Occlusion) -> int | None:
    """Give the frames after the first visible one until the mask is good; None: it never is."""
    (found,) = np.nonzero(ious[occlusion.first_visible :] >= FOUND_IOU)
    return int(found[0]) if len(found) else None


def _recent_area(areas_px: NDArray[np.int64], index: int) -> float:
    """Median area of the last frames in which the object was to be seen at all."""
    seen = areas_px[:index][areas_px[:index] > 0]
    return float(np.median(seen[-NUM_RECENT:])) if len(seen) else 0.0
