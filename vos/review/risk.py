"""How likely the mask of each object is wrong in each frame, from the numbers of the summary.

A mask is wrong where its IoU with the truth is below one half. What speaks for that is compared
with the frames before and after, so that it means the same for a mouse and for a lorry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vos.run.read_results import Results

Float = NDArray[np.float64]

_NUM_NEIGHBOURS: Final = 5  # frames on either side
_NUM_RETURNED: Final = 5  # frames after a loss that have just returned
_LAG: Final = 3  # frames within which one object takes another's pixels
_MOST: Final = 3.0  # of a sign


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object over all frames of results; NaN where it is absent.

    Attributes:
        scores: (N,) in [0, 1].
        present: (N,) bool.
        areas_px: (N,) frame pixels.
        boxes_xyxy: (N, 4) frame pixels.
    """

    scores: Float
    present: NDArray[np.bool_]
    areas_px: Float
    boxes_xyxy: Float

    @property
    def centres_xy(self) -> Float:
        """(N, 2) centres of the boxes."""
        return (self.boxes_xyxy[:, :2] + self.boxes_xyxy[:, 2:]) / 2

    @property
    def sizes_px(self) -> Float:
        """(N, 2) widths and heights of the boxes."""
        return self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2] + 1


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """What speaks against the masks of an object, (N,) each.

    Attributes:
        values: (N, S) as the weights of the risk want them, 0 where nothing speaks against.
        area_ratio: Area over the median of the frames around.
        step: Way from the frame before over the square root of the area, less what is usual.
        contested: Share of its area that another object took or gave, in [0, 1].
        rival: Column of that object.
        num_lost: Length of the stretch in which it is absent; 0 where it is present.
        num_lost_before: Length of such a stretch that just ended.
    """

    values: Float
    area_ratio: Float
    step: Float
    contested: Float
    rival: NDArray[np.int64]
    num_lost: NDArray[np.int64]
    num_lost_before: NDArray[np.int64]


SIGNS: Final = (
    "doubt", "doubt_around", "doubt_most", "doubt_since", "area_change", "shrunk", "grown", "step",
    "fill_change", "aspect_change", "age", "returned", "contested", "lost",
)  # fmt: skip


def tracks_of(results: Results) -> list[Track]:
    """Give the objects of results, in the order of ``object_ids``; none if there is no frame."""
    frames = list(results.frames)
    if not frames:
        return []
    scores = np.array([each.scores for each in frames], dtype=np.float64)
    present = np.array([each.present for each in frames], dtype=np.bool_)
    areas_px = np.array([each.areas_px for each in frames], dtype=np.float64)
    boxes_xyxy = np.array([each.boxes_xyxy for each in frames], dtype=np.float64)
    areas_px[~present] = boxes_xyxy[~present] = np.nan
    columns = range(len(results.object_ids))
    return [Track(scores[:, k], present[:, k], areas_px[:, k], boxes_xyxy[:, k]) for k in columns]


def signs_of(tracks: Sequence[Track], column: int) -> Signs:
    """Give what speaks against the masks of one of the objects."""
    track = tracks[column]
    num_frames = len(track.scores)
    with np.errstate(invalid="ignore"):
        area = np.log(track.areas_px)
        side = np.exp(area / 2)
        step = np.full(num_frames, np.nan)
        way_px = np.linalg.norm(np.diff(track.centres_xy, axis=0), axis=1)
        step[1:] = way_px / np.minimum(side[1:], side[:-1])
        step = np.nan_to_num(np.maximum(step - _median_around(step), 0))
        first_areas = area[np.flatnonzero(track.present)[:_NUM_NEIGHBOURS]]
        usual_area = np.median(first_areas) if len(first_areas) else 0.0
        fill = area - np.log(track.sizes_px.prod(axis=1))
        aspect = np.log(track.sizes_px[:, 0] / track.sizes_px[:, 1])
    area_change = np.nan_to_num(area - _median_around(area))
    contested, rival = _contested(tracks, column)
    num_lost, num_lost_before = _losses(track.present)
    doubt = np.where(track.present, 1 - track.scores, np.nan)
    of_present = {
        "doubt": doubt,
        "doubt_around": _median_around(doubt),
        "doubt_most": np.nanmax(np.column_stack([_around(doubt), doubt]), axis=1, initial=0),
        "doubt_since": np.maximum.accumulate(np.nan_to_num(doubt)),
        "area_change": np.abs(area_change),
        "shrunk": usual_area - area,
        "grown": area - usual_area,
        "step": step,
        "fill_change": np.abs(fill - _median_around(fill)),
        "aspect_change": np.abs(aspect - _median_around(aspect)),
        "age": np.log1p(np.arange(num_frames)) / _MOST,
        "returned": np.minimum(num_lost_before, 1),
        "contested": contested,
    }
    values = [np.where(track.present, np.nan_to_num(sign), 0) for sign in of_present.values()]
    values.append(np.minimum(num_lost, 1).astype(np.float64))
    return Signs(
        values=np.column_stack(values).clip(0, _MOST),
        area_ratio=np.exp(area_change),
        step=step,
        contested=contested,
        rival=rival,
        num_lost=num_lost,
        num_lost_before=num_lost_before,
    )


def risks_of(signs: Signs) -> Float:
    """Give how likely the IoU with the truth is below one half: (N,) in [0, 1]."""
    logits = signs.values @ np.array(WEIGHTS) + BIAS
    risks: Float = 1 / (1 + np.exp(-logits))
    return risks


def _around(values: Float) -> Float:
    """Give the (N, 2 n) values of the frames before and after; NaN beyond the ends."""
    padded = np.pad(values, _NUM_NEIGHBOURS, constant_values=np.nan)
    windows = sliding_window_view(padded, 2 * _NUM_NEIGHBOURS + 1)
    return np.delete(windows, _NUM_NEIGHBOURS, axis=1)


def _median_around(values: Float) -> Float:
    """Give the (N,) medians of the frames before and after; NaN where there is none."""
    ordered = np.sort(_around(values), axis=1)  # NaN last
    num_known = np.count_nonzero(~np.isnan(ordered), axis=1)
    rows = np.arange(len(values))
    low, high = (np.maximum(num_known - 1, 0) // 2, num_known // 2)
    medians: Float = (ordered[rows, low] + ordered[rows, high]) / 2
    return medians


def _losses(present: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the lengths of the stretches without an object, in them and just after them."""
    num_lost, num_lost_before = np.zeros((2, len(present)), dtype=np.int64)
    changes = [*np.flatnonzero(np.diff(present, prepend=True)).tolist(), len(present)]
    is_seen = present.argmax()
    for first, end in pairwise(changes):
        if not present[first] and first > is_seen:
            num_lost[first:end] = end - first
            num_lost_before[end : end + _NUM_RETURNED] = end - first
    return num_lost, np.where(present, num_lost_before, 0)


def _contested(tracks: Sequence[Track], column: int) -> tuple[Float, NDArray[np.int64]]:
    """Give the most that an object gave to or took from another, over its area, and that other.

    Within some frames the one grew by what the other shrank, and their boxes overlap.
    """
    own = tracks[column]
    contested = np.zeros(len(own.scores))
    rival = np.zeros(len(own.scores), dtype=np.int64)
    own_px = np.nan_to_num(own.areas_px)
    own_change_px = own_px[_LAG:] - own_px[:-_LAG]
    for other_column, other in enumerate(tracks):
        if other_column == column or len(own.scores) <= _LAG:
            continue
        other_px = np.nan_to_num(other.areas_px)
        change_px = other_px[:-_LAG] - other_px[_LAG:]
        moved_px = np.where(
            own_change_px * change_px > 0, np.minimum(abs(own_change_px), abs(change_px)), 0
        )
        least_px = np.minimum(
            np.maximum(own_px[_LAG:], own_px[:-_LAG]), np.maximum(other_px[_LAG:], other_px[:-_LAG])
        )
        meets = _overlaps(own.boxes_xyxy[_LAG:], other.boxes_xyxy[:-_LAG])
        met = _overlaps(own.boxes_xyxy[:-_LAG], other.boxes_xyxy[_LAG:])
        share = np.where(meets | met, moved_px / np.maximum(least_px, 1), 0)
        is_more = np.greater(share, contested[_LAG:])
        contested[_LAG:][is_more] = share[is_more]
        rival[_LAG:][is_more] = other_column
    return contested, rival


def _overlaps(one_xyxy: Float, other_xyxy: Float) -> NDArray[np.bool_]:
    """Tell whether (N, 4) boxes have common pixels; NaN has none."""
    low = np.maximum(one_xyxy[:, :2], other_xyxy[:, :2])
    high = np.minimum(one_xyxy[:, 2:], other_xyxy[:, 2:])
    overlapping: NDArray[np.bool_] = np.all(low <= high, axis=1)
    return overlapping


WEIGHTS: Final = (1.0,) * 14
BIAS: Final = -3.0
