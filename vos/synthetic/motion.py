"""Where shapes are, as functions of time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

EVENT_SECONDS: Final = 4.0
"""Period of crossing, of leaving and of the occluder."""

Motion = Callable[[float], tuple[float, float]]
"""Of the time in seconds: centre (x, y) in frame pixels."""


def wander(
    rng: np.random.Generator,
    start: tuple[float, float],
    radius_px: float,
    box_xyxy: tuple[float, float, float, float],
) -> Motion:
    """Swing in x and y around a centre such that the shape never touches the border of a box."""
    waves = []
    for centre_px, low, high in zip(start, box_xyxy[:2], box_xyxy[2:], strict=True):
        lowest, highest = low + radius_px + 1, high - radius_px - 2
        # A box that leaves no room gives a swing too small to see.
        amplitude = max(rng.uniform(0.2, 0.4) * (highest - lowest), 1e-3)
        centre = centre_px + rng.uniform(-1, 1) * amplitude
        centre = max(min(max(centre, lowest + amplitude), highest - amplitude), lowest)
        phase = math.asin(min(max((centre_px - centre) / amplitude, -1), 1))
        waves.append((centre, amplitude, phase, rng.uniform(0.1, 0.2) * 2 * math.pi))

    def motion(seconds: float) -> tuple[float, float]:
        x, y = (
            centre + amplitude * math.sin(phase + speed * seconds)
            for centre, amplitude, phase, speed in waves
        )
        return x, y

    return motion


def swap(start: tuple[float, float], end: tuple[float, float]) -> Motion:
    """Go to and fro between two points."""

    def motion(seconds: float) -> tuple[float, float]:
        share = (1 - math.cos(2 * math.pi * seconds / EVENT_SECONDS)) / 2
        return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])

    return motion


def leave(stay: Motion, radius_px: float, width: int) -> Motion:
    """Go out of the frame through the nearer side, and come back."""
    start_x, _ = stay(0)
    margin_px = 2 * radius_px
    distance = width + margin_px - start_x if start_x > width / 2 else -margin_px - start_x

    def motion(seconds: float) -> tuple[float, float]:
        share = math.sin(math.pi * seconds / EVENT_SECONDS) ** 2
        return start_x + share * distance, stay(seconds)[1]

    return motion
