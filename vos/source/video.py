"""Frames of a video file, stream or camera, decoded by FFmpeg through PyAV."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import av
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vos.errors import DamagedSourceError, SourceError
from vos.source.address import is_url
from vos.source.container import (
    OpenVideo,
    is_dropped,
    is_memory_full,
    open_video_container,
    reason,
)
from vos.source.seek import SeekPoint, find_seek_point, frames_from, is_worth_seeking
from vos.source.selection import Picture, Selection, deliver
from vos.source.shown import Shown, shown_aspect
from vos.source.source import Source

_log = logging.getLogger("vos")

_DEFAULT_RATE_HZ: Final = Fraction(25)  # of sources that know neither pts nor rate
_MAX_GAP_SECONDS: Final = 1.0  # a longer jump back is another recording, not a rounding error
_MAX_MISSING_SECONDS: Final = 0.5
_MAX_SECONDS: Final = 1e10  # three centuries; beyond, floats do not tell frames apart
_MAX_STEPS: Final = 1.5  # frame periods; between frames further apart one is missing


def open_video(address: str, selection: Selection) -> Source:
    """Open a video.

    Times are the stream's own, counted from its first frame, as players do. Frames are as players
    show them: cropped, turned and mirrored as the file asks, HDR converted to SDR, and with the
    matrix of their size where the file names none. Only pixels that are not square are kept as they
    are stored; ``SourceInfo.sample_aspect_ratio`` tells their shape.

    Args:
        address: Path of a file, a URL, or a camera such as ``/dev/video0``.
        selection: The wanted frames.

    Raises:
        SourceError: the video cannot be opened, has no wanted frame, or its frames are too large.
    """
    with ExitStack() as stack:
        video, decoded, point = stack.enter_context(open_at(address, selection))
        decoded, shown, start_seconds = begin(video, decoded, point)
        shown.warn(address)
        rate_hz = video.frame_rate_hz
        num_frames = video.stream.frames or None
        if num_frames is None and rate_hz and video.duration_seconds is not None:
            num_frames = round(video.duration_seconds * rate_hz)
        pictures = stack.enter_context(closing(timed(video, decoded, point, shown)))
        return Source(
            stack.enter_context(closing(deliver(pictures, selection, address))),
            name=_name(address),
            frame_rate_hz=selection.rate_hz(rate_hz),
            num_frames=selection.count(num_frames, rate_hz),
            sample_aspect_ratio=shown_aspect(
                video.stream.sample_aspect_ratio, is_turned=shown.is_turned
            ),
            start_seconds=start_seconds,
            resources=stack.pop_all(),
        )


@contextmanager
def open_at(
    address: str, selection: Selection
) -> Iterator[tuple[OpenVideo, Iterator[VideoFrame], SeekPoint | None]]:
    """Open a video and decode from its first frame on, or from a far start.

    Args:
        address: As in :func:`open_video`.
        selection: The wanted frames.

    Yields:
        The video; its good frames, as of :func:`good_frames`; where they begin, or None where they
        begin with the first frame of all.

    Raises:
        SourceError: the video cannot be opened or ends before the wanted part.
    """
    with open_video_container(address, selection.max_pixels) as video:
        if not is_worth_seeking(video, selection):
            yield video, good_frames(video), None
            return
        point = find_seek_point(video, selection)
        frames = None if point is None else frames_from(video, point, good_frames)
        if frames is not None:
            yield video, frames, point
            return
    with open_video_container(address, selection.max_pixels) as video:
        yield video, good_frames(video), None


def begin(
    video: OpenVideo, decoded: Iterator[VideoFrame], point: SeekPoint | None
) -> tuple[Iterator[VideoFrame], Shown, float]:
    """Look at the first decoded frame.

    Returns:
        The same frames; how they are shown; the time of the video's first frame on its own clock,
        0 where it has none.

    Raises:
        SourceError: there is no good frame.
    """
    first = next(decoded)
    origin = _timestamp(video, first) if point is None else point.origin_pts
    start_seconds = float((origin or 0) * (video.stream.time_base or 0))
    return chain([first], decoded), Shown.of(video, first), start_seconds


def good_frames(video: OpenVideo) -> Iterator[VideoFrame]:
    """Decode from where a video is until its end or the first damage.

    Raises:
        SourceError: there is no good frame.
        DamagedSourceError: damage came after good frames; the message is FFmpeg's.
    """
    num_good = 0
    last_pts = None
    damage = None
    try:
        for frame in _decoded(video):
            if isinstance(frame, str):
                damage = frame
                break
            num_good += 1
            last_pts = frame.pts
            yield frame
    except Exception as error:  # PyAV's are of many kinds
        if is_memory_full(error):
            raise
        damage = reason(error)
    if damage is not None:
        for frame in _still_in_decoder(video, last_pts):
            num_good += 1
            yield frame
    if not num_good:
        message = f"{video.address}: no frame can be decoded ({damage or 'it has none'})"
        context = video.stream.codec_context
        if context.width * context.height == 0:
            message += (
                f"; its frames have no legal size, or far more than {video.max_pixels} pixels"
            )
        raise SourceError(message)
    if damage is not None:
        raise DamagedSourceError(damage)


def _decoded(video: OpenVideo) -> Iterator[VideoFrame | str]:
    """Decode all packets, up to damage, which is told by a string.

    Damage at the start is skipped up to the next keyframe, as players do: recordings and streams
    may begin between keyframes. In live streams damage is skipped anywhere.

    Samples without any byte are frames that a recorder dropped: the one before is shown on.

    Raises:
        av.FFmpegError: reading fails.
        OSError: reading the file fails.
    """
    has_keyframe = has_frame = False
    skipped = None
    end_seconds = 0.0
    # Packets of all streams, because the last one tells whether the end is missing.
    for packet in video.packets():
        end_seconds = max(end_seconds, _end_seconds(packet))
        if packet.stream.index != video.stream.index or is_dropped(packet):
            continue
        if packet.size == 0 and (missing := _missing_end(video, end_seconds)):
            yield missing
            return
        damage, is_fatal = None, False
        frames: list[VideoFrame] = []
        try:
            frames = cast(list[VideoFrame], packet.decode())
            has_keyframe = has_keyframe or packet.is_keyframe
        except av.FFmpegError as error:
            damage, is_fatal = reason(error), has_keyframe
        for frame in frames:
            if frame.is_corrupt:
                damage, is_fatal = "a picture is damaged", has_frame
                break
            if has_frame or skipped is None or frame.key_frame:
                has_frame = True
                yield frame
        if damage is not None and is_fatal and not video.is_live:
            yield damage
            return
        if damage is not None and skipped is None:
            skipped = damage
            _log.warning("%s: what cannot be decoded is skipped: %s", video.address, damage)
    if skipped is not None and not has_frame:
        yield skipped


def _end_seconds(packet: av.Packet[Stream]) -> float:
    timestamp = packet.dts if packet.pts is None else packet.pts
    return (
        0.0 if timestamp is None else float((timestamp + (packet.duration or 0)) * packet.time_base)
    )


def _missing_end(video: OpenVideo, end_seconds: float) -> str | None:
    """Say so if a video ends earlier than it declares because the file is cut short.

    The duration alone proves nothing: recorders and cutters declare what the frames do not fill.
    """
    declared_seconds = video.declared_end_seconds
    if declared_seconds is None or end_seconds >= declared_seconds - _MAX_MISSING_SECONDS:
        return None
    if video.num_missing_bytes() == 0:
        return None
    return f"it ends at {end_seconds:.1f} s of {declared_seconds:.1f} s"


def _still_in_decoder(video: OpenVideo, last_pts: int | None) -> Iterator[VideoFrame]:
    """Get the frames held back for reordering that follow the last one without a gap."""
    # An empty packet drains a decoder. Decoding None does too, but crashes PyAV before 18.
    drain = cast("av.Packet[VideoStream]", av.Packet())
    drain.stream = video.stream
    with suppress(av.FFmpegError):
        for frame in drain.decode():
            if frame.is_corrupt or frame.pts is None:
                return
            step = 0 if last_pts is None else frame.pts - last_pts
            if step * (video.stream.time_base or 0) > _MAX_STEPS * _period_seconds(video):
                return
            last_pts = frame.pts
            yield frame


def _period_seconds(video: OpenVideo) -> float:
    return float(1 / (video.frame_rate_hz or _DEFAULT_RATE_HZ))


def timed(
    video: OpenVideo,
    frames: Iterator[VideoFrame],
    point: SeekPoint | None,
    shown: Shown,
) -> Generator[Picture, None, None]:
    """Number the frames and give each a time later than the one before, from 0 on.

    Args:
        video: Where the frames come from.
        frames: Decoded frames in order of presentation.
        point: Where they begin; None for the first frame of all.
        shown: How they are shown.

    Raises:
        SourceError: there is no good frame.
        DamagedSourceError: damage came after good frames.
    """
    time_base = video.stream.time_base
    period_seconds = _period_seconds(video)
    first_index, origin = (point.first_index, point.origin_pts) if point else (0, None)
    shift_seconds = 0.0
    last_seconds = -math.inf
    index = first_index - 1
    try:
        for index, frame in enumerate(frames, first_index):
            timestamp = _timestamp(video, frame)
            if timestamp is None or time_base is None:
                seconds = max(last_seconds + period_seconds, 0.0)
            else:
                if origin is None:
                    origin, shift_seconds = timestamp, max(last_seconds + period_seconds, 0.0)
                seconds = float((timestamp - origin) * time_base) + shift_seconds
            gap_seconds = last_seconds - seconds
            if gap_seconds > _MAX_GAP_SECONDS:
                shift_seconds += gap_seconds + period_seconds
                seconds += gap_seconds + period_seconds
            last_seconds = max(seconds, last_seconds + period_seconds / 1000)
            yield Picture(index, last_seconds, partial(shown.to_rgb, frame))
    except DamagedSourceError as error:
        raise DamagedSourceError(
            f"{video.address} breaks off after {index + 1} frames, at {last_seconds:.3f} s: "
            f"{error}",
            frame_index=index + 1,
            pts_seconds=last_seconds + period_seconds,
        ) from error


def _timestamp(video: OpenVideo, frame: VideoFrame) -> int | None:
    """Give a frame's time in units of the stream, if it has one that can be."""
    timestamp = frame.pts if video.has_pts else frame.dts
    if timestamp is None or abs(float(timestamp * (video.stream.time_base or 0))) > _MAX_SECONDS:
        return None
    return timestamp


def _name(address: str) -> str:
    url = urlsplit(address) if is_url(address) else None
    return Path(url.path if url else address).stem or (url.hostname if url else None) or "video"
