"""A video that grows in pieces, so that a run that broke off can go on with it.

x264 cannot be stopped and taken up again. So every piece has an encoder of its own and a fixed
number of frames: its bytes depend on nothing but its frames, and a run that goes on encodes only
the piece it was in once more. In the end the pieces are joined without encoding.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import OutputError
from vos.sink.video import (
    TIME_BASE,
    VideoFile,
    check_video,
    join_pieces,
    last_time_of_piece,
    refusal,
)

FRAMES_PER_PIECE: Final = 250
PIECES: Final = "*.nut"


class PiecedVideo:
    """An H.264 video in the making, as :class:`vos.sink.video.VideoFile`.

    The pieces stay where they are; who asked for them removes them. If the body of the ``with``
    raises, the video is made of what there is, as far as that can be done; not so if it was
    interrupted, since joining hours takes seconds.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        frame_rate_hz: Fraction | None,
        *,
        crf: int,
        num_kept: int = 0,
    ) -> None:
        """Take over the pieces of an earlier run.

        Args:
            path: The video; as in VideoFile.
            folder: Where the pieces are; nothing else may be in it.
            frame_rate_hz: As in VideoFile.
            crf: As in VideoFile.
            num_kept: Frames that stand in pieces already; a multiple of ``FRAMES_PER_PIECE``. Any
                pieces after them are removed.

        Raises:
            InputError: as VideoFile.
            OutputError: a piece to be kept is absent or damaged, or one cannot be removed.
        """
        check_video(path, frame_rate_hz)
        self._path = path
        self._folder = folder
        self._rate_hz = frame_rate_hz
        self._crf = crf
        self._num_frames = num_kept
        self._piece: VideoFile | None = None
        self._last_tick: int | None = None
        num_pieces = num_kept // FRAMES_PER_PIECE
        kept = [self._name(number) for number in range(num_pieces)]
        for piece in kept:
            if not piece.is_file():
                raise OutputError(f"{piece}, a part of the overlay, is gone")
        if kept:
            self._last_tick = last_time_of_piece(kept[-1])
        try:
            for piece in {*folder.glob(PIECES), *folder.glob(".*.part")} - {*kept}:
                piece.unlink()
        except OSError as error:
            raise refusal(folder, error) from error

    def __enter__(self) -> PiecedVideo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._close_piece()
            pieces = sorted(self._folder.glob(PIECES))
            if pieces and kind is not KeyboardInterrupt:
                join_pieces(self._path, pieces, self._rate_hz)
        except OutputError:
            if error is None or isinstance(error, GeneratorExit):
                raise

    def add(self, rgb: NDArray[np.uint8], pts_seconds: float) -> None:
        """Append a frame.

        Args:
            rgb: (H, W, 3) uint8.
            pts_seconds: Moved to just after the last frame's time where it is not later.

        Raises:
            InputError: the size is not that of the first frame.
            OutputError: the disk or the encoder refuses.
        """
        if self._num_frames % FRAMES_PER_PIECE == 0:
            self._close_piece()
        if self._piece is None:
            name = self._name(self._num_frames // FRAMES_PER_PIECE)
            self._piece = VideoFile(name, self._rate_hz, crf=self._crf)
        tick = round(pts_seconds / TIME_BASE)
        if self._last_tick is not None:
            tick = max(tick, self._last_tick + 1)
        self._piece.add(rgb, float(tick * TIME_BASE))
        self._last_tick = tick
        self._num_frames += 1

    def _close_piece(self) -> None:
        piece, self._piece = self._piece, None
        if piece is not None:
            piece.close()

    def _name(self, number: int) -> Path:
        return self._folder / f"{number:06d}.nut"
