"""Whether what looks like a lost object is it: its cells against those remembered, both ways.

That each cell of a find resembles some cell of the object says little: those of a woman in a white
shirt resemble a white dog's. The object's own cells must be found in the find as well, and both
must hold for the references and for the frame in which the object was last seen well, for it
changes from frame to frame less than it differs from other things.

The weights are a logistic regression on the training videos of DAVIS 2016, with frames in which the
object is painted over, and frames of other videos; ``tools/calibrate_return.py`` fits them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final

import torch

from vos.track.memory.correspond import RememberedCells, object_cells

WEIGHTS: Final = (8.1, 8.5, 12.0, 12.5)
"""Of the fields of :class:`Resemblance`, in their order."""

BIAS: Final = -36.3

_IN_MASK: Final = 0.5  # share from which a cell is the find's


@dataclass(frozen=True, slots=True)
class Resemblance:
    """Mean similarity of cells to the most similar one, over that of two crops of a reference.

    Attributes:
        to_references: From the find's cells to the object's in the references.
        of_references: From these to the find's.
        to_last: From the find's cells to the object's in the frame it was last seen well in.
        of_last: From these to the find's.
    """

    to_references: float
    of_references: float
    to_last: float
    of_last: float


def resemblance(
    cells: torch.Tensor,
    shares: torch.Tensor,
    references: Sequence[RememberedCells],
    last: RememberedCells | None,
    self_similarity: float,
) -> Resemblance:
    """Compare a find with what is remembered of the object.

    Args:
        cells: (N, D) of the crop, in the basis of what is remembered.
        shares: (N,) the find's share of each cell.
        references: Memories of references, at least one.
        last: Memory of the frame in which the object was last seen well; if there was none, the
            references stand for it.
        self_similarity: What two crops of a reference give.
    """
    found = cells[shares >= min(_IN_MASK, float(shares.max()))]
    ways = []
    for memories in (references, references if last is None else (last,)):
        similarities = found @ object_cells(memories).T
        ways += [similarities.amax(dim=1).mean(), similarities.amax(dim=0).mean()]
    return Resemblance(*(torch.stack(ways) / max(self_similarity, 1e-6)).tolist())


def presence(found: Resemblance) -> float:
    """Give the probability that a find with such resemblance is the object, in [0, 1]."""
    pairs = zip(WEIGHTS, astuple(found), strict=True)
    return 1 / (1 + math.exp(-sum(weight * part for weight, part in pairs) - BIAS))
