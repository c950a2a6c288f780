"""Opening whatever a path or URL names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from vos.errors import InputError, SourceError
from vos.masks.image_files import MAX_PIXELS, check_max_pixels
from vos.source.images import IMAGE_SUFFIXES, open_images
from vos.source.selection import Selection
from vos.source.source import Source

Decoder = Literal["av", "decord"]
"""The library that decodes videos."""


def open_source(
    path: str | os.PathLike[str],
    *,
    start: int | float | None = None,
    end: int | float | None = None,
    every: int = 1,
    decoder: Decoder = "av",
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Open a video, a stream, a camera, a folder of images or a single image.

    Args:
        path: A file, a folder, a URL such as ``rtsp://...``, or a camera such as ``/dev/video0``.
        start: First wanted frame: an int is a frame index, a float a pts in seconds.
        end: First frame no longer wanted, in the same terms.
        every: Of the frames between, every which one is wanted, beginning with the first.
        decoder: Library that decodes videos. ``av`` holds a few frames in memory, ``decord``
            reads ahead without bound.
        max_pixels: Most pixels that a frame may have; keeps small files from unpacking to more
            than fits in memory.

    Returns:
        An iterator of frames and context manager. Frames of a video are named by their number
        among the delivered ones, images by their file's stem.

    Raises:
        InputError: an argument is out of range.
        SourceError: the source cannot be opened, has no wanted frame, or its frames are too large;
            or a live one sends nothing for 15 s. After its first frame that is a
            DamagedSourceError, when the next frame is asked for.
    """
    selection = Selection(start, end, every)
    check_max_pixels(max_pixels)
    if decoder not in get_args(Decoder):
        raise InputError(f"decoder must be one of {', '.join(get_args(Decoder))}, got {decoder!r}")
    address = os.fspath(path)
    is_url = "://" in address
    if not is_url and not os.path.exists(address):
        raise SourceError(f"there is no video or folder {address}")
    if is_images(address):
        return open_images(Path(address), selection, max_pixels=max_pixels)
    # Both libraries take long to import.
    if decoder == "decord":
        from vos.source.decord import open_with_decord

        return open_with_decord(address, selection, max_pixels)
    from vos.source.video import open_video

    return open_video(address, selection, max_pixels)


def is_images(address: str) -> bool:
    """Tell folders of images and single images from videos."""
    is_image = Path(address).suffix.lower() in IMAGE_SUFFIXES
    return "://" not in address and (os.path.isdir(address) or is_image)
