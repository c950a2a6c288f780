"""Outlines and looks of the shapes.

An outline is a signed distance function, so that antialiasing and exact masks come from one thing.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_GOLDEN: Final = (math.sqrt(5) - 1) / 2  # hues at this distance stay apart, however many

Distance = Callable[[Array, Array], Array]
"""Of arrays x and y: distance to an outline of radius 1 around (0, 0), negative inside."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a shape looks like, in units of its radius.

    Attributes:
        distance: Its outline.
        colours: (2, 3) RGB of 255; the second one is the texture's.
        waves: (2, 2) wave vectors of the texture, radians for each radius.
    """

    distance: Distance
    colours: Array
    waves: Array


def make_look(rng: np.random.Generator, number: int, has_texture: bool) -> Look:
    """Invent a shape unlike the others in colour."""
    distances = (_ellipse, _rectangle, _star, _polygon)
    distance = distances[number % len(distances)](rng)
    hue = (0.02 + number * _GOLDEN) % 1
    colour = colorsys.hsv_to_rgb(hue, rng.uniform(0.65, 0.85), rng.uniform(0.8, 0.95))
    other = colorsys.hsv_to_rgb((hue + rng.uniform(0.04, 0.12)) % 1, 0.55, rng.uniform(0.45, 0.6))
    angles = rng.uniform(0, 2 * math.pi) + np.array([0, rng.choice([0, math.pi / 2])])
    waves = rng.uniform(5, 9) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    colours = np.array([colour, other if has_texture else colour], dtype=np.float32) * 255
    return Look(distance, colours, waves.astype(np.float32))


def _ellipse(rng: np.random.Generator) -> Distance:
    """Half axes 1 and ``short``; the distance is exact to first order at the outline."""
    short = rng.uniform(0.6, 0.85)

    def distance(x: Array, y: Array) -> Array:
        # A value of the implicit function, divided by the length of its gradient.
        level = np.hypot(x, y / short)
        return (level - 1) * (level + 1e-6 * short) / (np.hypot(x, y / short**2) + 1e-6)

    return distance


def _rectangle(rng: np.random.Generator) -> Distance:
    """The corners lie at distance 1 from the centre."""
    angle = rng.uniform(0.5, 0.75)
    half_width, half_height = math.cos(angle), math.sin(angle)

    def distance(x: Array, y: Array) -> Array:
        beyond_x, beyond_y = np.abs(x) - half_width, np.abs(y) - half_height
        outside = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0))
        return outside + np.minimum(np.maximum(beyond_x, beyond_y), 0)

    return distance


def _star(rng: np.random.Generator) -> Distance:
    num_points = int(rng.integers(5, 8))
    return _outline([1.0, rng.uniform(0.5, 0.65)] * num_points)


def _polygon(rng: np.random.Generator) -> Distance:
    return _outline(rng.uniform(0.75, 1.0, int(rng.integers(5, 8))).tolist())


def _outline(radii: list[float]) -> Distance:
    """Join corners at these distances from the centre, at equal angles."""
    angles = np.arange(len(radii)) * 2 * math.pi / len(radii)
    corners = (np.array(radii) * (np.cos(angles), np.sin(angles))).T.tolist()

    def distance(x: Array, y: Array) -> Array:
        squared = np.full(x.shape, np.inf, dtype=np.float32)
        is_inside = np.zeros(x.shape, dtype=bool)
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
            along_x, along_y = x1 - x0, y1 - y0
            share = ((x - x0) * along_x + (y - y0) * along_y) / (along_x**2 + along_y**2)
            share = share.clip(0, 1)
            away = (x - x0 - share * along_x) ** 2 + (y - y0 - share * along_y) ** 2
            squared = np.minimum(squared, away)
            # A ray to the right leaves the shape where it crosses an odd number of sides.
            is_level = (y0 > y) != (y1 > y)
            is_left = ((x - x0) * along_y < (y - y0) * along_x) == (along_y > 0)
            is_inside ^= is_level & is_left
        return np.where(is_inside, -1, 1) * np.sqrt(squared)

    return distance
