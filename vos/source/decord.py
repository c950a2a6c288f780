"""Frames of a video file, decoded by decord where that is asked for.

decord reads ahead without bound, so it is never the default.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import DamagedSourceError, SourceError
from vos.source.container import open_video_container
from vos.source.selection import Picture, Selection, deliver
from vos.source.shown import shown_aspect
from vos.source.source import Source

_MAX_SECONDS: Final = 1e9  # decord gives far larger numbers where it has no time
_NO_FAULT: Final = 1e-9  # share of repeated frames above which decord reports damage


def open_with_decord(path: str, selection: Selection) -> Source:
    """Open a video file with decord.

    decord cannot show videos that ask for a quarter turn, ignores mirroring, cropping, HDR and the
    matrix of untagged HD video, and takes some undamaged transport streams for damaged.

    Args:
        path: A video file.
        selection: The wanted frames; the limit is on what the file declares.

    Raises:
        SourceError: decord is not installed or cannot open the file, or no frame is wanted.
    """
    try:
        import decord
    except ImportError as error:
        raise SourceError(
            "decord is not installed (it exists for Linux on x86-64 and Windows only); "
            "use the decoder av"
        ) from error
    decord.logging.set_level(decord.logging.QUIET)
    if not Path(path).is_file():
        raise SourceError(f"decord opens video files only, got {path}; use the decoder av")
    # Refuses what is no video, and playlists, which decord would follow to other files.
    with open_video_container(path, selection.max_pixels) as video:
        rate_hz, start_seconds = video.frame_rate_hz, video.start_seconds
        pixel_aspect = shown_aspect(video.stream.sample_aspect_ratio)
    try:
        # One thread: more of them read further ahead.
        reader = decord.VideoReader(path, num_threads=1, fault_tol=_NO_FAULT)
    except Exception as error:  # decord's have no class of their own
        raise SourceError(f"decord cannot open {path}: {_first_line(error)}") from error
    with ExitStack() as stack:
        pictures = stack.enter_context(closing(_pictures(reader, path)))
        return Source(
            stack.enter_context(closing(deliver(pictures, selection, path))),
            name=Path(path).stem,
            frame_rate_hz=selection.rate_hz(rate_hz),
            num_frames=selection.count(len(reader), rate_hz),
            sample_aspect_ratio=pixel_aspect,
            start_seconds=start_seconds,
            resources=stack.pop_all(),
        )


def _pictures(reader: Any, path: str) -> Generator[Picture, None, None]:
    num_passed = 0

    def load(index: int) -> NDArray[np.uint8]:
        nonlocal num_passed
        try:
            if index > num_passed:
                reader.skip_frames(index - num_passed)
            rgb: NDArray[np.uint8] = reader.next().asnumpy()
        except Exception as error:  # decord's have no class of their own
            raise DamagedSourceError(
                f"{path} breaks off after {num_passed} frames: {_first_line(error)}"
            ) from error
        num_passed = index + 1
        if rgb.shape[2] != 3:
            raise SourceError(f"{path}: decord cannot turn this video; use the decoder av")
        return rgb

    last_seconds = -1.0
    first_seconds = float(reader.get_frame_timestamp(0)[0]) if len(reader) else 0.0
    for index in range(len(reader)):
        seconds = float(reader.get_frame_timestamp(index)[0]) - first_seconds
        if not last_seconds < seconds < _MAX_SECONDS:
            raise SourceError(f"{path}: decord tells no times of this video; use the decoder av")
        last_seconds = seconds
        yield Picture(index, seconds, partial(load, index))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "decord gives no more frames").splitlines()[0]
