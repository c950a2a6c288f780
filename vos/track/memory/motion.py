"""Where an object is, where it is going, and how large it should be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.masks.boxes import tight_boxes_xyxy

VELOCITY_ERROR: Final = 0.5
"""Of its velocity: how far an object may be from where that leads."""

GROWTH_WHEN_LOST: Final = 1.3
"""Of the surroundings that a lost object may be in, per frame."""

_MAX_GROWTHS: Final = 64  # so often at most: they are larger than any frame by then
_MIN_REACH_PX: Final = 2.0  # even what is one pixel large and at rest is not found to the pixel
_VELOCITY_MEMORY: Final = 0.5
_AREA_RATE: Final = 0.3  # of the way to the area just seen, per frame,
_MAX_AREA_CHANGE: Final = 0.08  # but no more than this share, as of what comes closer;
_UNCLEAR_AREA_RATE: Final = 0.1  # slower where a part of it may be another object's,
_MAX_UNCLEAR_AREA_CHANGE: Final = 0.01  # or hidden by one
_MAX_FRAMES_CONTESTED: Final = 12  # longer than that no object is trusted to keep its velocity


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """One object's position, velocity and size.

    Attributes:
        box_xyxy: (4,) float64 frame pixels, where it was last seen, or should be while another
            object wants its pixels; inclusive.
        velocity_xy: (2,) float64, frame pixels per frame, of the box's centre.
        area_px: Frame pixels that its mask should have; follows what is seen, slowly where that may
            be another object's.
        num_frames_lost: Frames since it was last seen, 0 while it is followed.
        num_frames_contested: Frames for which it has moved on by its velocity alone, because
            another object wanted its pixels.
        has_velocity: Whether its velocity is known: it was followed through a frame in which it was
            not contested, since it was first seen or found again.
    """

    box_xyxy: NDArray[np.float64]
    velocity_xy: NDArray[np.float64]
    area_px: float
    num_frames_lost: int = 0
    num_frames_contested: int = 0
    has_velocity: bool = False

    @property
    def centre_xy(self) -> NDArray[np.float64]:
        """The (2,) centre of its box."""
        centre_xy: NDArray[np.float64] = self.box_xyxy.reshape(2, 2).mean(axis=0)
        return centre_xy

    @property
    def size_px(self) -> float:
        """The longer side of its box."""
        return float((self.box_xyxy[2:] - self.box_xyxy[:2]).max()) + 1

    @property
    def growth(self) -> float:
        """How much larger than while it was followed the surroundings are that it may be in."""
        return float(GROWTH_WHEN_LOST ** min(self.num_frames_lost, _MAX_GROWTHS))

    @property
    def can_move_on(self) -> bool:
        """Whether its velocity still says where it should be while it cannot be told apart."""
        return self.has_velocity and self.num_frames_contested < _MAX_FRAMES_CONTESTED


def motion_at_rest(mask: NDArray[np.bool_]) -> Motion:
    """Begin with an (H, W) mask that is not empty."""
    return Motion(box_of(mask), np.zeros(2), float(mask.sum()))


def when_lost(motion: Motion) -> Motion:
    """The object was not seen in this frame."""
    return replace(
        motion,
        num_frames_lost=motion.num_frames_lost + 1,
        num_frames_contested=0,
        has_velocity=False,
    )


def when_contested(motion: Motion) -> Motion:
    """The object could not be told from another, and so keeps its velocity."""
    return replace(
        motion,
        box_xyxy=motion.box_xyxy + np.tile(motion.velocity_xy, 2),
        num_frames_contested=motion.num_frames_contested + 1,
    )


def when_seen(
    motion: Motion,
    box_xyxy: NDArray[np.float64],
    area_px: float,
    *,
    is_contested: bool,
    is_clear: bool,
) -> Motion:
    """The object was seen.

    Args:
        motion: As it was expected.
        box_xyxy: (4,) where it is.
        area_px: Pixels of its mask.
        is_contested: Whether another object wants much of it all the same.
        is_clear: Whether its mask is all of it and nothing else, as far as the other objects go:
            each of them is in sight, and none is contested.
    """
    velocity_xy = np.zeros(2)
    now = Motion(box_xyxy, velocity_xy, motion.area_px)
    if not motion.num_frames_lost:
        moved_xy = now.centre_xy - motion.centre_xy
        velocity_xy = _VELOCITY_MEMORY * motion.velocity_xy + (1 - _VELOCITY_MEMORY) * moved_xy
    rate, most = _UNCLEAR_AREA_RATE, _MAX_UNCLEAR_AREA_CHANGE
    if is_clear:
        rate, most = _AREA_RATE, _MAX_AREA_CHANGE
    change = np.clip(rate * np.log(area_px / motion.area_px), -most, most)
    return replace(
        now,
        velocity_xy=velocity_xy,
        area_px=motion.area_px * float(np.exp(change)),
        num_frames_contested=motion.num_frames_contested if is_contested else 0,
        has_velocity=motion.has_velocity or not (is_contested or motion.num_frames_lost),
    )


def expected_box(motion: Motion) -> NDArray[np.float64]:
    """Give the (4,) box of all positions it may have: where it was, and where its velocity leads.

    Both, for a thing that was thrown may turn back, and one at rest may be thrown.
    """
    if motion.num_frames_lost:
        return motion.box_xyxy
    moved_xyxy = motion.box_xyxy + np.tile(motion.velocity_xy, 2)
    low_xy = np.minimum(motion.box_xyxy, moved_xyxy)[:2]
    high_xy = np.maximum(motion.box_xyxy, moved_xyxy)[2:]
    return np.concatenate([low_xy, high_xy])


def log_occupancy(
    motion: Motion, slices: tuple[slice, slice], device: torch.device | str
) -> torch.Tensor:
    """Say how likely the object covers each pixel of the next frame, by its motion alone.

    The likelihood is a Cauchy distribution about the position that the velocity leads to: as narrow
    as a normal one near by, and not as sure farther away, for the motion itself may be wrong. An
    ellipse that fills the box has a quarter of its sides as deviations, which is half of what it
    reaches; so has the error of the velocity. What that error spreads it also thins out.

    Args:
        motion: As the last frame left it.
        slices: Rows and columns of the frame.
        device: Where the result goes.

    Returns:
        (h, w) float32 logarithms, at most 0.
    """
    velocity_xy = np.zeros(2) if motion.num_frames_lost else motion.velocity_xy
    centre_xy = motion.centre_xy + velocity_xy
    sides_px = motion.box_xyxy[2:] - motion.box_xyxy[:2] + 1
    extents_px = np.hypot(sides_px / 2, _MIN_REACH_PX)
    reaches_px = motion.growth * np.hypot(extents_px, VELOCITY_ERROR * velocity_xy)
    x, y = (
        ((np.arange(span.start, span.stop) - centre) / (reach / 2)) ** 2
        for span, centre, reach in zip(reversed(slices), centre_xy, reaches_px, strict=True)
    )
    logs = -1.5 * np.log1p(y[:, None] + x) - np.log(reaches_px / extents_px).sum()
    return torch.from_numpy(logs.astype(np.float32)).to(device)


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give the (4,) inclusive box of an (H, W) mask that is not empty."""
    box_xyxy: NDArray[np.float64] = tight_boxes_xyxy(mask[None])[0].astype(np.float64)
    return box_xyxy
