"""What all sinks share: they hand every frame and its masks on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vos.records import Frame, FrameMasks

Pair = tuple[Frame, FrameMasks]


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
