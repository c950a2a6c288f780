"""Dense correspondence: a cell takes the label of the most similar remembered cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional as F

from vos.sam.fast.products import linear
from vos.track.memory.crops import Crop

NUM_CHANNELS: Final = 64
"""Channels of remembered cells: the principal axes of the reference's features."""

_QUERIES_PER_CHUNK: Final = 512  # whose similarities to all that is remembered fit a CPU's cache
_QUERIES_STEP: Final = 64
_KEYS_STEP: Final = 512
_GROUP_SIZE: Final = 8
_FEWEST_GROUPED: Final = 256
_NEVER: Final = -1e6  # the similarity to a key that is nobody's
_NUM_NEIGHBOURS: Final = 10
_TEMPERATURE: Final = 0.05
_MAX_CELLS: Final = 1024
_PENALTY: Final = 0.1
_OBJECT_SHARE: Final = 0.5  # from which a remembered cell is the object's
_NEAR_SHARE: Final = 0.05  # above which a cell is kept before those of the background


@dataclass(frozen=True, slots=True, eq=False)
class RememberedCells:
    """Cells of one frame: of one object, and of what is around it.

    Attributes:
        cells: (N, D) float32, in the basis of the object's first reference.
        labels: (N,) float32 in [0, 1], the object's share of each cell.
        positions_xy: (N, 2) float32 frame pixels.
    """

    cells: torch.Tensor
    labels: torch.Tensor
    positions_xy: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Correspondence:
    """What memory says of N cells.

    Attributes:
        probabilities: (N,) float32 in [0, 1] that a cell is the object's.
        object_similarities: (N,) float32, to the most similar cell of the object in any reference.
    """

    probabilities: torch.Tensor
    object_similarities: torch.Tensor


def principal_axes(cells: torch.Tensor) -> torch.Tensor:
    """Give the (C, D) orthonormal axes that hold most of (N, C) cells, without centring them."""
    _, axes = torch.linalg.eigh(cells.T @ cells)
    largest: torch.Tensor = axes[:, -NUM_CHANNELS:]
    return largest.flip(1).contiguous()


def remember(crop: Crop, labels: torch.Tensor, axes: torch.Tensor) -> RememberedCells:
    """Keep a crop's cells; of many, those of the object and every nth of the others.

    Args:
        crop: The crop.
        labels: (h, w) the object's share of each cell.
        axes: (C, D) basis.
    """
    shares = labels[crop.is_inside]
    is_near = shares > _NEAR_SHARE
    near, far = is_near.nonzero()[:, 0], (~is_near).nonzero()[:, 0]
    near = _thinned(near, max(_MAX_CELLS // 2, _MAX_CELLS - len(far)))
    far = _thinned(far, _MAX_CELLS - len(near))
    kept = torch.cat([near, far])
    return RememberedCells(crop.cells[kept] @ axes, shares[kept], crop.positions_xy[kept])


def object_cells(memories: Sequence[RememberedCells]) -> torch.Tensor:
    """Give the (N, D) cells of memories that are the object's; some may show nothing of it."""
    is_object = [
        (memory.labels >= min(_OBJECT_SHARE, float(memory.labels.max()))) & (memory.labels > 0)
        for memory in memories
    ]
    cells = torch.cat([memory.cells[own] for memory, own in zip(memories, is_object, strict=True)])
    # One pixel in the corner of a frame may have a share of no cell.
    return cells if len(cells) else torch.cat([memory.cells for memory in memories])


def _thinned(indices: torch.Tensor, max_num: int) -> torch.Tensor:
    """Keep every nth, so that no more than a number remain."""
    return indices[:: max(1, -(-len(indices) // max(1, max_num)))]


def correspond(
    queries: torch.Tensor,
    positions_xy: torch.Tensor,
    references: Sequence[RememberedCells],
    recent: Sequence[RememberedCells],
    radius_px: float,
) -> Correspondence:
    """Let each cell take the label of its most similar remembered cells.

    The ten most similar of all memories vote with weights softmax(similarity / 0.05). From the
    similarity to a cell of a recent frame a penalty is taken that grows with the square of the
    distance, 0.1 at the radius; a reference may be long ago, and its cells count wherever they
    were.

    Args:
        queries: (N, D) cells of a crop.
        positions_xy: (N, 2) their centres, frame pixels.
        references: Memories of references, at least one.
        recent: Memories of frames just past.
        radius_px: How far an object's part may have moved since.
    """
    weight = _PENALTY / radius_px**2
    object_similarities = (queries @ object_cells(references).T).amax(dim=1)

    # |q - m|^2 = |q|^2 - 2 q m + |m|^2, so that the penalty rides on the product of the cells.
    origin_xy = positions_xy.mean(dim=0)
    from_xy = positions_xy - origin_xy
    keys = [F.pad(memory.cells, (0, 4)) for memory in references]
    for memory in recent:
        to_xy = memory.positions_xy - origin_xy
        squares = to_xy.square().sum(dim=1, keepdim=True)
        parts = [memory.cells, 2 * weight * to_xy, -weight * squares, -torch.ones_like(squares)]
        keys.append(torch.cat(parts, dim=1))
    squares = from_xy.square().sum(dim=1, keepdim=True)
    positioned = torch.cat([queries, from_xy, torch.ones_like(squares), weight * squares], dim=1)
    labels = torch.cat([memory.labels for memory in (*references, *recent)])
    num_neighbours = min(_NUM_NEIGHBOURS, len(labels))
    nobody = positioned.new_zeros(-len(labels) % _KEYS_STEP, positioned.shape[1])
    nobody[:, -2] = _NEVER
    all_keys = torch.cat([*keys, nobody])
    step = _QUERIES_PER_CHUNK if positioned.device.type == "cpu" else len(positioned)
    chunks = torch.split(positioned, step)
    nearest = [_largest(_similarities(chunk, all_keys), num_neighbours) for chunk in chunks]
    values, index = (torch.cat(parts) for parts in zip(*nearest, strict=True))
    votes = torch.softmax(values / _TEMPERATURE, dim=1)
    return Correspondence((votes * labels[index]).sum(dim=1), object_similarities)


def _similarities(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Multiply (n, D) by (M, D); M is a multiple of ``_KEYS_STEP``.

    oneDNN makes and keeps a program for each shape it meets, so that it meets only a few.
    """
    rows = F.pad(queries, (0, 0, 0, -len(queries) % _QUERIES_STEP))
    return linear(rows, keys)[: len(queries)]


def _largest(values: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the largest values of each of (n, M) rows and their indices, (n, number) both.

    They lie in no more groups than they are, those with the largest maxima. To look for them there
    takes half of the time.
    """
    if values.shape[1] % _GROUP_SIZE or values.shape[1] < _FEWEST_GROUPED:
        largest, indices = values.topk(number, dim=1)
        return largest, indices
    groups = values.view(len(values), _GROUP_SIZE, -1)
    _, best_groups = _largest(groups.amax(dim=1), number)
    some = groups.gather(2, best_groups[:, None].expand(-1, _GROUP_SIZE, -1)).flatten(1)
    largest, index = some.topk(number, dim=1)
    group = best_groups.gather(1, index % number)
    return largest, index // number * groups.shape[2] + group
