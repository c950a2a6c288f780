"""What the headers of files say beyond what PyAV hands on: cropping, and how long the file is."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
from av.video.stream import VideoStream

# Matroska, RFC 9559: what leads to a video track, and how it is cropped.
_SEGMENT: Final = 0x18538067
_TO_VIDEO: Final = (_SEGMENT, 0x1654AE6B, 0xAE, 0xE0)
_CROP_TOP, _CROP_BOTTOM, _CROP_LEFT, _CROP_RIGHT = 0x54BB, 0x54AA, 0x54CC, 0x54DD
_CROPPING_FORMATS: Final = ("matroska", "mov")
_HEAD_BYTES: Final = 4096
_FLV_SIZE: Final = b"filesize\0"  # a name and the mark of a number, Action Message Format 0


@dataclass(frozen=True, slots=True)
class Cropping:
    """Rows and columns that a container hides of every frame, as it is stored."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


def cropping_of(stream: VideoStream) -> Cropping:
    """Read how a container crops a stream; not at all where that is unknown.

    FFmpeg reads it from Matroska and MP4, but PyAV does not show it. FFmpeg also writes it: into
    the header of a Matroska file for the same stream.
    """
    if not stream.container.format.name.startswith(_CROPPING_FORMATS):
        return Cropping()
    header = io.BytesIO()
    try:
        with av.open(header, "w", format="matroska") as copy:
            copy.add_stream_from_template(stream)
            copy.start_encoding()
            data = header.getvalue()
    except Exception:  # of any kind: Matroska may be unable to hold the stream
        return Cropping()
    start, end = 0, None
    for wanted in _TO_VIDEO:
        found = next((part for part in _elements(data, start, end) if part[0] == wanted), None)
        if found is None:
            return Cropping()
        _, start, end = found
    numbers = {
        kind: int.from_bytes(data[first:last], "big")
        for kind, first, last in _elements(data, start, end)
    }
    sides = (_CROP_TOP, _CROP_BOTTOM, _CROP_LEFT, _CROP_RIGHT)
    return Cropping(*(numbers.get(side, 0) for side in sides))


def declared_num_bytes(path: str) -> int | None:
    """Read how long a Matroska or FLV file says it is; None where it does not say.

    Raises:
        OSError: reading fails.
    """
    with Path(path).open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"FLV"):
        start = head.find(_FLV_SIZE)
        number = head[start + len(_FLV_SIZE) :][:8]
        if start < 0 or len(number) < 8:
            return None
        (size,) = struct.unpack(">d", number)
        return int(size) if 0 < size < 1 << 63 else None
    for kind, start, end in _elements(head, 0, None):
        if kind == _SEGMENT:
            return end
        if start > len(head):
            break
    return None


def _elements(data: bytes, start: int, end: int | None) -> Iterator[tuple[int, int, int | None]]:
    """Give id, first and last byte of Matroska's elements; None for an end that is unknown."""
    while end is None or start < end:
        kind, start = _number(data, start, keep_mark=True)
        size, start = _number(data, start)
        if kind is None or start > len(data):
            return
        stop = end if size is None else start + size
        yield kind, start, stop
        if stop is None:
            return
        start = stop


def _number(data: bytes, start: int, *, keep_mark: bool = False) -> tuple[int | None, int]:
    """Read a number of variable length; None for an unknown size, or beyond the end of the data."""
    if start >= len(data) or data[start] == 0:
        return None, len(data) + 1
    length = 9 - data[start].bit_length()
    mark = 1 << 7 * length
    number = int.from_bytes(data[start : start + length], "big")
    if keep_mark:
        return number, start + length
    number &= mark - 1
    return (None if number == mark - 1 else number), start + length
