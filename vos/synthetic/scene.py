"""Drawing a clip.

A scene is a function of time: any frame can be drawn without the ones before it. A shape covers a
pixel by the distance of the pixel's centre to its outline, which antialiases it, and owns the
pixel in the label map where that distance is negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from vos.records import Frame, Labels
from vos.synthetic.config import ClipConfig, grid_of
from vos.synthetic.motion import EVENT_SECONDS, Motion, leave, swap, wander
from vos.synthetic.shapes import Array, Look, make_look

_CELL_SHARE: Final = 0.42  # a shape's radius, of its cell; below half, so that none touch at first
_MAX_RADIUS_SHARE: Final = 0.2  # a shape's radius, of the frame's shorter side
_SCALE_SWING: Final = 0.15
_SHADOW_SHIFT: Final = 0.12  # of the radius, down and to the right
_SHADOW_DEPTH: Final = 0.35
_TEXTURE_SHARPNESS: Final = 0.07  # about one pixel from one colour to the other


def make_clip(config: ClipConfig) -> Iterator[tuple[Frame, Labels]]:
    """Draw a clip.

    Args:
        config: What it shows.

    Yields:
        Each frame with its (H, W) uint8 label map. All objects are visible in the first one.
    """
    scene = Scene(config)
    for index in range(config.num_frames):
        yield scene.draw(index)


@dataclass(frozen=True, slots=True, eq=False)
class _Actor:
    """A shape in motion; label 0 is a distractor."""

    label: int
    look: Look
    motion: Motion
    radius_px: float
    angle: float
    turns_per_second: float
    swings_per_second: float


class Scene:
    """A clip's world, of which any frame can be drawn on its own."""

    def __init__(self, config: ClipConfig) -> None:
        """Invent the background, the shapes and their motion.

        Args:
            config: What the clip shows.
        """
        rng = np.random.default_rng(config.seed)
        self.config = config
        self._background = _background(rng, config)
        self._actors = _actors(rng, config)

    def draw(self, index: int) -> tuple[Frame, Labels]:
        """Draw one frame.

        Args:
            index: Its number, 0 or more; the clip's length is no limit.

        Returns:
            The frame and its (H, W) uint8 label map.
        """
        seconds = float(index / self.config.frame_rate_hz)
        picture = self._background.copy()
        labels = np.zeros(self.config.frame_hw, dtype=np.uint8)
        for actor in self._actors:
            _paint(actor, seconds, picture, labels)
        if self.config.has_occluder:
            _paint_occluder(seconds, picture, labels)
        if self.config.noise_levels:
            rng = np.random.default_rng([self.config.seed, index])
            noise = rng.standard_normal(picture.shape, dtype=np.float32)
            picture += noise * np.float32(self.config.noise_levels)
        rgb = picture.round().clip(0, 255).astype(np.uint8)
        return Frame(index, seconds, f"{index:05d}", rgb), labels


def _actors(rng: np.random.Generator, config: ClipConfig) -> list[_Actor]:
    """Give every shape a cell of its own to begin in, so that the first frame shows them all."""
    height, width = config.frame_hw
    num_shapes = config.num_objects + config.num_distractors
    num_rows, num_columns = grid_of(num_shapes, config.frame_hw)
    cell_hw = height / num_rows, width / num_columns
    largest_px = min(_CELL_SHARE * min(cell_hw), _MAX_RADIUS_SHARE * min(config.frame_hw))
    looks = [make_look(rng, number, config.has_texture) for number in range(config.num_objects)]
    radii_px = [largest_px * rng.uniform(0.8, 1.0) for _ in looks]
    cells = rng.permutation(num_rows * num_columns)[:num_shapes]

    actors = []
    for number, cell in enumerate(cells.tolist()):
        row, column = divmod(cell, num_columns)
        radius_px = radii_px[number % config.num_objects]
        slack_y, slack_x = (max(side / 2 - radius_px - 1, 0) for side in cell_hw)
        start_y = (row + 0.5) * cell_hw[0] + rng.uniform(-slack_y, slack_y)
        start_x = (column + 0.5) * cell_hw[1] + rng.uniform(-slack_x, slack_x)
        box_xyxy = 0.0, 0.0, float(width), float(height)
        if not config.overlaps:
            x0, y0 = column * cell_hw[1], row * cell_hw[0]
            box_xyxy = x0, y0, x0 + cell_hw[1], y0 + cell_hw[0]
        actor = _Actor(
            label=number + 1 if number < config.num_objects else 0,
            look=looks[number % config.num_objects],
            motion=wander(rng, (start_x, start_y), radius_px, box_xyxy),
            radius_px=radius_px,
            angle=rng.uniform(0, 2 * math.pi),
            turns_per_second=rng.uniform(-0.15, 0.15),
            swings_per_second=rng.uniform(0.2, 0.5),
        )
        actors.append(actor)
    if config.crosses:
        first, second = actors[0].motion(0), actors[1].motion(0)
        actors[0] = replace(actors[0], motion=swap(first, second))
        actors[1] = replace(actors[1], motion=swap(second, first))
    if config.leaves:
        last = config.num_objects - 1
        actors[last] = replace(
            actors[last], motion=leave(actors[last].motion, actors[last].radius_px, width)
        )
    return sorted(actors, key=lambda actor: actor.label)


def _background(rng: np.random.Generator, config: ClipConfig) -> Array:
    """Draw (H, W, 3) float32 of 255: muted colours at three scales."""
    height, width = config.frame_hw
    picture = np.full((height, width, 3), (118, 124, 112), dtype=np.float32)
    if not config.has_background:
        return picture
    for cell_share, levels in ((0.5, 30), (0.12, 16), (0.02, 7)):
        cell_px = cell_share * min(config.frame_hw)
        num_cells = math.ceil(height / cell_px) + 1, math.ceil(width / cell_px) + 1
        grey = rng.normal(0, levels, (*num_cells, 1)) + rng.normal(0, levels / 3, (*num_cells, 3))
        coarse = grey.astype(np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture


def _paint(actor: _Actor, seconds: float, picture: Array, labels: Labels) -> None:
    """Draw a shape and its shadow into a picture, and the shape into a label map."""
    centre_x, centre_y = actor.motion(seconds)
    swing = (1 - math.cos(2 * math.pi * actor.swings_per_second * seconds)) / 2
    radius_px = actor.radius_px * (1 - _SCALE_SWING * swing)
    shift_px = _SHADOW_SHIFT * radius_px
    reach_px = radius_px + 2 * shift_px + 2
    x0, y0 = max(math.floor(centre_x - reach_px), 0), max(math.floor(centre_y - reach_px), 0)
    part = slice(y0, math.ceil(centre_y + reach_px)), slice(x0, math.ceil(centre_x + reach_px))
    if min(part[0].stop, part[1].stop) <= 0 or picture[part].size == 0:
        return
    positions: Array = np.indices(labels[part].shape, dtype=np.float32)
    right = (positions[1] + (x0 - centre_x)) / radius_px
    down = (positions[0] + (y0 - centre_y)) / radius_px
    angle = actor.angle + 2 * math.pi * actor.turns_per_second * seconds
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = cos * right + sin * down, cos * down - sin * right

    shift_x, shift_y = _SHADOW_SHIFT * (cos + sin), _SHADOW_SHIFT * (cos - sin)
    shadow = actor.look.distance(x - shift_x, y - shift_y) / _SHADOW_SHIFT
    picture[part] *= 1 - _SHADOW_DEPTH * (0.5 - shadow / 2).clip(0, 1)[..., None]

    away = actor.look.distance(x, y)
    waves = np.sin(np.stack([x, y], axis=-1) @ actor.look.waves.T).sum(axis=-1)
    share = (0.5 + _TEXTURE_SHARPNESS * radius_px * waves).clip(0, 1)[..., None]
    colour = actor.look.colours[0] * (1 - share) + actor.look.colours[1] * share
    light = 1 - 0.14 * (right + down) - 0.3 * (1 + away / 0.2).clip(0, 1) ** 2
    coverage = (0.5 - away * radius_px).clip(0, 1)[..., None]
    picture[part] += coverage * (colour * light[..., None] - picture[part])
    labels[part][away < 0] = actor.label


def _paint_occluder(seconds: float, picture: Array, labels: Labels) -> None:
    """Draw an upright bar that comes in from the left, goes to the right side, and back out."""
    width = labels.shape[1]
    half_width_px = 0.07 * width
    share = (1 - math.cos(2 * math.pi * seconds / EVENT_SECONDS)) / 2
    centre_x = share * (width + 2 * half_width_px) - half_width_px - 1
    across = (np.arange(width, dtype=np.float32) - centre_x) / half_width_px
    coverage = (0.5 + (1 - np.abs(across)) * half_width_px).clip(0, 1)
    colour = np.array([74, 66, 60], dtype=np.float32) * (1.1 - 0.5 * across[:, None] ** 2)
    picture += coverage[:, None] * (colour - picture)
    labels[:, np.abs(across) < 1] = 0
