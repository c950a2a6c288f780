"""One frame as the model sees it. Loads torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from vos.app.cached_model import CachedModel
from vos.app.stored_masks import outlines
from vos.errors import InputError, MaskError
from vos.hint import Click, Hint
from vos.records import Frame, Labels
from vos.sam.model import SamModel
from vos.track.hints import HintSession


class FrameModel:
    """One frame as the model sees it: its features are kept for further clicks.

    Args:
        frame: The frame.
        sam: The model.
    """

    def __init__(self, frame: Frame, sam: SamModel) -> None:
        self.frame = frame
        self._sam = CachedModel(sam)
        self._hints = HintSession(frame, self._sam)

    def encode(self) -> None:
        """Encode the frame as a whole, so that the first click need not wait for that."""
        height, width = self.frame.frame_hw
        self.outlines(Hint((Click(width // 2, height // 2),)))

    def segment(self, hints: Mapping[int, Hint]) -> tuple[Labels, dict[int, float]]:
        """Give the masks of what is pointed out, as :meth:`HintSession.reference` does."""
        return self._hints.reference(hints)

    def correct(
        self, mask: NDArray[np.bool_], clicks: Sequence[Click]
    ) -> tuple[NDArray[np.bool_], float] | None:
        """Correct a mask, as :meth:`HintSession.correct` does."""
        return self._hints.correct(mask, clicks)

    @contextmanager
    def ahead(self, is_superseded: Callable[[], bool]) -> Iterator[None]:
        """Compute what is likely to be wanted, as far as there is time.

        Args:
            is_superseded: Asked before each computation: whether something else is wanted now.

        Raises:
            Superseded: it is; what is computed already is kept.
        """
        self._sam.is_superseded = is_superseded
        try:
            yield
        finally:
            self._sam.is_superseded = lambda: False

    def outlines(self, hint: Hint) -> list[list[int]]:
        """Give the outlines, in frame pixels, of what a hint is likely to mean; none if nothing.

        SAM sees the frame as a whole, which is quicker and less exact than :meth:`segment`.
        """
        try:
            logits = self._hints.outline(hint)
        except (InputError, MaskError):
            return []
        mask = (logits > 0).astype(np.uint8)
        height, width = self.frame.frame_hw
        return outlines(mask, (width / mask.shape[1], height / mask.shape[0]))
