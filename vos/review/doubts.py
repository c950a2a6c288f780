"""Stretches of frames whose masks are likely wrong, worst first, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError
from vos.review.risk import Signs, risks_of, signs_of, tracks_of
from vos.run.read_results import Results

MIN_RISK: Final = 0.15
"""Frames of a lower risk are listed only where something sudden happens."""

_MAX_GAP: Final = 5  # frames between two of one stretch
_RESCALED: Final = np.log(1.8)  # from which on a change of area is sudden,
_JUMPED: Final = 0.6  # and a step,
_CONTESTED: Final = 0.4  # and what another object took or gave


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A stretch of frames in which the mask of one object is likely wrong.

    Attributes:
        object_id: The object.
        object_name: What it is called.
        first_index: ``Frame.index`` of the stretch's first frame,
        last_index: and of its last.
        worst: Position in ``results.frames`` of the frame of the highest risk.
        frame_index: ``Frame.index`` of that frame.
        pts_seconds: Its time.
        score: The expected IoU there, in [0, 1].
        risk: How likely it is that the IoU with the truth is below one half there, in [0, 1].
        reason: What speaks against the mask, in words.
    """

    object_id: int
    object_name: str
    first_index: int
    last_index: int
    worst: int
    frame_index: int
    pts_seconds: float
    score: float
    risk: float
    reason: str


def find_doubtful(results: Results, *, min_risk: float = MIN_RISK) -> tuple[Doubt, ...]:
    """Find the frames that are likely wrong, from the summary alone.

    Args:
        results: From :func:`vos.read_results`.
        min_risk: Frames of a lower risk are listed only if the object is lost or just found again
            there, changes its area or position suddenly, or has it contested by another one.

    Returns:
        One for each stretch of frames and object, the one of the highest risk first. Where the job
        says that an object is absent, there is none.

    Raises:
        InputError: the results are of pictures, which do not follow one another.
    """
    if results.pictures:
        raise InputError(
            f"{results.folder} has results of pictures, which do not follow one another as a "
            "video's frames do; their scores are in the summary"
        )
    doubts: list[Doubt] = []
    tracks = tracks_of(results)
    for column, object_id in enumerate(results.object_ids if tracks else ()):
        signs = signs_of(tracks, column)
        risks = risks_of(signs)
        is_listed = (risks >= min_risk) | _is_sudden(signs)
        is_listed[_absences(results, object_id)] = False
        for first, last in _stretches(np.flatnonzero(is_listed)):
            worst = first + int(risks[first : last + 1].argmax())
            frame = results.frames[worst]
            doubts.append(
                Doubt(
                    object_id=object_id,
                    object_name=results.names[object_id],
                    first_index=results.frames[first].index,
                    last_index=results.frames[last].index,
                    worst=worst,
                    frame_index=frame.index,
                    pts_seconds=frame.pts_seconds,
                    score=float(frame.scores[column]),
                    risk=float(risks[worst]),
                    reason=_reason(signs, worst, results, column),
                )
            )
    return tuple(sorted(doubts, key=lambda each: (-each.risk, each.frame_index)))


def _absences(results: Results, object_id: int) -> list[int]:
    """Give the positions of the frames in which the job says that an object is absent."""
    absences = () if results.job is None else results.job.absences
    spans = [(each.first, each.last) for each in absences if each.object_id == object_id]
    return [
        number
        for number, frame in enumerate(results.frames if spans else ())
        for first, last in spans
        if first <= (frame.index if isinstance(first, int) else frame.pts_seconds)
        and (frame.index if isinstance(last, int) else frame.pts_seconds) <= last
    ]


def _is_sudden(signs: Signs) -> NDArray[np.bool_]:
    """Tell in which of the (N,) frames something happens that is worth a look whatever the score.

    Of a return, it is the first frame.
    """
    is_back = np.diff(signs.num_lost_before, prepend=0) > 0
    is_rescaled = np.abs(np.log(signs.area_ratio)) > _RESCALED
    sudden: NDArray[np.bool_] = (
        (signs.num_lost > 0)
        | is_back
        | is_rescaled
        | (signs.step > _JUMPED)
        | (signs.contested > _CONTESTED)
    )
    return sudden


def _stretches(numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Give the first and last of numbers that are close to each other."""
    if len(numbers):
        breaks = np.flatnonzero(np.diff(numbers) > _MAX_GAP + 1) + 1
        for group in np.split(numbers, breaks):
            yield int(group[0]), int(group[-1])


def _reason(signs: Signs, number: int, results: Results, column: int) -> str:
    """Say what speaks against a mask; the expected IoU where nothing else does."""
    if signs.num_lost[number]:
        return f"lost for {_frames(signs.num_lost[number])}"
    reasons = []
    if signs.num_lost_before[number]:
        reasons.append(f"found again after {_frames(signs.num_lost_before[number])}")
    ratio = signs.area_ratio[number]
    if abs(np.log(ratio)) > _RESCALED:
        reasons.append(f"area {ratio:.2g} times that of the frames around")
    if signs.step[number] > _JUMPED:
        reasons.append(f"jumped by {signs.step[number]:.1f} times its size")
    if signs.contested[number] > _CONTESTED:
        other = results.names[results.object_ids[signs.rival[number]]]
        reasons.append(f"{other} claims the same pixels")
    score = results.frames[number].scores[column]
    return "; ".join([*reasons, f"expected IoU {score:.2f}"])


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count > 1 else ''}"
