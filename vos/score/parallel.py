"""Calls spread over processes.

Scoring a frame is many short array operations, between which threads mostly hand the
interpreter's lock to one another: two threads took as long as one. Processes scale.
:mod:`multiprocessing` does not suit a library function: its new processes import the caller's
script once more, and forked ones are unsafe in a program with threads. Those here run only vos.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

from vos.errors import InputError, ScoreError

T = TypeVar("T")

_SERVE: Final = "from vos.score.parallel import serve; serve()"


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
    """Call a function with each of many arguments, in this and in other processes.

    The caller's thread does its share while the others start and work. An error or an interrupt
    ends them; should this process be killed, they end too, as their pipes do.

    Args:
        function: A function of vos whose arguments and results can be pickled.
        arguments: One tuple of arguments for each call.
        num_processes: Processes that work, this one included.

    Returns:
        The results, in the order of ``arguments``.

    Raises:
        ScoreError: another process was killed, or the function raised there; the message holds
            the traceback. What it raises in this process is raised as it is.
    """
    waiting = deque(enumerate(arguments))
    results: dict[int, T] = {}

    def work(call: Callable[[tuple[Any, ...]], T]) -> None:
        try:
            while True:
                try:
                    index, args = waiting.popleft()
                except IndexError:
                    return
                results[index] = call(args)
        except BaseException:
            waiting.clear()  # so that nobody begins another
            raise

    num_helpers = num_processes - 1 if sys.executable else 0
    # Leaving the helpers kills them, which wakes the threads that wait for them.
    with ThreadPoolExecutor(max(num_helpers, 1)) as threads, _helpers(num_helpers) as helpers:
        shares = [threads.submit(work, partial(_call_in, helper, function)) for helper in helpers]
        work(lambda args: function(*args))
        for share in shares:
            share.result()
    return [results[index] for index in range(len(arguments))]


def serve() -> None:
    """Answer calls that come through the standard input until it ends: what a helper runs."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed must not mix with the answers
    with suppress(EOFError, BrokenPipeError):
        while True:
            function, args = pickle.load(sys.stdin.buffer)
            try:
                answer = True, function(*args)
            except Exception:
                answer = False, traceback.format_exc()
            pickle.dump(answer, answers)
            answers.flush()


_Helper = subprocess.Popen[bytes]


@contextmanager
def _helpers(num_helpers: int) -> Iterator[list[_Helper]]:
    """Start processes that serve; kill them at the end."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    helpers: list[_Helper] = []
    try:
        for _ in range(num_helpers):
            helpers.append(
                subprocess.Popen(
                    # -P: no module is taken from the working directory.
                    [sys.executable, "-P", "-c", _SERVE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": path},
                    process_group=0,  # Ctrl-C reaches this process, and it ends the others
                )
            )
        yield helpers
    finally:
        for helper in helpers:
            helper.kill()
            for pipe in (helper.stdin, helper.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            helper.wait()


def _call_in(helper: _Helper, function: Callable[..., T], args: tuple[Any, ...]) -> T:
    """Have a helper call the function."""
    if helper.stdin is None or helper.stdout is None:
        raise ValueError("a helper needs both pipes")
    try:
        pickle.dump((function, args), helper.stdin)
        helper.stdin.flush()
        succeeded, answer = pickle.load(helper.stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        helper.kill()
        raise ScoreError(f"a scoring process died (exit status {helper.wait()})") from error
    if not succeeded:
        raise ScoreError(f"a scoring process failed:\n{answer}")
    return answer  # type: ignore[no-any-return]
