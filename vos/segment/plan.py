"""Which pass tracks which object where, and what the masks are made from.

An object's references and absences cut the video into gaps. A gap between two references is tracked
from both of them, forwards up to its middle and backwards after it; a gap with one reference beside
it from that one. Where none is beside it, because an absence or the end of what is wanted lies
between, the object starts there as one that was lost.

The pass backwards comes first. From its first doubtful mask on it is not trusted any more, and the
pass forwards goes on up to there: of the two sides of a gap, the nearer one may have lost the
object (docs/tracking.md).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from vos.errors import InputError
from vos.masks import object_ids
from vos.records import Labels
from vos.track.passes import LOST_FOR_LONG, Pass, Stretch

Span = tuple[int, int]
"""First and last ``Frame.index``, both included."""

END: Final = 1 << 62
"""An index after that of any frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The frames of which masks are wanted.

    Attributes:
        first: ``Frame.index`` of the first one.
        last: No frame after this index is one of them; ``END`` is the end of the video.
        every: Of the frames between, every which one is used.
    """

    first: int
    last: int = END
    every: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A reference from which an object is tracked through a gap.

    Attributes:
        index: ``Frame.index`` of the reference.
        mask_sha256: Hash of the object's mask in it.
        num_frames_lost: For how many frames the object counts as lost when it starts: 0 next to
            the reference.
    """

    index: int
    mask_sha256: str
    num_frames_lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Wanted frames of one object between its references, absences and the ends.

    Attributes:
        object_id: 1 to 254.
        first: Lowest ``Frame.index``.
        last: Highest one, or ``END``.
        last_forwards: The last one that is tracked forwards, those after it are backwards; one
            before the first where all are.
        before: Where it is tracked from forwards.
        after: Where it is tracked from backwards.
    """

    object_id: int
    first: int
    last: int
    last_forwards: int
    before: Anchor | None
    after: Anchor | None

    @property
    def is_between_references(self) -> bool:
        """Whether there is a reference next to either end."""
        return all(each and not each.num_frames_lost for each in (self.before, self.after))

    @property
    def forwards(self) -> Stretch | None:
        """What of it is tracked forwards."""
        return self._stretch(self.before, self.first, self.last_forwards)

    @property
    def backwards(self) -> Stretch | None:
        """What of it is tracked backwards."""
        return self._stretch(self.after, max(self.first, self.last_forwards + 1), self.last)

    def _stretch(self, anchor: Anchor | None, first: int, last: int) -> Stretch | None:
        if anchor is None or first > last:
            return None
        return Stretch(
            object_id=self.object_id,
            first=first,
            last=None if last == END else last,
            reference_index=anchor.index,
            num_frames_lost=anchor.num_frames_lost,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """The passes through a video.

    Attributes:
        gaps: What the masks are made from, beside the references in their own frames.
        forwards: Comes second, through all wanted frames.
        backwards: Comes first, through those that are seen from a later reference only.
    """

    gaps: tuple[Gap, ...]
    forwards: Pass
    backwards: Pass

    @classmethod
    def of(cls, gaps: Iterable[Gap], references: Mapping[int, Labels]) -> Plan:
        """Plan the passes through gaps, with references that are known from the beginning."""
        gaps = tuple(gaps)
        forwards = tuple(each.forwards for each in gaps if each.forwards is not None)
        backwards = tuple(each.backwards for each in gaps if each.backwards is not None)
        return cls(
            gaps=gaps,
            forwards=Pass(references=references, stretches=forwards),
            backwards=Pass(references=references, stretches=backwards, is_backwards=True),
        )

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
        for index in sorted(references):
            for first, last in spans:
                if first <= index <= last and (references[index] == object_id).any():
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
    gaps = []
    for line in _lines(references, absences, window):
        for first, last in line.gaps():
            before, after = line.before(first), line.after(last)
            last_forwards = _last_forwards((first, last), before, after)
            gaps.append(
                Gap(
                    object_id=line.object_id,
                    first=first,
                    last=last,
                    last_forwards=last_forwards,
                    before=before if first <= last_forwards else None,
                    after=after if last_forwards < last else None,
                )
            )
    return Plan.of(gaps, references)


def plan_forwards(
    references: Mapping[int, Labels], absences: Mapping[int, Sequence[Span]], window: Window
) -> Plan:
    """Plan the one pass where every reference is learned when its frame comes.

    Args:
        references: As in :func:`plan_both_ways`; those before the window are known at its start.
        absences: As there.
        window: As there.
    """
    gaps = []
    stretches: list[Stretch] = []
    for line in _lines(references, absences, window):
        for first, last in line.gaps():
            before = line.before(first)
            if before is not None:
                gap = Gap(
                    object_id=line.object_id,
                    first=first,
                    last=last,
                    last_forwards=last,
                    before=before,
                    after=None,
                )
                gaps.append(gap)
        for first, last in line.gaps(are_cut_by_references=False):
            begin = max(first, line.indices[0])
            if begin <= last:
                start = None if begin in line.indices else line.before(begin)
                stretches.append(
                    Stretch(
                        object_id=line.object_id,
                        first=begin,
                        last=None if last == END else last,
                        reference_index=None if start is None else start.index,
                        num_frames_lost=0 if start is None else start.num_frames_lost,
                    )
                )
    return Plan(
        gaps=tuple(gaps),
        forwards=Pass(references=references, stretches=tuple(stretches), learns=True),
        backwards=Pass(references={}, stretches=(), is_backwards=True),
    )


def everywhere(references: Mapping[int, Labels], ids: Iterable[int]) -> Pass:
    """Give the pass that learns references when their frames come, and tracks all objects."""
    stretches = tuple(Stretch(object_id=object_id, first=0) for object_id in ids)
    return Pass(references=references, stretches=stretches, learns=True)


def trusting(gaps: Iterable[Gap], doubts: Iterable[tuple[int, int]]) -> list[Gap]:
    """Move the meeting points of both sides to where the sides backwards were first in doubt.

    Args:
        gaps: As planned.
        doubts: Objects and frames in which their masks from the pass backwards are doubtful, or
            lost.
    """
    settled = list(gaps)
    numbers = defaultdict(list)
    for number, gap in enumerate(settled):
        if gap.is_between_references:
            numbers[gap.object_id].append(number)
    for object_id, index in doubts:
        for number in numbers[object_id]:
            gap = settled[number]
            if gap.last_forwards < index <= gap.last:
                settled[number] = replace(gap, last_forwards=index)
    return settled


def merged(spans: Iterable[Span], step: int = 1) -> list[Span]:
    """Join spans that overlap, or of which one begins a step after the other; ascending."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + step:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined


def mask_hash(labels: Labels, object_id: int) -> str:
    """Tell one object's mask in a label map from others."""
    mask = np.packbits(labels == object_id)
    return hashlib.sha256(f"{labels.shape} ".encode() + mask.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Line:
    """What is known of one object along the video.

    Attributes:
        object_id: Which object.
        indices: Frames with a reference of it, ascending.
        hashes: Of its masks there.
        away: Where it is absent, ascending.
        window: The wanted frames.
    """

    object_id: int
    indices: list[int]
    hashes: list[str]
    away: list[Span]
    window: Window

    def gaps(self, *, are_cut_by_references: bool = True) -> Iterator[Span]:
        """Give the wanted frames between absences, and between references too."""
        cuts = [(-1, -1), *self.away, (END + 1, END + 1)]
        if are_cut_by_references:
            cuts = sorted(cuts + [(index, index) for index in self.indices])
        for (_, before), (after, _) in pairwise(cuts):
            first, last = max(before + 1, self.window.first), min(after - 1, self.window.last)
            if first <= last:
                yield first, last

    def before(self, index: int) -> Anchor | None:
        """Say how the object starts forwards in a frame."""
        number = bisect_left(self.indices, index)
        return self._anchor(number - 1, index) if number else None

    def after(self, index: int) -> Anchor | None:
        """Say how the object starts backwards in a frame."""
        number = bisect_right(self.indices, index)
        return self._anchor(number, index) if number < len(self.indices) else None

    def _anchor(self, number: int, index: int) -> Anchor:
        low, high = sorted((self.indices[number], index))
        num_between = -(-(high - low) // self.window.every) - 1
        if any(low < first <= high for first, _ in self.away):
            num_between = LOST_FOR_LONG
        return Anchor(
            index=self.indices[number],
            mask_sha256=self.hashes[number],
            num_frames_lost=min(num_between, LOST_FOR_LONG),
        )


def _lines(
    references: Mapping[int, Labels], absences: Mapping[int, Sequence[Span]], window: Window
) -> Iterator[_Line]:
    for object_id in all_ids(references.values()):
        indices = [i for i in sorted(references) if (references[i] == object_id).any()]
        hashes = [mask_hash(references[i], object_id) for i in indices]
        yield _Line(object_id, indices, hashes, merged(absences.get(object_id, ())), window)


def _last_forwards(gap: Span, before: Anchor | None, after: Anchor | None) -> int:
    """Give the last frame of a gap that is tracked forwards."""
    first, last = gap
    if before is None:
        return first - 1
    if after is None:
        return last
    if before.num_frames_lost == after.num_frames_lost == 0:
        return (before.index + after.index) // 2
    return last if before.num_frames_lost <= after.num_frames_lost else first - 1
