"""Where an object may be: cosine similarity with its target embedding (arXiv 2305.03048, 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.sam.geometry import Letterbox, cells_to_frame

_TIE: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """The most similar pixel of a frame, one row per object.

    Attributes:
        points_xy: (K, 2) int64 frame pixels.
        similarities: (K,) float32 cosine similarity there, in [-1, 1].
    """

    points_xy: NDArray[np.int64]
    similarities: NDArray[np.float32]


def target_embeddings(features: torch.Tensor, cells: NDArray[np.bool_]) -> torch.Tensor:
    """Describe each object by its feature cells.

    Args:
        features: (C, h, w) of the reference frame.
        cells: (K, h, w), at least one cell for each object.

    Returns:
        (K, C) of unit length: half the mean plus half the maximum over the object's cells.
    """
    rows = []
    for is_object in cells:
        inside = features[:, torch.from_numpy(is_object).to(features.device)]
        rows.append(inside.mean(dim=1) / 2 + inside.amax(dim=1) / 2)
    return F.normalize(torch.stack(rows), dim=1)


def mean_embeddings(features: torch.Tensor, cells: NDArray[np.bool_]) -> torch.Tensor:
    """Describe each object by the plain mean of its cells, as training-free PerSAM does.

    Args:
        features: (C, h, w) of the reference frame.
        cells: (K, h, w), at least one cell for each object.

    Returns:
        (K, C), not normalised.
    """
    on_device = torch.from_numpy(cells).to(features.device)
    return torch.stack([features[:, is_object].mean(dim=1) for is_object in on_device])


def similarity_maps(embeddings: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Compare each object's embedding with every cell.

    Args:
        embeddings: (K, C) of unit length.
        features: (C, h, w) of a frame.

    Returns:
        (K, h, w) cosine similarity in [-1, 1].
    """
    return torch.einsum("kc,chw->khw", embeddings, F.normalize(features, dim=0))


def frame_similarities(
    embeddings: torch.Tensor, features: torch.Tensor, letterbox: Letterbox
) -> torch.Tensor:
    """Compare each object's embedding with every pixel.

    Args:
        embeddings: (K, C) of unit length.
        features: (C, h, w) of a frame.
        letterbox: Where the frame lies in the model's input.

    Returns:
        (K, H, W) cosine similarity, enlarged bilinearly from the cells.
    """
    return cells_to_frame(similarity_maps(embeddings, features), letterbox)


def peaks_of(maps: torch.Tensor) -> Peaks:
    """Find the maximum of each (K, H, W) map, its positive location prior.

    Enlarged maps have plateaus, as beyond the outermost cells' centres. Which of their pixels is
    the greatest is decided by rounding, and so by the processor; hence the tolerance.

    Returns:
        The maxima; of those that are equal within 1e-6 the first in reading order.
    """
    flat = maps.flatten(1)
    similarities = flat.amax(dim=1)
    positions = (flat >= similarities[:, None] - _TIE).byte().argmax(dim=1)
    rows, columns = np.divmod(positions.cpu().numpy(), maps.shape[2])
    return Peaks(np.stack([columns, rows], axis=1), similarities.cpu().numpy())
