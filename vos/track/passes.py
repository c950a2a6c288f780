"""What a pass through the frames of a video is to do: whom to track where, and from which mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.records import Labels

LOST_FOR_LONG: Final = 64
"""Frames after which a lost object is searched in all of any frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Frames through which a pass tracks one object.

    Attributes:
        object_id: 1 to 254.
        first: Lowest ``Frame.index``.
        last: Highest one; None is the end of the video.
        reference_index: Frame of the reference whose mask the object starts from; None where the
            pass learns, and the object is known from its first reference on.
        num_frames_lost: For how many frames the object counts as lost when it starts: 0 next to
            its reference.
    """

    object_id: int
    first: int
    last: int | None = None
    reference_index: int | None = None
    num_frames_lost: int = 0

    def holds(self, index: int) -> bool:
        """Tell whether a frame is one of these."""
        return self.first <= index and (self.last is None or index <= self.last)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """One object's start.

    Attributes:
        object_id: 1 to 254.
        reference_index: ``Frame.index`` of a reference.
        mask: (H, W) bool, the object in it.
        num_frames_lost: As of the stretch.
    """

    object_id: int
    reference_index: int
    mask: NDArray[np.bool_]
    num_frames_lost: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pass:
    """A pass through a video, forwards or backwards.

    Attributes:
        references: (H, W) label maps by ``Frame.index``.
        stretches: Whom to track where; an object's do not overlap.
        is_backwards: Whether frames come from the last to the first. References then only start
            objects. Forwards they also correct their own frames.
        learns: Whether references are learned when their frames come, together with those before.
            Else the objects are known from the beginning.
    """

    references: Mapping[int, Labels]
    stretches: tuple[Stretch, ...]
    is_backwards: bool = False
    learns: bool = False

    def tracked(self, index: int) -> frozenset[int]:
        """Give the ids of the objects to be tracked in a frame."""
        return frozenset(each.object_id for each in self.stretches if each.holds(index))

    def starts(self, index: int, previous: int | None) -> list[Start]:
        """Give the objects that start in a frame, from masks of their references.

        Args:
            index: ``Frame.index``.
            previous: That of the frame before it in this pass, if there was one.
        """
        return [
            Start(
                object_id=each.object_id,
                reference_index=each.reference_index,
                mask=self.references[each.reference_index] == each.object_id,
                num_frames_lost=each.num_frames_lost,
            )
            for each in self.stretches
            if each.reference_index is not None
            and each.holds(index)
            and (previous is None or not each.holds(previous))
        ]

    def correction(self, index: int) -> Labels | None:
        """Give the label map that replaces what is found in a frame, if there is one."""
        return None if self.is_backwards else self.references.get(index)
