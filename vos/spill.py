"""What is known of a video between two passes over it: label maps on the disk, scores in memory."""

from __future__ import annotations

import os
import tempfile
from array import array
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from vos.errors import MaskError, OutputError, SourceError
from vos.masks import read_label_png, write_label_png
from vos.masks.image_files import MAX_PIXELS
from vos.records import Frame, FrameMasks, Labels
from vos.track.published.segment import frame_masks


class Spill:
    """The masks of T frames; a context manager, after which nothing of them is left.

    Attributes:
        object_ids: (K,) of all frames.
        indices: (T,) ``Frame.index``.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, *, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Make nothing yet.

        Args:
            folder: Where a folder of the label maps is made when the first frame is added; the
                system's place for temporary files if None.
            max_pixels: Most pixels that a frame may have.
        """
        self.object_ids: tuple[int, ...] = ()
        self.indices: array[int] = array("q")
        self._scores: array[float] = array("f")  # T * K, of the label maps
        self._max_pixels = max_pixels
        self._parent = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def scores(self) -> NDArray[np.float32]:
        """(T, K) float32 scores; a copy."""
        return np.array(self._scores, dtype=np.float32).reshape(-1, len(self.object_ids))

    def add(self, frame: Frame, masks: FrameMasks) -> None:
        """Add the next frame.

        Raises:
            OutputError: the disk refuses.
        """
        self.object_ids = masks.object_ids
        self._write(len(self.indices), masks.labels)
        self.indices.append(frame.index)
        self._scores.extend(masks.scores.tolist())

    def replace(self, place: int, masks: FrameMasks) -> None:
        """Put other masks in the place of those of a frame.

        Raises:
            OutputError: the disk refuses.
        """
        self._write(place, masks.labels)
        self._scores[self._row(place)] = array("f", masks.scores.tolist())

    def masks(self, place: int) -> FrameMasks:
        """Give the masks of a frame as they were added.

        Raises:
            OutputError: the label map is gone.
        """
        try:
            labels = read_label_png(self._path(place), max_pixels=self._max_pixels)
        except MaskError as error:
            raise OutputError(f"what the passes before found is gone: {error}") from error
        scores = np.array(self._scores[self._row(place)], dtype=np.float32)
        return frame_masks(labels, self.object_ids, scores)

    def check(self, place: int, frame: Frame | None) -> Frame:
        """Make sure that a frame which is read again is the one of that place.

        Raises:
            SourceError: it is another one, or there is none.
        """
        num_frames = len(self.indices)
        if frame is None or place >= num_frames or frame.index != self.indices[place]:
            got = "there is none" if frame is None else f"it has frame {frame.index}"
            raise SourceError(
                f"the source does not give the same {num_frames} frames twice: {got} "
                f"at place {place}; it has changed while it was read"
            )
        return frame

    def _row(self, place: int) -> slice:
        return slice(place * len(self.object_ids), (place + 1) * len(self.object_ids))

    def _path(self, place: int) -> Path:
        if self._folder is None:
            self._folder = _make_folder(self._parent)
        return Path(self._folder.name) / f"{place:08d}.png"

    def _write(self, place: int, labels: Labels) -> None:
        path = self._path(place)
        try:
            write_label_png(path, labels)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _make_folder(parent: str | os.PathLike[str] | None) -> tempfile.TemporaryDirectory[str]:
    try:
        if parent is not None:
            os.makedirs(parent, exist_ok=True)
        return tempfile.TemporaryDirectory(
            prefix=".vos-passes-", dir=parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        place = parent or tempfile.gettempdir()
        raise OutputError(f"cannot make a folder in {place}: {error.strerror or error}") from error
