"""Dense correspondence: a cell takes the label of the most similar remembered cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from vos.track.look import Look

NUM_CHANNELS: Final = 64
"""Channels of remembered cells: the principal axes of the reference's features."""

_NUM_NEIGHBOURS: Final = 10
_TEMPERATURE: Final = 0.05
_MAX_CELLS: Final = 1024
_PENALTY: Final = 0.1
_NEAR: Final = 0.05  # share above which a cell is kept before those of the background


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Remembered cells of one object and of what is around it.

    Attributes:
        cells: (N, D) float32, in the basis of the object's first reference.
        labels: (N,) float32 in [0, 1], the object's share of each cell.
        places_xy: (N, 2) float32 frame pixels.
    """

    cells: torch.Tensor
    labels: torch.Tensor
    places_xy: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Correspondence:
    """What memory says of N cells.

    Attributes:
        probabilities: (N,) float32 in [0, 1] that a cell is the object's.
        own_similarities: (N,) float32, to the most similar cell of the object in any reference.
    """

    probabilities: torch.Tensor
    own_similarities: torch.Tensor


def principal_axes(cells: torch.Tensor) -> torch.Tensor:
    """Give the (C, D) orthonormal axes that hold most of (N, C) cells, without centring them."""
    _, axes = torch.linalg.eigh(cells.T @ cells)
    largest: torch.Tensor = axes[:, -NUM_CHANNELS:]
    return largest.flip(1).contiguous()


def remember(look: Look, labels: torch.Tensor, axes: torch.Tensor) -> Memory:
    """Keep a look's cells; of many, those of the object and every nth of the others.

    Args:
        look: The look.
        labels: (h, w) the object's share of each cell.
        axes: (C, D) basis.
    """
    own = labels[look.is_inside]
    is_near = own > _NEAR
    near, far = is_near.nonzero()[:, 0], (~is_near).nonzero()[:, 0]
    near = _thinned(near, max(_MAX_CELLS // 2, _MAX_CELLS - len(far)))
    far = _thinned(far, _MAX_CELLS - len(near))
    kept = torch.cat([near, far])
    return Memory(look.cells[kept] @ axes, own[kept], look.places_xy[kept])


def _thinned(places: torch.Tensor, max_num: int) -> torch.Tensor:
    """Keep every nth, so that no more than a number remain."""
    return places[:: max(1, -(-len(places) // max(1, max_num)))]


def correspond(
    queries: torch.Tensor,
    references: Sequence[Memory],
    recent: Sequence[tuple[Memory, torch.Tensor]] = (),
) -> Correspondence:
    """Let each cell take the label of its most similar remembered cells.

    The ten most similar of all memories vote with weights softmax(similarity / 0.05).

    Args:
        queries: (N, D) cells of a look.
        references: Memories that count wherever their cells are.
        recent: Memories of frames just past, each with (N, M) penalties that are taken from the
            similarities.
    """
    memories = [(memory, None) for memory in references] + list(recent)
    best: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    own: list[torch.Tensor] = []
    for memory, penalties in memories:
        similarities = queries @ memory.cells.T
        if len(own) < len(references):
            is_own = memory.labels >= min(0.5, float(memory.labels.max()))
            own.append(similarities[:, is_own].amax(dim=1))
        if penalties is not None:
            similarities -= penalties
        values, index = similarities.topk(min(_NUM_NEIGHBOURS, similarities.shape[1]), dim=1)
        best.append(values)
        labels.append(memory.labels[index])
    values, index = torch.cat(best, dim=1).topk(best[0].shape[1], dim=1)
    weights = torch.softmax(values / _TEMPERATURE, dim=1)
    probabilities = (weights * torch.cat(labels, dim=1).gather(1, index)).sum(dim=1)
    return Correspondence(probabilities, torch.stack(own).amax(dim=0))


def distance_penalties(places_xy: torch.Tensor, memory: Memory, radius_px: float) -> torch.Tensor:
    """Give (N, M) penalties that grow with the square of the distance, 0.1 at the radius.

    Args:
        places_xy: (N, 2) frame pixels.
        memory: M cells of another frame.
        radius_px: How far an object's part may have moved.
    """
    return torch.cdist(places_xy, memory.places_xy).square_() * (_PENALTY / radius_px**2)
