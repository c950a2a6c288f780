"""One frame's masks from its features, all objects together (arXiv 2305.03048, 3.2 and 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vos.config import AbsenceConfig, RunConfig
from vos.records import Encoded, FrameMasks, Labels, Priors, Targets
from vos.sam.geometry import Letterbox, low_res_to_frame
from vos.sam.model import POSITIVE, Prompts, SamModel
from vos.track.locate import Peaks, similarity_peaks
from vos.track.prior import box_centres, grow_boxes

_NUM_REFINEMENTS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What the cascade found, before absence and competition are settled.

    Attributes:
        logits: (K, H, W) float32, above 0 on the object; all negative where nothing was found.
        predicted_ious: (K,) float32, SAM's estimate of each mask's quality.
    """

    logits: torch.Tensor
    predicted_ious: NDArray[np.float32]


@torch.inference_mode()
def segment_frame(
    encoded: Encoded, targets: Targets, priors: Priors, sam: SamModel, config: RunConfig
) -> FrameMasks:
    """Find every object in one frame.

    Args:
        encoded: The frame and its features.
        targets: The objects.
        priors: What the previous frame handed on.
        sam: The model.
        config: Margin of the box prompts and the tests for absence.

    Returns:
        The frame's label map, and each object's score and presence. The score is SAM's predicted
        IoU times the similarity peak's share of the reference's, both clipped to [0, 1].
    """
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    peaks = similarity_peaks(targets.embeddings, encoded.features, letterbox)
    with_box, without_box = np.flatnonzero(priors.has_box), np.flatnonzero(~priors.has_box)
    candidates = _join(
        len(priors.has_box),
        letterbox,
        sam,
        [
            (rows, _find(rows, encoded, targets, peaks, priors, sam, config))
            for rows in (with_box, without_box)
            if len(rows)
        ],
    )
    accepted = accept(
        priors.is_lost, peaks.similarities, candidates.predicted_ious, targets, config.absence
    )
    labels = merge(candidates.logits, accepted, targets.object_ids)
    return frame_masks(labels, targets.object_ids, _scores(peaks, candidates, targets))


def accept(
    is_lost: NDArray[np.bool_],
    similarities: NDArray[np.float32],
    predicted_ious: NDArray[np.float32],
    targets: Targets,
    absence: AbsenceConfig | None,
) -> NDArray[np.bool_]:
    """Decide which candidates may count as their object.

    Args:
        is_lost: (K,) whether the object was absent before.
        similarities: (K,) similarity peaks of this frame.
        predicted_ious: (K,) of the candidates.
        targets: The objects; evidence is compared with theirs.
        absence: The thresholds; None accepts everything.

    Returns:
        (K,) bool.
    """
    if absence is None:
        return np.ones_like(is_lost)
    similarity_ratios = np.where(
        is_lost, absence.return_similarity_ratio, absence.lose_similarity_ratio
    )
    iou_ratios = np.where(is_lost, absence.return_iou_ratio, absence.lose_iou_ratio)
    is_similar = similarities >= similarity_ratios * targets.peak_similarities
    is_plausible = predicted_ious >= iou_ratios * targets.predicted_ious
    accepted: NDArray[np.bool_] = is_similar & is_plausible
    return accepted


def merge(logits: torch.Tensor, accepted: NDArray[np.bool_], object_ids: tuple[int, ...]) -> Labels:
    """Let the objects compete for pixels: argmax over [0, logits of each accepted object].

    Args:
        logits: (K, H, W).
        accepted: (K,) objects that take part.
        object_ids: (K,) their ids.

    Returns:
        (H, W) uint8 label map.
    """
    taking_part = torch.from_numpy(accepted).to(logits.device)
    best, winners = logits.masked_fill(~taking_part[:, None, None], -torch.inf).max(dim=0)
    ids = torch.tensor(object_ids, dtype=torch.uint8, device=logits.device)
    labels: Labels = torch.where(best > 0, ids[winners], 0).cpu().numpy()
    return labels


def frame_masks(
    labels: Labels, object_ids: tuple[int, ...], scores: NDArray[np.float32]
) -> FrameMasks:
    """Measure a label map: each object's area and box, and whether it is there at all."""
    own = torch.from_numpy(np.stack([labels == object_id for object_id in object_ids]))
    areas_px = own.sum(dim=(1, 2)).numpy()
    present = areas_px > 0
    return FrameMasks(
        labels=labels,
        object_ids=object_ids,
        scores=np.where(present, scores, 0).astype(np.float32),
        present=present,
        boxes_xyxy=tight_boxes(own),
        areas_px=areas_px,
    )


def tight_boxes(masks: torch.Tensor) -> NDArray[np.int64]:
    """Give the (K, 4) inclusive boxes of (K, H, W) bool masks, zeros for an empty one."""
    height, width = masks.shape[1:]
    edges = []
    for side, axis in ((width, 1), (height, 2)):
        occupied = masks.any(dim=axis).to(torch.uint8)
        first = occupied.argmax(dim=1)
        last = side - 1 - occupied.flip(1).argmax(dim=1)
        edges.append((first, last))
    (x0, x1), (y0, y1) = edges
    boxes = torch.stack([x0, y0, x1, y1], dim=1) * masks.flatten(1).any(dim=1)[:, None]
    result: NDArray[np.int64] = boxes.cpu().numpy()
    return result


def _find(
    rows: NDArray[np.int64],
    encoded: Encoded,
    targets: Targets,
    peaks: Peaks,
    priors: Priors,
    sam: SamModel,
    config: RunConfig,
) -> Candidates:
    """Run the cascade for some of the objects, all of which have a box prior or none of which."""
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    points_xy = peaks.points_xy[rows, None]
    boxes_xyxy = None
    if priors.has_box[rows[0]]:
        boxes_xyxy = grow_boxes(priors.boxes_xyxy[rows], config.box_margin_px, letterbox.frame_hw)
        points_xy = np.concatenate([points_xy, box_centres(boxes_xyxy)[:, None]], axis=1)
    labels = np.full(points_xy.shape[:2], POSITIVE)
    decoded = sam.decode(encoded.features, Prompts(points_xy, labels, boxes_xyxy), letterbox)
    weights = targets.scale_weights[torch.from_numpy(rows).to(targets.scale_weights.device)]
    # Enlarging is linear, so the sum is taken before it, on a third of the values.
    low_res = torch.einsum("km,kmhw->khw", weights, decoded.low_res_logits)
    predicted_ious = torch.einsum("km,km->k", weights, decoded.predicted_ious)
    return refine(encoded, points_xy, low_res, predicted_ious, sam)


def refine(
    encoded: Encoded,
    points_xy: NDArray[np.int64],
    low_res: torch.Tensor,
    predicted_ious: torch.Tensor,
    sam: SamModel,
) -> Candidates:
    """Cascaded post-refinement (3.2): twice, prompt with the mask's own box, logits and points.

    Of each call's three masks the one of highest predicted IoU goes on. A mask that is or becomes
    empty gives no box and stays as it is.

    Args:
        encoded: The frame.
        points_xy: (K, P, 2) positive points, frame pixels.
        low_res: (K, h', w') logits of the first call.
        predicted_ious: (K,) of the first call.
        sam: The model.

    Returns:
        The final logits at frame size and their predicted IoUs.
    """
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    logits = low_res_to_frame(low_res, letterbox)
    predicted_ious = predicted_ious.clone()
    for _ in range(_NUM_REFINEMENTS):
        rows = torch.nonzero((logits > 0).flatten(1).any(dim=1))[:, 0]
        if not len(rows):
            break
        on_cpu = rows.cpu().numpy()
        prompts = Prompts(
            points_xy[on_cpu],
            np.full(points_xy[on_cpu].shape[:2], POSITIVE),
            tight_boxes(logits[rows] > 0),
            low_res[rows],
        )
        decoded = sam.decode(encoded.features, prompts, letterbox)
        best_ious, best = decoded.predicted_ious.max(dim=1)
        low_res = low_res.index_put(
            (rows,), decoded.low_res_logits[torch.arange(len(rows), device=rows.device), best]
        )
        predicted_ious = predicted_ious.index_put((rows,), best_ious)
        logits = low_res_to_frame(low_res, letterbox)
    return Candidates(logits, predicted_ious.cpu().numpy())


def _scores(peaks: Peaks, candidates: Candidates, targets: Targets) -> NDArray[np.float32]:
    reference = np.maximum(targets.peak_similarities, np.finfo(np.float32).tiny)
    scores: NDArray[np.float32] = np.clip(candidates.predicted_ious, 0, 1) * np.clip(
        peaks.similarities / reference, 0, 1
    )
    return scores


def _join(
    num_objects: int,
    letterbox: Letterbox,
    sam: SamModel,
    groups: list[tuple[NDArray[np.int64], Candidates]],
) -> Candidates:
    """Put the groups' rows back into the order of the objects."""
    if len(groups) == 1:
        return groups[0][1]
    logits = torch.empty(num_objects, *letterbox.frame_hw, device=sam.device)
    predicted_ious = np.empty(num_objects, dtype=np.float32)
    for rows, candidates in groups:
        logits[torch.from_numpy(rows).to(sam.device)] = candidates.logits
        predicted_ious[rows] = candidates.predicted_ious
    return Candidates(logits, predicted_ious)
