"""One frame as the model sees it. Loads torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vos.app.stored_masks import outlines
from vos.errors import InputError, MaskError
from vos.hint import Hint
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
        self._hints = HintSession(frame, sam)

    def segment(self, hints: Mapping[int, Hint]) -> tuple[Labels, dict[int, float]]:
        """Give the masks of what is pointed out, as :meth:`HintSession.reference` does."""
        return self._hints.reference(hints)

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
