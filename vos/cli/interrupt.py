"""What Ctrl-C does while a video is segmented."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
_GRACE_SECONDS: Final = 5.0


@contextmanager
def stopping_on_interrupt() -> Iterator[threading.Event]:
    """Let the first Ctrl-C ask for a stop, and the second one stop at once.

    The second one raises KeyboardInterrupt, so that files are closed; if that takes longer than
    a few seconds, say because a camera hangs, the process ends as it is. Where Ctrl-C is ignored
    or handled by others, as in notebooks, nothing changes.

    Yields:
        Set by the first Ctrl-C.
    """
    stop = threading.Event()
    patience = threading.Timer(_GRACE_SECONDS, os._exit, [INTERRUPTED])
    patience.daemon = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            patience.start()
            raise KeyboardInterrupt
        stop.set()
        # Not through sys.stderr, which may be writing at this moment.
        os.write(2, b"\nfinishing the frame in hand; Ctrl-C again stops at once\n")

    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.default_int_handler:
        yield stop
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        patience.cancel()
        signal.signal(signal.SIGINT, before)


@contextmanager
def stopping_on_terminate(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM ask for a stop, by which batch systems say that a machine is wanted back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
