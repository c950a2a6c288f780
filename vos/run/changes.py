"""What a changed job touches of its earlier results: whom to track again, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vos.records import Labels
from vos.run.made_from import MadeFrom
from vos.segment.plan import END, Gap, Plan, Span, Window, merged, trusting


@dataclass(frozen=True, slots=True, kw_only=True)
class Redo:
    """A gap that is tracked again, or one side of it.

    Attributes:
        gap: The gap.
        is_forwards: Whether what is tracked forwards is.
        is_backwards: Whether what is tracked backwards is.
    """

    gap: Gap
    is_forwards: bool
    is_backwards: bool

    @property
    def sides(self) -> Gap:
        """The gap with the sides alone that are tracked again."""
        return replace(
            self.gap,
            before=self.gap.before if self.is_forwards else None,
            after=self.gap.after if self.is_backwards else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """What an update does to results.

    Attributes:
        redos: What is tracked again.
        given: Frames in which references give other masks than before, by object id.
        cleared: Where objects had masks and have none any more, by object id.
        added: Frames that the results lack so far.
        made_from: What the results are made from when it is done.
    """

    redos: tuple[Redo, ...]
    given: Mapping[int, list[Span]]
    cleared: Mapping[int, list[Span]]
    added: list[Span]
    made_from: MadeFrom

    @property
    def is_nothing(self) -> bool:
        """Whether no mask changes."""
        return not (self.redos or self.given or self.cleared or self.added)

    @property
    def changed(self) -> dict[int, list[Span]]:
        """Where masks of objects are made anew or removed, by object id."""
        spans: dict[int, list[Span]] = defaultdict(list)
        for source in (self.given, self.cleared):
            for object_id, of_object in source.items():
                spans[object_id] += of_object
        for redo in self.redos:
            for stretch in (redo.sides.forwards, redo.sides.backwards):
                if stretch is not None:
                    last = END if stretch.last is None else stretch.last
                    spans[stretch.object_id].append((stretch.first, last))
        return {object_id: merged(of_object) for object_id, of_object in sorted(spans.items())}

    @property
    def spans(self) -> list[Span]:
        """All frames that are written again."""
        return merged([*self.added, *(span for spans in self.changed.values() for span in spans)])

    def plan(self, references: Mapping[int, Labels]) -> Plan:
        """Plan the passes that it takes.

        Args:
            references: (H, W) label maps of the changed job by ``Frame.index``.
        """
        ids = sorted({redo.gap.object_id for redo in self.redos} | self.given.keys())
        shown = {
            index: np.where(np.isin(labels, ids), labels, np.uint8(0))
            for index, labels in references.items()
        }
        shown = {index: labels for index, labels in shown.items() if labels.any()}
        return Plan.of((redo.sides for redo in self.redos), shown)

    def trusting(self, doubts: Iterable[tuple[int, int]], old: MadeFrom) -> Change:
        """Let the sides forwards go on to where the sides backwards were first in doubt.

        Args:
            doubts: As in :func:`vos.segment.plan.trusting`.
            old: What the results are made from so far: what goes on there already is kept.
        """
        redos = []
        moved = {}
        for redo, gap in zip(
            self.redos, trusting([r.gap for r in self.redos], doubts), strict=True
        ):
            if redo.is_backwards:
                moved[redo.gap] = gap
                is_kept = not redo.is_forwards and _has_forwards(old, gap)
                redo = replace(redo, gap=gap, is_forwards=not is_kept)
            redos.append(redo)
        gaps = tuple(moved.get(gap, gap) for gap in self.made_from.gaps)
        return replace(self, redos=tuple(redos), made_from=replace(self.made_from, gaps=gaps))

    def in_words(self) -> list[str]:
        """Say what is done, a line for each object."""
        redone = {redo.gap.object_id for redo in self.redos} | self.given.keys()
        lines = [
            f"object {object_id} is {'tracked again' if object_id in redone else 'removed'} in "
            f"frames {', '.join(map(_in_words, spans))}"
            for object_id, spans in self.changed.items()
        ]
        if self.added:
            lines.append(f"frames {', '.join(map(_in_words, self.added))} are new")
        return lines


def find_change(new: Plan, window: Window, old: MadeFrom) -> Change:
    """Find what of results a changed job touches.

    What was tracked from the same reference is kept, also where a gap ends elsewhere now. So is
    everything outside of the window.

    Args:
        new: The plan of the changed job.
        window: Its wanted frames.
        old: What the results are made from.
    """
    wanted = MadeFrom.of(new, [window])
    redos, gaps = [], []
    for gap in wanted.gaps:
        same = [each for each in old.gaps if _is_same(each, gap)]
        gaps.append(same[0] if same else gap)
        if not same:
            redo = Redo(
                gap=gap,
                is_forwards=gap.forwards is not None and not _has_forwards(old, gap),
                is_backwards=gap.backwards is not None and not _has_backwards(old, gap),
            )
            if redo.is_forwards or redo.is_backwards:
                redos.append(redo)
    given: dict[int, list[Span]] = defaultdict(list)
    for (index, object_id), mask_sha256 in wanted.given.items():
        if old.given.get((index, object_id)) != mask_sha256:
            given[object_id].append((index, index))
    around = window.first, window.last
    has, had = _coverage(wanted), _coverage(old)
    cleared = {
        object_id: gone
        for object_id, spans in sorted(had.items())
        if (gone := list(_within(_without(spans, has.get(object_id, [])), around)))
    }
    left = [gap for each in old.gaps for gap in _outside(each, around)]
    given_left = {key: value for key, value in old.given.items() if not _holds(around, key[0])}
    made_from = MadeFrom(
        spans=tuple(merged([*old.spans, around])),
        given={**given_left, **wanted.given},
        gaps=(*gaps, *left),
    )
    return Change(
        redos=tuple(redos),
        given=dict(given),
        cleared=cleared,
        added=list(_without([around], list(old.spans))),
        made_from=made_from,
    )


def _is_same(old: Gap, new: Gap) -> bool:
    """Tell whether two gaps are tracked from the same references."""
    return replace(old, last_forwards=0) == replace(new, last_forwards=0)


def _has_forwards(old: MadeFrom, gap: Gap) -> bool:
    """Tell whether all that is tracked forwards in a gap is there already."""
    return any(
        (each.object_id, each.first, each.before) == (gap.object_id, gap.first, gap.before)
        and each.last_forwards >= gap.last_forwards
        for each in old.gaps
    )


def _has_backwards(old: MadeFrom, gap: Gap) -> bool:
    return any(
        (each.object_id, each.last, each.after) == (gap.object_id, gap.last, gap.after)
        and each.last_forwards <= gap.last_forwards
        for each in old.gaps
    )


def _coverage(made_from: MadeFrom) -> dict[int, list[Span]]:
    """Give the frames in which each object may have a mask."""
    spans: dict[int, list[Span]] = defaultdict(list)
    for gap in made_from.gaps:
        spans[gap.object_id].append((gap.first, gap.last))
    for index, object_id in made_from.given:
        spans[object_id].append((index, index))
    return {object_id: merged(of_object) for object_id, of_object in spans.items()}


def _outside(gap: Gap, span: Span) -> Iterator[Gap]:
    """Give what of a gap lies before and after a span."""
    for first, last in _without([(gap.first, gap.last)], [span]):
        last_forwards = max(first - 1, min(gap.last_forwards, last))
        yield replace(gap, first=first, last=last, last_forwards=last_forwards)


def _without(spans: Iterable[Span], others: Iterable[Span]) -> Iterator[Span]:
    """Cut ascending spans out of others."""
    others = list(others)
    for first, last in spans:
        for low, high in others:
            if high < first or low > last:
                continue
            if first < low:
                yield first, low - 1
            first = high + 1
        if first <= last:
            yield first, last


def _within(spans: Iterable[Span], around: Span) -> Iterator[Span]:
    for first, last in spans:
        low, high = max(first, around[0]), min(last, around[1])
        if low <= high:
            yield low, high


def _holds(span: Span, index: int) -> bool:
    return span[0] <= index <= span[1]


def _in_words(span: Span) -> str:
    first, last = span
    return (
        f"{first} to the end" if last == END else f"{first}-{last}" if first < last else f"{first}"
    )
