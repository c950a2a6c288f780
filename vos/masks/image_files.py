"""Opening image files, with a limit on what they may unpack to."""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from PIL import Image
from PIL.ImageFile import ImageFile

from vos.errors import InputError, VosError

MAX_PIXELS: Final = 1 << 27
"""Pixels of one frame or mask that are legal if nothing else is said: 16K, but not much more."""

BROKEN_IMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow and numpy raise on files that are no image, broken, or too large to decode."""

_HEAD_BYTES: Final = 16
_MAX_PIPE_BYTES: Final = 1 << 28
_MILLION: Final = 10**6


def check_max_pixels(max_pixels: int) -> None:
    """Check a limit itself.

    Raises:
        InputError: it is not a positive integer.
    """
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise InputError(f"max_pixels must be an integer, 1 or more, got {max_pixels!r}")


def size_fault(width: int, height: int, max_pixels: int) -> str | None:
    """Say so if a picture has more pixels than are legal."""
    if width * height <= max_pixels:
        return None
    return (
        f"{width} x {height} are {_in_words(width * height)}, more than the limit of "
        f"{_in_words(max_pixels)}; if you trust the file, raise the limit (--max-pixels)"
    )


def _in_words(num_pixels: int) -> str:
    if num_pixels < _MILLION:
        return f"{num_pixels} pixels"
    return f"{num_pixels / _MILLION:.1f} million pixels"


class _ClippedFile(io.BufferedReader):
    """A file that is never asked for more than it has left.

    Pillow asks for as many bytes as a damaged file says, and Python takes memory for all of them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        file = io.FileIO(path)
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            super().__init__(file)
            self._num_bytes = status.st_size
            return
        with file:  # a pipe; Pillow moves about in a file
            content = file.read(_MAX_PIPE_BYTES)
        super().__init__(io.BytesIO(content))
        self._num_bytes = len(content)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return super().read(size)
        return super().read(min(size, max(0, self._num_bytes - self.tell())))


@contextmanager
def open_image(
    path: str | os.PathLike[str], formats: Sequence[str], max_pixels: int = MAX_PIXELS
) -> Iterator[ImageFile]:
    """Open an image file; its size is checked before anything is unpacked.

    Args:
        path: The file.
        formats: Names that Pillow has for the legal formats.
        max_pixels: Most pixels that are legal.

    Yields:
        The image, not yet decoded; it keeps reading from the file.

    Raises:
        OSError: and the others of :data:`BROKEN_IMAGE`, ValueError for an image that is too large.
            What else comes up while the image is open becomes an OSError.
    """
    try:
        with _ClippedFile(path) as file:
            for name in _accepted(file, formats):
                file.seek(0)
                try:
                    # Image.open has one limit for the whole process, and above half of it warns.
                    image = Image.OPEN[name][0](file, os.fspath(path))
                except (SyntaxError, IndexError, TypeError, struct.error):
                    continue
                fault = size_fault(*image.size, max_pixels)
                if fault is not None:
                    raise ValueError(fault)
                yield image
                return
        raise OSError(f"it is not one of {', '.join(formats)}, or it is broken")
    except (*BROKEN_IMAGE, VosError, MemoryError):
        raise
    except Exception as error:  # plug-ins raise what they come across
        raise OSError(f"{type(error).__name__}: {error}") from error


def is_image(path: str | os.PathLike[str], formats: Sequence[str]) -> bool:
    """Tell whether a file begins like an image.

    Raises:
        OSError: it cannot be read.
    """
    with _ClippedFile(path) as file:
        return any(_accepted(file, formats))


def _accepted(file: io.BufferedReader, formats: Sequence[str]) -> Iterator[str]:
    """Give the formats whose beginning a file has."""
    Image.init()
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    for name in filter(Image.OPEN.get, formats):  # older versions know fewer
        accepts = Image.OPEN[name][1]
        # A string says why the format cannot be read here.
        is_accepted = accepts is None or accepts(head)
        if is_accepted and not isinstance(is_accepted, str):
            yield name
