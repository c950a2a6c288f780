"""H.264: how videos are encoded, and one piece of a video.

A piece is a file in FFmpeg's own container, which keeps times to the tick, whatever they are. It
has an encoder of its own: its bytes depend on nothing but its frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vos.errors import InputError, OutputError
from vos.files import make_folder, part_path, refusals

TIME_BASE: Final = Fraction(1, 90_000)
# Without it the file holds the time of its making.
BIT_EXACT: Final = {"fflags": "+bitexact"}
_DEFAULT_RATE_HZ: Final = Fraction(25)
_MAX_SIDE_PX: Final = 16_384  # x264's own limit
_MAX_ASPECT: Final = (1 << 16) - 1  # H.264 has 16 bits for either side of it
_MAX_DURATION: Final = (1 << 31) - 1  # ticks
_BT709: Final = 1  # of FFmpeg's colour enumerations, all three of them
_LIMITED_RANGE: Final = 1
# A fixed number of threads, because x264's result depends on it. With B-frames its tree of
# macroblocks reads memory that nobody has written, so that results differ from run to run; without
# them frames are stored in the order they are shown in, so that pieces can be laid end to end.
_X264_OPTIONS: Final = {"preset": "veryfast", "threads": "4", "mbtree": "0", "bf": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a video is encoded.

    Attributes:
        crf: x264's constant rate factor: 0 is the best that 4:2:0 allows, 18 looks the same as
            the original, 51 is the worst.
        frame_rate_hz: Nominal frame rate, or None; the last frame is shown for one period.
        pixel_aspect: Width of a pixel over its height, or None for square pixels.
    """

    crf: int
    frame_rate_hz: Fraction | None = None
    pixel_aspect: Fraction | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InputError: a factor out of range, or a rate or an aspect that is not positive.
        """
        if not 0 <= self.crf <= 51:
            raise InputError(f"crf must be within 0..51, got {self.crf}")
        for name in ("frame_rate_hz", "pixel_aspect"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"{name} must be positive, got {value}")

    @property
    def period(self) -> int:
        """How long a frame is shown by the rate, in ticks of ``TIME_BASE``, at least 1."""
        ticks = round(1 / ((self.frame_rate_hz or _DEFAULT_RATE_HZ) * TIME_BASE))
        return min(max(ticks, 1), _MAX_DURATION)


def check_frame_size(frame_hw: tuple[int, int]) -> None:
    """Make sure that frames can be encoded.

    Args:
        frame_hw: Their height and width.

    Raises:
        OutputError: H.264 takes no frames of this size.
    """
    height, width = frame_hw
    if max(frame_hw) > _MAX_SIDE_PX:
        raise OutputError(
            f"no overlay can be written of frames of {width} x {height} pixels: H.264 takes "
            f"{_MAX_SIDE_PX} a side; pass --no-overlay"
        )


class Piece:
    """A piece of a video in the making.

    The first frame says how large all of them are; odd sides are padded to even by repeating the
    last row or column. The file takes its name when it is closed. Without a frame there is none.
    """

    def __init__(self, path: Path, encoding: Encoding) -> None:
        """Settle where the piece goes; nothing is written before the first frame.

        Args:
            path: The file, replaced if it exists; its folder is made.
            encoding: How it is encoded.
        """
        self._path = path
        self._encoding = encoding
        self._open: tuple[OutputContainer, VideoStream] | None = None

    def add(self, rgb: NDArray[np.uint8], tick: int) -> None:
        """Append a frame.

        Args:
            rgb: (H, W, 3) uint8.
            tick: When it is shown, in ticks of ``TIME_BASE``, later than the frame before.

        Raises:
            InputError: the size is not that of the first frame.
            OutputError: the disk or the encoder refuses; no file is left.
        """
        if rgb.shape[0] % 2 or rgb.shape[1] % 2:
            rgb = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
        height, width = rgb.shape[:2]
        if self._open is None:
            check_frame_size((height, width))
            make_folder(self._path.parent)
            with self._or_no_file():
                self._open = self._start(height, width)
        container, stream = self._open
        if (stream.height, stream.width) != (height, width):
            raise InputError(
                f"a video's frames must be of one size: it is {stream.width} x {stream.height}, "
                f"got {width} x {height}"
            )
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
        picture.pts = tick
        picture.time_base = TIME_BASE
        picture.duration = self._encoding.period
        with self._or_no_file():
            container.mux(stream.encode(picture))

    def _start(self, height: int, width: int) -> tuple[OutputContainer, VideoStream]:
        container = av.open(
            url_of(part_path(self._path)), "w", format="nut", options=dict(BIT_EXACT)
        )
        options = _X264_OPTIONS | {"crf": str(self._encoding.crf)}
        rate_hz = self._encoding.frame_rate_hz or _DEFAULT_RATE_HZ
        stream = container.add_stream("libx264", rate=rate_hz, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        codec = stream.codec_context
        codec.time_base = TIME_BASE
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED_RANGE
        if self._encoding.pixel_aspect is not None:
            aspect = self._encoding.pixel_aspect.limit_denominator(_MAX_ASPECT)
            if 0 < aspect <= _MAX_ASPECT:
                codec.sample_aspect_ratio = aspect
        return container, stream

    def close(self) -> None:
        """Complete the file; further calls do nothing.

        Raises:
            OutputError: the disk or the encoder refuses; no file is left.
        """
        if self._open is None:
            return
        container, stream = self._open
        with self._or_no_file():
            container.mux(stream.encode(None))
            container.close()
            part_path(self._path).replace(self._path)
            self._open = None

    @contextmanager
    def _or_no_file(self) -> Iterator[None]:
        try:
            with refusals(f"write {self._path}", av.FFmpegError):
                yield
        except OutputError:
            if self._open is not None:
                with suppress(av.FFmpegError, OSError):
                    self._open[0].close()
            self._open = None
            with suppress(OSError):
                part_path(self._path).unlink()
            raise


def packets_of(piece: Path) -> Iterator[Any]:
    """Read the packets of a piece, with pts in ticks of ``TIME_BASE``.

    Raises:
        OutputError: the piece is absent or damaged.
    """
    with (
        refusals(f"read {piece}, a part of the overlay", av.FFmpegError, ValueError),
        av.open(url_of(piece)) as container,
    ):
        for packet in container.demux(video=0):
            if packet.size == 0:
                continue
            if packet.pts is None or packet.is_corrupt:
                raise OutputError(f"cannot read {piece}, a part of the overlay: it is damaged")
            packet.pts = packet.dts = round(packet.pts * packet.time_base / TIME_BASE)
            packet.time_base = TIME_BASE
            yield packet


def url_of(path: Path) -> str:
    """Name a file so that FFmpeg takes no part of its name for a protocol."""
    return f"file:{path}"
