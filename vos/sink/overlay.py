"""The video with its masks painted over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError
from vos.masks import DAVIS_PALETTE, grow_box_xyxy, mask_box_xyxy
from vos.records import Frame, Labels
from vos.sink.passing import Pair, closing_upstream
from vos.sink.pieces import PiecedVideo
from vos.sink.video import VideoFile

_CRF: Final = 20
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_PX_PER_LINE_WIDTH: Final = 360  # the frame's shorter side, for one more pixel of contour
_PX_PER_TEXT_SCALE: Final = 600
_MIN_TEXT_SCALE: Final = 0.4


def write_overlay(
    pairs: Iterable[Pair],
    path: Path,
    *,
    frame_rate_hz: Fraction | None,
    alpha: float = 0.5,
    pieces: Path | None = None,
    num_kept: int = 0,
    again: Iterable[tuple[Frame, Labels]] = (),
) -> Iterator[Pair]:
    """Write an H.264 video of the frames with their masks while they pass by.

    The video starts at 0 and keeps the distances between the frames' times; odd sizes are padded
    by one row or column. It takes its name when it is complete; that is also when the upstream
    breaks off or the consumer stops. No frame, no file.

    Args:
        pairs: Frames and their masks, all of one size.
        path: The file, ending in .mp4, .mkv or .mov; replaced if it exists.
        frame_rate_hz: Nominal frame rate, or None.
        alpha: Opacity of the masks' colours in [0, 1].
        pieces: A folder in which the video grows in pieces, which stay there; see
            :class:`vos.sink.pieces.PiecedVideo`. Without it the video grows in one file.
        num_kept: Frames that stand in pieces of an earlier run.
        again: Frames of the earlier run that come after those and are drawn once more, before
            the pairs are asked for.

    Yields:
        The same pairs.

    Raises:
        InputError: a setting is illegal, or the frames differ in size.
        OutputError: the disk or the encoder refuses, or pieces of the earlier run are gone.
    """
    with (
        closing_upstream(pairs) as upstream,
        VideoFile(path, frame_rate_hz, crf=_CRF)
        if pieces is None
        else PiecedVideo(path, pieces, frame_rate_hz, crf=_CRF, num_kept=num_kept) as video,
    ):
        for frame, labels in again:
            video.add(draw_overlay(frame.rgb, labels, alpha), frame.pts_seconds)
        for frame, masks in upstream:
            video.add(draw_overlay(frame.rgb, masks.labels, alpha), frame.pts_seconds)
            yield frame, masks


def draw_overlay(rgb: NDArray[np.uint8], labels: Labels, alpha: float) -> NDArray[np.uint8]:
    """Tint every object in its palette colour, draw its contour, and write its id on it.

    Args:
        rgb: (H, W, 3) uint8 RGB; left as it is.
        labels: (H, W) uint8 label map.
        alpha: Opacity of the tint in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the sizes differ, or the opacity is out of range.
    """
    if rgb.shape[:2] != labels.shape:
        raise InputError(f"frame and labels differ in size: {rgb.shape[:2]} and {labels.shape}")
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha must be within [0, 1], got {alpha}")
    picture = rgb.copy()
    box_xyxy = mask_box_xyxy(labels > 0)
    if box_xyxy is None:
        return picture
    radius = 1 + min(labels.shape) // _PX_PER_LINE_WIDTH
    x0, y0, x1, y1 = grow_box_xyxy(box_xyxy, radius, labels.shape).tolist()
    part, part_labels = picture[y0 : y1 + 1, x0 : x1 + 1], labels[y0 : y1 + 1, x0 : x1 + 1]
    colours = cv2.LUT(cv2.merge([part_labels] * 3), DAVIS_PALETTE[None])
    is_object = (part_labels > 0).astype(np.uint8)
    part[:] = cv2.copyTo(
        cv2.addWeighted(part, 1 - alpha, colours, alpha, 0), is_object, part.copy()
    )

    # The palette's colours are dark; half way to white they stand out on any ground.
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    is_border = cv2.dilate(part_labels, kernel) != cv2.erode(part_labels, kernel)
    ys, xs = np.nonzero(is_border & (part_labels > 0))
    part[ys, xs] = colours[ys, xs] // 2 + 128
    for object_id, (x, y) in _inner_points(part_labels):
        _write_id(picture, object_id, x0 + x, y0 + y)
    return picture


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


def _write_id(picture: NDArray[np.uint8], object_id: int, x: int, y: int) -> None:
    """Write white on black, centred on (x, y) as far as the frame allows."""
    height, width = picture.shape[:2]
    scale = max(_MIN_TEXT_SCALE, min(height, width) / _PX_PER_TEXT_SCALE)
    thickness = max(1, round(2 * scale))
    (text_width, text_height), _ = cv2.getTextSize(str(object_id), _FONT, scale, thickness)
    left = min(max(x - text_width // 2, thickness), max(width - text_width - thickness, 0))
    bottom = min(max(y + text_height // 2, text_height + thickness), height - 1 - thickness)
    # Shifted copies, because not every version of OpenCV draws thick lines around its fonts.
    around = product((-thickness, 0, thickness), repeat=2)
    places = [*((shift, (0, 0, 0)) for shift in around), ((0, 0), (255, 255, 255))]
    for (dx, dy), colour in places:
        origin = left + dx, bottom + dy
        cv2.putText(picture, str(object_id), origin, _FONT, scale, colour, thickness, cv2.LINE_AA)
