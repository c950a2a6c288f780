"""H.264 videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vos.errors import InputError, OutputError
from vos.records import Frame
from vos.sink.passing import discard, unfinished_name

TIME_BASE: Final = Fraction(1, 90_000)
DEFAULT_RATE_HZ: Final = Fraction(25)
_FORMATS: Final = {".mkv": "matroska", ".mov": "mov", ".mp4": "mp4"}
# FFmpeg's own container keeps times to the tick, whatever they are; for pieces of a video.
_PIECE_FORMATS: Final = {".nut": "nut"}
_BT709: Final = 1  # of FFmpeg's colour enumerations, all three of them
_LIMITED_RANGE: Final = 1
# A fixed number of threads, because x264's result depends on it. With B-frames its tree of
# macroblocks reads memory that nobody has written, so that results differ from run to run.
_X264_OPTIONS: Final = {"preset": "veryfast", "threads": "4", "mbtree": "0"}
# Frames are stored in the order they are shown in, so that pieces can be laid end to end.
_PIECE_OPTIONS: Final = {"bf": "0"}
# Without it the file holds the time of its making.
_BIT_EXACT: Final = {"fflags": "+bitexact"}
# The index first, so that the video can be played while it is being loaded.
_INDEX_FIRST: Final = {"movflags": "+faststart"}


class VideoFile:
    """An H.264 video in the making; as a context manager it is complete in the end.

    Frames may have any size, one for all; odd sides are padded to even by repeating their last
    row or column. Time starts at 0 and keeps the distances between the frames' times. The file
    takes its name when it is complete, also if the body of the ``with`` raises: what was added is
    playable. Without a frame there is no file. The same frames give the same bytes.

    A file ending in .nut is a piece of a longer video: its times are not moved to 0, and
    :func:`join_pieces` lays such files end to end.
    """

    def __init__(self, path: Path, frame_rate_hz: Fraction | None, *, crf: int) -> None:
        """Check the settings; nothing is written before the first frame.

        Args:
            path: The file, ending in .mp4, .mkv or .mov; replaced if it exists.
            frame_rate_hz: Nominal frame rate; the last frame is shown for one period.
            crf: x264's constant rate factor, 0 (best) to 51.

        Raises:
            InputError: another ending, a rate that is not positive, or a factor out of range.
        """
        self._is_piece = path.suffix in _PIECE_FORMATS
        if not self._is_piece:
            check_video(path, frame_rate_hz)
        if not 0 <= crf <= 51:
            raise InputError(f"crf must be within 0..51, got {crf}")
        self._path = path
        self._rate_hz = frame_rate_hz or DEFAULT_RATE_HZ
        self._crf = crf
        self._open: tuple[OutputContainer, VideoStream, Path] | None = None
        self._start_seconds = 0.0
        self._last_pts = -1

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, rgb: NDArray[np.uint8], pts_seconds: float) -> None:
        """Append a frame.

        Args:
            rgb: (H, W, 3) uint8.
            pts_seconds: Moved to just after the last frame's time where it is not later.

        Raises:
            InputError: the size is not that of the first frame.
            OutputError: the disk or the encoder refuses; no file is left.
        """
        if rgb.shape[0] % 2 or rgb.shape[1] % 2:
            rgb = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
        height, width = rgb.shape[:2]
        if self._open is None:
            self._start_seconds = 0.0 if self._is_piece else pts_seconds
            self._open = self._start(height, width)
        container, stream, _ = self._open
        if (stream.height, stream.width) != (height, width):
            raise InputError(
                f"a video's frames must be of one size: it is {stream.width} x {stream.height}, "
                f"got {width} x {height}"
            )
        pts = round((pts_seconds - self._start_seconds) / TIME_BASE)
        self._last_pts = max(pts, self._last_pts + 1)
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
        picture.pts = self._last_pts
        picture.time_base = TIME_BASE
        picture.duration = round(1 / (self._rate_hz * TIME_BASE))
        try:
            container.mux(stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            self._give_up()
            raise refusal(self._path, error) from error

    def _start(self, height: int, width: int) -> tuple[OutputContainer, VideoStream, Path]:
        unfinished = unfinished_name(self._path)
        try:
            container = _open_container(unfinished, self._path.suffix)
        except (av.FFmpegError, OSError) as error:
            raise refusal(self._path, error) from error
        options = _X264_OPTIONS | {"crf": str(self._crf)}
        options |= _PIECE_OPTIONS if self._is_piece else {}
        stream = container.add_stream("libx264", rate=self._rate_hz, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        codec = stream.codec_context
        codec.time_base = TIME_BASE
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED_RANGE
        return container, stream, unfinished

    def close(self) -> None:
        """Complete the file; further calls do nothing.

        Raises:
            OutputError: the disk or the encoder refuses; no file is left.
        """
        if self._open is None:
            return
        container, stream, unfinished = self._open
        try:
            container.mux(stream.encode(None))
            container.close()
            unfinished.replace(self._path)
            self._open = None
        except (av.FFmpegError, OSError) as error:
            self._give_up()
            raise refusal(self._path, error) from error

    def _give_up(self) -> None:
        if self._open is None:
            return
        container, _, unfinished = self._open
        self._open = None
        with suppress(av.FFmpegError, OSError):
            container.close()
        discard(unfinished)


def join_pieces(path: Path, pieces: Sequence[Path], frame_rate_hz: Fraction | None) -> None:
    """Lay pieces of a video end to end, without encoding them again.

    Args:
        path: The video, ending in .mp4, .mkv or .mov; replaced if it exists. Its time starts at 0.
        pieces: Files that :class:`VideoFile` wrote, in their order; at least one.
        frame_rate_hz: As in :class:`VideoFile`.

    Raises:
        InputError: another ending, or a rate that is not positive.
        OutputError: a piece is damaged, or the disk refuses; no file is left.
    """
    check_video(path, frame_rate_hz)
    unfinished = unfinished_name(path)
    period = round(1 / ((frame_rate_hz or DEFAULT_RATE_HZ) * TIME_BASE))
    try:
        with _open_container(unfinished, path.suffix) as container:
            stream = start = None
            for piece in pieces:
                for packet in _packets(piece):
                    stream = stream or container.add_stream_from_template(packet.stream)
                    start = packet.pts if start is None else start
                    packet.stream = stream
                    packet.pts = packet.dts = packet.pts - start
                    packet.duration = period
                    container.mux_one(packet)
        unfinished.replace(path)
    except OutputError:
        discard(unfinished)
        raise
    except (av.FFmpegError, OSError) as error:
        discard(unfinished)
        raise refusal(path, error) from error


def last_time_of_piece(piece: Path) -> int:
    """Read when the last frame of a piece is shown, in ticks of ``TIME_BASE``.

    Raises:
        OutputError: the piece is absent or damaged.
    """
    try:
        return max(int(packet.pts) for packet in _packets(piece))
    except ValueError as error:
        raise OutputError(f"cannot read {piece}, a part of the overlay: it is empty") from error


def check_video(path: Path, frame_rate_hz: Fraction | None) -> None:
    """Check a video's ending and rate.

    Raises:
        InputError: another ending than .mp4, .mkv or .mov, or a rate that is not positive.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"a video must end in {', '.join(_FORMATS)}, got {path.name!r}")
    if frame_rate_hz is not None and frame_rate_hz <= 0:
        raise InputError(f"frame_rate_hz must be positive, got {frame_rate_hz}")


def refusal(path: Path, error: Exception) -> OutputError:
    """Say that a file cannot be written, and why."""
    return OutputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}")


def _open_container(unfinished: Path, suffix: str) -> OutputContainer:
    container_format = (_FORMATS | _PIECE_FORMATS)[suffix.lower()]
    options = _BIT_EXACT | (_INDEX_FIRST if container_format in ("mp4", "mov") else {})
    return av.open(str(unfinished), "w", format=container_format, options=options)


def _packets(piece: Path) -> Iterator[Any]:
    """Give the packets of a piece, with pts in ticks of ``TIME_BASE``.

    Raises:
        OutputError: the piece is absent or damaged.
    """
    try:
        with av.open(str(piece)) as source:
            for packet in source.demux(video=0):
                if packet.size == 0:
                    continue
                if packet.pts is None or packet.is_corrupt:
                    raise OSError(f"{source.name} is damaged")
                packet.pts = round(packet.pts * packet.time_base / TIME_BASE)
                packet.time_base = TIME_BASE
                yield packet
    except (av.FFmpegError, OSError, ValueError) as error:
        raise OutputError(f"cannot read {piece}, a part of the overlay: {error}") from error


def write_video(
    path: Path, frames: Iterable[Frame], frame_rate_hz: Fraction | None, *, crf: int = 18
) -> None:
    """Write frames as a video.

    Args:
        path: The file, ending in .mp4, .mkv or .mov; replaced if it exists.
        frames: Frames of one size.
        frame_rate_hz: Nominal frame rate; the times are those of the frames.
        crf: x264's constant rate factor: 0 is the best that 4:2:0 allows, 18 looks the same as
            the original, 23 is x264's default.

    Raises:
        InputError: a setting is illegal, or the frames differ in size.
        OutputError: the disk or the encoder refuses.
    """
    with VideoFile(path, frame_rate_hz, crf=crf) as video:
        for frame in frames:
            video.add(frame.rgb, frame.pts_seconds)
