"""Animated WebP, transparent where there is no object.

Frames are encoded one by one and laid into the container here, because libwebp's own encoder of
animations, which Pillow and FFmpeg use, holds all frames in memory.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos.errors import InputError, OutputError
from vos.export.clip import Clip, ExportFrame, check_video, with_square_pixels
from vos.export.journal import ExportFiles
from vos.files import whole_file
from vos.masks import mask_box_xyxy

_MAX_SIDE_PX: Final = 16_383
_MAX_BYTES: Final = (1 << 32) - 10
_MAX_DURATION_MS: Final = (1 << 24) - 1
_QUALITY: Final = 85
_ALPHA_AND_ANIMATION: Final = 0x12
_REPLACE_THEN_CLEAR: Final = 0x03  # no blending with the frame before, and nothing left behind
_PICTURE_CHUNKS: Final = (b"ALPH", b"VP8 ", b"VP8L")


def check_webp(clip: Clip) -> None:
    """Make sure that WebP can hold the clip.

    Raises:
        InputError: it is no video, or the frames are too large.
    """
    check_video(clip)
    height, width = clip.square_hw
    if max(height, width) > _MAX_SIDE_PX:
        raise InputError(f"webp: frames are at most {_MAX_SIDE_PX} a side, got {width} x {height}")


def write_webp(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name.webp``, or with ``per_object`` a file for each object; lossy, exact in alpha.

    Times are rounded to milliseconds.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses, or a file would be larger than 4 GB, which WebP cannot be.
    """
    times_ms = _TimesMs(clip)
    with ExitStack() as stack:
        animations = []
        for object_id in clip.subjects:
            path = files.claim(f"{clip.file_stem(object_id)}.webp")
            if path is not None:
                unfinished = stack.enter_context(whole_file(path))
                file = stack.enter_context(unfinished.open("wb"))
                animations.append((object_id, _Animation(file, clip.square_hw)))
        for frame in frames:
            for object_id, animation in animations:
                rgba = with_square_pixels(frame.rgba(object_id), clip)
                animation.add(rgba, times_ms.duration(frame.number))
            yield frame
        for _, animation in animations:
            animation.close()


class _TimesMs:
    """How long frames are shown."""

    def __init__(self, clip: Clip) -> None:
        self._frames = clip.results.frames
        self._period_ms = round(1000 / clip.rate_hz)

    def duration(self, number: int) -> int:
        if number + 1 == len(self._frames):
            return self._period_ms
        start, end = (round(1000 * self._frames[n].pts_seconds) for n in (number, number + 1))
        return min(end - start, _MAX_DURATION_MS)


class _Animation:
    """A file in the making; see WebP's container specification."""

    def __init__(self, file: BinaryIO, frame_hw: tuple[int, int]) -> None:
        self._file = file
        height, width = frame_hw
        file.write(b"RIFF\0\0\0\0WEBP")
        self._write(b"VP8X", struct.pack("<I", _ALPHA_AND_ANIMATION) + _sizes(width, height))
        self._write(b"ANIM", struct.pack("<IH", 0, 0))  # a clear background; for ever

    def add(self, rgba: NDArray[np.uint8], duration_ms: int) -> None:
        box_xyxy = mask_box_xyxy(rgba[..., 3] > 0)
        x0, y0, x1, y1 = (0, 0, 0, 0) if box_xyxy is None else box_xyxy.tolist()
        x0, y0 = x0 - x0 % 2, y0 - y0 % 2  # WebP counts in twos
        seen = np.ascontiguousarray(rgba[y0 : y1 + 1, x0 : x1 + 1])
        header = _uint24(x0 // 2) + _uint24(y0 // 2) + _sizes(x1 + 1 - x0, y1 + 1 - y0)
        header += _uint24(duration_ms) + bytes([_REPLACE_THEN_CLEAR])
        self._write(b"ANMF", header + _picture(seen))

    def close(self) -> None:
        num_bytes = self._file.tell()
        if num_bytes > _MAX_BYTES:
            raise OutputError(f"webp: {num_bytes} bytes are more than the 4 GB that WebP can have")
        self._file.seek(4)
        self._file.write(struct.pack("<I", num_bytes - 8))

    def _write(self, name: bytes, content: bytes) -> None:
        self._file.write(_chunk(name, content))


def _picture(rgba: NDArray[np.uint8]) -> bytes:
    """Encode a picture, and give the chunks that a frame holds."""
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, format="WEBP", quality=_QUALITY)
    data, chunks, offset = buffer.getvalue(), b"", 12
    while offset + 8 <= len(data):
        name, num_bytes = struct.unpack_from("<4sI", data, offset)
        if name in _PICTURE_CHUNKS:
            chunks += _chunk(name, data[offset + 8 : offset + 8 + num_bytes])
        offset += 8 + num_bytes + num_bytes % 2
    return chunks


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content + b"\0" * (len(content) % 2)


def _sizes(width: int, height: int) -> bytes:
    return _uint24(width - 1) + _uint24(height - 1)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
