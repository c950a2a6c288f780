"""Frames of one source in any order, as a page asks for them that scrubs through a video."""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vos.errors import DamagedSourceError, SourceError
from vos.records import Frame
from vos.source.address import can_read_again
from vos.source.images import image_files, kind_of
from vos.source.open import open_selection
from vos.source.selection import Picture, Selection

if TYPE_CHECKING:  # a page opens before FFmpeg is loaded
    from av.video.frame import VideoFrame

    from vos.source.container import OpenVideo
    from vos.source.seek import SeekPoint
    from vos.source.shown import Shown

_NEAR_FRAMES: Final = 64  # decoded on rather than opened again, where keyframes are not known
# Of these a decoder tells without fail which frames no other one refers to. (HEVC marks those that
# none of the same layer refers to.)
_CAN_SKIP: Final = frozenset(("h264",))


@dataclass(frozen=True, slots=True, eq=False)
class FrameTimes:
    """When the N frames of a source are shown.

    Attributes:
        pts_seconds: (N,) float64, counted from the first frame.
        pts: (N,) int64, the same in units of the stream; empty where the video cannot be entered
            at any other frame than its first.
        keyframes: Indices of the frames where decoding may begin, ascending.
    """

    pts_seconds: array[float]
    pts: array[int] = field(default_factory=lambda: array("q"))
    keyframes: array[int] = field(default_factory=lambda: array("q"))

    def keyframe_before(self, index: int) -> int | None:
        """Give the last frame at or before one where decoding may begin, if any is known."""
        after = bisect_right(self.keyframes, index)
        return self.keyframes[after - 1] if after else None


class _Turns:
    """A lock that goes to whoever asked for it last."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[object] = []
        self._is_taken = False

    @contextmanager
    def take(self) -> Iterator[None]:
        """Have the lock."""
        mine = object()
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: not self._is_taken and self._waiting[-1] is mine)
            self._waiting.pop()
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()


class FrameReader:
    """A source that can be read again, opened at any frame: the frames of a forward reading.

    Methods may be called from several threads. One at a time is served: whoever came last goes
    first, as who scrubs through a video wants the newest frame.

    Args:
        path: A file or a folder of pictures, as :func:`vos.open_source` takes them.
        selection: How it is read. Which frames it wants does not matter.

    Raises:
        SourceError: it cannot be opened, or can be read only once.
    """

    def __init__(self, path: str | os.PathLike[str], selection: Selection | None = None) -> None:
        self.address = os.fspath(path)
        self._selection = replace(selection or Selection(), start=None, end=None, every=1)
        if os.path.exists(self.address) and not can_read_again(self.address):
            raise SourceError(f"{self.address} can be read only once; save it as a file first")
        self._turns = _Turns()
        with open_selection(self.address, self._selection) as source:
            self.info = source.info
            self._last: Frame = next(source)
        self._is_video = kind_of(self.address) == "video" and self._selection.decoder == "av"
        self._files = image_files(Path(self.address)) if os.path.isdir(self.address) else []
        self._times: FrameTimes | None = None
        self._opened = ExitStack()
        self._video: tuple[OpenVideo, Shown] | None = None  # once it was entered at a frame
        self._pictures: Iterator[Picture] | Iterator[Frame] = iter(())
        self._next_index: int | None = None

    def times(self) -> FrameTimes:
        """Learn when every frame is shown; from then on any frame is near.

        Of most videos only the packets are read, of the others every frame is decoded. Where the
        source breaks off, the times are those of its good frames.

        Raises:
            SourceError: it cannot be opened any more.
        """
        if self._times is None:
            times = self._packet_times() if self._is_video else None
            self._times = times or FrameTimes(array("d", self._decoded_times()))
        return self._times

    def frame_name(self, index: int) -> str:
        """Give ``Frame.name`` of a frame without reading it."""
        if 0 <= index < len(self._files):
            return self._files[index].stem
        return f"{index:05d}" if self._last.name == f"{self._last.index:05d}" else self._last.name

    def read(self, index: int) -> Frame:
        """Give a frame by its index in the source.

        Raises:
            SourceError: there is no such frame.
            DamagedSourceError: it cannot be decoded.
        """
        with self._turns.take():
            if index != self._last.index:
                try:
                    self._last = self._read(index)
                except BaseException:
                    self._close()
                    raise
            return self._last

    def close(self) -> None:
        """Close the source."""
        with self._turns.take():
            self._close()

    def _close(self) -> None:
        self._next_index = self._video = None
        self._pictures = iter(())
        self._opened.close()

    def _read(self, index: int) -> Frame:
        if not self._is_ahead(index):
            self._enter(index)
        for picture in self._pictures:
            self._next_index = picture.index + 1
            if picture.index == index:
                if isinstance(picture, Frame):
                    return picture
                name = picture.name or f"{index:05d}"
                return Frame(index, picture.pts_seconds, name, picture.load())
        raise SourceError(f"{self.address} holds no frame {index}")

    def _is_ahead(self, index: int) -> bool:
        """Tell whether decoding on is the shortest way to a frame."""
        if self._next_index is None or index < self._next_index:
            return False
        keyframe = None if self._times is None else self._times.keyframe_before(index)
        if keyframe is None:
            return index < self._next_index + _NEAR_FRAMES
        return keyframe <= self._next_index

    def _enter(self, index: int) -> None:
        """Open the source at a frame, or before it."""
        times = self._times
        if self._is_video and times is not None and index < len(times.pts):
            with suppress(SourceError):
                pictures = self._enter_video(index, times)
                if pictures is not None:
                    self._pictures = pictures
                    self._next_index = index
                    return
        self._close()
        wanted = replace(self._selection, start=index)
        self._pictures = self._opened.enter_context(open_selection(self.address, wanted))
        self._next_index = index

    def _enter_video(self, index: int, times: FrameTimes) -> Iterator[Picture] | None:
        from vos.source.container import open_video_container
        from vos.source.seek import SeekPoint, frames_from
        from vos.source.shown import Shown
        from vos.source.video import good_frames, timed

        keyframe = times.keyframe_before(index)
        if keyframe is None:
            return None
        if self._video is None:
            self._close()
            video = self._opened.enter_context(
                open_video_container(self.address, self._selection.max_pixels)
            )
            # Threads by frame decode the stretch before it in half the time. They tell of damage
            # late, which does not matter here: a frame that is not met in its turn is read the
            # sure way.
            video.stream.thread_type = "AUTO"
        else:
            video = self._video[0]
        point = SeekPoint(times.pts[keyframe], keyframe, times.pts[index], index, times.pts[0])
        frames = None
        if video.stream.codec_context.name in _CAN_SKIP:
            frames = _skip_to(replace(video, wanted_from_pts=point.first_pts), point)
        frames = frames or frames_from(video, point, good_frames)
        if frames is None:
            return None
        if self._video is None:
            first = next(frames)
            self._video = video, Shown.of(video, first)
            frames = chain([first], frames)
        return timed(video, frames, point, self._video[1])

    def _packet_times(self) -> FrameTimes | None:
        """Learn the times from the packets, where it is certain that they tell."""
        from vos.source.container import open_video_container
        from vos.source.seek import ONE_FRAME_PER_PACKET, in_order_of_presentation

        with open_video_container(self.address, self._selection.max_pixels) as video:
            unit = video.stream.time_base or Fraction(0)
            is_known = video.stream.codec_context.name in ONE_FRAME_PER_PACKET
            if not (is_known and unit and video.is_seekable and video.has_pts):
                return None
            pts, keyframes = array("q"), array("q")
            try:
                for entry in in_order_of_presentation(video):
                    if entry is None:
                        return None
                    if entry[1]:
                        keyframes.append(len(pts))
                    pts.append(entry[0])
            except Exception:
                return None  # of any kind: decoding will meet the damage and say where it is
        if not pts:
            return None
        return FrameTimes(
            array("d", (float((each - pts[0]) * unit) for each in pts)), pts, keyframes
        )

    def _decoded_times(self) -> Iterator[float]:
        from vos.source.video import begin, open_at, timed

        with suppress(DamagedSourceError):
            if not self._is_video:
                with open_selection(self.address, self._selection) as source:
                    yield from (frame.pts_seconds for frame in source)
                return
            with open_at(self.address, self._selection) as (video, decoded, point):
                decoded, shown, _ = begin(video, decoded, point)
                with closing(timed(video, decoded, point, shown)) as pictures:
                    yield from (picture.pts_seconds for picture in pictures)


def _skip_to(video: OpenVideo, point: SeekPoint) -> Iterator[VideoFrame] | None:
    """Decode from a keyframe on, of the frames before the wanted one only what it is made of.

    Returns:
        The frames from the wanted one on; None where they are not met as the packets say, or where
        a packet may be half a frame.
    """
    import av

    from vos.source.video import good_frames

    context = video.stream.codec_context
    try:
        video.container.seek(point.keyframe_pts, stream=video.stream)
        frames = good_frames(video)
        has_begun = False
        for frame in frames:
            has_begun = has_begun or frame.pts == point.keyframe_pts
            if frame.pts is None or frame.pts > point.first_pts or frame.interlaced_frame:
                return None
            if has_begun and frame.pts == point.first_pts:
                return chain([frame], frames)
    except (av.FFmpegError, SourceError):
        pass
    finally:
        context.skip_frame = "DEFAULT"
    return None
