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
_MAX_STEP: Final = 3.0


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


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """What speaks against the masks of an object, (N,) each.

    Attributes:
        values: (N, S), the ``SIGNS``, 0 where nothing speaks against.
        area_ratio: Area over the median of the frames around; 1 where it is absent.
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


SIGNS: Final = ("doubt", "doubt_around", "step", "returned", "lost")
"""What the risk is made of: 1 less the score, the most of that among the frames around too, the
step, whether the object has just come back, and whether it is absent."""

WEIGHTS: Final = (9.0, 4.6, 0.4, 1.5, 11.8)
"""Of the signs: a logistic regression on training videos, which ``benchmarks/review.py --fit``
repeats. Changes of area say nothing more there: they are listed, but add no risk."""

BIAS: Final = -8.0

CONTESTED_WEIGHT: Final = 2.0
"""Of the contested share. It is no result of a fit: those videos have one object each."""


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
    side_px = np.sqrt(track.areas_px)
    step = np.full(len(side_px), np.nan)
    way_px = np.linalg.norm(np.diff(track.centres_xy, axis=0), axis=1)
    step[1:] = way_px / np.minimum(side_px[1:], side_px[:-1])
    step = np.nan_to_num(step - _median_around(step)).clip(0, _MAX_STEP)
    area_ratio = np.nan_to_num(track.areas_px / _median_around(track.areas_px), nan=1.0)
    doubt = np.where(track.present, 1 - track.scores, 0)
    contested, rival = _contested(tracks, column)
    num_lost, num_lost_before = _losses(track.present)
    around = np.nan_to_num(np.column_stack([_around(doubt), doubt]))
    doubt_around = np.where(track.present, around.max(axis=1), 0)
    values = (doubt, doubt_around, step, num_lost_before > 0, num_lost > 0)
    return Signs(
        values=np.column_stack(values).astype(np.float64),
        area_ratio=area_ratio,
        step=step,
        contested=contested,
        rival=rival,
        num_lost=num_lost,
        num_lost_before=num_lost_before,
    )


def risks_of(signs: Signs) -> Float:
    """Give how likely the IoU with the truth is below one half: (N,) in [0, 1]."""
    logits = signs.values @ np.array(WEIGHTS) + CONTESTED_WEIGHT * signs.contested + BIAS
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
    track = tracks[column]
    contested = np.zeros(len(track.scores))
    rival = np.zeros(len(track.scores), dtype=np.int64)
    area_px = np.nan_to_num(track.areas_px)
    growth_px = area_px[_LAG:] - area_px[:-_LAG]
    for other_column, other in enumerate(tracks):
        if other_column == column or len(track.scores) <= _LAG:
            continue
        other_px = np.nan_to_num(other.areas_px)
        change_px = other_px[:-_LAG] - other_px[_LAG:]
        moved_px = np.where(
            growth_px * change_px > 0, np.minimum(abs(growth_px), abs(change_px)), 0
        )
        least_px = np.minimum(
            np.maximum(area_px[_LAG:], area_px[:-_LAG]),
            np.maximum(other_px[_LAG:], other_px[:-_LAG]),
        )
        meets = _overlaps(track.boxes_xyxy[_LAG:], other.boxes_xyxy[:-_LAG])
        met = _overlaps(track.boxes_xyxy[:-_LAG], other.boxes_xyxy[_LAG:])
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
