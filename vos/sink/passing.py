"""What all sinks share: they hand every frame and its masks on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vos.files import make_folder
from vos.records import Frame, FrameMasks

Pair = tuple[Frame, FrameMasks]

_NUM_DIGITS: Final = 6  # of scores; finer than they are known


@contextmanager
def closing_upstream(pairs: Iterable[Pair]) -> Iterator[Iterator[Pair]]:
    """Iterate over pairs, and close their generator however the sink ends.

    Sinks are chained; a consumer that stops early closes only the last of them.
    """
    upstream = iter(pairs)
    try:
        yield upstream
    finally:
        close = getattr(upstream, "close", None)
        if close is not None:
            close()


def written_into(
    folder: Path, pairs: Iterable[Pair], write: Callable[[Frame, FrameMasks], None]
) -> Iterator[Pair]:
    """Write something of every frame into a folder, while frames pass by.

    Args:
        folder: Made when the first frame arrives, and not again should it vanish.
        pairs: Frames and their masks.
        write: Writes the files of one frame.

    Yields:
        The same pairs, each after its files are complete.

    Raises:
        OutputError: the disk refuses.
    """
    is_first = True
    with closing_upstream(pairs) as upstream:
        for frame, masks in upstream:
            if is_first:
                make_folder(folder)
            is_first = False
            write(frame, masks)
            yield frame, masks


def rounded_scores(masks: FrameMasks) -> dict[int, float]:
    """Give the scores by object id as they are written, so that they come back as they went."""
    scores = (round(score, _NUM_DIGITS) for score in masks.scores.tolist())
    return dict(zip(masks.object_ids, scores, strict=True))
