"""YOLO segmentation, as ultralytics trains on: polygons in text files, ``data.yaml``."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Generator, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.export.pictures import save_image
from vos.files import write_whole

_MIN_POINTS = 3  # of a polygon
_DIGITS = 9
_log = logging.getLogger("vos")


def warn_of_specks(clip: Clip) -> None:
    """Say which objects are too small for polygons in some frames, before the first frame."""
    is_speck = np.zeros(len(clip.results.object_ids), bool)
    for frame in clip.results.frames:
        is_speck |= (frame.areas_px > 0) & (frame.areas_px < _MIN_POINTS)
    for object_id in np.array(clip.results.object_ids)[is_speck].tolist():
        _log.warning(
            "yolo: object %d has fewer than %d pixels in some frames and is left out there, "
            "because a polygon has at least %d points",
            object_id,
            _MIN_POINTS,
            _MIN_POINTS,
        )


def write_yolo(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/labels/train/*.txt``, ``name/images/train/*.jpg`` and ``name/data.yaml``.

    There is a row for every piece of an object: the class, and the pixels of its contour, x and y
    by the frame's width and height. Holes are lost; a warning counts them in the end.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    path = files.claim(clip.name, "data.yaml")
    if path is not None:
        names = "".join(f"  {i}: {json.dumps(name)}\n" for i, name in enumerate(clip.categories))
        text = f"train: images/train\nval: images/train\nnames:\n{names}"
        write_whole(path, text.encode())
    num_holes = num_specks = 0
    for frame in frames:
        stem = frame.result.name
        save_image(frame, clip, files, clip.name, "images", "train", f"{stem}.jpg")
        path = files.claim(clip.name, "labels", "train", f"{stem}.txt")
        rows = []
        for object_id, _, mask, _, _ in frame.present():
            polygons, num_of_mask = polygons_of(mask)
            num_holes += num_of_mask
            for polygon in polygons:
                if len(polygon) < _MIN_POINTS:
                    num_specks += 1
                else:
                    rows.append(_row(clip.category(object_id), polygon, mask.shape))
        if path is not None:
            write_whole(path, "".join(rows).encode() or b"\n")
        yield frame
    if num_holes:
        _log.warning("yolo: %d holes in masks are filled, because polygons have none", num_holes)
    if num_specks:
        _log.warning("yolo: %d pieces of one or two pixels are left out", num_specks)


def polygons_of(mask: NDArray[np.bool_]) -> tuple[list[NDArray[np.int32]], int]:
    """Give the outer contours of a mask's pieces.

    Args:
        mask: (H, W) bool.

    Returns:
        (N, 2) int32 x and y of pixels of each piece, which fill to the piece again but for its
        holes; and how many holes there are.
    """
    contours, hierarchy = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    parents = hierarchy[0, :, 3].tolist() if len(contours) else []
    outer = [
        contour[:, 0].astype(np.int32)
        for contour, parent in zip(contours, parents, strict=True)
        if parent < 0
    ]
    num_holes = sum(parent >= 0 for parent in parents)
    return [_with_middle(polygon) for polygon in outer], num_holes


def _with_middle(polygon: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give a straight line of more than two pixels a third point."""
    if len(polygon) == 2 and np.abs(polygon[1] - polygon[0]).max() > 1:
        return np.stack([polygon[0], (polygon[0] + polygon[1]) // 2, polygon[1]])
    return polygon


def _row(category: int, polygon: NDArray[np.int32], hw: tuple[int, ...]) -> str:
    # Rounded up, so that readers that cut decimals after multiplying come to the same pixel.
    scale = 10**_DIGITS
    numbers = (
        math.ceil(value * scale / side) / scale
        for point in polygon.tolist()
        for value, side in zip(point, reversed(hw), strict=True)
    )
    return f"{category} {' '.join(f'{number:.{_DIGITS}f}' for number in numbers)}\n"
