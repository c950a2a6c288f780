"""What one frame of a video hands to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vos.config import Prior
from vos.records import FrameMasks


@dataclass(frozen=True, slots=True, eq=False)
class Priors:
    """What one frame hands to the next, one row per object.

    Attributes:
        boxes_xyxy: (K, 4) int64 frame pixels, where the object was; meaningless without a box.
        has_box: (K,) bool, whether the row above may be used as a prompt.
        is_lost: (K,) bool, whether the object was absent from the previous frame.
    """

    boxes_xyxy: NDArray[np.int64]
    has_box: NDArray[np.bool_]
    is_lost: NDArray[np.bool_]


def fresh_priors(num_objects: int) -> Priors:
    """Give the priors of objects of which nothing is known yet."""
    return Priors(
        boxes_xyxy=np.zeros((num_objects, 4), dtype=np.int64),
        has_box=np.zeros(num_objects, dtype=np.bool_),
        is_lost=np.zeros(num_objects, dtype=np.bool_),
    )


def hand_on(masks: FrameMasks, prior: Prior) -> Priors:
    """Hand on who is lost, and with the prior ``box`` the boxes of those who are not.

    Without a box an object is searched by similarity alone.
    """
    return Priors(
        boxes_xyxy=masks.boxes_xyxy,
        has_box=masks.present & (prior == "box"),
        is_lost=~masks.present,
    )
