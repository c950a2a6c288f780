"""What Cutie remembers of objects that are followed together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, slots=True, eq=False)
class CutieObject:
    """What is remembered of one object.

    Attributes:
        values: (1, C, N) of N remembered cells, in the order of the group's keys.
        summaries: (1, Q, C + 1) sums over all remembered frames, and their weights.
        sensory: (1, C, h, w) what goes from frame to frame.
    """

    values: torch.Tensor
    summaries: torch.Tensor
    sensory: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class CutieGroup:
    """Objects that are followed together.

    Attributes:
        object_ids: (K,) in the order of ``objects``.
        objects: What is remembered of each.
        keys: (1, C, N) of N remembered cells; those of references come first.
        shrinkages: (1, 1, N) how much each of them weighs.
        num_permanent: How many of them are of references.
        last_masks: (1, K, h, w) probabilities in the frame before, padded to whole cells.
        num_frames_since: Frames since the last remembered one.
    """

    object_ids: tuple[int, ...]
    objects: tuple[CutieObject, ...]
    keys: torch.Tensor
    shrinkages: torch.Tensor
    num_permanent: int
    last_masks: torch.Tensor
    num_frames_since: int

    def only(self, object_ids: Collection[int]) -> CutieGroup:
        """Leave some of the objects."""
        rows = [row for row, each in enumerate(self.object_ids) if each in object_ids]
        if len(rows) == len(self.object_ids):
            return self
        return replace(
            self,
            object_ids=tuple(self.object_ids[row] for row in rows),
            objects=tuple(self.objects[row] for row in rows),
            last_masks=self.last_masks[:, rows],
        )
