"""What became of each object over a whole video: seen, lost, doubtful, and in which frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

DEFAULT_MIN_SCORE: Final = 0.5
"""Below this score a mask is doubtful."""

MAX_RANGES: Final = 1000
"""Most ranges of frames that are kept for an object; what follows is counted only."""

_MAX_RANGES_IN_WORDS: Final = 8


class ObjectTallies:
    """Counts while frames pass by; memory does not grow with them."""

    def __init__(self, min_score: float = DEFAULT_MIN_SCORE) -> None:
        """Begin before the first frame.

        Args:
            min_score: An object that is present with a lower score is doubtful.
        """
        self._min_score = min_score
        self._num_frames = 0
        self._objects: dict[int, _Tally] = {}

    def add(self, index: int, objects: Iterable[Mapping[str, Any]]) -> None:
        """Take notice of a frame.

        Args:
            index: ``Frame.index``.
            objects: ``id``, ``present`` and ``score`` of every object.
        """
        self._num_frames += 1
        for each in objects:
            tally = self._objects.setdefault(each["id"], _Tally())
            is_present = bool(each["present"])
            if is_present and tally.first_index is None:
                tally.first_index = index
            tally.num_present += is_present
            tally.lost.add(index, tally.first_index is not None and not is_present)
            tally.doubtful.add(index, is_present and each["score"] < self._min_score)

    def rows(self) -> list[dict[str, object]]:
        """Give what is known so far, as JSON values, one row per object.

        A row has ``id``, ``num_frames`` (of the video), ``num_present``, ``first_index`` (of the
        first frame that shows the object, or null), ``num_lost`` and ``lost`` (frames without it
        after the first one with it), ``num_doubtful`` and ``doubtful``. Ranges are ``[first,
        last]``, by ``Frame.index``; at most ``MAX_RANGES`` of them.
        """
        return [
            {
                "id": object_id,
                "num_frames": self._num_frames,
                "num_present": tally.num_present,
                "first_index": tally.first_index,
                "num_lost": tally.lost.num_frames,
                "lost": [list(each) for each in tally.lost.ranges],
                "num_doubtful": tally.doubtful.num_frames,
                "doubtful": [list(each) for each in tally.doubtful.ranges],
            }
            for object_id, tally in sorted(self._objects.items())
        ]


def report_objects(
    rows: Iterable[Mapping[str, Any]], names: Mapping[int, str] = MappingProxyType({})
) -> list[str]:
    """Say in a line per object what became of it.

    Args:
        rows: From :meth:`ObjectTallies.rows`, or ``tallies`` of a summary.
        names: What to call objects, by id.

    Returns:
        Lines such as ``object 2: in 280 of 289 frames, lost 76-84, doubtful 85-288``, with the
        numbers that frames have in the source.
    """
    lines = []
    for row in rows:
        parts = [f"in {row['num_present'] or 'none'} of {row['num_frames']} frames"]
        num_before = row["num_frames"] - row["num_present"] - row["num_lost"]
        if num_before and row["num_present"]:
            parts.append(f"first in frame {row['first_index']}")
        parts += [
            f"{what} {_in_words(row[what], row[f'num_{what}'])}"
            for what in ("lost", "doubtful")
            if row[what]
        ]
        name = f" ({names[row['id']]})" if row["id"] in names else ""
        lines.append(f"object {row['id']}{name}: {', '.join(parts)}")
    return lines


def unsure_from_the_start(rows: Iterable[Mapping[str, Any]]) -> list[int]:
    """Give the ids of objects that are lost or doubtful in every frame after their first one.

    Then the reference is likely wrong: of another frame, of another shape, or of too few pixels.

    Args:
        rows: From :meth:`ObjectTallies.rows`.
    """
    ids = []
    for row in rows:
        # The reference itself is doubtful if it was made from a hint that says little.
        first_doubtful = row["doubtful"][0][0] if row["doubtful"] else None
        num_unsure = row["num_lost"] + row["num_doubtful"] - (first_doubtful == row["first_index"])
        if 0 < num_unsure == row["num_present"] + row["num_lost"] - 1:
            ids.append(row["id"])
    return ids


def _in_words(ranges: Sequence[Sequence[int]], num_frames: int) -> str:
    first = [f"{a}-{b}" if a < b else f"{a}" for a, b in ranges[:_MAX_RANGES_IN_WORDS]]
    more = f" and more, {num_frames} frames in all" if len(ranges) > len(first) else ""
    return ", ".join(first) + more


@dataclass(slots=True)
class _Ranges:
    """Frames, as ranges of those that follow one another."""

    num_frames: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    is_open: bool = False

    def add(self, index: int, is_in: bool) -> None:
        was_open, self.is_open = self.is_open, False
        if not is_in:
            return
        self.num_frames += 1
        if was_open:
            self.ranges[-1] = (self.ranges[-1][0], index)
        elif len(self.ranges) < MAX_RANGES:
            self.ranges.append((index, index))
        else:
            return
        self.is_open = True


@dataclass(slots=True)
class _Tally:
    num_present: int = 0
    first_index: int | None = None
    lost: _Ranges = field(default_factory=_Ranges)
    doubtful: _Ranges = field(default_factory=_Ranges)
