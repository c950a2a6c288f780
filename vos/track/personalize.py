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
from vos.sam.geometry import low_res_to_frame, masks_to_cells
from vos.sam.model import POSITIVE, Decoded, Prompts, SamModel
from vos.track.locate import frame_similarities, mean_embeddings, peaks_of, target_embeddings
from vos.track.persam import find_guided
from vos.track.prior import box_centres, grow_boxes
from vos.track.refine import refine, tight_boxes
from vos.track.scale_fit import fit_scale_weights
from vos.track.segment import frame_masks

MIN_CELL_COVERAGE: Final[dict[Method, float]] = {"persam_f": 123.675 / 215, "persam": 123.675 / 255}
"""A cell belongs to an object above this share of it; the published code arrives at the ratios by
sending a mask of value 215 (video) or 255 through the picture's normalisation and asking for a
positive result."""


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """What one reference shows.

    Attributes:
        encoded: The frame.
        rows: (k,) which objects it holds.
        masks: (k, H, W) bool.
    """

    encoded: Encoded
    rows: NDArray[np.int64]
    masks: NDArray[np.bool_]


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
    views = [_view(one, labels, object_ids) for one, labels in references]
    num_objects = len(object_ids)
    embeddings, prompt_embeddings = _average_embeddings(views, num_objects, sam, config)
    similarities = _Mean(num_objects)
    predicted_ious = _Mean(num_objects)
    scale_weights = torch.full((num_objects, 3), 1 / 3, device=sam.device)
    all_points, all_decoded = [], []
    for view in views:
        own = torch.from_numpy(view.rows).to(sam.device)
        letterbox = sam.letterbox(view.encoded.frame.frame_hw)
        maps = frame_similarities(embeddings[own], view.encoded.features, letterbox)
        peaks = peaks_of(maps)
        similarities.add(view.rows, peaks.similarities)
        points_xy, boxes_xyxy = peaks.points_xy[:, None], None
        if prompt_embeddings is not None:
            found = find_guided(
                view.encoded, maps, prompt_embeddings[own], points_xy, boxes_xyxy, sam
            )
            predicted_ious.add(view.rows, found.predicted_ious)
            continue
        if config.fit.box_prompt:
            tight_xyxy = tight_boxes(torch.from_numpy(view.masks))
            boxes_xyxy = grow_boxes(tight_xyxy, config.box_margin_px, letterbox.frame_hw)
            points_xy = np.concatenate([points_xy, box_centres(boxes_xyxy)[:, None]], axis=1)
        prompts = Prompts(points_xy, np.full(points_xy.shape[:2], POSITIVE), boxes_xyxy)
        all_points.append(points_xy)
        all_decoded.append(sam.decode(view.encoded.features, prompts, letterbox))
    if prompt_embeddings is None:
        _fit(scale_weights, views, all_decoded, sam, config.fit)
        for view, points_xy, decoded in zip(views, all_points, all_decoded, strict=True):
            weights = scale_weights[torch.from_numpy(view.rows).to(sam.device)]
            low_res = torch.einsum("km,kmhw->khw", weights, decoded.low_res_logits)
            first_ious = torch.einsum("km,km->k", weights, decoded.predicted_ious)
            found = refine(view.encoded, points_xy, low_res, first_ious, sam)
            predicted_ious.add(view.rows, found.predicted_ious)
    seen = {int(row) for view in views for row in view.rows}
    targets = Targets(
        object_ids=object_ids,
        embeddings=embeddings,
        scale_weights=scale_weights,
        peak_similarities=similarities.values(),
        predicted_ious=predicted_ious.values(),
        prompt_embeddings=prompt_embeddings,
        yet_to_come=frozenset(i for row, i in enumerate(object_ids) if row not in seen),
    )
    return targets, frame_masks(reference, object_ids, np.ones(num_objects, dtype=np.float32))


class _Mean:
    """Means over the views that hold each object, (K,) float32."""

    def __init__(self, num_objects: int) -> None:
        self._totals = np.zeros(num_objects, dtype=np.float32)
        self._counts = np.zeros(num_objects, dtype=np.float32)

    def add(self, rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        self._totals[rows] += values
        self._counts[rows] += 1

    def values(self) -> NDArray[np.float32]:
        means: NDArray[np.float32] = self._totals / np.maximum(self._counts, np.float32(1))
        return means


def _view(encoded: Encoded, labels: Labels, object_ids: tuple[int, ...]) -> _View:
    held = set(np.unique(labels).tolist())
    rows = [row for row, object_id in enumerate(object_ids) if object_id in held]
    masks = np.stack([labels == object_ids[row] for row in rows])
    return _View(encoded, np.array(rows), masks)


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
        letterbox = sam.letterbox(view.encoded.frame.frame_hw)
        cells_hw = features.shape[1], features.shape[2]
        cells = masks_to_cells(view.masks, letterbox, cells_hw, min_coverage)
        own = torch.from_numpy(view.rows).to(sam.device)
        means[own] += describe(features, cells)
        counts[own] += 1
    means /= counts.clamp_min(1)
    if config.method == "persam":
        return F.normalize(means, dim=1), means
    # A single one has unit length already and stays as it is, to the last bit.
    return torch.where(counts > 1, F.normalize(means, dim=1), means), None


def _fit(
    scale_weights: torch.Tensor,
    views: Sequence[_View],
    all_decoded: Sequence[Decoded],
    sam: SamModel,
    config: FitConfig,
) -> None:
    """Fit the rows of the (K, 3) scale weights, those of the same views together."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in range(len(scale_weights)):
        holders = tuple(number for number, view in enumerate(views) if row in view.rows)
        groups[holders].append(row)
    for holders, rows in groups.items():
        if not holders:
            continue
        logits, masks = [], []
        for view, decoded in ((views[number], all_decoded[number]) for number in holders):
            places = np.searchsorted(view.rows, rows)
            low_res = decoded.low_res_logits[torch.from_numpy(places).to(sam.device)]
            letterbox = sam.letterbox(view.encoded.frame.frame_hw)
            at_frame_size = low_res_to_frame(low_res.flatten(0, 1), letterbox)
            logits.append(at_frame_size.view(len(rows), 3, -1))
            masks.append(torch.from_numpy(view.masks[places]).flatten(1).to(sam.device))
        is_single = len(holders) == 1
        scale_weights[torch.tensor(rows, device=sam.device)] = fit_scale_weights(
            logits[0] if is_single else torch.cat(logits, dim=2),
            masks[0] if is_single else torch.cat(masks, dim=1),
            config,
        )
