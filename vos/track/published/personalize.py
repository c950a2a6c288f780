"""Learn the objects from one or several frames and their masks (arXiv 2305.03048, 3.1 and 3.3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.config import FitConfig, Method, RunConfig
from vos.records import Encoded, FrameMasks, Labels, Targets
from vos.sam.geometry import Letterbox, low_res_to_frame, masks_to_cells
from vos.sam.model import POSITIVE, Decoded, Prompts, SamModel
from vos.track.published.locate import (
    Peaks,
    frame_similarities,
    mean_embeddings,
    peaks_of,
    target_embeddings,
)
from vos.track.published.persam import find_guided
from vos.track.published.prior import box_centres, grow_boxes
from vos.track.published.refine import refine, tight_boxes
from vos.track.published.scale_fit import fit_scale_weights
from vos.track.published.segment import frame_masks

MIN_CELL_COVERAGE: Final[dict[Method, float]] = {"persam_f": 123.675 / 215, "persam": 123.675 / 255}
"""A cell belongs to an object above this share of it; the published code arrives at the ratios by
sending a mask of value 215 (video) or 255 through the picture's normalisation and asking for a
positive result."""


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
    encoded: Encoded,
    reference: Labels,
    sam: SamModel,
    config: RunConfig,
    *,
    earlier: Sequence[tuple[Encoded, Labels]] = (),
    object_ids: tuple[int, ...] | None = None,
) -> tuple[Targets, FrameMasks]:
    """Learn every object of the references.

    With several references an object's embedding is the mean of those that hold it; its scale
    weights are fitted to the pixels of all of them at once; what it is later compared with, its
    similarity and predicted IoU, is the mean too. The frames may differ in size.

    Args:
        encoded: The newest reference frame.
        reference: (H, W) label map of that frame, with at least one object.
        sam: The model.
        config: Margin of the box prompts and schedule of the scale fit.
        earlier: Further reference frames and their label maps.
        object_ids: The object axis, ascending; all objects of the references if None.

    Returns:
        The objects, and the newest reference as the result for its own frame.
    """
    references = [*earlier, (encoded, reference)]
    if object_ids is None:
        every_id = np.unique(np.concatenate([np.unique(labels) for _, labels in references]))
        object_ids = tuple(every_id[every_id > 0].tolist())
    num_objects = len(object_ids)
    views = [_view(one, labels, object_ids, sam) for one, labels in references]
    embeddings, prompt_embeddings = _average_embeddings(views, num_objects, sam, config)
    all_peaks = [peaks_of(_similarities(view, embeddings)) for view in views]
    scale_weights = torch.full((num_objects, 3), 1 / 3, device=sam.device)
    if prompt_embeddings is None:
        all_ious = _fit_and_refine(scale_weights, views, all_peaks, sam, config)
    else:
        all_ious = [
            find_guided(
                view.encoded,
                _similarities(view, embeddings),
                prompt_embeddings[view.device_rows],
                peaks.points_xy[:, None],
                None,
                sam,
            ).predicted_ious
            for view, peaks in zip(views, all_peaks, strict=True)
        ]
    seen = {object_ids[row] for view in views for row in view.rows}
    targets = Targets(
        object_ids=object_ids,
        embeddings=embeddings,
        scale_weights=scale_weights,
        peak_similarities=_mean(views, [peaks.similarities for peaks in all_peaks], num_objects),
        predicted_ious=_mean(views, all_ious, num_objects),
        prompt_embeddings=prompt_embeddings,
        yet_to_come=frozenset(object_ids) - seen,
    )
    return targets, frame_masks(reference, object_ids, np.ones(num_objects, dtype=np.float32))


def _view(encoded: Encoded, labels: Labels, object_ids: tuple[int, ...], sam: SamModel) -> _View:
    held = set(np.unique(labels).tolist())
    rows = np.array([row for row, object_id in enumerate(object_ids) if object_id in held])
    return _View(
        encoded,
        sam.letterbox(encoded.frame.frame_hw),
        rows,
        np.stack([labels == object_ids[row] for row in rows]),
        torch.from_numpy(rows).to(sam.device),
    )


def _similarities(view: _View, embeddings: torch.Tensor) -> torch.Tensor:
    """Give (k, H, W) similarity of the view's own objects."""
    return frame_similarities(embeddings[view.device_rows], view.encoded.features, view.letterbox)


def _mean(
    views: Sequence[_View], values: Sequence[NDArray[np.float32]], num_objects: int
) -> NDArray[np.float32]:
    """Average (k,) values of the views over those that hold each object, (K,)."""
    totals = np.zeros(num_objects, dtype=np.float32)
    counts = np.zeros(num_objects, dtype=np.int64)
    for view, own in zip(views, values, strict=True):
        totals[view.rows] += own
        counts[view.rows] += 1
    return (totals / np.maximum(counts, 1)).astype(np.float32)


def _average_embeddings(
    views: Sequence[_View], num_objects: int, sam: SamModel, config: RunConfig
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Give (K, C) embeddings of unit length, and PerSAM's own ones for the decoder."""
    min_coverage = config.min_cell_coverage
    if min_coverage is None:
        min_coverage = MIN_CELL_COVERAGE[config.method]
    describe = mean_embeddings if config.method == "persam" else target_embeddings
    num_channels = views[0].encoded.features.shape[0]
    means = torch.zeros(num_objects, num_channels, device=sam.device)
    counts = torch.zeros(num_objects, 1, device=sam.device)
    for view in views:
        features = view.encoded.features
        cells_hw = features.shape[1], features.shape[2]
        cells = masks_to_cells(view.masks, view.letterbox, cells_hw, min_coverage)
        means[view.device_rows] += describe(features, cells)
        counts[view.device_rows] += 1
    means /= counts.clamp_min(1)
    if config.method == "persam":
        return F.normalize(means, dim=1), means
    # A single one has unit length already and stays as it is, to the last bit.
    return torch.where(counts > 1, F.normalize(means, dim=1), means), None


def _fit_and_refine(
    scale_weights: torch.Tensor,
    views: Sequence[_View],
    all_peaks: Sequence[Peaks],
    sam: SamModel,
    config: RunConfig,
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
        found = refine(view.encoded, prompts.points_xy, low_res, ious, sam)
        all_ious.append(found.predicted_ious)
    return all_ious


def _fit_prompts(view: _View, peaks: Peaks, config: RunConfig) -> Prompts:
    points_xy, boxes_xyxy = peaks.points_xy[:, None], None
    if config.fit.box_prompt:
        tight_xyxy = tight_boxes(view.masks)
        frame_hw = view.letterbox.frame_hw
        boxes_xyxy = grow_boxes(tight_xyxy, config.box_margin_px, frame_hw)
        points_xy = np.concatenate([points_xy, box_centres(boxes_xyxy)[:, None]], axis=1)
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
    for holders, rows in groups.items():
        logits, masks = [], []
        for view, decoded in ((views[n], all_decoded[n]) for n in holders):
            places = np.searchsorted(view.rows, rows)
            low_res = decoded.low_res_logits[torch.from_numpy(places).to(scale_weights.device)]
            at_frame_size = low_res_to_frame(low_res.flatten(0, 1), view.letterbox)
            logits.append(at_frame_size.view(len(rows), 3, -1))
            own_masks = torch.from_numpy(view.masks[places]).flatten(1)
            masks.append(own_masks.to(scale_weights.device))
        is_single = len(holders) == 1  # the usual case needs no copy
        scale_weights[torch.tensor(rows, device=scale_weights.device)] = fit_scale_weights(
            logits[0] if is_single else torch.cat(logits, dim=2),
            masks[0] if is_single else torch.cat(masks, dim=1),
            config,
        )
