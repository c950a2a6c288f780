"""Calls spread over processes.

Scoring a frame is many short array operations, between which threads mostly hand the
interpreter's lock to one another: two threads took as long as one, and processes scale. loky's
start without importing the caller's script once more, so a plain script may call vos.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from loky import ProcessPoolExecutor
from loky.process_executor import TerminatedWorkerError

from vos.errors import InputError, ScoreError

T = TypeVar("T")


def checked_workers(num_workers: int | None) -> int:
    """Give the number of processes to work in: one per core this process may use, if None.

    Raises:
        InputError: the number is below 1.
    """
    if num_workers is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if num_workers < 1:
        raise InputError(f"num_workers must be 1 or more, got {num_workers}")
    return num_workers


def call_all(
    function: Callable[..., T], arguments: Sequence[tuple[Any, ...]], num_processes: int
) -> list[T]:
    """Call a function with each of many arguments.

    Args:
        function: A function of vos whose arguments and results can be pickled.
        arguments: One tuple of arguments for each call.
        num_processes: Processes that work; 1 is this one.

    Returns:
        The results, in the order of ``arguments``.

    Raises:
        ScoreError: a process was killed. What the function raises is raised as it is.
    """
    if num_processes == 1 or len(arguments) <= 1:
        return [function(*args) for args in arguments]
    processes = ProcessPoolExecutor(num_processes)
    try:
        futures = [processes.submit(function, *args) for args in arguments]
        return [future.result() for future in futures]
    except TerminatedWorkerError as error:
        raise ScoreError("a scoring process was killed; nothing was scored") from error
    finally:
        # Whatever ended the calls, an interrupt too, no process stays behind.
        processes.shutdown(kill_workers=True)
