"""Keeping two runs from writing the same results at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vos.errors import OutputError
from vos.files import refusals


@contextmanager
def only_writer(lock_path: Path, results: Path) -> Iterator[None]:
    """Be the only run that writes some results.

    The system gives the lock back when a process ends, however it ends; its file may stay then,
    and does no harm.

    Args:
        lock_path: A file that stands for the results. Its folder is made; it is removed in the end.
        results: What to call the results.

    Raises:
        OutputError: another run is writing there, the disk refuses, or the file is not empty and
            so no lock of ours.
    """
    # A generator may be closed in another thread than it was begun in.
    lock = FileLock(lock_path, thread_local=False)
    with refusals(f"write to {results}"):
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        if lock_path.exists() and lock_path.stat().st_size:
            raise OutputError(f"{lock_path} is in the way; move it elsewhere")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"another run is writing to {results}; wait until it has ended, or choose another "
                "output folder or name"
            ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            lock_path.unlink()
        lock.release()
