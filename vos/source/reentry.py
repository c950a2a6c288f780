"""Reading stretches of a video again, each from the keyframe before it."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from av.video.frame import VideoFrame

from vos.records import Frame
from vos.source.container import open_video_container
from vos.source.seek import SeekPoint, frames_from
from vos.source.selection import Selection, deliver
from vos.source.shown import Shown
from vos.source.video import begin, good_frames, open_at, timed

_NUM_KEYFRAMES: Final = 2  # tried before a stretch is decoded from the video's beginning

Again = Callable[[int, int], Iterator[Generator[Frame, None, None]]]
"""Takes the indices of a stretch's first and last wanted frame; gives ways to read it, the
fastest first. Only the last one is sure to give the right frames."""


@contextmanager
def read_noting(
    address: str, selection: Selection
) -> Iterator[tuple[Generator[Frame, None, None], Again]]:
    """Read a video, and note on the way how its stretches can be reached.

    Args:
        address: Path of a file.
        selection: The wanted frames.

    Yields:
        The wanted frames; and, once they are all read, the way to read some of them again.

    Raises:
        SourceError: the video cannot be opened or ends before the wanted part.
    """
    table = _Timestamps()
    with open_at(address, selection) as (video, decoded, point):
        if point is not None:
            table.first_index = point.first_index
            table.keyframes_pts.append(point.keyframe_pts)
            table.keyframes_index.append(point.keyframe_index)
        table.can_seek = video.has_pts
        decoded, shown, _ = begin(video, decoded, point)
        pictures = timed(video, table.note(decoded), point, shown)
        with closing(pictures), closing(deliver(pictures, selection, address)) as frames:
            yield frames, _again(address, selection, table, shown)


@dataclass(slots=True, eq=False)
class _Timestamps:
    """Where a video can be entered.

    Attributes:
        first_index: Index of the first decoded frame.
        pts: (M,) int64, of all decoded frames in order of presentation.
        keyframes_pts: (N,) int64, ascending.
        keyframes_index: (N,) int64, indices of the keyframes.
        can_seek: Whether a timestamp tells a frame from all others.
    """

    first_index: int = 0
    pts: array[int] = field(default_factory=lambda: array("q"))
    keyframes_pts: array[int] = field(default_factory=lambda: array("q"))
    keyframes_index: array[int] = field(default_factory=lambda: array("q"))
    can_seek: bool = True

    def note(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """Pass frames on and remember their timestamps."""
        for index, frame in enumerate(frames, self.first_index):
            pts = frame.pts
            if pts is None or (self.pts and pts <= self.pts[-1]):
                self.can_seek = False
            if self.can_seek and pts is not None:
                self.pts.append(pts)
                if frame.key_frame:
                    self.keyframes_pts.append(pts)
                    self.keyframes_index.append(index)
            yield frame

    def ways_to(self, index: int) -> Iterator[SeekPoint]:
        """Give the last keyframes before a frame, the nearest first."""
        if not self.can_seek:
            return
        after = bisect_right(self.keyframes_index, index)
        for number in reversed(range(max(0, after - _NUM_KEYFRAMES), after)):
            yield SeekPoint(
                keyframe_pts=self.keyframes_pts[number],
                keyframe_index=self.keyframes_index[number],
                first_pts=self.pts[index - self.first_index],
                first_index=index,
                origin_pts=self.pts[0],
            )


def _again(address: str, selection: Selection, table: _Timestamps, shown: Shown) -> Again:
    def again(first: int, last: int) -> Iterator[Generator[Frame, None, None]]:
        for point in (*table.ways_to(first), None):
            wanted = replace(selection, start=first, end=last + 1)
            yield _decode_from(address, wanted, point, shown)

    return again


def _decode_from(
    address: str,
    selection: Selection,
    point: SeekPoint | None,
    shown: Shown,
) -> Generator[Frame, None, None]:
    with open_video_container(address, selection.max_pixels) as video:
        frames = good_frames(video) if point is None else frames_from(video, point, good_frames)
        if frames is not None:
            with closing(timed(video, frames, point, shown)) as pictures:
                yield from deliver(pictures, selection, address)
