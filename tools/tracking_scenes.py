"""Small drawn scenes that are hard to track: shapes that look alike, hide, and cross.

The tests of tracking and a picture of docs/tracking.md are made of them. Places and sizes are in
pixels of FRAME_HW; a zoom draws the same scene with more of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.records import Frame, Labels
from vos.synthetic.shapes import Look, make_look

FRAME_HW = (160, 240)
WALL_XYXY = (100, 30, 140, 110)
RNG = np.random.default_rng(0)
RED, BLUE = (make_look(RNG, number, has_texture=True) for number in range(2))
RED_RECTANGLE = replace(BLUE, colours=RED.colours)

Picture = NDArray[np.float32]
Clip = list[tuple[Frame, Labels]]


@dataclass(frozen=True)
class Shape:
    """A textured shape in one frame; one with label 0 is a look-alike."""

    label: int
    look: Look
    centre_xy: tuple[float, float]
    radius_px: float
    angle: float


def texture(
    rng: np.random.Generator, rgb: tuple[int, ...], levels: tuple[int, ...], zoom: int
) -> Picture:
    """A plain colour with grey and a little coloured unevenness at three scales."""
    height, width = FRAME_HW
    picture = np.full((height * zoom, width * zoom, 3), rgb, dtype=np.float32)
    for cell_px, level in zip((60, 16, 4), levels, strict=True):
        cells_hw = height // cell_px + 2, width // cell_px + 2
        grey = rng.normal(0, level, (*cells_hw, 1)) + rng.normal(0, level / 3, (*cells_hw, 3))
        picture += cv2.resize(grey.astype(np.float32), (width * zoom, height * zoom))
    return picture


def paint(shape: Shape, picture: Picture, labels: Labels, zoom: int) -> None:
    """Draw a shape into a picture and a label map."""
    rows, columns = np.indices(labels.shape, dtype=np.float32) / np.float32(zoom)
    right = (columns - shape.centre_xy[0]) / shape.radius_px
    down = (rows - shape.centre_xy[1]) / shape.radius_px
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    x, y = cos * right + sin * down, cos * down - sin * right
    away = shape.look.distance(x, y)
    waves = np.sin(np.stack([x, y], axis=-1) @ shape.look.waves.T).sum(axis=-1)
    share = (0.5 + waves).clip(0, 1)[..., None]
    colour = shape.look.colours[0] * (1 - share) + shape.look.colours[1] * share
    light = (1 - 0.14 * (right + down))[..., None]
    coverage = (0.5 - away * shape.radius_px * zoom).clip(0, 1)[..., None]
    picture += coverage * (colour * light - picture)
    labels[away < 0] = shape.label


def draw(scene: Sequence[Sequence[Shape]], *, has_wall: bool = False, zoom: int = 1) -> Clip:
    """Give (frame, exact label map) pairs of a list of shapes per frame, the last on top."""
    rng = np.random.default_rng(0)
    background = texture(rng, (118, 124, 112), (12, 7, 5), zoom)
    wall = texture(rng, (70, 62, 58), (8, 12, 8), zoom)
    x0, y0, x1, y1 = (side * zoom for side in WALL_XYXY)
    clip = []
    for index, shapes in enumerate(scene):
        picture, labels = background.copy(), np.zeros(background.shape[:2], np.uint8)
        for shape in shapes:
            paint(shape, picture, labels, zoom)
        if has_wall:
            picture[y0:y1, x0:x1] = wall[y0:y1, x0:x1]
            labels[y0:y1, x0:x1] = 0
        noise = np.random.default_rng(index).normal(0, 2, picture.shape)
        rgb = (picture + noise).round().clip(0, 255).astype(np.uint8)
        clip.append((Frame(index, index / 24, f"{index:05d}", rgb), labels))
    return clip


def behind_a_wall(num_hidden: int, *, has_bystander: bool, zoom: int = 1) -> Clip:
    """An object that passes behind a wall, and is wholly hidden for some frames."""
    places = np.linspace(117, 123, num_hidden + 2)[1:-1]
    path = [84, 92, 100, 108, *places, 132, 140, 148, 156, 164, 172, 180]
    scene = []
    for index, x in enumerate(path):
        shapes = [Shape(1, RED, (x, 70), 16, 0.3 + 0.02 * index)]
        if has_bystander:
            shapes.append(Shape(2, BLUE, (60 + 0.5 * index, 130), 14, 0.1 + 0.03 * index))
        scene.append(shapes)
    return draw(scene, has_wall=True, zoom=zoom)


def crossing(other: Look, *, zoom: int = 1) -> Clip:
    """Two objects that pass each other closely, and overlap in frames 7 to 10."""
    scene = []
    for index in range(20):
        there, back = 80 + 5.5 * index, 170 - 5.5 * index
        scene.append(
            [
                Shape(1, RED, (there, 70), 18, 0.3 + 0.02 * index),
                Shape(2, other, (back, 86), 18, 1.2 - 0.02 * index),
            ]
        )
    return draw(scene, zoom=zoom)


def passed_by(*, zoom: int = 1) -> Clip:
    """Two objects, each passed by a shape of its own look that has no mask."""
    scene = []
    for index in range(9):
        scene.append(
            [
                Shape(0, RED, (160 - 11 * index, 122), 16, 1.0),
                Shape(0, BLUE, (70 + 11 * index, 14), 14, 1.0),
                Shape(1, RED, (70 + 11 * index, 90), 16, 0.3 + 0.02 * index),
                Shape(2, BLUE, (170 - 11 * index, 42), 14, 0.3 + 0.02 * index),
            ]
        )
    return draw(scene, zoom=zoom)


def passed_closely(*, zoom: int = 1) -> Clip:
    """An object that overlaps, in frames 5 and 6, with a shape of its own look without a mask."""
    scene = []
    for index in range(12):
        scene.append(
            [
                Shape(0, RED, (180 - 11 * index, 94), 16, 1.0),
                Shape(1, RED, (60 + 11 * index, 84), 16, 0.3 + 0.02 * index),
            ]
        )
    return draw(scene, zoom=zoom)
