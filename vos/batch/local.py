"""The engine of one machine: this process, or several of which each loads its model once."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import sleep
from typing import Final, Generic

from vos.batch.outcome import MakeWork, Outcome
from vos.batch.pending import Pending, T
from vos.batch.process import STOP, work

_WAIT_SECONDS: Final = 0.2
_END_SECONDS: Final = 10.0


def run_here(
    pending: Pending[T],
    make_work: MakeWork,
    *,
    on_frames: Callable[[int], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Do tasks one after another in this process.

    Args:
        pending: The tasks.
        make_work: Makes what does them.
        on_frames: Called with a number of frames when they are done.
        should_stop: Asked after every frame and every task.

    Yields:
        What became of each task; not of those that a stop left.
    """
    with make_work() as do:
        while not should_stop() and not pending.is_over:
            task = pending.take()
            if task is None:
                sleep(0 if pending.is_over else _WAIT_SECONDS)
                continue
            outcome = pending.settle(task, do(task, lambda: on_frames(1), should_stop))
            if outcome is not None:
                yield outcome


def run_processes(
    pending: Pending[T],
    make_work: MakeWork,
    environments: Sequence[dict[str, str]],
    *,
    on_frames: Callable[[int], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Do tasks in processes, one task at a time in each.

    A process that ends before its time is replaced; its task counts as tried. The processes end
    when the generator does, and by themselves when this process ends, however it does.

    Args:
        pending: The tasks; they are taken when a process is free.
        make_work: Makes what does them, in each process.
        environments: For each process the variables to set in it.
        on_frames: Called with a number of frames when they are done.
        should_stop: Asked several times a second; then the frames in hand are finished.

    Yields:
        What became of each task, in the order in which they end; not of those that a stop left.
    """
    make = pickle.dumps(make_work)
    slots: list[_Slot[T]] = [_Slot(environment, make) for environment in environments]
    is_stopping = False
    try:
        while True:
            if should_stop() and not is_stopping:
                is_stopping = True
                for slot in slots:
                    slot.send(STOP)
            for slot in slots:
                if slot.task is None and not is_stopping and (task := pending.take()) is not None:
                    slot.give(task)
            busy = [slot for slot in slots if slot.task is not None]
            if not busy:
                if is_stopping or pending.is_over:
                    return
                sleep(_WAIT_SECONDS)
            connections = [slot.connection for slot in busy if slot.connection is not None]
            ready = wait(connections, timeout=_WAIT_SECONDS)
            for slot in busy:
                if slot.connection not in ready:
                    continue
                message = slot.receive()
                if isinstance(message, int):
                    on_frames(message)
                elif slot.task is not None:
                    outcome = pending.settle(slot.task, message)
                    slot.task = None
                    if outcome is not None:
                        yield outcome
    finally:
        for slot in slots:
            slot.close()
        for slot in slots:
            slot.end()


@dataclass(slots=True, eq=False)
class _Slot(Generic[T]):
    """A process, once there is a task for it, and what it is doing."""

    environment: dict[str, str]
    make_work: bytes
    task: T | None = None
    connection: Connection | None = None
    process: SpawnProcess | None = None

    def give(self, task: T) -> None:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self.process = context.Process(
                target=work, args=(theirs, self.environment, self.make_work)
            )
            self.process.start()
            theirs.close()
        self.task = task
        self.send(pickle.dumps(task))

    def send(self, message: bytes) -> None:
        if self.connection is not None:
            with suppress(OSError):  # it has ended, which is noticed when it is read from
                self.connection.send_bytes(message)

    def receive(self) -> int | Outcome:
        """Read frames done or an outcome; one of its own where the process has ended."""
        if self.connection is None or self.process is None or self.task is None:
            raise RuntimeError("there is no process to read from")
        try:
            message: int | Outcome = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_END_SECONDS)
            code = self.process.exitcode
            self.close()
            self.end()
            return Outcome(
                name=self.task.name,
                state="failed",
                error=f"its process ended before its time: {_in_words(code)}",
                error_kind="WorkerLost",
                can_pass=True,
            )
        return message

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def end(self) -> None:
        if self.process is not None:
            self.process.join(_END_SECONDS)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()
            self.process = None


def _in_words(code: int | None) -> str:
    if code is None:
        return "it does not answer"
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"{name}{memory}"
    return f"signal {-code}"
