"""Label maps of frames that the user has shown objects on, kept as PNGs named by their content."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np

from vos.errors import InputError
from vos.files import make_folder, write_whole
from vos.masks import encode_label_png, read_label_png
from vos.records import Labels

_HASH_LENGTH = 16


class StoredMasks:
    """A folder of label maps; what is in it never changes.

    Args:
        folder: The folder; it is made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, labels: Labels) -> str:
        """Keep a label map; give its name.

        Raises:
            OutputError: the disk refuses.
        """
        png = encode_label_png(labels)
        name = hashlib.sha256(png).hexdigest()[:_HASH_LENGTH] + ".png"
        path = self.folder / name
        if not path.exists():
            make_folder(self.folder)
            write_whole(path, png)
        return name

    def path(self, name: str) -> Path:
        """Give the file of a label map.

        Raises:
            InputError: the name is none that :meth:`keep` gave.
        """
        stem, _, ending = name.partition(".")
        if ending != "png" or len(stem) != _HASH_LENGTH or not stem.isalnum():
            raise InputError(f"{name!r} is no mask of this project")
        return self.folder / name

    def read(self, name: str) -> Labels:
        """Read a label map.

        Raises:
            InputError: the name is none that :meth:`keep` gave.
            MaskError: the file is gone or broken.
        """
        return read_label_png(self.path(name))


def without_objects(labels: Labels, object_ids: Collection[int]) -> Labels:
    """Give a label map in which some objects are background."""
    if not object_ids:
        return labels
    lut = np.arange(256, dtype=np.uint8)
    lut[list(object_ids)] = 0
    return lut[labels]


def only_objects(labels: Labels, object_ids: Collection[int]) -> Labels:
    """Give a label map in which all but some objects are background."""
    return without_objects(labels, set(range(1, 256)) - {*object_ids})


def put_objects(labels: Labels, shown: Labels, object_ids: Collection[int]) -> Labels:
    """Replace some objects of a label map by what another one shows of them.

    Args:
        labels: (H, W); left as it is.
        shown: (H, W), of which only ``object_ids`` count; they cover the others.
        object_ids: The objects.
    """
    shown = only_objects(shown, object_ids)
    return np.where(shown > 0, shown, without_objects(labels, object_ids))


def paint_stroke(
    labels: Labels,
    object_id: int,
    points_xy: Sequence[tuple[float, float]],
    radius_px: float,
    *,
    erase: bool,
) -> Labels:
    """Paint a line of some width, with round ends.

    Args:
        labels: (H, W); left as it is.
        object_id: Whose pixels are painted, or taken away.
        points_xy: The line's points, frame pixels.
        radius_px: Half its width.
        erase: Whether the object loses the pixels; those of other objects stay.
    """
    pad = math.ceil(radius_px) + 1  # so that what is drawn beside the frame counts
    height, width = labels.shape
    is_beside = np.ones((height + 2 * pad, width + 2 * pad), np.uint8)
    points = np.round(np.array(points_xy, np.float64)).astype(np.int32) + pad
    points = np.concatenate([points, points[-1:]])  # a single point is no line yet
    cv2.polylines(is_beside, [points[:, None]], False, 0)
    distance_px = cv2.distanceTransform(is_beside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    is_line = distance_px[pad : pad + height, pad : pad + width] <= radius_px
    painted = labels.copy()
    if erase:
        painted[is_line & (labels == object_id)] = 0
    else:
        painted[is_line] = object_id
    return painted


def outlines(mask: Labels, scale_xy: tuple[float, float]) -> list[list[int]]:
    """Give the outlines of a mask.

    Args:
        mask: (h, w) uint8, not 0 where it is.
        scale_xy: By what its coordinates are multiplied.

    Returns:
        Polygons, each as x, y, x, y, ...
    """
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array(scale_xy)
    return [
        np.round((contour[:, 0] + 0.5) * scale).astype(int).ravel().tolist()
        for contour in contours
        if len(contour) > 2
    ]
