"""The sound of a video file, for its overlay."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import av
from av.audio.stream import AudioStream

from vos.errors import SourceError
from vos.masks.image_files import MAX_PIXELS
from vos.source.address import is_camera
from vos.source.container import OpenVideo, open_video_container
from vos.source.video import good_frames

_log = logging.getLogger("vos")


def sound_of(
    address: str, *, max_pixels: int = MAX_PIXELS
) -> (
    Callable[[float, float], AbstractContextManager[tuple[AudioStream, Iterator[Any]] | None]]
    | None
):
    """Find out how the sound of a source can be opened.

    Args:
        address: Path of a file or a folder, or a URL.
        max_pixels: Most pixels that a frame may have.

    Returns:
        :func:`open_sound` of the source; None where it has no sound or can be read only once. Of
        the latter the log says so.
    """
    if os.path.isdir(address) or is_camera(address):
        return None
    if not os.path.isfile(address):
        _log.warning("the overlay is silent: %s can be read only once", address)
        return None
    return partial(open_sound, address, max_pixels=max_pixels)


@contextmanager
def open_sound(
    address: str, start_seconds: float, end_seconds: float, *, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[AudioStream, Iterator[Any]] | None]:
    """Open the sound of a part of a video.

    Args:
        address: Path of a file.
        start_seconds: Where the part begins, counted from the video's first frame.
        end_seconds: Where it ends, likewise.
        max_pixels: Most pixels that a frame of the video may have.

    Yields:
        The stream and those of its packets that overlap the part, in order and with the one
        before, which decoders need. Their times count from the start of the part. None where there
        is no sound. What is damaged is left out.
    """
    with ExitStack() as stack:
        try:
            video = stack.enter_context(open_video_container(address, max_pixels))
        except SourceError:  # a picture that another library reads
            yield None
            return
        if video.container.streams.best("audio") is None:
            yield None
            return
        first = next(good_frames(video))
        pts = first.pts if video.has_pts else first.dts
        origin_seconds = float((pts or 0) * (video.stream.time_base or 0))
    with open_video_container(address, max_pixels) as video:
        stream = video.container.streams.best("audio")
        if isinstance(stream, AudioStream) and stream.codec_context is not None:
            begin, end = origin_seconds + start_seconds, origin_seconds + end_seconds
            yield stream, _packets(video, stream, begin, end)
        else:
            yield None


def _packets(
    video: OpenVideo, stream: AudioStream, start_seconds: float, end_seconds: float
) -> Iterator[Any]:
    last = None
    try:
        if start_seconds > video.start_seconds:
            with suppress(av.FFmpegError):
                video.container.seek(round(start_seconds * av.time_base))
        for packet in video.container.demux(stream):
            if packet.size == 0 or packet.dts is None or packet.is_corrupt:
                continue
            packet.pts = packet.dts if packet.pts is None else packet.pts
            if (packet.pts + 2 * (packet.duration or 0)) * packet.time_base < start_seconds:
                continue
            if packet.pts * packet.time_base >= end_seconds:
                return
            if last is None or packet.dts > last:
                last = packet.dts
                offset = round(start_seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
                yield packet
    except (av.FFmpegError, OSError) as error:
        _log.warning("the sound of %s breaks off: %s", video.address, error)
