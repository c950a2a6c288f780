"""Cleaning up label maps, and edges that are softer than a label map's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError
from vos.masks.edges import NEAR, alpha_of, match_edges, soft_alpha
from vos.records import Frame, FrameMasks, Labels, SoftEdges
from vos.run.read_results import ResultFrame

_CROSS: Final = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)

FrameT = TypeVar("FrameT", bound="Frame | None")


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUp:
    """What is done to the masks, in the order of the attributes.

    Attributes:
        smooth_time: Every pixel takes the label that it has most often in this many frames around,
            an odd number; 1 changes nothing.
        min_area_px: Pieces of an object with fewer pixels go.
        fill_holes_px: Holes of at most this many pixels that one object surrounds are filled.
        grow_px: How far objects grow over the background, or shrink if it is negative.
        soft: Whether edges fade over a pixel and a half.
        feather_px: Standard deviation of a blur of the edges, twice.
    """

    smooth_time: int = 1
    min_area_px: int = 0
    fill_holes_px: int = 0
    grow_px: float = 0.0
    soft: bool = False
    feather_px: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: an even or negative number of frames, or another negative value.
        """
        if self.smooth_time < 1 or self.smooth_time % 2 == 0:
            raise InputError(f"smooth_time must be odd, 1 or more, got {self.smooth_time}")
        for name in ("min_area_px", "fill_holes_px", "feather_px"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def clean(self, labels: Labels) -> Labels:
        """Clean up a label map that was smoothed in time: (H, W) uint8, the same if nothing is."""
        if self.min_area_px > 1:
            labels = drop_small_pieces(labels, self.min_area_px)
        if self.fill_holes_px:
            labels = fill_holes(labels, self.fill_holes_px)
        if self.grow_px:
            labels = grow(labels, self.grow_px)
        return labels

    def alpha(self, masks: FrameMasks, object_id: int | None = None) -> NDArray[np.float32]:
        """Give the opacity of an object, or of all.

        Args:
            masks: What was cleaned up; edges that fade are its own, or else come from the distance
                to the outline.
            object_id: The object; None is all.

        Returns:
            (H, W) float32 in [0, 1].
        """
        mask = masks.labels > 0 if object_id is None else masks.labels == object_id
        if not self.soft:
            alpha = mask.astype(np.float32)
        elif masks.edges is None:
            alpha = soft_alpha(mask)
        else:
            alpha = alpha_of(masks.edges, masks.labels, object_id) / np.float32(255)
        return blurred(alpha, self.feather_px / 2) if self.feather_px else alpha


def smooth_in_time(
    triples: Iterable[tuple[FrameT, ResultFrame, Labels]], num_frames: int
) -> Iterator[tuple[FrameT, ResultFrame, Labels]]:
    """Give every pixel the label that it has most often in the frames around; ties change nothing.

    Args:
        triples: Frames with their label maps, all of one size.
        num_frames: How many frames, odd. As many are kept in memory.
    """
    reach = num_frames // 2
    window: deque[tuple[FrameT, ResultFrame, Labels]] = deque(maxlen=num_frames)
    num_after = 0
    for triple in triples:
        window.append(triple)
        num_after += 1
        if num_after > reach:
            num_after = reach
            yield _voted(window, len(window) - 1 - reach)
    while num_after > 0:
        if len(window) - num_after > reach:
            window.popleft()
        yield _voted(window, len(window) - num_after)
        num_after -= 1


def _voted(
    window: deque[tuple[FrameT, ResultFrame, Labels]], centre: int
) -> tuple[FrameT, ResultFrame, Labels]:
    frame, result, labels = window[centre]
    maps = np.stack([each[2] for each in window])
    most, voted = (maps == labels).sum(0), labels.copy()
    for object_id in np.unique(maps):
        num_votes = (maps == object_id).sum(0)
        is_more = num_votes > most
        voted[is_more] = object_id
        most[is_more] = num_votes[is_more]
    return frame, result, voted


def cleaned_edges(edges: SoftEdges, labels: Labels, cleaned: Labels) -> SoftEdges:
    """Make soft edges agree with a label map after clean-up.

    What the run knew of an outline says nothing of the one that clean-up drew near it.

    Args:
        edges: In agreement with ``labels``.
        labels: (H, W) before.
        cleaned: (H, W) after.
    """
    changed = (labels != cleaned).astype(np.uint8)
    if not changed.any():
        return edges
    near = cv2.dilate(changed, NEAR).ravel() > 0
    return match_edges(edges.where(~near[edges.pixels]), cleaned)


def drop_small_pieces(labels: Labels, min_px: int) -> Labels:
    """Remove pieces of objects, joined at sides or corners, that have too few pixels."""
    cleaned = labels.copy()
    for object_id in np.unique(labels[labels > 0]):
        mask = (labels == object_id).astype(np.uint8)
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        is_small = stats[:, cv2.CC_STAT_AREA] < min_px
        is_small[0] = False
        cleaned[is_small[pieces]] = 0
    return cleaned


def fill_holes(labels: Labels, max_px: int) -> Labels:
    """Fill parts of the background that a single object surrounds, up to a number of pixels."""
    height, width = labels.shape
    filled = labels.copy()
    background = (labels == 0).astype(np.uint8)
    num, parts, stats, _ = cv2.connectedComponentsWithStats(background, connectivity=4)
    for part in range(1, num):
        x, y, w, h, area_px = stats[part].tolist()
        if area_px > max_px or x == 0 or y == 0 or x + w == width or y + h == height:
            continue
        around = slice(y - 1, y + h + 1), slice(x - 1, x + w + 1)
        hole = (parts[around] == part).astype(np.uint8)
        ring = labels[around][(cv2.dilate(hole, _CROSS) > hole)]
        if ring.min() == ring.max():
            filled[around][hole > 0] = ring[0]
    return filled


def grow(labels: Labels, distance_px: float) -> Labels:
    """Let objects grow over the background, or shrink from all sides but the frame's borders.

    Args:
        labels: (H, W) uint8.
        distance_px: How far; negative shrinks. Where objects meet, the nearer one grows.
    """
    if not labels.any():
        return labels
    if distance_px > 0:
        background = (labels == 0).astype(np.uint8)
        far, nearest = cv2.distanceTransformWithLabels(
            background, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        id_of = np.zeros(int(nearest.max()) + 1, np.uint8)
        id_of[nearest[labels > 0]] = labels[labels > 0]
        return np.where(far <= distance_px, id_of[nearest], np.uint8(0))
    shrunk = labels.copy()
    for object_id in np.unique(labels[labels > 0]):
        mask = (labels == object_id).astype(np.uint8)
        if not mask.all():
            depth = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            shrunk[(mask > 0) & (depth <= -distance_px)] = 0
    return shrunk


def blurred(values: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Blur (H, W) values with a Gaussian, as if the frame went on beyond its borders."""
    smooth = cv2.GaussianBlur(values, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth, np.float32)
