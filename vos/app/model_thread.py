"""The one thread in which the model works: what it is to do waits its turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

Task = Callable[[], None]


class ModelThread:
    """Does tasks in their order, one at a time.

    A task that takes long calls :meth:`do_waiting` now and then, so that the short ones behind it
    need not wait for its end.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[str | None, Task]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="vos-model", daemon=True)
        self._thread.start()

    def submit(self, task: Task, *, replaces: str | None = None) -> None:
        """Let a task wait its turn.

        Args:
            task: It must not raise.
            replaces: A waiting task of the same word is dropped, as it is of no use any more.
        """
        with self._changed:
            if replaces is not None:
                self._waiting = deque(each for each in self._waiting if each[0] != replaces)
            self._waiting.append((replaces, task))
            self._changed.notify()

    def is_awaited(self) -> bool:
        """Tell whether a task waits."""
        with self._changed:
            return bool(self._waiting)

    def do_waiting(self) -> None:
        """Do what waits; called within a long task."""
        while (task := self._take(wait=False)) is not None:
            task()

    def close(self) -> None:
        """Drop what waits, and wait for the task in hand."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _take(self, *, wait: bool) -> Task | None:
        with self._changed:
            while wait and not self._waiting and not self._is_closed:
                self._changed.wait()
            return None if not self._waiting else self._waiting.popleft()[1]

    def _run(self) -> None:
        while (task := self._take(wait=True)) is not None:
            task()
