"""Find objects in single pictures: no frame before them, and perhaps several of one kind."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.config import AbsenceConfig, PublishedMethod
from vos.errors import InputError
from vos.records import MAX_OBJECT_ID, Frame, FrameMasks, Labels
from vos.sam.geometry import Letterbox, cells_to_frame, masks_to_cells
from vos.sam.model import SamModel
from vos.track.masks import measure, merge
from vos.track.published.encode import Encoded, encode
from vos.track.published.locate import peaks_of, similarity_maps
from vos.track.published.personalize import personalize
from vos.track.published.presence import (
    ReferenceAppearance,
    describe,
    describe_references,
    presence,
)
from vos.track.published.refine import Candidates
from vos.track.published.segment import find
from vos.track.published.targets import Targets

_MAX_OVERLAP: Final = 0.5
_SEARCHES_PER_INSTANCE: Final = 2
_MIN_SCORE: Final = 0.5


def instance_ids(object_ids: Sequence[int], num_instances: int) -> tuple[tuple[int, int], ...]:
    """Number the instances of a set of pictures, the same way for all of them.

    The first instance of an object has the object's id; further ones take the ids that are
    free, from the lowest.

    Args:
        object_ids: Ids of the reference's objects.
        num_instances: Instances of each object, at most.

    Returns:
        (id, object id) of every instance: all first ones, all second ones, and so on.

    Raises:
        InputError: fewer than 1 instance, or more than there are ids.
    """
    if num_instances < 1:
        raise InputError(f"num_instances must be 1 or more, got {num_instances}")
    owners = [*object_ids] * num_instances
    if len(owners) > MAX_OBJECT_ID:
        raise InputError(
            f"{num_instances} instances of {len(object_ids)} objects need {len(owners)} ids; "
            f"there are {MAX_OBJECT_ID}"
        )
    free = (number for number in range(1, MAX_OBJECT_ID + 1) if number not in object_ids)
    ids = [*object_ids, *(next(free) for _ in owners[len(object_ids) :])]
    return tuple(zip(ids, owners, strict=True))


def search_pictures(
    frames: Iterable[Frame],
    references: Sequence[tuple[Frame, Labels]],
    object_ids: tuple[int, ...],
    sam: SamModel,
    config: PublishedMethod,
    num_instances: int = 1,
) -> Generator[tuple[Frame, FrameMasks], None, None]:
    """Find the objects of the references in pictures.

    Args:
        frames: The pictures, of any sizes.
        references: Pictures and their (H, W) label maps, at least one.
        object_ids: (K,) all objects of the references, ascending.
        sam: The model.
        config: Settings.
        num_instances: Instances of each object in a picture, at most.

    Yields:
        Each picture with its masks.
    """
    shown = encode((frame for frame, _ in references), sam, config.batch_size)
    pairs = [(encoded, labels) for encoded, (_, labels) in zip(shown, references, strict=True)]
    targets = personalize(pairs, object_ids, sam, config)
    known = describe_references(pairs, object_ids, sam, config.batch_size)
    del shown, pairs
    with closing(encode(frames, sam, config.batch_size)) as pictures:
        for encoded in pictures:
            yield encoded.frame, find_instances(encoded, targets, known, sam, config, num_instances)


@torch.inference_mode()
def find_instances(
    encoded: Encoded,
    targets: Targets,
    known: Sequence[Sequence[ReferenceAppearance]],
    sam: SamModel,
    config: PublishedMethod,
    num_instances: int = 1,
) -> FrameMasks:
    """Find every object in one picture, by similarity alone.

    A mask may be reduced to its connected part at the similarity peak, because SAM can answer with
    several objects at once, the more so the smaller the model; it always is when several instances
    are searched. After each find the object's cells and their neighbours fall to the similarity
    map's minimum, and the search goes on elsewhere. It ends when the similarity peak falls below
    ``instance_similarity_ratio`` of the first instance's: within one picture light and scale are
    the same, so that others of the kind come close to the first.
    A candidate is passed over if its predicted IoU falls below ``return_iou_ratio`` of the first
    one's, or if half or more of it was found before.

    Args:
        encoded: The picture and its features.
        targets: The objects.
        known: What the references show of each object; what is found is compared with it.
        sam: The model.
        config: Whether masks must be connected, the test for further instances, and whether an
            object may be absent: then masks with a score below one half are left out. Else the
            first instance is taken to be there.
        num_instances: Instances of each object, at most.

    Returns:
        The picture's label map, scores and presence, by the ids of :func:`instance_ids`. A score
        is how likely it is that the mask lies on the object, see
        :func:`vos.track.published.presence.presence`.
    """
    ids = tuple(instance_id for instance_id, _ in instance_ids(targets.object_ids, num_instances))
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    min_iou_ratio = (config.absence or AbsenceConfig()).return_iou_ratio
    similarities = similarity_maps(targets.embeddings, encoded.matching)
    num_objects = len(similarities)
    shape = num_instances, num_objects
    logits = torch.full((*shape, *letterbox.frame_hw), -torch.inf, device=sam.device)
    scores = np.zeros(shape, dtype=np.float32)
    num_found = np.zeros(num_objects, dtype=np.int64)
    best_similarities = best_ious = np.zeros(num_objects, dtype=np.float32)
    rows = np.arange(num_objects)
    for search in range(1 if num_instances == 1 else _SEARCHES_PER_INSTANCE * num_instances):
        maps = cells_to_frame(similarities, letterbox)
        peaks = peaks_of(maps)
        least = config.instance_similarity_ratio * best_similarities
        rows = rows[(peaks.similarities >= least)[rows]] if search else rows
        if not len(rows):
            break
        found = find(encoded, targets, rows, maps, peaks.points_xy[rows, None], None, sam)
        if config.connected or num_instances > 1:
            found = _part_at(found, peaks.points_xy[rows])
        found_scores = _score(encoded, found.logits, [known[row] for row in rows.tolist()], sam)
        is_new = found_scores >= (0 if config.absence is None else _MIN_SCORE)
        if search == 0:
            best_similarities, best_ious = peaks.similarities, found.predicted_ious
        else:
            is_new &= found.predicted_ious >= min_iou_ratio * best_ious[rows]
            is_new &= ~_is_known(found.logits, logits[:, torch.from_numpy(rows).to(sam.device)])
        for index in np.flatnonzero(is_new):
            row = rows[index]
            logits[num_found[row], row] = found.logits[index]
            scores[num_found[row], row] = found_scores[index]
            num_found[row] += 1
        goes_on = (num_found[rows] > 0) & (num_found[rows] < num_instances)
        if not goes_on.any():
            break
        similarities = _suppress(similarities, rows, found.logits, peaks.points_xy, letterbox)
        rows = rows[goes_on]
    labels = merge(logits.flatten(0, 1), np.ones(len(ids), dtype=np.bool_), ids)
    return measure(labels, ids, scores.flatten())


def _score(
    encoded: Encoded,
    logits: torch.Tensor,
    known: Sequence[Sequence[ReferenceAppearance]],
    sam: SamModel,
) -> NDArray[np.float32]:
    """Score (R, H, W) masks of R objects, (R,); an empty mask has 0."""
    masks = (logits > 0).cpu().numpy()
    filled = np.flatnonzero(masks.any(axis=(1, 2)))
    scores = np.zeros(len(masks), dtype=np.float32)
    for row, found in zip(filled.tolist(), describe(encoded, masks[filled], sam), strict=True):
        scores[row] = presence(known[row], found)
    return scores


def _part_at(found: Candidates, points_xy: NDArray[np.int64]) -> Candidates:
    """Keep of each (R, H, W) mask the connected part at its (R, 2) point, else the largest."""
    logits = found.logits.clone()
    masks = (logits > 0).cpu().numpy().astype(np.uint8)
    for row, (mask, (x, y)) in enumerate(zip(masks, points_xy, strict=True)):
        _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask)
        if len(statistics) == 1:  # the background alone
            continue
        part = parts[y, x] or 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()
        beside = torch.from_numpy(parts != part).to(logits.device)
        logits[row].masked_fill_(beside, -torch.inf)
    return Candidates(logits, found.predicted_ious)


def _is_known(candidates: torch.Tensor, found: torch.Tensor) -> NDArray[np.bool_]:
    """Tell which (R, H, W) candidates are empty, or mostly in what (N, R, H, W) logits hold."""
    masks = candidates > 0
    shared_px = (masks & (found > 0).any(dim=0)).sum(dim=(1, 2))
    is_known: NDArray[np.bool_] = (shared_px >= _MAX_OVERLAP * masks.sum(dim=(1, 2))).cpu().numpy()
    return is_known


def _suppress(
    similarities: torch.Tensor,
    rows: NDArray[np.int64],
    logits: torch.Tensor,
    points_xy: NDArray[np.int64],
    letterbox: Letterbox,
) -> torch.Tensor:
    """Lower the cells of what was found, and those around them, to their map's minimum.

    Args:
        similarities: (K, h, w).
        rows: (R,) the objects that were searched.
        logits: (R, H, W) what was found.
        points_xy: (K, 2) where it was searched; suppressed even if nothing was found.
        letterbox: Where the picture lies in the model's input.
    """
    cells_hw = similarities.shape[1], similarities.shape[2]
    masks = (logits > 0).cpu().numpy()
    at_peak = np.zeros_like(masks)
    at_peak[np.arange(len(rows)), points_xy[rows, 1], points_xy[rows, 0]] = True
    cells = masks_to_cells(at_peak, letterbox, cells_hw, min_coverage=0)
    filled = masks.any(axis=(1, 2))
    cells[filled] |= masks_to_cells(masks[filled], letterbox, cells_hw, min_coverage=0)
    grown = F.max_pool2d(torch.from_numpy(cells).float()[:, None], 3, stride=1, padding=1)[:, 0]
    lowered = similarities.clone()
    for row, found in zip(rows.tolist(), grown.bool().to(similarities.device), strict=True):
        lowered[row, found] = similarities[row].min()
    return lowered
