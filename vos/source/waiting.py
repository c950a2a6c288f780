"""Waiting for live sources, but not for ever, and without a thread that would wait in their place.

A camera, a stream or a pipe may stall: its driver, server or writer stays, and sends nothing.
"""

from __future__ import annotations

import errno
import io
import os
import select
import time
from collections.abc import Iterator
from typing import Final

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

STALL_SECONDS: Final = 15.0
"""How long a live source may send nothing until it counts as broken off."""

NOT_BLOCKING: Final = {"fflags": "+4"}
"""Options of a container: AVFMT_FLAG_NONBLOCK, which FFmpeg has no name for.

With it a camera that has no frame says so at once. Without it FFmpeg waits in the driver, where no
timeout and no Ctrl-C reaches it.
"""

_BETWEEN_LOOKS_SECONDS: Final = 0.005


def no_data() -> str:
    """Say that a source has stalled."""
    return f"no data came for {STALL_SECONDS:g} s"


class Pipe(io.FileIO):
    """What is no regular file, such as a named pipe or ``/dev/stdin``, opened for reading.

    Opening does not wait for a writer; reading takes what is there. A stall looks like the end, so
    that FFmpeg gives what it holds.

    Attributes:
        has_stalled: Whether the end is none.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, opener=_open_at_once)
        self.has_stalled = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to some bytes, nothing at the end."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        content: bytes | None = None
        while content is None:  # whoever reads the same pipe may be faster
            if self.has_stalled or not poll.poll(1000 * STALL_SECONDS):
                self.has_stalled = True
                return b""
            content = super().read(size)
        return content


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def packets(container: InputContainer, pipe: Pipe | None) -> Iterator[Packet[Stream]]:
    """Read the packets of all streams; of a container that does not block, as they come.

    Args:
        container: Where they come from.
        pipe: Where the container's bytes come from, if that is a pipe.

    Raises:
        TimeoutError: no data came for too long.
        av.FFmpegError: reading fails.
        OSError: reading the file fails.
    """
    last_seconds = time.monotonic()
    while True:
        try:
            for packet in container.demux():
                if pipe is not None and pipe.has_stalled and not packet.size:
                    raise TimeoutError(errno.ETIMEDOUT, no_data())
                yield packet
                last_seconds = time.monotonic()
            return
        except BlockingIOError as error:
            if time.monotonic() - last_seconds > STALL_SECONDS:
                raise TimeoutError(errno.ETIMEDOUT, no_data()) from error
            time.sleep(_BETWEEN_LOOKS_SECONDS)
