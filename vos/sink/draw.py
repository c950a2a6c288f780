"""Painting masks over a picture."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError
from vos.masks import OBJECT_COLOURS, grow_box_xyxy, mask_box_xyxy
from vos.records import Labels

_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_PX_PER_LINE_WIDTH: Final = 360  # the frame's shorter side, for one more pixel of contour
_PX_PER_TEXT_SCALE: Final = 600
_MIN_TEXT_SCALE: Final = 0.4
_DASH_PER_LINE_WIDTH: Final = 8  # length of a dash, and of the gap after it


def draw_overlay(
    rgb: NDArray[np.uint8],
    labels: Labels,
    alpha: float,
    *,
    scores: Mapping[int, float] | None = None,
    min_score: float = 0,
    palette: NDArray[np.uint8] = OBJECT_COLOURS,
    names: Mapping[int, str] = MappingProxyType({}),
) -> NDArray[np.uint8]:
    """Tint every object in its colour, draw its contour, and write its name and score on it.

    Args:
        rgb: (H, W, 3) uint8 RGB; left as it is.
        labels: (H, W) uint8 label map.
        alpha: Opacity of the tint in [0, 1].
        scores: The objects' scores in [0, 1] by id; what is not there is not written.
        min_score: Objects of a lower score have a dashed contour.
        palette: (256, 3) uint8 RGB, the objects' colours by id.
        names: What to call objects, by id. Others are called by their id, and so are those whose
            names are not of ASCII letters, which is all that OpenCV can write.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the sizes differ, or the opacity is out of range.
    """
    if rgb.shape[:2] != labels.shape:
        raise InputError(f"frame and labels differ in size: {rgb.shape[:2]} and {labels.shape}")
    check_alpha(alpha)
    scores = scores or {}
    picture = rgb.copy()
    box_xyxy = mask_box_xyxy(labels > 0)
    if box_xyxy is None:
        return picture
    radius = 1 + min(labels.shape) // _PX_PER_LINE_WIDTH
    x0, y0, x1, y1 = grow_box_xyxy(box_xyxy, radius, labels.shape).tolist()
    part, part_labels = picture[y0 : y1 + 1, x0 : x1 + 1], labels[y0 : y1 + 1, x0 : x1 + 1]
    colours = cv2.LUT(cv2.merge([part_labels] * 3), palette[None])
    is_object = (part_labels > 0).astype(np.uint8)
    part[:] = cv2.copyTo(
        cv2.addWeighted(part, 1 - alpha, colours, alpha, 0), is_object, part.copy()
    )

    # The palette's colours are dark; half way to white they stand out on any ground.
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    is_border = cv2.dilate(part_labels, kernel) != cv2.erode(part_labels, kernel)
    doubtful = [object_id for object_id, score in scores.items() if score < min_score]
    if doubtful:
        is_gap = _gaps(part_labels, doubtful, _DASH_PER_LINE_WIDTH * radius)
        is_border &= cv2.dilate(is_gap, kernel) == 0
    ys, xs = np.nonzero(is_border & (part_labels > 0))
    part[ys, xs] = colours[ys, xs] // 2 + 128
    for object_id, (x, y) in _inner_points(part_labels):
        name = names.get(object_id, "")
        score = f" {scores[object_id]:.2f}" if object_id in scores else ""
        called = name if name and name.isascii() else str(object_id)
        _write(picture, called + score, x0 + x, y0 + y)
    return picture


def check_alpha(alpha: float) -> None:
    """Check an opacity.

    Raises:
        InputError: it is out of range.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha must be within [0, 1], got {alpha}")


def _gaps(labels: Labels, object_ids: Collection[int], dash_px: int) -> NDArray[np.uint8]:
    """Mark the outermost pixels of objects where a dashed contour has its gaps."""
    is_gap = np.zeros_like(labels)
    for object_id in object_ids:
        mask = (labels == object_id).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            points = contour[:, 0]
            xs, ys = points[np.arange(len(points)) // dash_px % 2 == 1].T
            is_gap[ys, xs] = 1
    return is_gap


def _inner_points(labels: Labels) -> Iterator[tuple[int, tuple[int, int]]]:
    """Give each id the pixel of its object that is nearest to the object's centroid."""
    ys, xs = np.nonzero(labels)
    ids = labels[ys, xs]
    order = np.argsort(ids, kind="stable")
    ids, starts = np.unique(ids[order], return_index=True)
    for object_id, pixels in zip(ids.tolist(), np.split(order, starts[1:]), strict=False):
        x, y = xs[pixels], ys[pixels]
        nearest = np.argmin((x - x.mean()) ** 2 + (y - y.mean()) ** 2)
        yield object_id, (int(x[nearest]), int(y[nearest]))


def _write(picture: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    """Write white on black, centred on (x, y) as far as the frame allows."""
    height, width = picture.shape[:2]
    scale = max(_MIN_TEXT_SCALE, min(height, width) / _PX_PER_TEXT_SCALE)
    thickness = max(1, round(2 * scale))
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    left = min(max(x - text_width // 2, thickness), max(width - text_width - thickness, 0))
    bottom = min(max(y + text_height // 2, text_height + thickness), height - 1 - thickness)
    # Shifted copies, because not every version of OpenCV draws thick lines around its fonts.
    black, white = (0, 0, 0), (255, 255, 255)
    outline = [(shift, black) for shift in product((-thickness, 0, thickness), repeat=2)]
    for (dx, dy), colour in (*outline, ((0, 0), white)):
        origin = left + dx, bottom + dy
        cv2.putText(picture, text, origin, _FONT, scale, colour, thickness, cv2.LINE_AA)
