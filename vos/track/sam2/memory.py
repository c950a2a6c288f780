"""What SAM 2.1 remembers of objects that are followed together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Sam2Object:
    """What is remembered of one object.

    Attributes:
        references: (h * w, 1, C) bfloat16 memory of each reference; the last one is where the
            object started from.
        pointer: (1, C') the object's pointer there.
        recent: (h * w, 1, C) bfloat16 memory of the last frames, the newest last.
        recent_pointers: (1, C') pointers of the last frames, the newest last; these reach further
            back.
    """

    references: tuple[torch.Tensor, ...]
    pointer: torch.Tensor
    recent: tuple[torch.Tensor, ...]
    recent_pointers: tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sam2Group:
    """Objects that are followed together.

    Attributes:
        object_ids: (K,) in the order of ``objects``.
        objects: What is remembered of each.
        positions: (h * w, 1, C) position of each cell of a memory, encoded; the same for all.
        num_frames_since_start: Frames since the reference that the objects started from.
    """

    object_ids: tuple[int, ...]
    objects: tuple[Sam2Object, ...]
    positions: torch.Tensor
    num_frames_since_start: int

    def only(self, object_ids: Collection[int]) -> Sam2Group:
        """Leave some of the objects."""
        rows = [row for row, each in enumerate(self.object_ids) if each in object_ids]
        return replace(
            self,
            object_ids=tuple(self.object_ids[row] for row in rows),
            objects=tuple(self.objects[row] for row in rows),
        )
