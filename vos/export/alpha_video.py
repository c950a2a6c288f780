"""Videos with an alpha channel: ProRes 4444, VP9 in WebM, FFV1 in Matroska.

Alpha is straight: colours are those of the frame, also where it is transparent.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vos.errors import InputError
from vos.export.clip import (
    Clip,
    ExportFrame,
    check_video,
    warn_of_pixel_shape,
    with_square_pixels,
)
from vos.export.journal import ExportFiles
from vos.files import whole_file
from vos.sink.video import BIT_EXACT, url_of

_BT709: Final = 1  # of FFmpeg's colour enumerations, all three of them
# From PyAV 17 on several threads convert a picture, and FFmpeg's spoil some pixels of 16 bit alpha
# where their parts meet. Before, there was one thread.
_ONE_THREAD: Final[dict[str, Any]] = (
    {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
)
_MAX_VIDEOS: Final = 32  # at once: each encoder takes tens of megabytes and more
LIMITED_RANGE: Final = 1
FULL_RANGE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFormat:
    """How a video is encoded.

    Attributes:
        ending: Of the file, with the dot.
        container: FFmpeg's name of the container.
        encoder: FFmpeg's name of the encoder.
        pix_fmt: What it encodes.
        options: The encoder's.
        color_range: ``LIMITED_RANGE`` or ``FULL_RANGE``, as the file says.
        ticks_per_second: What times are rounded to; None keeps the source's time base.
        from_zero: Whether the first frame is shown at 0, whatever its time in the source.
        container_options: The container's.
        is_square: Whether frames are stretched to square pixels, because programs that show such
            files take pixels for square.
    """

    ending: str
    container: str
    encoder: str
    pix_fmt: str
    options: dict[str, str] = field(default_factory=dict)
    color_range: int = LIMITED_RANGE
    ticks_per_second: int | None = None
    from_zero: bool = False
    container_options: dict[str, str] = field(default_factory=dict)
    is_square: bool = False

    def check(self, clip: Clip) -> None:
        """Make sure that the clip can be encoded.

        Raises:
            InputError: it is no video, there are too many files at once, or this FFmpeg lacks the
                encoder or its kind of pixels.
        """
        check_video(clip)
        check_num_videos(clip)
        if not (self.is_square or self.container in ("mov", "mp4")):
            warn_of_pixel_shape(clip, self.encoder)
        is_there = self.encoder in av.codec.codecs_available
        formats = av.codec.Codec(self.encoder, "w").video_formats if is_there else None
        if self.pix_fmt not in [each.name for each in formats or ()]:
            raise InputError(
                f"the FFmpeg inside the installed package av has no encoder {self.encoder} for "
                f"{self.pix_fmt}; choose another format, or install another version of av"
            )

    def rgba(self, frame: ExportFrame, object_id: int | None, clip: Clip) -> NDArray[np.uint8]:
        """Give what is shown of a frame, (H, W, 4) uint8."""
        rgba = frame.rgba(object_id)
        return with_square_pixels(rgba, clip) if self.is_square else rgba

    def picture(self, rgba: NDArray[Any]) -> VideoFrame:
        """Convert a picture to the encoder's kind of pixels.

        Args:
            rgba: (H, W, 4) uint8 or uint16, all of the range used.
        """
        layout = "rgba" if rgba.dtype == np.uint8 else "rgba64le"
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgba), format=layout)
        if not self.pix_fmt.startswith("yuv"):
            return frame.reformat(format=self.pix_fmt, **_ONE_THREAD)
        return frame.reformat(
            format=self.pix_fmt,
            dst_colorspace="ITU709",
            dst_color_range=self.color_range,
            **_ONE_THREAD,
        )


PRORES: Final = VideoFormat(
    ending=".mov",
    container="mov",
    encoder="prores_ks",
    pix_fmt="yuva444p10le",
    options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
)
# Without a look-ahead to hidden frames, which cannot have alpha.
VP9: Final = VideoFormat(
    ending=".webm",
    container="webm",
    encoder="libvpx-vp9",
    pix_fmt="yuva420p",
    options={"crf": "18", "b": "0", "auto-alt-ref": "0", "row-mt": "1", "cpu-used": "4"},
    ticks_per_second=1000,
    is_square=True,
)
FFV1: Final = VideoFormat(
    ending=".mkv",
    container="matroska",
    encoder="ffv1",
    pix_fmt="bgra",
    options={"level": "3", "slicecrc": "1"},
    ticks_per_second=1000,
)


class VideoWriter:
    """A video in the making, with the times of the source."""

    def __init__(self, path: Path, kind: VideoFormat, clip: Clip, stack: ExitStack) -> None:
        """Open the file, which is whole when the stack closes without an error.

        Args:
            path: The file.
            kind: How it is encoded.
            clip: Gives the size, time base and rate.
            stack: Closes the file.
        """
        self._kind = kind
        height, width = clip.square_hw if kind.is_square else clip.results.frame_hw or (0, 0)
        ticks_per_second = kind.ticks_per_second
        self._time_base = (
            clip.time_base if ticks_per_second is None else Fraction(1, ticks_per_second)
        )
        unfinished = stack.enter_context(whole_file(path, av.FFmpegError))
        options = BIT_EXACT | kind.container_options
        if kind.container in ("mov", "mp4"):
            options["movflags"] = "+faststart+write_colr"
            if self._time_base.numerator == 1:
                options["video_track_timescale"] = str(self._time_base.denominator)
        self._container: OutputContainer = stack.enter_context(
            av.open(url_of(unfinished), "w", format=kind.container, options=options)
        )
        stream = self._container.add_stream(
            kind.encoder, rate=clip.rate_hz, options=dict(kind.options)
        )
        assert isinstance(stream, VideoStream)
        self._stream = stream
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = kind.pix_fmt
        self._stream.time_base = self._time_base
        codec: VideoCodecContext = self._stream.codec_context
        codec.time_base = self._time_base
        if kind.pix_fmt.startswith("yuv"):
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
            codec.color_range = kind.color_range
        if clip.pixel_aspect != 1 and not kind.is_square:
            codec.sample_aspect_ratio = clip.pixel_aspect
        self._period = max(1, round(1 / (clip.rate_hz * self._time_base)))
        self._start_seconds = clip.start_seconds
        if kind.from_zero:
            self._start_seconds = -clip.results.frames[0].pts_seconds
        self._last_tick: int | None = None

    def add(self, picture: VideoFrame, pts_seconds: float) -> None:
        """Append a frame of the encoder's kind of pixels.

        Args:
            picture: The frame.
            pts_seconds: As ``Frame.pts_seconds``.
        """
        tick = round((self._start_seconds + pts_seconds) / self._time_base)
        if self._last_tick is not None:
            tick = max(tick, self._last_tick + 1)
        self._last_tick = picture.pts = tick
        picture.time_base = self._time_base
        picture.duration = self._period
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))


def check_num_videos(clip: Clip) -> None:
    """Refuse more videos at once than memory is sure to hold.

    Raises:
        InputError: there are more.
    """
    if len(clip.subjects) > _MAX_VIDEOS:
        raise InputError(
            f"at most {_MAX_VIDEOS} videos can be made at once, and there are {len(clip.subjects)} "
            "objects: take a sequence (matte, rgba, exr), or one file for all objects"
        )


def video_writers(
    clip: Clip, files: ExportFiles, kind: VideoFormat, stack: ExitStack
) -> list[tuple[int | None, VideoWriter]]:
    """Open a video for each subject of a clip, but for those that an earlier export has done.

    Args:
        clip: What is exported.
        files: Its files.
        kind: How they are encoded.
        stack: What closes them.

    Returns:
        The ids of the subjects and their writers.

    Raises:
        OutputError: the disk or the encoder refuses.
    """
    writers = []
    for object_id in clip.subjects:
        path = files.claim(f"{clip.file_stem(object_id)}{kind.ending}")
        if path is not None:
            writers.append((object_id, VideoWriter(path, kind, clip, stack)))
    return writers


def write_alpha_video(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles, *, kind: VideoFormat
) -> Generator[ExportFrame, None, None]:
    """Write ``name.mov`` or the like, or with ``per_object`` a file for each object.

    Args:
        frames: The frames.
        clip: What is exported.
        files: Its files.
        kind: How it is encoded.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk or the encoder refuses.
    """
    with ExitStack() as stack:
        writers = video_writers(clip, files, kind, stack)
        for frame in frames:
            for object_id, writer in writers:
                rgba = kind.rgba(frame, object_id, clip)
                if kind.pix_fmt.endswith("10le"):
                    alpha = np.rint(frame.alpha(object_id) * 65535).astype(np.uint16)
                    rgba = np.dstack([frame.rgb.astype(np.uint16) * 257, alpha])
                writer.add(kind.picture(rgba), frame.pts_seconds)
            yield frame
        for _, writer in writers:
            writer.close()
