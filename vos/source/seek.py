"""Finding the start of the wanted part without decoding all that comes before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain
from typing import Final

import av
from av.video.frame import VideoFrame

from vos.errors import SourceError
from vos.source.container import OpenVideo, is_dropped
from vos.source.selection import Selection

# One packet of these is one shown frame; elsewhere packets may hold hidden frames or none.
ONE_FRAME_PER_PACKET: Final = frozenset(
    ("av1", "dnxhd", "ffv1", "h264", "hevc", "libdav1d", "mjpeg", "prores", "vp9")
)
_MIN_FRAMES: Final = 250  # before the start; decoding fewer takes no time worth saving
_MIN_SECONDS: Final = 10.0
_REORDER_DEPTH: Final = 64  # packets; more than any codec reorders
# How far before the keyframe to aim, in turn: without an index, seeking may land late.
_LEADS_SECONDS: Final = (0.0, 3.0)


@dataclass(frozen=True, slots=True)
class SeekPoint:
    """Where to begin decoding for the first wanted frame.

    Attributes:
        keyframe_pts: Pts of the last keyframe shown no later than the first wanted frame.
        keyframe_index: That keyframe's index in the order of presentation.
        first_pts: Pts of the first wanted frame.
        first_index: That frame's index in the order of presentation.
        origin_pts: Pts of the first frame of all, from which on seconds count.
    """

    keyframe_pts: int
    keyframe_index: int
    first_pts: int
    first_index: int
    origin_pts: int


def is_worth_seeking(video: OpenVideo, selection: Selection) -> bool:
    """Tell whether much comes before the wanted part and can be skipped."""
    start = selection.start
    if start is None or not video.is_seekable or not video.has_pts:
        return False
    if isinstance(start, int):
        return start >= _MIN_FRAMES
    return start >= _MIN_SECONDS


def find_seek_point(video: OpenVideo, selection: Selection) -> SeekPoint | None:
    """Find the first wanted frame by counting packets, without decoding them.

    Leaves the container somewhere in the middle.

    Returns:
        None where there is nothing to skip, or where it is not certain that counting packets is
        counting frames.

    Raises:
        SourceError: every packet comes before the wanted part.
    """
    time_base = video.stream.time_base
    if video.stream.codec_context.name not in ONE_FRAME_PER_PACKET or time_base is None:
        return None
    keyframe = None
    index = -1
    pts = origin_pts = 0
    try:
        for index, entry in enumerate(in_order_of_presentation(video)):
            if entry is None:
                return None
            pts, is_keyframe = entry
            origin_pts = pts if index == 0 else origin_pts
            if is_keyframe:
                keyframe = pts, index
            if not selection.is_before(index, float((pts - origin_pts) * time_base)):
                if keyframe is None or keyframe[1] == 0:
                    return None
                return SeekPoint(*keyframe, pts, index, origin_pts)
    except Exception:
        return None  # of any kind: decoding will meet the damage and say where it is
    if index < 0:
        return None
    raise SourceError(
        f"{video.address} holds no frame {selection.in_words()}; the last before that is frame "
        f"{index} at {float((pts - origin_pts) * time_base):.3f} s"
    )


def in_order_of_presentation(video: OpenVideo) -> Iterator[tuple[int, bool] | None]:
    """Give (pts, is keyframe) of every packet, ascending; None where packets are not frames."""
    waiting: list[tuple[int, bool]] = []
    last_pts = None
    for packet in video.container.demux(video.stream):
        if is_dropped(packet):
            continue
        is_end = packet.size == 0
        if not is_end:
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                yield None
                return
            if last_pts is None:
                if not packet.is_keyframe:
                    yield None
                    return
                # A frame shown before the first one decoded may never come out of the decoder.
                last_pts = packet.pts - 1
            heappush(waiting, (packet.pts, packet.is_keyframe))
        while waiting and (is_end or len(waiting) > _REORDER_DEPTH):
            entry = heappop(waiting)
            if last_pts is None or entry[0] <= last_pts:
                yield None
                return
            last_pts = entry[0]
            yield entry


def frames_from(
    video: OpenVideo, point: SeekPoint, decode: Callable[[OpenVideo], Iterator[VideoFrame]]
) -> Iterator[VideoFrame] | None:
    """Decode from the keyframe on and drop what comes before the first wanted frame.

    Args:
        video: The video, anywhere.
        point: Where to begin.
        decode: Decodes a video from where it is.

    Returns:
        The frames from the first wanted one on; None where not every frame between the keyframe
        and it was met in its turn.
    """
    for lead_seconds in _LEADS_SECONDS:
        lead = round(lead_seconds / (video.stream.time_base or 1))
        try:
            video.container.seek(point.keyframe_pts - lead, stream=video.stream)
        except av.FFmpegError:
            return None
        frames = _skip_to(decode(video), point)
        if frames is not None:
            return frames
    return None


def _skip_to(frames: Iterator[VideoFrame], point: SeekPoint) -> Iterator[VideoFrame] | None:
    num_after = -1
    with suppress(SourceError):
        for frame in frames:
            if frame.pts is None or frame.pts > point.first_pts:
                return None
            if frame.pts == point.keyframe_pts or num_after >= 0:
                num_after += 1
            if frame.pts == point.first_pts:
                is_exact = point.keyframe_index + num_after == point.first_index
                return chain([frame], frames) if is_exact else None
    return None
