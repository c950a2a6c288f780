"""What engines know of tasks: their names, who does them, and what became of them.

Nothing heavy is loaded here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol


class Named(Protocol):
    """What an engine must know of a task; it is pickled on its way to a worker."""

    @property
    def name(self) -> str:
        """Tells it from all others of the batch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a task.

    Attributes:
        name: The task's.
        state: ``done`` by this run; ``skipped``, for nothing was to be done; ``failed``;
            ``stopped`` before its end, with its state saved; ``elsewhere``, for another worker has
            claimed it.
        num_frames: Frames done by this run.
        num_before: Frames done by an earlier one that broke off.
        seconds: What it took.
        error: What failed.
        error_kind: The error's class.
        can_pass: Whether the same may succeed at another time: network, memory, a lost process.
        warnings: What was said meanwhile.
        num_tries: How often it was tried.
    """

    name: str
    state: Literal["done", "skipped", "failed", "stopped", "elsewhere"]
    num_frames: int = 0
    num_before: int = 0
    seconds: float = 0.0
    error: str | None = None
    error_kind: str | None = None
    can_pass: bool = False
    warnings: tuple[str, ...] = ()
    num_tries: int = 1


Work = Callable[[Any, Callable[[], object], Callable[[], bool]], Outcome]
"""Does a task: takes it, what to call after every frame, and what to ask whether to stop."""

MakeWork = Callable[[], AbstractContextManager[Work]]
"""Makes a worker's ``Work`` in the worker's own process; it is pickled on its way there."""
