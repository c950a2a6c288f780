"""Whether what looks like a lost object was there before: a wall is no dog, however like one.

A lost object is searched for in ever larger surroundings, of which its reference shows little. Of
what was beside it nothing is remembered at the magnification at which a find is judged. But the
frame is known in which the object was seen last. The same window of that frame shows whether the
find was there already, beside the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from vos.records import Frame, Labels
from vos.sam.model import SamModel
from vos.track.memory.correspond import RememberedCells, object_cells, remember
from vos.track.memory.crops import Crop, encode_crops
from vos.track.memory.tracks import Track, shares

MAX_REJECTED: Final = 3
"""Memories of finds that were none, which are kept while an object is lost."""

_WAS_THERE: Final = 0.5  # of a find's cells
_OBJECT_SHARE: Final = 0.5
_BACKGROUND_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A frame in which it is known where every object is.

    Attributes:
        frame: The frame.
        labels: (H, W) its label map.
    """

    frame: Frame
    labels: Labels


def background_before(
    crop: Crop, mask_shares: torch.Tensor, track: Track, object_id: int, seen: Seen, sam: SamModel
) -> RememberedCells | None:
    """Compare a find with its object, and with what its window showed before.

    Args:
        crop: The crop with the find.
        mask_shares: (h, w) its share of each cell.
        track: The object.
        object_id: Its id in the labels.
        seen: An earlier frame.
        sam: The model.

    Returns:
        The cells of the earlier window, to be remembered, where more than half of the find is more
        like its background than like the object; else None.
    """
    (before,) = encode_crops(seen.frame, [crop.window_xyxy], sam)
    labels = shares(before, seen.labels == object_id, before.cells_hw)
    was_object = labels[before.is_inside]
    old = before.cells @ track.axes
    background = old[was_object < _BACKGROUND_SHARE]
    if not len(background):
        return None
    objects = [
        object_cells((*track.references, *track.recent)),
        old[was_object >= _OBJECT_SHARE],
    ]
    cells, weights = crop.cells @ track.axes, mask_shares[crop.is_inside]
    was_there = (cells @ background.T).amax(dim=1) > (cells @ torch.cat(objects).T).amax(dim=1)
    if float((weights * was_there).sum()) <= _WAS_THERE * float(weights.sum()):
        return None
    # A cell with but a rim of the object must not count as the object.
    return remember(before, labels * (labels >= _OBJECT_SHARE), track.axes)
