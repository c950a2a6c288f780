"""Learn the objects from one frame and its mask (arXiv 2305.03048, 3.1 and 3.3)."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from vos.config import RunConfig
from vos.records import Encoded, FrameMasks, Labels, Targets
from vos.sam.geometry import low_res_to_frame, masks_to_cells
from vos.sam.model import POSITIVE, Prompts, SamModel
from vos.track.locate import similarity_peaks, target_embeddings
from vos.track.prior import box_centres, grow_boxes
from vos.track.scale_fit import fit_scale_weights
from vos.track.segment import frame_masks, refine

MIN_CELL_COVERAGE: Final = 123.675 / 215
"""A cell belongs to an object above this share of it; the published code arrives at the ratio by
sending a mask of value 215 through the picture's normalisation and asking for a positive result."""


@torch.inference_mode()
def personalize(
    encoded: Encoded, reference: Labels, sam: SamModel, config: RunConfig
) -> tuple[Targets, FrameMasks]:
    """Learn every object of the reference.

    Args:
        encoded: The reference frame.
        reference: (H, W) label map of that frame, no object of which is empty.
        sam: The model.
        config: Margin of the box prompts and schedule of the scale fit.

    Returns:
        The objects, and the reference as the result for its own frame.
    """
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    object_ids = tuple(int(value) for value in np.unique(reference) if value)
    masks = np.stack([reference == object_id for object_id in object_ids])
    given = frame_masks(reference, object_ids, np.ones(len(masks), dtype=np.float32))

    features = encoded.features
    cells = masks_to_cells(
        masks, letterbox, (features.shape[1], features.shape[2]), MIN_CELL_COVERAGE
    )
    embeddings = target_embeddings(features, cells)
    peaks = similarity_peaks(embeddings, features, letterbox)

    boxes_xyxy = grow_boxes(given.boxes_xyxy, config.box_margin_px, letterbox.frame_hw)
    points_xy = np.stack([peaks.points_xy, box_centres(boxes_xyxy)], axis=1)
    point_labels = np.full(points_xy.shape[:2], POSITIVE)
    decoded = sam.decode(features, Prompts(points_xy, point_labels, boxes_xyxy), letterbox)
    num_objects = len(object_ids)
    at_frame_size = low_res_to_frame(decoded.low_res_logits.flatten(0, 1), letterbox)
    weights = fit_scale_weights(
        at_frame_size.view(num_objects, 3, *letterbox.frame_hw),
        torch.from_numpy(masks).to(sam.device),
        config.fit,
    )
    found = refine(
        encoded,
        points_xy,
        torch.einsum("km,kmhw->khw", weights, decoded.low_res_logits),
        torch.einsum("km,km->k", weights, decoded.predicted_ious),
        sam,
    )
    targets = Targets(
        object_ids=object_ids,
        embeddings=embeddings,
        scale_weights=weights,
        peak_similarities=peaks.similarities,
        predicted_ious=found.predicted_ious,
    )
    return targets, given
