"""A worker process; importing this module loads nothing heavy.

What a worker is to do reaches it as bytes, which are unpickled once its environment is set: the
libraries that they load read it only once.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final

STOP: Final = b""
"""Sent instead of a task: the frame in hand is finished, and nothing more."""

_GRACE_SECONDS: Final = 30.0
_SECONDS_BETWEEN_REPORTS: Final = 0.5


def work(connection: Connection, environment: dict[str, str], make_work: bytes) -> None:
    """Do the tasks that come through a connection, until it is closed.

    A closed connection also means that the parent has ended, however it did. The frame in hand is
    finished and the job's state saved; should that take long, the process ends as it is.

    Args:
        connection: Tasks come as pickled bytes; back go numbers of frames that were done, and
            outcomes.
        environment: Variables to set before anything is loaded.
        make_work: Pickled :data:`vos.batch.outcome.MakeWork`.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent tells, if they are meant
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(environment)
    tasks: SimpleQueue[bytes | None] = SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(connection, tasks, stop), daemon=True).start()
    num_frames, last_report = 0, time.monotonic()

    def report() -> None:
        nonlocal num_frames, last_report
        num_frames += 1
        if time.monotonic() - last_report > _SECONDS_BETWEEN_REPORTS:
            last_report = time.monotonic()
            _send(connection, num_frames, stop)
            num_frames = 0

    with pickle.loads(make_work)() as do:
        while (task := tasks.get()) is not None:
            outcome = do(pickle.loads(task), report, stop.is_set)
            _send(connection, num_frames, stop)
            num_frames = 0
            _send(connection, outcome, stop)


def _listen(
    connection: Connection, tasks: SimpleQueue[bytes | None], stop: threading.Event
) -> None:
    try:
        while True:
            message = connection.recv_bytes()
            if message == STOP:
                stop.set()
            else:
                tasks.put(message)
    except (EOFError, OSError):
        stop.set()
        tasks.put(None)
        time.sleep(_GRACE_SECONDS)
        os._exit(1)


def _send(connection: Connection, message: Any, stop: threading.Event) -> None:
    try:
        connection.send(message)
    except OSError:  # the parent has ended
        stop.set()
