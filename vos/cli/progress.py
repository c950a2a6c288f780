"""How far a command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tqdm import tqdm

    from vos.run.passes import JobProgress

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Shows how many frames are done; a context manager.

    Args:
        quiet: Whether nothing is shown.
        unit: What to call a frame.
    """

    def __init__(self, *, quiet: bool, unit: str = "frame") -> None:
        self._is_terminal = sys.stderr.isatty()
        self._quiet = quiet
        self._unit = unit
        self._bar: tqdm[object] | None = None
        self._started = self._last_line = time.monotonic()
        self._num_before: int | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, num_done: int, num_frames: int | None) -> None:
        """Say how many frames of about how many are done."""
        if self._quiet:
            return
        if self._is_terminal:
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=num_frames, unit=self._unit, leave=False)
            self._bar.update(num_done - self._bar.n)
            return
        now = time.monotonic()
        if self._num_before is None:
            self._num_before = num_done - 1
        if now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            of = f" of about {num_frames}" if num_frames else ""
            rate = (num_done - self._num_before) / (now - self._started)
            click.echo(f"{num_done}{of} {self._unit}s, {rate:.2f} per second")

    def show_job(self, done: JobProgress) -> None:
        """Say how far a job is."""
        self.show(done.num_done, done.num_frames)


def show_pictures(
    results: Generator[object, None, None],
    num_pictures: int,
    written: Sequence[Path],
    *,
    quiet: bool,
) -> None:
    """Pull all pictures through, and say how far that is and where their results are."""
    started = time.monotonic()
    num_done = 0
    with Progress(quiet=quiet, unit="picture") as progress, closing(results):
        for num_done, _ in enumerate(results, start=1):
            progress.show(num_done, num_pictures)
    seconds = time.monotonic() - started
    click.echo(f"{speed(num_done, 0, seconds, 'picture')}: {', '.join(map(str, written))}")


def speed(num_done: int, num_before: int, seconds: float, unit: str = "frame") -> str:
    """Say what was done, and how fast."""
    before = f" after {num_before} before" if num_before else ""
    rate = num_done / max(seconds, 1e-9)
    return f"{num_done} {unit}s{before} in {seconds:.1f} s ({rate:.2f} per second)"
