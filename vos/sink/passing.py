"""What all sinks share: they hand every frame and its masks on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vos.errors import OutputError
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


def unfinished_name(path: Path) -> Path:
    """Name a file while it is being written, and make its folder.

    Raises:
        OutputError: the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    return path.with_name(f".{path.name}.part")


def discard(unfinished: Path) -> None:
    """Remove a file that could not be finished; what cannot be removed stays."""
    with suppress(OSError):
        unfinished.unlink()
