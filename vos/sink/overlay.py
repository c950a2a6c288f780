"""The video with its masks painted over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.masks import OBJECT_COLOURS
from vos.records import Frame, FrameMasks, SourceInfo
from vos.sink.draw import check_alpha, draw_overlay
from vos.sink.joining import Sound
from vos.sink.passing import Pair, closing_upstream, rounded_scores
from vos.sink.pieces import PiecedVideo
from vos.sink.tallies import DEFAULT_MIN_SCORE
from vos.sink.video import Encoding

_CRF: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayStyle:
    """How masks are painted.

    Attributes:
        alpha: Opacity of the objects' colours in [0, 1].
        min_score: Objects of a lower score have a dashed contour.
        colours: (red, green, blue) of objects, 0 to 255, by id; the others have those of
            ``vos.masks.OBJECT_COLOURS``.
        names: What to call objects, by id; the others are called by their id.
    """

    alpha: float = 0.5
    min_score: float = DEFAULT_MIN_SCORE
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the opacity.

        Raises:
            InputError: it is out of range.
        """
        check_alpha(self.alpha)

    def draw(self, frame: Frame, masks: FrameMasks) -> NDArray[np.uint8]:
        """Give a frame with its masks painted over it: (H, W, 3) uint8 RGB."""
        palette = OBJECT_COLOURS.copy()
        for object_id, rgb in self.colours.items():
            palette[object_id] = rgb
        return draw_overlay(
            frame.rgb,
            masks.labels,
            self.alpha,
            scores=rounded_scores(masks),
            min_score=self.min_score,
            palette=palette,
            names=self.names,
        )


def write_overlay(
    pairs: Iterable[Pair],
    path: Path,
    *,
    pieces: Path,
    info: SourceInfo,
    style: OverlayStyle,
    sound: Sound | None = None,
    num_kept: int = 0,
    again: Iterable[Pair] = (),
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
        info: What is known of the source; the video takes its frame rate and pixel aspect.
        style: How masks are painted.
        sound: Opens the source's sound, which the video takes; None makes it silent.
        num_kept: Frames that stand in pieces of an earlier run.
        again: Frames of the earlier run that come after those and are drawn once more, before
            the pairs are asked for.

    Yields:
        The same pairs.

    Raises:
        InputError: a setting is illegal, or the frames differ in size.
        OutputError: the disk or the encoder refuses, or pieces of the earlier run are gone.
    """
    encoding = Encoding(
        crf=_CRF, frame_rate_hz=info.frame_rate_hz, pixel_aspect=info.sample_aspect_ratio
    )
    with (
        closing_upstream(pairs) as upstream,
        PiecedVideo(path, pieces, encoding, sound=sound, num_kept=num_kept) as video,
    ):
        for frame, masks in again:
            video.add(style.draw(frame, masks), frame.pts_seconds)
        for frame, masks in upstream:
            video.add(style.draw(frame, masks), frame.pts_seconds)
            yield frame, masks
