"""The video with its masks painted over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

from vos.records import Frame, Labels
from vos.sink.draw import draw_overlay
from vos.sink.passing import Pair, closing_upstream
from vos.sink.pieces import PiecedVideo
from vos.sink.video import Encoding

_CRF: Final = 20


def write_overlay(
    pairs: Iterable[Pair],
    path: Path,
    *,
    pieces: Path,
    frame_rate_hz: Fraction | None,
    alpha: float = 0.5,
    num_kept: int = 0,
    again: Iterable[tuple[Frame, Labels]] = (),
) -> Iterator[Pair]:
    """Write an H.264 video of the frames with their masks while they pass by.

    The video starts at 0 and keeps the distances between the frames' times; odd sizes are padded
    by one row or column. It takes its name when it is complete; that is also when the upstream
    breaks off or the consumer stops. No frame, no file.

    Args:
        pairs: Frames and their masks, all of one size.
        path: The file, ending in .mp4, .mkv or .mov; replaced if it exists.
        pieces: A folder in which the video grows in pieces, which stay there; see
            :class:`vos.sink.pieces.PiecedVideo`.
        frame_rate_hz: Nominal frame rate, or None.
        alpha: Opacity of the masks' colours in [0, 1].
        num_kept: Frames that stand in pieces of an earlier run.
        again: Frames of the earlier run that come after those and are drawn once more, before
            the pairs are asked for.

    Yields:
        The same pairs.

    Raises:
        InputError: a setting is illegal, or the frames differ in size.
        OutputError: the disk or the encoder refuses, or pieces of the earlier run are gone.
    """
    encoding = Encoding(crf=_CRF, frame_rate_hz=frame_rate_hz)
    with (
        closing_upstream(pairs) as upstream,
        PiecedVideo(path, pieces, encoding, num_kept=num_kept) as video,
    ):
        for frame, labels in again:
            video.add(draw_overlay(frame.rgb, labels, alpha), frame.pts_seconds)
        for frame, masks in upstream:
            video.add(draw_overlay(frame.rgb, masks.labels, alpha), frame.pts_seconds)
            yield frame, masks
