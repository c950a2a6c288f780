"""How far a batch is, in one line for all its workers."""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from vos.batch.outcome import Outcome

_SECONDS_BETWEEN_LINES: Final = 30.0
_SECONDS_BETWEEN_UPDATES: Final = 0.2
_CLEAR_LINE: Final = "\r\x1b[K"


class BatchProgress:
    """One line on a terminal, a line now and then elsewhere; a context manager.

    What failed and what was warned of is printed at once.

    Args:
        num_jobs: How many there are.
        quiet: Whether only failures and warnings are shown.
    """

    def __init__(self, num_jobs: int, *, quiet: bool) -> None:
        self._num_jobs = num_jobs
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty()
        self._counts: Counter[str] = Counter()
        self._num_frames = 0
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> BatchProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_terminal and not self._quiet:
            click.echo(_CLEAR_LINE, err=True, nl=False)

    def add_frames(self, num_frames: int) -> None:
        """Count frames that were done."""
        self._num_frames += num_frames
        self._show()

    def add(self, outcome: Outcome) -> None:
        """Count a job, and say what went wrong with it."""
        self._counts[outcome.state] += 1
        before = _CLEAR_LINE if self._is_terminal and not self._quiet else ""
        for text in outcome.warnings:
            click.echo(f"{before}warning: {outcome.name}: {text}", err=True)
        if outcome.state == "failed":
            click.echo(f"{before}failed: {outcome.name}: {outcome.error}", err=True)
        self._show()

    def line(self) -> str:
        """Say how far all is, how fast it goes, and when it will be done at that pace."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        num_over = self._counts.total()
        worked = num_over - self._counts["skipped"]
        parts = [f"{num_over} of {self._num_jobs} jobs"]
        parts += [
            f"{self._counts[key]} {key}" for key in ("skipped", "failed") if self._counts[key]
        ]
        parts.append(f"{self._num_frames / seconds:.1f} frames per second")
        if worked:
            left = timedelta(seconds=round(seconds / worked * (self._num_jobs - num_over)))
            parts.append(f"{left} left")
        return ", ".join(parts)

    def _show(self) -> None:
        now = time.monotonic()
        between = _SECONDS_BETWEEN_UPDATES if self._is_terminal else _SECONDS_BETWEEN_LINES
        if self._quiet or now - self._shown < between:
            return
        self._shown = now
        if self._is_terminal:
            click.echo(f"{_CLEAR_LINE}{self.line()}", err=True, nl=False)
        else:
            click.echo(self.line())
