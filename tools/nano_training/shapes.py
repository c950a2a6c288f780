"""Generated scenes: textured shapes that move over a textured background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    kind: str
    texture: NDArray[np.uint8]
    radii: NDArray[np.float64]
    centre: NDArray[np.float64]
    velocity: NDArray[np.float64]
    angle: float
    spin: float


def draw_scene(
    rng: Rng, frame_hw: tuple[int, int], times: tuple[float, ...]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Draw one scene of two to five shapes at several moments.

    Args:
        rng: Source of everything random.
        frame_hw: Height and width in pixels.
        times: Moments; from 0 to 1 a shape moves by up to a quarter of the frame.

    Returns:
        For each moment the (H, W, 3) image and the (H, W) label map with ids from 1 upwards;
        later ids lie in front.
    """
    background = _draw_texture(rng, frame_hw)
    shapes = [_draw_shape(rng, frame_hw) for _ in range(rng.integers(2, 6))]
    frames = []
    for time in times:
        image, labels = background.copy(), np.zeros(frame_hw, np.uint8)
        for object_id, shape in enumerate(shapes, start=1):
            inside, texture = _place(shape, frame_hw, time)
            image[inside] = texture[inside]
            labels[inside] = object_id
        # Smooth the staircase along the outlines, as a lens would.
        frames.append((cv2.GaussianBlur(image, (3, 3), 0.6), labels))
    return frames


def _draw_shape(rng: Rng, frame_hw: tuple[int, int]) -> _Shape:
    size_wh = np.array(frame_hw[::-1], np.float64)
    radius = size_wh.min() * rng.uniform(0.06, 0.28)
    radii = radius * rng.uniform(0.6, 1.4, 2)
    return _Shape(
        kind=str(rng.choice(["ellipse", "rectangle", "star"])),
        texture=_draw_texture(rng, (int(2.2 * radii.max()) + 8,) * 2),
        radii=radii,
        centre=size_wh * rng.uniform(0.1, 0.9, 2),
        velocity=size_wh * rng.uniform(-0.25, 0.25, 2),
        angle=float(rng.uniform(0, 360)),
        spin=float(rng.uniform(-30, 30)),
    )


def _draw_texture(rng: Rng, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw noise, stripes or checks of two to four colours."""
    height, width = size_hw
    ys, xs = np.mgrid[:height, :width]
    kind = rng.integers(4)
    period = rng.uniform(6, 40)
    if kind == 0:
        grid = rng.random((max(2, int(height / period)), max(2, int(width / period))))
        pattern = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    elif kind == 1:
        direction = rng.uniform(0, np.pi)
        phase = xs * np.cos(direction) + ys * np.sin(direction)
        pattern = 0.5 + 0.5 * np.sin(2 * np.pi * phase / period)
    elif kind == 2:
        pattern = ((xs // period + ys // period) % 2).astype(np.float64)
    else:
        pattern = (xs + ys) / (height + width)
    ends = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:
        # Low contrast: both colours near one another.
        ends[1] = ends[0] + rng.normal(0, 25, 3)
    texture = ends[0] + pattern[..., None] * (ends[1] - ends[0])
    texture += rng.normal(0, rng.uniform(0, 8), (height, width, 1))
    return np.clip(texture, 0, 255).astype(np.uint8)


def _place(
    shape: _Shape, frame_hw: tuple[int, int], time: float
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Give where the shape is at a moment, and its texture laid over the whole frame."""
    height, width = frame_hw
    centre = shape.centre + time * shape.velocity
    angle = shape.angle + time * shape.spin
    side = shape.texture.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1.0)
    matrix[:, 2] += centre - side / 2
    texture = cv2.warpAffine(shape.texture, matrix, (width, height), flags=cv2.INTER_LINEAR)
    canvas = np.zeros(frame_hw, np.uint8)
    if shape.kind == "ellipse":
        axes = (float(2 * shape.radii[0]), float(2 * shape.radii[1]))
        cv2.ellipse(canvas, (centre.tolist(), axes, -angle), 1, -1)
    else:
        corners = _rectangle() if shape.kind == "rectangle" else _star()
        turned = (corners * shape.radii + side / 2) @ matrix[:, :2].T + matrix[:, 2]
        cv2.fillPoly(canvas, [np.round(turned).astype(np.int32)], 1)
    return canvas.astype(bool), texture


def _rectangle() -> NDArray[np.float64]:
    return 0.8 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)


def _star() -> NDArray[np.float64]:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    return radii[:, None] * np.stack([np.sin(angles), -np.cos(angles)], axis=1)
