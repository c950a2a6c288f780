"""One frame's masks: who gets the pixels that several objects want, and what the masks measure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.masks import mask_box_xyxy
from vos.records import FrameMasks, Labels, SoftEdges

_CONTESTED_SHARE: Final = 0.3  # of an object's mask


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """What one object wants of a frame.

    Attributes:
        object_id: 1 to 254.
        slices: Rows and columns of the frame that it speaks of; it wants nothing of the others.
        logits: Of these pixels; it wants those above 0.
        log_prior: Of these pixels, up to a constant that is the same for all objects: how likely
            each is the object's before anything is seen. It decides between objects that want the
            same pixel, together with the logits.
    """

    object_id: int
    slices: tuple[slice, slice]
    logits: torch.Tensor
    log_prior: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """What became of the claims.

    Attributes:
        labels: (H, W) uint8 label map: a pixel is the highest bidder's, of equals the first's.
        contested: (H, W) bool, the pixels that more than one object claims.
    """

    labels: Labels
    contested: torch.Tensor


def settle(
    claims: Iterable[Claim], frame_hw: tuple[int, int], device: torch.device | str
) -> Settled:
    """Let objects compete for the pixels of a frame.

    One claim is settled after the other, so that maps of all objects need not be there at once.

    Args:
        claims: In the order of the objects.
        frame_hw: Size of the frame.
        device: That of the logits.
    """
    best = torch.full(frame_hw, -torch.inf, device=device)
    labels = torch.zeros(frame_hw, dtype=torch.uint8, device=device)
    contested = torch.zeros(frame_hw, dtype=torch.bool, device=device)
    for claim in claims:
        is_wanted = claim.logits > 0
        bids = claim.logits if claim.log_prior is None else claim.logits + claim.log_prior
        bids = bids.masked_fill(~is_wanted, -torch.inf)
        contested[claim.slices] |= is_wanted & (labels[claim.slices] > 0)
        labels[claim.slices].masked_fill_(bids > best[claim.slices], claim.object_id)
        torch.maximum(best[claim.slices], bids, out=best[claim.slices])
    return Settled(labels.cpu().numpy(), contested)


def is_contested(claimed: torch.Tensor, contested: torch.Tensor) -> bool:
    """Say whether too much of one object's mask is contested to tell where the object is.

    Args:
        claimed: (H, W) bool, the object's mask.
        contested: (H, W) bool from :func:`settle`.
    """
    num_claimed = int(claimed.sum())
    return int((claimed & contested).sum()) > _CONTESTED_SHARE * num_claimed


def merge(logits: torch.Tensor, accepted: NDArray[np.bool_], object_ids: tuple[int, ...]) -> Labels:
    """Let the objects compete for pixels: argmax over [0, logits of each accepted object].

    Args:
        logits: (K, H, W).
        accepted: (K,) objects that take part.
        object_ids: (K,) their ids.

    Returns:
        (H, W) uint8 label map.
    """
    claims = claims_of(logits, accepted, object_ids)
    return settle(claims, (logits.shape[1], logits.shape[2]), logits.device).labels


def claims_of(
    logits: torch.Tensor, accepted: NDArray[np.bool_], object_ids: tuple[int, ...]
) -> list[Claim]:
    """Let objects claim pixels by their logits alone; as :func:`merge`."""
    height, width = logits.shape[1:]
    return [
        Claim(object_id, (slice(0, height), slice(0, width)), of_object)
        for object_id, of_object, takes_part in zip(object_ids, logits, accepted, strict=True)
        if takes_part
    ]


def measure(labels: Labels, object_ids: tuple[int, ...], scores: NDArray[np.float32]) -> FrameMasks:
    """Measure a label map: each object's area and box, and whether it is there at all.

    Args:
        labels: (H, W) label map.
        object_ids: (K,) ids of the objects that may be in it.
        scores: (K,) trust in each object's mask; an object without pixels has 0 in the result.
    """
    areas_px = np.zeros(len(object_ids), dtype=np.int64)
    boxes_xyxy = np.zeros((len(object_ids), 4), dtype=np.int64)
    for row, object_id in enumerate(object_ids):
        mask = labels == object_id
        if (box_xyxy := mask_box_xyxy(mask)) is not None:
            areas_px[row] = np.count_nonzero(mask)
            boxes_xyxy[row] = box_xyxy
    present = areas_px > 0
    return FrameMasks(
        labels=labels,
        object_ids=object_ids,
        scores=np.where(present, scores, 0).astype(np.float32),
        present=present,
        boxes_xyxy=boxes_xyxy,
        areas_px=areas_px,
    )


def nothing_found(frame_hw: tuple[int, int], object_ids: tuple[int, ...]) -> FrameMasks:
    """Give the masks of a frame in which no object is."""
    nowhere = np.zeros(frame_hw, dtype=np.uint8)
    return measure(nowhere, object_ids, np.zeros(len(object_ids), dtype=np.float32))


def correct(masks: FrameMasks, reference: Labels) -> FrameMasks:
    """Let a reference replace the result for the objects that it holds.

    Its background says nothing of the other objects: they keep what was found of them there.

    Args:
        masks: What was found.
        reference: (H, W) label map of the same frame, with ids of ``masks`` only.
    """
    ids = np.array(masks.object_ids)
    is_given = np.isin(ids, np.unique(reference))
    found = np.where(np.isin(masks.labels, ids[is_given]), 0, masks.labels)
    labels = np.where(reference > 0, reference, found).astype(np.uint8)
    corrected = measure(labels, masks.object_ids, np.where(is_given, 1, masks.scores))
    return replace(corrected, edges=masks.edges and masks.edges.only(ids[~is_given].tolist()))


def only(masks: FrameMasks, wanted: Collection[int]) -> FrameMasks:
    """Leave the masks of some objects, by id, and nothing of the others."""
    if {*masks.object_ids} <= {*wanted}:
        return masks
    labels = np.where(np.isin(masks.labels, [*wanted]), masks.labels, 0).astype(np.uint8)
    left = measure(labels, masks.object_ids, masks.scores)
    return replace(left, edges=masks.edges and masks.edges.only(wanted))


def join(masks: FrameMasks, others: FrameMasks) -> FrameMasks:
    """Put together the masks that one frame has of different objects, found apart.

    A pixel that both want goes to the object of the higher score; of equal ones, to that of
    ``masks``. An object that has no pixel in ``others`` is as ``masks`` has it.

    Args:
        masks: The frame's masks.
        others: Masks of the same frame and with the same object axis.
    """
    scores_of, other_scores_of = np.zeros((2, 256), dtype=np.float32)
    ids = list(masks.object_ids)
    scores_of[ids], other_scores_of[ids] = masks.scores, others.scores
    is_stronger = other_scores_of[others.labels] > scores_of[masks.labels]
    takes = (others.labels > 0) & ((masks.labels == 0) | is_stronger)
    labels = np.where(takes, others.labels, masks.labels)
    joined = measure(
        labels, masks.object_ids, np.where(others.present, others.scores, masks.scores)
    )
    ids_of_others = np.array(others.object_ids)[others.present].tolist()
    left = masks.edges and masks.edges.only({*masks.object_ids} - {*ids_of_others})
    found = others.edges and others.edges.only(ids_of_others)
    parts = [each for each in (left, found) if each is not None]
    return replace(joined, edges=SoftEdges.joined(parts) if parts else None)
