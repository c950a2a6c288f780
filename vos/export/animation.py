"""Animations for web pages, transparent where there is no object: GIF and APNG."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from vos.errors import InputError
from vos.export.alpha_video import VideoFormat, video_writers
from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles

_GIF_TICKS_PER_SECOND: Final = 100
_GIF_MIN_TICKS: Final = 2  # what is shorter is shown for a tenth of a second by browsers
_GIF_TRANSPARENT: Final = 255
_HALF: Final = 128

APNG: Final = VideoFormat(
    ending=".apng",
    container="apng",
    encoder="apng",
    pix_fmt="rgba",
    ticks_per_second=1000,
    from_zero=True,
    is_square=True,
    container_options={"plays": "0"},
)
GIF: Final = VideoFormat(
    ending=".gif",
    container="gif",
    encoder="gif",
    pix_fmt="pal8",
    # Each frame is stored whole: what is transparent must not show the frame before.
    options={"gifflags": "-offsetting-transdiff"},
    ticks_per_second=_GIF_TICKS_PER_SECOND,
    from_zero=True,
    is_square=True,
    container_options={"loop": "0"},
)


def check_gif(clip: Clip) -> None:
    """Make sure that GIF can hold the clip's times, which are multiples of 10 ms there.

    Raises:
        InputError: it is no video, this FFmpeg lacks the encoder, or frames come too fast.
    """
    GIF.check(clip)
    last_tick = None
    for frame in clip.results.frames:
        tick = round(frame.pts_seconds * _GIF_TICKS_PER_SECOND)
        if last_tick is not None and tick - last_tick < _GIF_MIN_TICKS:
            raise InputError(
                f"gif: frame {frame.index} comes less than {10 * _GIF_MIN_TICKS} ms after the one "
                "before, which GIF cannot show; take webp or apng"
            )
        last_tick = tick


def write_animation(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles, *, kind: VideoFormat
) -> Generator[ExportFrame, None, None]:
    """Write ``name.gif`` or ``name.apng``, or with ``per_object`` a file for each object.

    GIF has 255 colours in each frame, and pixels of less than half the opacity are transparent.

    Args:
        frames: The frames.
        clip: What is exported.
        files: Its files.
        kind: ``APNG`` or ``GIF``.

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
                rgba[rgba[..., 3] == 0] = 0  # what nobody sees costs nothing
                picture = _with_palette(rgba) if kind is GIF else kind.picture(rgba)
                writer.add(picture, frame.pts_seconds)
            yield frame
        for _, writer in writers:
            writer.close()


def _with_palette(rgba: NDArray[np.uint8]) -> VideoFrame:
    """Reduce a picture to 255 colours and a transparent one."""
    image = Image.fromarray(np.ascontiguousarray(rgba[..., :3])).quantize(_GIF_TRANSPARENT)
    indices = np.asarray(image).copy()
    indices[rgba[..., 3] < _HALF] = _GIF_TRANSPARENT
    colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue
    palette[:_GIF_TRANSPARENT, 0] = 255
    palette[: min(len(colours), _GIF_TRANSPARENT), 1:] = colours[:_GIF_TRANSPARENT]
    pair: Any = indices, palette  # as PyAV says, though its types do not
    return VideoFrame.from_ndarray(pair, format="pal8")
