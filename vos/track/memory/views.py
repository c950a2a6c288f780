"""Further views of a reference: nearer and farther, turned, bent, and in another light.

A classifier fitted to one picture believes what is true of that picture alone. It is fitted to
drawn views of it too, so that it trusts what stays the same when the object moves and turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.records import Frame
from vos.track.memory.crops import Window, window_around
from vos.track.memory.motion import box_of

_LOG_SCALE: Final = 0.35
_LOG_ASPECT: Final = 0.2
_TURN: Final = np.deg2rad(20)
_MIRRORED_EVERY: Final = 4
_BEND: Final = 0.05  # of the object's size, the deviation at the nodes of a grid over the frame
_BEND_GRID: Final = 5
_LOG_LIGHT: Final = 0.2  # of exposure and of gamma
_TINT: Final = 0.04
_LOG_CONTEXT: Final = 0.2
_REACH: Final = 2.5  # of the object's size: how far around it a view reaches
_MIN_SHARE: Final = 0.2  # of the object's pixels, which a view must show

View = tuple[Frame, NDArray[np.bool_], Window]
"""A drawn frame, (H, W) the object's mask in it, and the window to crop."""


def draw_views(
    frame: Frame, mask: NDArray[np.bool_], num_views: int, context: float, min_window_share: float
) -> Iterator[View]:
    """Draw the surroundings of an object as they might look in another frame.

    Args:
        frame: The reference's frame.
        mask: (H, W) of the object, not empty.
        num_views: How many; fewer come where the object would leave the frame.
        context: Side of the window over the longer side of the object's box.
        min_window_share: Least side of the window, over the frame's longer side.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(mask)
    centre_xy = np.array([columns.mean(), rows.mean()])
    size_px = float(max(np.ptp(columns), np.ptp(rows)) + 1)
    least_px = min_window_share * max(mask.shape)
    reach_px = max(_REACH * size_px, least_px)
    low = np.floor(centre_xy - reach_px).clip(0).astype(int)
    high = np.ceil(centre_xy + reach_px).astype(int) + 1
    area = slice(low[1], min(high[1], mask.shape[0])), slice(low[0], min(high[0], mask.shape[1]))
    for number in range(num_views):
        from_xy = _sources(rng, number, mask.shape, area, centre_xy, size_px)
        drawn = _resampled(mask.view(np.uint8), from_xy, cv2.INTER_NEAREST).astype(np.bool_)
        lit = _in_another_light(rng, _resampled(frame.rgb, from_xy, cv2.INTER_LINEAR))
        wider = context * float(np.exp(rng.uniform(-_LOG_CONTEXT, _LOG_CONTEXT)))
        if drawn.sum() < _MIN_SHARE * mask.sum():
            continue
        share = min(1.0, least_px / max(drawn.shape))
        window = window_around(box_of(drawn), drawn.shape, wider, share)
        yield replace(frame, rgb=lit), drawn, window


def _sources(
    rng: np.random.Generator,
    number: int,
    frame_hw: tuple[int, ...],
    area: tuple[slice, slice],
    centre_xy: NDArray[np.float64],
    size_px: float,
) -> NDArray[np.float32]:
    """Say for each pixel of an area, (h, w, 2), which position of the frame it shows."""
    scale = np.exp(rng.uniform(-_LOG_SCALE, _LOG_SCALE))
    aspect = np.exp(rng.uniform(-_LOG_ASPECT, _LOG_ASPECT))
    angle = rng.uniform(-_TURN, _TURN)
    mirror = -1 if number % _MIRRORED_EVERY == _MIRRORED_EVERY - 1 else 1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back = np.linalg.inv(turn @ np.diag([mirror * scale * aspect, scale / aspect]))
    nodes = rng.normal(0, _BEND * size_px, (_BEND_GRID, _BEND_GRID, 2)).astype(np.float32)
    bend = cv2.resize(nodes, (frame_hw[1], frame_hw[0]), interpolation=cv2.INTER_CUBIC)[area]
    rows = np.arange(area[0].start, area[0].stop)[:, None, None] - centre_xy[1]
    columns = np.arange(area[1].start, area[1].stop)[:, None] - centre_xy[0]
    by_row, by_column = rows * back[:, 1] + centre_xy, columns * back[:, 0]
    positions_xy: NDArray[np.float32] = bend + by_row.astype(np.float32)
    positions_xy += by_column.astype(np.float32)
    return positions_xy


def _resampled(
    picture: NDArray[np.uint8], from_xy: NDArray[np.float32], how: int
) -> NDArray[np.uint8]:
    """Take the colours at (h, w, 2) positions; beyond its edges a picture is mirrored."""
    x, y = (np.ascontiguousarray(from_xy[..., axis]) for axis in (0, 1))
    taken: NDArray[Any] = cv2.remap(picture, x, y, how, borderMode=cv2.BORDER_REFLECT_101)
    return taken


def _in_another_light(rng: np.random.Generator, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change exposure, gamma and white balance of (h, w, 3) colours."""
    gain, gamma = np.exp(rng.uniform(-_LOG_LIGHT, _LOG_LIGHT, 2))
    levels = (np.arange(256) / 255) ** gamma * gain
    table = levels[:, None] * (1 + rng.normal(0, _TINT, 3))
    lit: NDArray[Any] = cv2.LUT(rgb, (table.clip(0, 1) * 255).astype(np.uint8)[None])
    return lit
