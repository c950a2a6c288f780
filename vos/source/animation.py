"""Animated WebP and AVIF pictures and TIFF files of several pages, which Pillow reads best.

FFmpeg has no decoder for the first, may take the still picture of the second, and reads one page of
the third. Animated PNG and GIF pictures go through FFmpeg, as videos do.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from fractions import Fraction
from functools import partial
from pathlib import Path

from PIL.ImageFile import ImageFile

from vos.errors import DamagedSourceError, SourceError
from vos.masks.image_files import BROKEN_IMAGE, open_image, size_fault
from vos.source.images import DEFAULT_RATE_HZ, PICTURE_FORMATS, num_pictures, upright_rgb
from vos.source.selection import Picture, Selection, deliver
from vos.source.source import Source


def open_animation(path: Path, selection: Selection) -> Source:
    """Open a file of several pictures; each is shown for as long as the file says.

    Args:
        path: An animated WebP or AVIF picture, or a TIFF file of several pages.
        selection: The wanted frames.

    Raises:
        SourceError: it cannot be opened or has no wanted frame.
    """
    with ExitStack() as stack:
        try:
            image = stack.enter_context(open_image(path, PICTURE_FORMATS, selection.max_pixels))
            image.load()
        except BROKEN_IMAGE as error:
            raise SourceError(f"cannot read {path}: {error}") from error
        rate_hz = 1 / _duration_seconds(image)
        pictures = stack.enter_context(closing(_pictures(image, path, selection.max_pixels)))
        return Source(
            stack.enter_context(closing(deliver(pictures, selection, str(path)))),
            name=path.stem,
            frame_rate_hz=selection.rate_hz(rate_hz),
            num_frames=selection.count(num_pictures(image), rate_hz),
            resources=stack.pop_all(),
        )


def _pictures(image: ImageFile, path: Path, max_pixels: int) -> Generator[Picture, None, None]:
    seconds = Fraction(0)
    for index in range(num_pictures(image)):
        try:
            image.seek(index)
            fault = size_fault(*image.size, max_pixels)
            if fault is not None:
                raise ValueError(fault)
            image.load()
        except BROKEN_IMAGE as error:
            raise DamagedSourceError(
                f"{path} breaks off after {index} pictures: {error}",
                frame_index=index,
                pts_seconds=float(seconds),
            ) from error
        yield Picture(index, float(seconds), partial(upright_rgb, image))
        seconds += _duration_seconds(image)


def _duration_seconds(image: ImageFile) -> Fraction:
    """Give how long a loaded picture is shown."""
    milliseconds = image.info.get("duration")
    return Fraction(milliseconds) / 1000 if milliseconds else 1 / DEFAULT_RATE_HZ
