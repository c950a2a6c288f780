"""Reading a source from its end to its start, with bounded memory."""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from vos.errors import DamagedSourceError, InputError, SourceError
from vos.records import Frame
from vos.source.address import can_read_again, is_url
from vos.source.images import kind_of
from vos.source.open import open_selection
from vos.source.selection import Selection
from vos.source.source import Source

MAX_FRAMES_IN_MEMORY: Final = 32


def open_backwards(
    path: str | os.PathLike[str],
    selection: Selection,
    *,
    max_frames_in_memory: int = MAX_FRAMES_IN_MEMORY,
) -> Source:
    """Open what :func:`vos.source.open_selection` opens, but read its frames from last to first.

    The frames are those of a forward reading: equal indices, times, names and pixels. Opening
    reads all of the wanted part once, to learn where it ends, what the times are and, by checksum,
    how every frame looks. Then stretches are decoded from the last to the first one, each from the
    keyframe before it. What cannot be reached by seeking is decoded from the video's beginning:
    that takes time that grows with the square of the length, and happens in AVI, with timestamps
    that are missing or jump, and with decord. Where keyframes are further apart than
    ``max_frames_in_memory``, what lies between is decoded several times.

    Args:
        path: A file or a folder. What can be read only once, such as a stream or a camera, cannot
            be read backwards.
        selection: The wanted frames; it counts in forward order.
        max_frames_in_memory: Frames that are held at a time, besides those of the decoder and
            the one last handed out; 1 or more. Some 30 bytes are kept for each
            frame of the video.

    Returns:
        An iterator of frames and context manager. If a forward reading breaks off, its good frames
        come in reverse order, and the same DamagedSourceError after them.

    Raises:
        InputError: ``max_frames_in_memory`` is out of range.
        SourceError: the source cannot be opened or read twice, or has no wanted frame. Iterating
            raises it as well if the source does not give the same frames twice.
    """
    if max_frames_in_memory < 1:
        raise InputError(f"max_frames_in_memory must be 1 or more, got {max_frames_in_memory}")
    address = os.fspath(path)
    if is_url(address) or (os.path.exists(address) and not can_read_again(address)):
        raise SourceError(
            f"{address} cannot be read backwards: it can be read only once; save it as a file first"
        )
    with open_selection(address, selection) as source:
        info = source.info
        if kind_of(address) != "video" or selection.decoder == "decord":
            forward = _Forward(_opened_again(address, selection))
            forward.note(source)
        else:
            source.close()
            from vos.source.reentry import read_noting

            with read_noting(address, selection) as (frames, again):
                forward = _Forward(again)
                forward.note(frames)
    with ExitStack() as stack:
        return Source(
            stack.enter_context(closing(_backwards(forward, max_frames_in_memory, address))),
            name=info.name,
            frame_rate_hz=info.frame_rate_hz,
            num_frames=len(forward.indices),
            resources=stack.pop_all(),
        )


Ways = Iterator[Source | Generator[Frame, None, None]]
"""Several ways to read one stretch of frames, the fastest first."""


@dataclass(slots=True, eq=False)
class _Forward:
    """What one forward reading showed of the N wanted frames; a few bytes for each.

    Attributes:
        again: Takes the first and the last index of a stretch; gives the ways to read it again.
        indices: (N,) int64, indices in the source.
        pts_seconds: (N,) float64.
        checksums: (N,) uint32, of the pixels.
        damage: What the reading broke off with.
    """

    again: Callable[[int, int], Ways]
    indices: array[int] = field(default_factory=lambda: array("q"))
    pts_seconds: array[float] = field(default_factory=lambda: array("d"))
    checksums: array[int] = field(default_factory=lambda: array("I"))
    damage: str | None = None

    def note(self, frames: Iterator[Frame]) -> None:
        """Read all frames and remember what is needed to know them again."""
        try:
            for frame in frames:
                self.indices.append(frame.index)
                self.pts_seconds.append(frame.pts_seconds)
                self.checksums.append(_checksum(frame))
        except DamagedSourceError as error:
            if not self.indices:
                raise
            self.damage = str(error)

    def is_same(self, number: int, frame: Frame) -> bool:
        """Tell whether a frame is the one that came as number ``number``."""
        same_index = frame.index == self.indices[number]
        return same_index and _checksum(frame) == self.checksums[number]


def _checksum(frame: Frame) -> int:
    # Rows of odd widths may lie apart.
    return zlib.crc32(np.ascontiguousarray(frame.rgb).data)


def _backwards(
    forward: _Forward, max_frames_in_memory: int, address: str
) -> Generator[Frame, None, None]:
    for last in range(len(forward.indices), 0, -max_frames_in_memory):
        numbers = range(max(0, last - max_frames_in_memory), last)
        stretch = _read_stretch(forward, numbers, address)
        while stretch:
            yield stretch.pop()
    if forward.damage is not None:
        raise DamagedSourceError(forward.damage)


def _read_stretch(forward: _Forward, numbers: range, address: str) -> list[Frame]:
    """Read the frames of some numbers of the forward reading, in that order.

    Raises:
        SourceError: they cannot be read, or are not those of the forward reading.
    """
    for way in forward.again(forward.indices[numbers[0]], forward.indices[numbers[-1]]):
        stretch: list[Frame] = []
        with closing(way) as frames, suppress(SourceError):
            for number, frame in zip(numbers, frames, strict=False):
                if not forward.is_same(number, frame):
                    break
                stretch.append(replace(frame, pts_seconds=forward.pts_seconds[number]))
        if len(stretch) == len(numbers):
            return stretch
    raise SourceError(
        f"{address} does not give the same frames twice: it has changed since it was opened, or is "
        "damaged in a way that decoders do not notice"
    )


def _opened_again(address: str, selection: Selection) -> Callable[[int, int], Ways]:
    def again(first: int, last: int) -> Ways:
        yield open_selection(address, replace(selection, start=first, end=last + 1))

    return again
