"""Which pass tracks which object where.

An object's references and absences cut the video into gaps. A gap between two references is tracked
from both of them, forwards up to its middle and backwards after it; a gap with one reference beside
it from that one. Where none is beside it, because an absence or the end of what is wanted lies
between, the object starts there as one that was lost.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vos.errors import InputError
from vos.masks import object_ids
from vos.records import Labels
from vos.track.passes import LOST_FOR_LONG, Pass, Stretch

Span = tuple[int, int]
"""First and last ``Frame.index``, both included."""

_END: Final = 1 << 62  # after any frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The frames of which masks are wanted.

    Attributes:
        first: ``Frame.index`` of the first one.
        last: No frame after this index is one of them; None is the end of the video.
        every: Of the frames between, every which one is used.
    """

    first: int
    last: int | None = None
    every: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """The passes through a video.

    Attributes:
        forwards: Comes second, through all wanted frames.
        backwards: Comes first, through those that are seen from a later reference only.
    """

    forwards: Pass
    backwards: Pass

    @property
    def spans_backwards(self) -> list[Span]:
        """Frames of the pass backwards, without overlap, ascending."""
        return merged((each.first, each.last or 0) for each in self.backwards.stretches)


def all_ids(references: Iterable[Labels]) -> tuple[int, ...]:
    """Give the ids of all objects in label maps, ascending."""
    return tuple(sorted({each for labels in references for each in object_ids(labels)}))


def check_absences(
    references: Mapping[int, Labels], absences: Mapping[int, Sequence[Span]]
) -> None:
    """Make sure that no reference shows an object where it is said to be absent.

    Raises:
        InputError: one does, or no reference shows an object that is said to be absent.
    """
    ids = all_ids(references.values())
    for object_id, spans in absences.items():
        if object_id not in ids:
            raise InputError(f"object {object_id} cannot be absent: no reference shows it")
        for index in _indices_of(object_id, references):
            for first, last in spans:
                if first <= index <= last:
                    raise InputError(
                        f"a reference shows object {object_id} in frame {index}, where it is said "
                        f"to be absent ({first} to {last})"
                    )


def plan_both_ways(
    references: Mapping[int, Labels], absences: Mapping[int, Sequence[Span]], window: Window
) -> Plan:
    """Plan the passes where every reference is known from the beginning.

    Args:
        references: (H, W) label maps by ``Frame.index``, of frames used.
        absences: Where objects are not, by id.
        window: The wanted frames.
    """
    forwards: list[Stretch] = []
    backwards: list[Stretch] = []
    for object_id in all_ids(references.values()):
        line = _Line.of(object_id, references, absences, window)
        for gap in line.gaps(around_references=True):
            before, after = line.before(gap[0]), line.after(gap[1])
            last_forwards = _last_forwards(gap, before, after)
            if before is not None and gap[0] <= last_forwards:
                forwards.append(line.stretch((gap[0], last_forwards), before))
            if after is not None and last_forwards < gap[1]:
                backwards.append(line.stretch((last_forwards + 1, gap[1]), after))
    return Plan(
        forwards=Pass(references=references, stretches=tuple(forwards)),
        backwards=Pass(references=references, stretches=tuple(backwards), is_backwards=True),
    )


def plan_forwards(
    references: Mapping[int, Labels], absences: Mapping[int, Sequence[Span]], window: Window
) -> Plan:
    """Plan the one pass where every reference is learned when its frame comes.

    Args:
        references: As in :func:`plan_both_ways`; those before the window are known at its start.
        absences: As there.
        window: As there.
    """
    stretches: list[Stretch] = []
    for object_id in all_ids(references.values()):
        line = _Line.of(object_id, references, absences, window)
        for first, last in line.gaps(around_references=False):
            begin = max(first, line.indices[0])
            if begin <= last:
                is_learned_there = begin in line.indices
                start = None if is_learned_there else line.before(begin)
                stretches.append(line.stretch((begin, last), start))
    forwards = Pass(references=references, stretches=tuple(stretches), learns=True)
    return Plan(forwards=forwards, backwards=Pass(references={}, stretches=(), is_backwards=True))


def everywhere(references: Mapping[int, Labels], ids: Iterable[int]) -> Pass:
    """Give the pass that learns references when their frames come, and tracks all objects."""
    stretches = tuple(Stretch(object_id=object_id, first=0) for object_id in ids)
    return Pass(references=references, stretches=stretches, learns=True)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Join spans that overlap or touch; ascending."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined


@dataclass(frozen=True, slots=True)
class _Start:
    """From which reference a stretch starts, and for how many frames the object is lost then."""

    reference_index: int
    num_frames_lost: int


@dataclass(frozen=True, slots=True)
class _Line:
    """What is known of one object along the video.

    Attributes:
        object_id: Which object.
        indices: Frames with a reference of it, ascending.
        away: Where it is absent, ascending.
        window: The wanted frames.
    """

    object_id: int
    indices: tuple[int, ...]
    away: list[Span]
    window: Window

    @classmethod
    def of(
        cls,
        object_id: int,
        references: Mapping[int, Labels],
        absences: Mapping[int, Sequence[Span]],
        window: Window,
    ) -> _Line:
        indices = _indices_of(object_id, references)
        return cls(object_id, indices, merged(absences.get(object_id, ())), window)

    def gaps(self, *, around_references: bool) -> Iterator[Span]:
        """Give the wanted frames between absences, and between references too."""
        cuts = [(-1, -1), *self.away, (_END + 1, _END + 1)]
        if around_references:
            cuts = sorted(cuts + [(index, index) for index in self.indices])
        end = _END if self.window.last is None else self.window.last
        for (_, before), (after, _) in pairwise(cuts):
            first, last = max(before + 1, self.window.first), min(after - 1, end)
            if first <= last:
                yield first, last

    def before(self, index: int) -> _Start | None:
        """Say how the object starts forwards in a frame."""
        number = bisect_left(self.indices, index)
        return self._start(self.indices[number - 1], index) if number else None

    def after(self, index: int) -> _Start | None:
        """Say how the object starts backwards in a frame."""
        number = bisect_right(self.indices, index)
        return self._start(self.indices[number], index) if number < len(self.indices) else None

    def _start(self, reference_index: int, index: int) -> _Start:
        low, high = sorted((reference_index, index))
        num_between = -(-(high - low) // self.window.every) - 1
        if any(low < first <= high for first, _ in self.away):
            num_between = LOST_FOR_LONG
        return _Start(reference_index, min(num_between, LOST_FOR_LONG))

    def stretch(self, span: Span, start: _Start | None) -> Stretch:
        first, last = span
        return Stretch(
            object_id=self.object_id,
            first=first,
            last=None if last == _END else last,
            reference_index=None if start is None else start.reference_index,
            num_frames_lost=0 if start is None else start.num_frames_lost,
        )


def _last_forwards(gap: Span, before: _Start | None, after: _Start | None) -> int:
    """Give the last frame of a gap that is tracked forwards; those after it are backwards."""
    first, last = gap
    if before is None:
        return first - 1
    if after is None:
        return last
    if before.num_frames_lost == after.num_frames_lost == 0:
        return (before.reference_index + after.reference_index) // 2
    return last if before.num_frames_lost <= after.num_frames_lost else first - 1


def _indices_of(object_id: int, references: Mapping[int, Labels]) -> tuple[int, ...]:
    """Give the frames with a reference of an object, ascending."""
    return tuple(sorted(i for i, labels in references.items() if (labels == object_id).any()))
