"""The objects on a colour, or sharp on their own blurred background, with the sound."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from vos.errors import InputError
from vos.export.alpha_video import check_num_videos
from vos.export.clip import Clip, ExportFrame, check_video
from vos.export.journal import ExportFiles
from vos.sink.joining import Timeline, join_pieces
from vos.sink.video import TIME_BASE, Encoding, Piece, check_frame_size
from vos.source.sound import sound_of

_BLUR: Final = "blur"
_PX_PER_SIGMA: Final = 40  # the frame's shorter side, for one more pixel of blur
_CRF: Final = 18


def check_cutout(clip: Clip) -> None:
    """Make sure that the video can be made.

    Raises:
        InputError: it is no video, there are too many files at once, or the background is no
            colour.
        OutputError: the frames are too large for H.264.
    """
    check_video(clip)
    check_num_videos(clip)
    check_frame_size(clip.results.frame_hw or (0, 0))
    _colour(clip.options.background)


def write_cutout(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name.mp4``, H.264, or with ``per_object`` a file for each object.

    The video starts at 0; odd sides are padded to even by repeating the last row or column.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk or the encoder refuses.
    """
    encoding = Encoding(
        crf=_CRF,
        frame_rate_hz=clip.rate_hz,
        pixel_aspect=clip.pixel_aspect,
    )
    sound = sound_of(clip.address)
    colour = _colour(clip.options.background)
    timeline = Timeline()
    with ExitStack() as stack:
        videos = []
        for object_id in clip.subjects:
            stem = clip.file_stem(object_id)
            path = files.claim(f"{stem}.mp4")
            files.claim(f"{stem}.nut")  # the pictures alone, until the sound is laid beside them
            if path is not None:
                piece = path.with_suffix(".nut")
                stack.callback(piece.unlink, missing_ok=True)
                videos.append(
                    (object_id, path, piece, stack.enter_context(closing(Piece(piece, encoding))))
                )
        for frame in frames:
            tick = round(frame.pts_seconds / TIME_BASE)
            if timeline.last is not None:
                tick = max(tick, timeline.last + 1)
            timeline.add(tick)
            for object_id, _, _, video in videos:
                video.add(_composed(frame, object_id, colour), tick)
            yield frame
        for _, path, piece, video in videos:
            video.close()
            join_pieces(path, [piece], timeline, encoding, sound)


def _composed(
    frame: ExportFrame, object_id: int | None, colour: tuple[int, int, int] | None
) -> NDArray[np.uint8]:
    alpha = frame.alpha(object_id)[..., None]
    if colour is None:
        sigma_px = max(1.0, min(frame.rgb.shape[:2]) / _PX_PER_SIGMA)
        background = np.asarray(cv2.GaussianBlur(frame.rgb, (0, 0), sigma_px), np.float32)
    else:
        background = np.array(colour, np.float32)
    return np.rint(frame.rgb * alpha + background * (1 - alpha)).astype(np.uint8)


def _colour(background: str) -> tuple[int, int, int] | None:
    """Read a colour; None is the blurred frame.

    Raises:
        InputError: it is none.
    """
    if background == _BLUR:
        return None
    try:
        red, green, blue = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise InputError(
            f"the background must be blur, a colour's name or #RRGGBB, got {background!r}"
        ) from error
    return red, green, blue
