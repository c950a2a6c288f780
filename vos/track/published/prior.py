"""What one frame hands to the next: a pure function (Priors, FrameMasks) -> Priors per policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.config import PriorPolicy
from vos.records import FrameMasks, Priors

Policy = Callable[[Priors, FrameMasks], Priors]


def box_prior(priors: Priors, masks: FrameMasks) -> Priors:
    """Hand on each object's box; a lost object hands on nothing."""
    return Priors(
        boxes_xyxy=np.where(masks.present[:, None], masks.boxes_xyxy, priors.boxes_xyxy),
        has_box=masks.present,
        is_lost=~masks.present,
    )


def no_prior(priors: Priors, masks: FrameMasks) -> Priors:
    """Hand on only who is lost: each frame is searched by similarity alone."""
    return Priors(
        boxes_xyxy=priors.boxes_xyxy,
        has_box=np.zeros_like(masks.present),
        is_lost=~masks.present,
    )


POLICIES: Final[Mapping[PriorPolicy, Policy]] = {"none": no_prior, "box": box_prior}


def fresh_priors(num_objects: int) -> Priors:
    """Give the priors of objects of which nothing but the reference is known."""
    return Priors(
        boxes_xyxy=np.zeros((num_objects, 4), dtype=np.int64),
        has_box=np.zeros(num_objects, dtype=np.bool_),
        is_lost=np.zeros(num_objects, dtype=np.bool_),
    )


def grow_boxes(
    boxes_xyxy: NDArray[np.int64], margin_px: int, frame_hw: tuple[int, int]
) -> NDArray[np.int64]:
    """Grow (K, 4) tight boxes into box prompts.

    As in the published code the right and bottom edges may reach W and H, one past the last pixel.
    """
    height, width = frame_hw
    grown = boxes_xyxy + np.array([-margin_px, -margin_px, margin_px, margin_px])
    clipped: NDArray[np.int64] = np.clip(grown, 0, [width, height, width, height])
    return clipped


def box_centres(boxes_xyxy: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the (K, 2) integer means of the boxes' corners."""
    return (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) // 2
