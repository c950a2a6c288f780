"""A video that grows in pieces, so that a run that broke off can go on with it.

x264 cannot be stopped and taken up again. So the video is made of pieces of a fixed number of
frames, and a run that goes on encodes only the piece it was in once more. In the end the pieces are
joined without encoding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import OutputError
from vos.files import make_folder, refusals
from vos.records import Frame
from vos.sink.joining import Sound, Timeline, check_ending, join_pieces
from vos.sink.video import TIME_BASE, Encoding, Piece, packets_of

FRAMES_PER_PIECE: Final = 250
PIECES: Final = "*.nut"


class PiecedVideo:
    """An H.264 video in the making; as a context manager it is complete in the end.

    Frames may have any size, one for all; odd sides are padded to even by repeating their last row
    or column. Time starts at 0 and keeps the distances between the frames' times. The same frames
    give the same bytes. Without a frame there is no file.

    The pieces stay in their folder; who asked for them removes them. If the body of the ``with``
    raises, the video is made of what there is, as far as that can be done; not so if it was
    interrupted, since joining hours takes seconds.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        encoding: Encoding,
        *,
        sound: Sound | None = None,
        num_kept: int = 0,
    ) -> None:
        """Take over the pieces of an earlier run.

        Args:
            path: The video, ending in .mp4, .mkv or .mov; replaced if it exists.
            folder: Where the pieces are; nothing else may be in it.
            encoding: How it is encoded.
            sound: Opens the sound of the video; None makes it silent.
            num_kept: Frames that stand in pieces already; a multiple of ``FRAMES_PER_PIECE``. Any
                pieces after them are removed.

        Raises:
            InputError: another ending.
            OutputError: a piece to be kept is absent or damaged, or one cannot be removed.
        """
        check_ending(path)
        self._path = path
        self._folder = folder
        self._encoding = encoding
        self._sound = sound
        self._num_frames = num_kept
        self._piece: Piece | None = None
        self._timeline = Timeline()
        kept = [self._name(number) for number in range(num_kept // FRAMES_PER_PIECE)]
        for piece in kept:
            if not piece.is_file():
                raise OutputError(f"{piece}, a part of the overlay, is gone")
            for packet in packets_of(piece):
                self._timeline.add(packet.pts)
        with refusals(f"write {folder}"):
            for piece in {*folder.glob(PIECES), *folder.glob(".*.part")} - {*kept}:
                piece.unlink()

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
                join_pieces(self._path, pieces, self._timeline, self._encoding, self._sound)
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
            self._piece = Piece(name, self._encoding)
        tick = round(pts_seconds / TIME_BASE)
        if self._timeline.last is not None:
            tick = max(tick, self._timeline.last + 1)
        self._piece.add(rgb, tick)
        self._timeline.add(tick)
        self._num_frames += 1

    def _close_piece(self) -> None:
        piece, self._piece = self._piece, None
        if piece is not None:
            piece.close()

    def _name(self, number: int) -> Path:
        return self._folder / f"{number:06d}.nut"


def write_video(
    path: Path, frames: Iterable[Frame], frame_rate_hz: Fraction | None, *, crf: int = 18
) -> None:
    """Write frames as a video.

    Args:
        path: The file, ending in .mp4, .mkv or .mov; replaced if it exists.
        frames: Frames of one size.
        frame_rate_hz: Nominal frame rate; the times are those of the frames.
        crf: As in :class:`vos.sink.video.Encoding`.

    Raises:
        InputError: a setting is illegal, or the frames differ in size.
        OutputError: the disk or the encoder refuses.
    """
    encoding = Encoding(crf=crf, frame_rate_hz=frame_rate_hz)
    check_ending(path)
    make_folder(path.parent)
    with refusals(f"write {path}"):
        folder = tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    with folder, PiecedVideo(path, Path(folder.name), encoding) as video:
        for frame in frames:
            video.add(frame.rgb, frame.pts_seconds)
