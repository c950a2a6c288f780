"""The pass backwards: its frames, its results on the disk, and their way into the pass forwards.

It is written as any run is, into a folder beside what the unfinished run keeps: label maps and a
summary, from the last frame to the first, which the pass forwards then looks up.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain

from vos.errors import SourceError
from vos.records import Frame
from vos.run.outputs import Outputs
from vos.run.resume import Mark
from vos.segment.forward import Step
from vos.segment.plan import Span, Window
from vos.sink.summary import Entries
from vos.source import Selection, open_backwards
from vos.track.masks import join, only
from vos.track.passes import Pass


def spans_of_frames(spans: list[Span], window: Window) -> list[Span]:
    """Move the ends of spans to frames that are used; spans without one are left out."""
    every = window.every
    moved = []
    for first, last in spans:
        begin = window.first - (window.first - first) // every * every
        end = window.first + (last - window.first) // every * every
        if begin <= end:
            moved.append((begin, end))
    return moved


def read_backwards(
    path: str, selection: Selection, spans: list[Span]
) -> Generator[Frame, None, None]:
    """Read the frames of spans from the last to the first.

    Args:
        path: A source that can be read again.
        selection: The frames used.
        spans: Ascending, each from one used frame to another.

    Raises:
        SourceError: as :func:`vos.source.open_backwards`.
    """
    for first, last in reversed(spans):
        with open_backwards(path, replace(selection, start=first, end=last + 1)) as frames:
            yield from frames


@contextmanager
def open_backwards_again(
    path: str, selection: Selection, spans: list[Span], mark: Mark
) -> Iterator[Iterator[Frame]]:
    """Open spans at a frame that an earlier run marked.

    Yields:
        Their frames from the marked one on, backwards.

    Raises:
        SourceError: the source has changed.
    """
    left = [(first, min(last, mark.index)) for first, last in spans if first <= mark.index]
    with closing(read_backwards(path, selection, left)) as frames:
        first = next(frames, None)
        if first is None or Mark.of(mark.number, first) != mark:
            raise SourceError(
                f"{path} has changed: frame {mark.index} is not what it was; "
                "pass --overwrite to start again"
            )
        yield chain([first], frames)


def with_spooled(
    steps: Generator[Step, None, None], spool: Outputs, wanted: Pass
) -> Generator[Step, None, None]:
    """Add what the pass backwards found to the masks of the pass forwards.

    Args:
        steps: The pass forwards.
        spool: What the pass backwards wrote.
        wanted: What of it counts.

    Raises:
        OutputError: the results of the pass backwards cannot be read.
        VosError: as ``steps``.
    """
    with closing(steps), Entries(spool.summary_path) as entries:
        for step in steps:
            entry = entries.of(step.frame.index)
            if entry is not None:
                found = only(spool.read_masks(entry), wanted.tracked(step.frame.index))
                step = replace(step, masks=join(step.masks, found))
            yield step
