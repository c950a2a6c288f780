"""The tasks that are still to be done: new ones, and those that are to be tried again."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Generic, TypeVar

from vos.batch.outcome import Named, Outcome

T = TypeVar("T", bound=Named)

_MAX_DELAY_SECONDS: Final = 60.0


class Pending(Generic[T]):
    """Gives out tasks one by one, as they are asked for.

    A task whose failure can pass comes again later, and so does one that another worker has
    claimed: that worker may die.

    Args:
        tasks: All tasks; no more of them are read than are in hand.
        max_tries: How often a task is tried.
        retry_seconds: How long the first retry waits; each further one waits twice as long.
        poll_seconds: After how long a task that is claimed elsewhere is asked for again.
    """

    def __init__(
        self,
        tasks: Iterable[T],
        *,
        max_tries: int = 3,
        retry_seconds: float = 2.0,
        poll_seconds: float = 5.0,
    ) -> None:
        self._new = iter(tasks)
        self._is_read = False
        self._max_tries = max_tries
        self._retry_seconds = retry_seconds
        self._poll_seconds = poll_seconds
        self._num_given = 0
        self._num_in_hand = 0
        self._num_tries: dict[str, int] = {}
        self._later: list[tuple[float, int, T]] = []

    @property
    def is_over(self) -> bool:
        """Whether all tasks are settled."""
        return self._is_read and not self._later and not self._num_in_hand

    def take(self) -> T | None:
        """Give a task; None if there is none now."""
        task = None
        if self._later and self._later[0][0] <= time.monotonic():
            task = heapq.heappop(self._later)[2]
        elif not self._is_read:
            task = next(self._new, None)
            self._is_read = task is None
        if task is not None:
            self._num_in_hand += 1
        return task

    def settle(self, task: T, outcome: Outcome) -> Outcome | None:
        """Take notice of what became of a task.

        Returns:
            The outcome with the number of tries, or None if the task is to come again.
        """
        self._num_in_hand -= 1
        tries = self._num_tries.pop(task.name, 0)
        if outcome.state == "elsewhere":
            self._put_off(task, tries, self._poll_seconds)
            return None
        tries += 1
        if outcome.state == "failed" and outcome.can_pass and tries < self._max_tries:
            delay = min(self._retry_seconds * 2 ** (tries - 1), _MAX_DELAY_SECONDS)
            self._put_off(task, tries, delay)
            return None
        return replace(outcome, num_tries=tries)

    def _put_off(self, task: T, tries: int, seconds: float) -> None:
        if tries:
            self._num_tries[task.name] = tries
        self._num_given += 1
        heapq.heappush(self._later, (time.monotonic() + seconds, self._num_given, task))
