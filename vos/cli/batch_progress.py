"""How far a batch is, in one line for all its workers."""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import click

from vos.cli.interrupt import stopping_on_interrupt
from vos.cli.progress import speed

if TYPE_CHECKING:
    from vos.batch.engines import Engine
    from vos.batch.outcome import MakeWork, Outcome
    from vos.batch.pending import Pending

_SECONDS_BETWEEN_LINES: Final = 30.0
_SECONDS_BETWEEN_UPDATES: Final = 0.2
_CLEAR_LINE: Final = "\r\x1b[K"


class BatchProgress:
    """One line on a terminal, a line now and then elsewhere; a context manager.

    What failed and what was warned of is printed at once.

    Args:
        num_jobs: How many there are.
        quiet: Whether only failures and warnings are shown.
        unit: What to call a frame.
    """

    def __init__(self, num_jobs: int, *, quiet: bool, unit: str = "frame") -> None:
        self._num_jobs = num_jobs
        self._quiet = quiet
        self._unit = unit
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
        self._clear()

    def add_frames(self, num_frames: int) -> None:
        """Count frames that were done."""
        self._num_frames += num_frames
        self._show()

    def add(self, outcome: Outcome) -> None:
        """Count a job, and say what went wrong with it."""
        self._counts[outcome.state] += 1
        for text in outcome.warnings:
            self.say(f"warning: {outcome.name}: {text}", err=True)
        if outcome.state == "failed":
            self.say(f"failed: {outcome.name}: {outcome.error}", err=True)
        self._show()

    def say(self, text: str, *, err: bool = False) -> None:
        """Print a line above that of the progress."""
        self._clear()
        click.echo(text, err=err)

    def line(self) -> str:
        """Say how far all is, how fast it goes, and when it will be done at that pace."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        num_over = self._counts.total()
        worked = num_over - self._counts["skipped"]
        parts = [f"{num_over} of {self._num_jobs} jobs"]
        parts += [
            f"{self._counts[key]} {key}" for key in ("skipped", "failed") if self._counts[key]
        ]
        parts.append(f"{self._num_frames / seconds:.1f} {self._unit}s per second")
        if worked:
            left = timedelta(seconds=round(seconds / worked * (self._num_jobs - num_over)))
            parts.append(f"{left} left")
        return ", ".join(parts)

    def _clear(self) -> None:
        if self._is_terminal and not self._quiet:
            click.echo(_CLEAR_LINE, err=True, nl=False)

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


def run_set(
    engine: Engine,
    pending: Pending[Any],
    make_work: MakeWork,
    *,
    num_tasks: int,
    quiet: bool,
    when_stopped: str,
    unit: str = "frame",
) -> dict[str, str]:
    """Do the tasks of a data set, and say what became of each.

    Args:
        engine: Does them.
        pending: The tasks.
        make_work: Makes what does one, in each worker.
        num_tasks: How many there are.
        quiet: Whether no progress is shown.
        when_stopped: What to say after Ctrl-C.
        unit: What to call a frame.

    Returns:
        The errors of those that failed, by name.

    Raises:
        click.Abort: Ctrl-C.
    """
    failures = {}
    with (
        stopping_on_interrupt() as stop,
        BatchProgress(num_tasks, quiet=quiet, unit=unit) as progress,
    ):
        for outcome in engine(
            pending, make_work, on_frames=progress.add_frames, should_stop=stop.is_set
        ):
            progress.add(outcome)
            if outcome.state == "failed":
                failures[outcome.name] = outcome.error or "it failed"
                continue
            pace = speed(outcome.num_frames, outcome.num_before, outcome.seconds, unit)
            progress.say(f"{outcome.name}: {'done before' if outcome.state == 'skipped' else pace}")
        if stop.is_set():
            raise click.Abort(when_stopped)
    return failures
