"""Opening whatever a path or URL names."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from vos.errors import SourceError
from vos.masks.image_files import MAX_PIXELS
from vos.source.address import is_url
from vos.source.animation import open_animation
from vos.source.images import kind_of, open_images
from vos.source.selection import Decoder, Selection
from vos.source.source import Source


def open_source(
    path: str | os.PathLike[str],
    *,
    start: int | float | None = None,
    end: int | float | None = None,
    every: int = 1,
    decoder: Decoder = "av",
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Open a video, a stream, a camera, a folder of images, an animation or a single image.

    The content of a file decides what it is, not its ending.

    Args:
        path: A file, a folder, a URL such as ``rtsp://...``, or a camera such as ``/dev/video0``.
        start: First frame to use: an int is a frame index, a float a time in seconds, counted from
            the first frame of the source.
        end: The frame to stop before, by index or time.
        every: Use every Nth frame from the first one on.
        decoder: Library that decodes videos. ``av`` holds a few frames in memory, ``decord``
            reads ahead without bound.
        max_pixels: Most pixels that a frame may have; keeps small files from unpacking to more
            than fits in memory.

    Returns:
        An iterator of frames and context manager. Frames of a video are named by their index in
        it, images of a folder by their file's stem.

    Raises:
        InputError: an argument is out of range.
        SourceError: the source cannot be opened, has no wanted frame, or its frames are too large;
            or a live one sends nothing for 15 s. After its first frame that is a
            DamagedSourceError, when the next frame is asked for.
    """
    return open_selection(path, Selection(start, end, every, decoder, max_pixels))


def open_selection(
    path: str | os.PathLike[str], selection: Selection, *, first_index: int | None = None
) -> Source:
    """Open what :func:`open_source` opens, from a description of what is wanted.

    Args:
        path: As in :func:`open_source`.
        selection: The wanted frames.
        first_index: Index of one of the wanted frames, from which on they are read, as in a run
            that goes on.

    Raises:
        SourceError: as :func:`open_source`.
    """
    if first_index is not None:
        selection = replace(selection, start=first_index)
    address = os.fspath(path)
    if not is_url(address) and not os.path.exists(address):
        raise SourceError(f"there is no video or folder {address}")
    kind = "video" if is_url(address) else kind_of(address)
    if kind == "images":
        return open_images(Path(address), selection)
    if kind == "animation":
        return open_animation(Path(address), selection)
    # Both libraries take long to import.
    if selection.decoder == "decord":
        from vos.source.decord import open_with_decord

        return open_with_decord(address, selection)
    from vos.source.video import open_video

    return open_video(address, selection)


def frame_at(path: str | os.PathLike[str], selection: Selection, moment: int | float) -> int:
    """Give the index of the frame at a moment, as a selection that starts there would.

    Args:
        path: As in :func:`open_source`; it is opened and closed, so it must be one that can be
            read again.
        selection: How to read it. Which frames it wants does not matter.
        moment: A frame index (int), which is given back, or seconds (float): the first frame
            shown at or after them.

    Raises:
        InputError: the moment is negative or not finite.
        SourceError: the source cannot be opened, or ends before the moment.
    """
    wanted = replace(selection, start=moment, end=None, every=1)
    if isinstance(moment, int):
        return moment
    with open_selection(path, wanted) as source:
        return next(source).index
