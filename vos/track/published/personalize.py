"""Learn the objects from one or several frames and their masks (arXiv 2305.03048, 3.1 and 3.3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.config import FitConfig, PersamF, PublishedMethod
from vos.masks.boxes import box_centres_xy, grow_box_xyxy, tight_boxes_xyxy
from vos.records import Labels
from vos.sam.geometry import Letterbox, low_res_to_frame, masks_to_cells
from vos.sam.model import POSITIVE, Decoded, Prompts, SamModel
from vos.track.published.encode import Encoded
from vos.track.published.locate import (
    Peaks,
    frame_similarities,
    mean_embeddings,
    peaks_of,
    target_embeddings,
)
from vos.track.published.persam import find_guided
from vos.track.published.refine import cascade
from vos.track.published.scale_fit import fit_scale_weights
from vos.track.published.targets import Targets


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """What one reference shows.

    Attributes:
        encoded: The frame.
        letterbox: Where it lies in the model's input.
        rows: (k,) which objects it holds.
        masks: (k, H, W) bool.
        device_rows: The rows again, on the model's device.
    """

    encoded: Encoded
    letterbox: Letterbox
    rows: NDArray[np.int64]
    masks: NDArray[np.bool_]
    device_rows: torch.Tensor


@torch.inference_mode()
def personalize(
    references: Sequence[tuple[Encoded, Labels]],
    object_ids: tuple[int, ...],
    sam: SamModel,
    config: PublishedMethod,
) -> Targets:
    """Learn the objects of the references.

    With several references an object's embedding is the mean of those that hold it; its scale
    weights are fitted to the pixels of all of them at once; what it is later compared with, its
    similarity and predicted IoU, is the mean too. The frames may differ in size.

    Args:
        references: Frames and their (H, W) label maps, each with at least one of the objects.
        object_ids: (K,) the object axis, ascending; those that no reference holds are yet to come.
        sam: The model.
        config: Margin of the box prompts and schedule of the scale fit.
    """
    num_objects = len(object_ids)
    views = [_view(encoded, labels, object_ids, sam) for encoded, labels in references]
    describe = target_embeddings if isinstance(config, PersamF) else mean_embeddings
    matching = [view.encoded.matching for view in views]
    means, counts = _mean_embeddings(views, matching, num_objects, describe, sam, config)
    embeddings = F.normalize(means, dim=1)
    if isinstance(config, PersamF):
        # A single one has unit length already and stays as it is, to the last bit.
        embeddings = torch.where(counts > 1, embeddings, means)
    embeddings = sam.balanced(embeddings)
    prompts = None
    all_peaks = [peaks_of(_similarities(view, embeddings)) for view in views]
    scale_weights = torch.full((num_objects, 3), 1 / 3, device=sam.device)
    if isinstance(config, PersamF):
        all_ious = _fit_and_refine(scale_weights, views, all_peaks, sam, config)
    else:
        own = [sam.image_embedding(view.encoded.features) for view in views]
        prompts, _ = _mean_embeddings(views, own, num_objects, describe, sam, config)
        all_ious = [
            find_guided(
                view.encoded,
                _similarities(view, embeddings),
                prompts[view.device_rows],
                peaks.points_xy[:, None],
                None,
                sam,
            ).predicted_ious
            for view, peaks in zip(views, all_peaks, strict=True)
        ]
    seen = {object_ids[row] for view in views for row in view.rows}
    return Targets(
        object_ids=object_ids,
        embeddings=embeddings,
        scale_weights=scale_weights,
        peak_similarities=_mean(views, [peaks.similarities for peaks in all_peaks], num_objects),
        predicted_ious=_mean(views, all_ious, num_objects),
        prompt_embeddings=prompts,
        yet_to_come=frozenset(object_ids) - seen,
    )


def _view(encoded: Encoded, labels: Labels, object_ids: tuple[int, ...], sam: SamModel) -> _View:
    shown = set(np.unique(labels).tolist())
    rows = np.array([row for row, object_id in enumerate(object_ids) if object_id in shown])
    return _View(
        encoded,
        sam.letterbox(encoded.frame.frame_hw),
        rows,
        np.stack([labels == object_ids[row] for row in rows]),
        torch.from_numpy(rows).to(sam.device),
    )


def _similarities(view: _View, embeddings: torch.Tensor) -> torch.Tensor:
    """Give (k, H, W) similarity of the view's objects."""
    return frame_similarities(embeddings[view.device_rows], view.encoded.matching, view.letterbox)


def _mean(
    views: Sequence[_View], values: Sequence[NDArray[np.float32]], num_objects: int
) -> NDArray[np.float32]:
    """Average (k,) values of the views over those that hold each object, (K,)."""
    totals = np.zeros(num_objects, dtype=np.float32)
    counts = np.zeros(num_objects, dtype=np.int64)
    for view, of_view in zip(views, values, strict=True):
        totals[view.rows] += of_view
        counts[view.rows] += 1
    return (totals / np.maximum(counts, 1)).astype(np.float32)


def _mean_embeddings(
    views: Sequence[_View],
    maps: Sequence[torch.Tensor],
    num_objects: int,
    describe: Callable[[torch.Tensor, NDArray[np.bool_]], torch.Tensor],
    sam: SamModel,
    config: PublishedMethod,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Describe the objects by (C, h, w) maps of the views, and average over those that hold each.

    Returns:
        (K, C) embeddings, and (K, 1) views that hold each.
    """
    means = torch.zeros(num_objects, maps[0].shape[0], device=sam.device)
    counts = torch.zeros(num_objects, 1, device=sam.device)
    for view, features in zip(views, maps, strict=True):
        cells_hw = features.shape[1], features.shape[2]
        cells = masks_to_cells(view.masks, view.letterbox, cells_hw, config.min_cell_coverage)
        means[view.device_rows] += describe(features, cells)
        counts[view.device_rows] += 1
    return means / counts.clamp_min(1), counts


def _fit_and_refine(
    scale_weights: torch.Tensor,
    views: Sequence[_View],
    all_peaks: Sequence[Peaks],
    sam: SamModel,
    config: PersamF,
) -> list[NDArray[np.float32]]:
    """Fit the (K, 3) scale weights in place; give each view's predicted IoUs with them."""
    prompted = [
        _fit_prompts(view, peaks, config) for view, peaks in zip(views, all_peaks, strict=True)
    ]
    all_decoded = [
        sam.decode(view.encoded.features, prompts, view.letterbox)
        for view, prompts in zip(views, prompted, strict=True)
    ]
    _fit(scale_weights, views, all_decoded, config.fit)
    all_ious = []
    for view, prompts, decoded in zip(views, prompted, all_decoded, strict=True):
        weights = scale_weights[view.device_rows]
        low_res = torch.einsum("km,kmhw->khw", weights, decoded.low_res_logits)
        ious = torch.einsum("km,km->k", weights, decoded.predicted_ious)
        found = cascade(view.encoded, prompts.points_xy, low_res, ious, sam)
        all_ious.append(found.predicted_ious)
    return all_ious


def _fit_prompts(view: _View, peaks: Peaks, config: PersamF) -> Prompts:
    points_xy, boxes_xyxy = peaks.points_xy[:, None], None
    if config.fit.box_prompt:
        tight_xyxy = tight_boxes_xyxy(view.masks)
        frame_hw = view.letterbox.frame_hw
        boxes_xyxy = grow_box_xyxy(tight_xyxy, config.box_margin_px, frame_hw, beyond_px=1)
        points_xy = np.concatenate([points_xy, box_centres_xy(boxes_xyxy)[:, None]], axis=1)
    return Prompts(points_xy, np.full(points_xy.shape[:2], POSITIVE), boxes_xyxy)


def _fit(
    scale_weights: torch.Tensor,
    views: Sequence[_View],
    all_decoded: Sequence[Decoded],
    config: FitConfig,
) -> None:
    """Fit the rows of the scale weights in place, those of the same views together."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in range(len(scale_weights)):
        groups[tuple(n for n, view in enumerate(views) if row in view.rows)].append(row)
    groups.pop((), None)
    for view_numbers, rows in groups.items():
        logits, masks = [], []
        for view, decoded in ((views[n], all_decoded[n]) for n in view_numbers):
            view_rows = np.searchsorted(view.rows, rows)
            low_res = decoded.low_res_logits[torch.from_numpy(view_rows).to(scale_weights.device)]
            at_frame_size = low_res_to_frame(low_res.flatten(0, 1), view.letterbox)
            logits.append(at_frame_size.view(len(rows), 3, -1))
            view_masks = torch.from_numpy(view.masks[view_rows]).flatten(1)
            masks.append(view_masks.to(scale_weights.device))
        is_single = len(view_numbers) == 1  # the usual case needs no copy
        scale_weights[torch.tensor(rows, device=scale_weights.device)] = fit_scale_weights(
            logits[0] if is_single else torch.cat(logits, dim=2),
            masks[0] if is_single else torch.cat(masks, dim=1),
            config,
        )
