"""One frame's masks from its features, all objects together (arXiv 2305.03048, 3.2 and 3.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from vos.config import AbsenceConfig, PublishedMethod
from vos.masks.boxes import box_centres_xy, grow_box_xyxy
from vos.records import FrameMasks
from vos.sam.geometry import Letterbox
from vos.sam.model import POSITIVE, Prompts, SamModel
from vos.track.edges import soft_edges
from vos.track.masks import claims_of, measure, settle
from vos.track.published.encode import Encoded
from vos.track.published.locate import frame_similarities, peaks_of
from vos.track.published.persam import find_guided
from vos.track.published.prior import Priors
from vos.track.published.refine import Candidates, cascade
from vos.track.published.targets import Targets


@torch.inference_mode()
def segment_frame(
    encoded: Encoded,
    targets: Targets,
    priors: Priors,
    sam: SamModel,
    config: PublishedMethod,
    *,
    soft: bool = False,
) -> FrameMasks:
    """Find every object in one frame.

    Args:
        encoded: The frame and its features.
        targets: The objects.
        priors: What the previous frame handed on.
        sam: The model.
        config: Margin of the box prompts and the tests for absence.
        soft: Whether the masks come with soft edges.

    Returns:
        The frame's label map, and each object's score (see :func:`scores`) and presence.
    """
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    maps = frame_similarities(targets.embeddings, encoded.matching, letterbox)
    peaks = peaks_of(maps)
    groups = []
    for has_box in (True, False):
        rows = np.flatnonzero(targets.is_known & (priors.has_box == has_box))
        if not len(rows):
            continue
        points_xy, boxes_xyxy = peaks.points_xy[rows, None], None
        if has_box:
            boxes_xyxy = grow_box_xyxy(
                priors.boxes_xyxy[rows], config.box_margin_px, letterbox.frame_hw, beyond_px=1
            )
            points_xy = np.concatenate([points_xy, box_centres_xy(boxes_xyxy)[:, None]], axis=1)
        groups.append((rows, find(encoded, targets, rows, maps, points_xy, boxes_xyxy, sam)))
    candidates = _join(len(targets.object_ids), letterbox, sam, groups)
    accepted = targets.is_known & accept(
        priors.is_lost, peaks.similarities, candidates.predicted_ious, targets, config.absence
    )
    claims = claims_of(candidates.logits, accepted, targets.object_ids)
    labels = settle(claims, letterbox.frame_hw, sam.device).labels
    trust = scores(peaks.similarities, candidates.predicted_ious, targets.peak_similarities)
    masks = measure(labels, targets.object_ids, trust)
    return replace(masks, edges=soft_edges(claims, labels)) if soft else masks


def find(
    encoded: Encoded,
    targets: Targets,
    rows: NDArray[np.int64],
    maps: torch.Tensor,
    points_xy: NDArray[np.int64],
    boxes_xyxy: NDArray[np.int64] | None,
    sam: SamModel,
) -> Candidates:
    """Run the method's cascade for R of the objects.

    Args:
        encoded: The frame and its features.
        targets: All K objects.
        rows: (R,) which of them.
        maps: (K, H, W) similarity at frame size, which PerSAM is guided by.
        points_xy: (R, P, 2) positive points, frame pixels.
        boxes_xyxy: (R, 4) box prompts, or None.
        sam: The model.

    Returns:
        (R, H, W) logits and (R,) predicted IoUs.
    """
    device_rows = torch.from_numpy(rows).to(sam.device)
    if targets.prompt_embeddings is not None:
        embeddings = targets.prompt_embeddings[device_rows]
        return find_guided(encoded, maps[device_rows], embeddings, points_xy, boxes_xyxy, sam)
    labels = np.full(points_xy.shape[:2], POSITIVE)
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    weights = targets.scale_weights[device_rows]
    prompts = Prompts(points_xy, labels, boxes_xyxy)
    decoded = sam.decode(encoded.features, prompts, letterbox, mixing=weights)
    predicted_ious = torch.einsum("km,km->k", weights, decoded.predicted_ious)
    low_res = decoded.low_res_logits[:, 0]
    return cascade(encoded, points_xy, low_res, predicted_ious, sam)


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


def scores(
    similarities: NDArray[np.float32],
    predicted_ious: NDArray[np.float32],
    reference_similarities: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Say how far each object can be trusted, (K,) in [0, 1].

    That is SAM's predicted IoU times the similarity peak's share of the reference's, both clipped
    to [0, 1].
    """
    reference = np.maximum(reference_similarities, np.finfo(np.float32).tiny)
    trust: NDArray[np.float32] = np.clip(predicted_ious, 0, 1) * np.clip(
        similarities / reference, 0, 1
    )
    return trust


def _join(
    num_objects: int,
    letterbox: Letterbox,
    sam: SamModel,
    groups: list[tuple[NDArray[np.int64], Candidates]],
) -> Candidates:
    """Put the groups' rows back into the order of the objects; a row in no group is empty."""
    if len(groups) == 1 and len(groups[0][0]) == num_objects:
        return groups[0][1]
    logits = torch.full((num_objects, *letterbox.frame_hw), -torch.inf, device=sam.device)
    predicted_ious = np.zeros(num_objects, dtype=np.float32)
    for rows, candidates in groups:
        logits[torch.from_numpy(rows).to(sam.device)] = candidates.logits
        predicted_ious[rows] = candidates.predicted_ious
    return Candidates(logits, predicted_ious)
