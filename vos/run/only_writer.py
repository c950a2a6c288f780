"""Keeping two runs from writing to one place at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vos.errors import OutputError


@contextmanager
def only_writer(lock_path: Path, place: Path) -> Iterator[None]:
    """Be the only run that writes to a place.

    The system gives the lock back when a process ends, however it ends; its file may stay then,
    and does no harm.

    Args:
        lock_path: A file that stands for the place. Its folder is made; it is removed in the end.
        place: What to call the place.

    Raises:
        OutputError: another run is writing there, or the disk refuses.
    """
    # A generator may be closed in another thread than it was begun in.
    lock = FileLock(lock_path, thread_local=False)
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"another run is writing to {place}; wait until it has ended, or choose another "
            "output folder or name"
        ) from error
    except OSError as error:
        raise OutputError(f"cannot write to {place}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            lock_path.unlink()
        lock.release()
