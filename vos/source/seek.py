"""Finding the start of the wanted part without decoding what comes before it."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import dropwhile
from collections.abc import Iterator
from typing import Final

import av
from av.video.frame import VideoFrame

from vos.source.container import OpenVideo
from vos.source.selection import Selection

_REORDER_DEPTH: Final = 64  # packets; more than any codec's distance of decoding from showing


@dataclass(frozen=True, slots=True)
class SeekPoint:
    """Where to begin decoding for the first wanted frame.

    Attributes:
        keyframe_pts: Pts of the last keyframe shown no later than the first wanted frame.
        keyframe_index: That keyframe's place in the order of presentation.
        first_pts: Pts of the first wanted frame.
        first_index: That frame's place in the order of presentation.
    """

    keyframe_pts: int
    keyframe_index: int
    first_pts: int
    first_index: int


def find_seek_point(video: OpenVideo, selection: Selection) -> SeekPoint | None:
    """Count packets up to the first wanted frame.

    The container is left somewhere in the middle. Memory is bounded.

    Returns:
        None where counting packets is not certain to be counting frames, where there is nothing
        to skip, or no wanted frame.
    """
    time_base = video.stream.time_base
    if time_base is None:
        return None
    waiting: list[tuple[int, bool]] = []
    last_pts = None
    index = 0
    keyframe: tuple[int, int] | None = None
    for packet in video.container.demux(video.stream):
        is_end = packet.size == 0
        if not is_end:
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                return None
            heappush(waiting, (packet.pts, packet.is_keyframe))
        while waiting and (is_end or len(waiting) > _REORDER_DEPTH):
            pts, is_keyframe = heappop(waiting)
            if last_pts is not None and pts <= last_pts:
                return None
            last_pts = pts
            if is_keyframe:
                keyframe = pts, index
            if not selection.is_before(index, float(pts * time_base)):
                if keyframe is None or keyframe[1] == 0:
                    return None
                return SeekPoint(*keyframe, first_pts=pts, first_index=index)
            index += 1
    return None


def frames_from(video: OpenVideo, point: SeekPoint) -> Iterator[VideoFrame] | None:
    ...
