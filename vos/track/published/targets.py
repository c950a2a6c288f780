"""What the references teach of the objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vos.errors import InputError
from vos.records import MAX_OBJECT_ID


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What personalisation learned from the reference, one row per object.

    Attributes:
        object_ids: (K,) ascending ids, 1 to 254.
        embeddings: (K, C) float32, unit length: the target embedding (arXiv 2305.03048, 3.1).
        scale_weights: (K, 3) float32, rows sum to 1: weights of SAM's three masks (3.3).
        peak_similarities: (K,) float32, the similarity maximum on the reference frame itself.
        predicted_ious: (K,) float32, SAM's own estimate for the object's final reference mask.
        prompt_embeddings: (K, C) float32, what training-free PerSAM adds to the decoder's tokens
            (3.2), or None: then the method is PerSAM-F.
        yet_to_come: Ids of the objects that no reference has shown so far; their rows above mean
            nothing.
    """

    object_ids: tuple[int, ...]
    embeddings: torch.Tensor
    scale_weights: torch.Tensor
    peak_similarities: NDArray[np.float32]
    predicted_ious: NDArray[np.float32]
    prompt_embeddings: torch.Tensor | None = None
    yet_to_come: frozenset[int] = frozenset()

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """(K,) bool: which objects a reference has shown."""
        return np.array([object_id not in self.yet_to_come for object_id in self.object_ids])

    def __post_init__(self) -> None:
        """Check that the object axis agrees everywhere.

        Raises:
            InputError: the object axes differ, or an id is out of range or out of order.
        """
        ids = self.object_ids
        if list(ids) != sorted(set(ids)) or not ids or ids[0] < 1 or ids[-1] > MAX_OBJECT_ID:
            raise InputError(f"object ids must ascend within 1..{MAX_OBJECT_ID}, got {ids}")
        for name in ("embeddings", "scale_weights", "peak_similarities", "predicted_ious"):
            num_rows = getattr(self, name).shape[0]
            if num_rows != len(ids):
                raise InputError(f"{name} has {num_rows} rows for {len(ids)} objects")
