"""Mattes: black and white, as a sequence of PNGs or as H.264."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Final

import numpy as np
from av.video.frame import VideoFrame

from vos.errors import InputError
from vos.export.alpha_video import FULL_RANGE, VideoFormat, video_writers
from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.export.pictures import save_png

_GREY: Final = 128  # chroma of black and white
H264: Final = VideoFormat(
    ending=".mp4",
    container="mp4",
    encoder="libx264",
    pix_fmt="yuv420p",
    options={"preset": "veryfast", "crf": "4", "bf": "0", "threads": "4"},
    color_range=FULL_RANGE,
)


def write_matte(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/name.0001.png``, 8 bit grey, or ``name/object_1/name.object_1.0001.png``.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    for frame in frames:
        for object_id in clip.subjects:
            path = files.claim(*clip.sequence_parts(frame.number, object_id, ".png"))
            if path is not None:
                save_png(path, frame.alpha8(object_id))
        yield frame


def check_h264(clip: Clip) -> None:
    """Make sure that H.264 can hold mattes of the clip.

    Raises:
        InputError: it is no video, this FFmpeg lacks the encoder, or a side is odd.
    """
    H264.check(clip)
    height, width = clip.results.frame_hw or (0, 0)
    if height % 2 or width % 2:
        raise InputError(
            f"matte-mp4: H.264 needs even sides, the frames are {width} x {height}; take matte, "
            "which is a sequence of PNGs, or prores"
        )


def write_matte_video(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name.mp4``: grey of the full range, with the times of the source.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk or the encoder refuses.
    """
    with ExitStack() as stack:
        writers = video_writers(clip, files, H264, stack)
        for frame in frames:
            for object_id, writer in writers:
                alpha = frame.alpha8(object_id)
                chroma = np.full((alpha.shape[0] // 2, alpha.shape[1]), _GREY, np.uint8)
                picture = VideoFrame.from_ndarray(np.vstack([alpha, chroma]), format="yuv420p")
                writer.add(picture, frame.pts_seconds)
            yield frame
        for _, writer in writers:
            writer.close()
