"""What a synthetic clip shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from vos.errors import InputError
from vos.records import MAX_OBJECT_ID

_MIN_CELL_PX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """What a clip shows.

    Attributes:
        num_frames: Length of the clip.
        frame_hw: Height and width in pixels.
        num_objects: Objects, with ids 1 and up; a higher id is drawn over a lower one.
        seed: Seed of everything random.
        frame_rate_hz: Frames per second; motion is in seconds, so more is slower per frame.
        has_background: Whether the background has texture, rather than one colour.
        has_texture: Whether the objects have texture, rather than one colour each.
        noise_levels: Standard deviation of the camera noise, of 255.
        overlaps: Whether shapes wander over the whole frame and pass over one another, rather than
            each in a part of its own.
        num_distractors: Unlabelled look-alikes of the objects, drawn below them.
        has_occluder: Whether a bar sweeps over the scene, hiding what it passes.
        leaves: Whether the last object leaves the frame entirely and returns, again and again.
        crosses: Whether the first two objects pass over one another, again and again.
    """

    num_frames: int = 48
    frame_hw: tuple[int, int] = (360, 640)
    num_objects: int = 3
    seed: int = 0
    frame_rate_hz: Fraction = Fraction(24)
    has_background: bool = True
    has_texture: bool = True
    noise_levels: float = 2.0
    overlaps: bool = False
    num_distractors: int = 0
    has_occluder: bool = False
    leaves: bool = False
    crosses: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a number is out of range, or the objects do not fit.
        """
        if self.num_frames < 1:
            raise InputError(f"num_frames must be 1 or more, got {self.num_frames}")
        if not 1 <= self.num_objects <= MAX_OBJECT_ID:
            raise InputError(f"num_objects must be 1 to {MAX_OBJECT_ID}, got {self.num_objects}")
        if self.num_distractors < 0:
            raise InputError(f"num_distractors must be 0 or more, got {self.num_distractors}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if self.frame_rate_hz <= 0:
            raise InputError(f"frame_rate_hz must be positive, got {self.frame_rate_hz}")
        if self.noise_levels < 0:
            raise InputError(f"noise_levels must be 0 or more, got {self.noise_levels}")
        if self.crosses and self.num_objects < 2:
            raise InputError("crossing takes 2 objects or more, got 1")
        if self.crosses and self.leaves and self.num_objects < 3:
            raise InputError("crossing and leaving take 3 objects or more, got 2")
        if min(self.frame_hw) < _MIN_CELL_PX:
            raise InputError(
                f"frame_hw must be {_MIN_CELL_PX} pixels or more each, got {self.frame_hw}"
            )
        num_shapes = self.num_objects + self.num_distractors
        num_rows, num_columns = grid_of(num_shapes, self.frame_hw)
        if min(self.frame_hw[0] / num_rows, self.frame_hw[1] / num_columns) < _MIN_CELL_PX:
            raise InputError(
                f"{num_shapes} shapes do not fit into a frame of {self.frame_hw} (H, W) pixels: "
                f"each takes {_MIN_CELL_PX} x {_MIN_CELL_PX}"
            )


def grid_of(num_shapes: int, frame_hw: tuple[int, int]) -> tuple[int, int]:
    """Give the rows and columns that leave each shape a cell with the longest shorter side."""
    height, width = frame_hw

    def shorter_side(num_columns: int) -> float:
        return min(height / math.ceil(num_shapes / num_columns), width / num_columns)

    num_columns = max(range(1, num_shapes + 1), key=shorter_side)
    return math.ceil(num_shapes / num_columns), num_columns
