"""Training-free PerSAM: SAM guided by a similarity map instead of fitted weights.

arXiv 2305.03048, 3.1 and 3.2. It is a first pass of its own; what comes before (features,
embedding, similarity) and after (refinement, competition) is what PerSAM-F uses.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.sam.geometry import Letterbox, frame_to_cells
from vos.sam.guidance import Guidance
from vos.sam.model import NEGATIVE, POSITIVE, Prompts, SamModel
from vos.track.published.encode import Encoded
from vos.track.published.locate import peaks_of
from vos.track.published.refine import Candidates, cascade

_PASSES_WITH_BOX: Final = (False, True)


def guide(
    maps: torch.Tensor,
    prompt_embeddings: torch.Tensor,
    letterbox: Letterbox,
    cells_hw: tuple[int, int],
) -> Guidance:
    """Turn similarity maps into guidance of the decoder.

    The published code stretches the map over the padded input; here it lies where the picture
    does, and the padding gets no attention. On square pictures both are the same.

    Args:
        maps: (K, H, W) similarity at frame size.
        prompt_embeddings: (K, C) target embeddings, not normalised.
        letterbox: Where the frame lies in the model's input.
        cells_hw: (h, w) of the features.

    Returns:
        The attention: each map minus its mean, divided by its standard deviation, sampled at the
        cells, through a sigmoid; and the embeddings as they are.
    """
    deviation, mean = torch.std_mean(maps, dim=(1, 2), keepdim=True)
    # A constant map says nothing, and must not divide by 0.
    standardised = (maps - mean) / deviation.clamp_min(torch.finfo(maps.dtype).eps)
    sampled, is_picture = frame_to_cells(standardised, letterbox, cells_hw)
    return Guidance(sampled.sigmoid() * is_picture, prompt_embeddings)


def find_guided(
    encoded: Encoded,
    maps: torch.Tensor,
    prompt_embeddings: torch.Tensor,
    points_xy: NDArray[np.int64],
    boxes_xyxy: NDArray[np.int64] | None,
    sam: SamModel,
) -> Candidates:
    """Find objects in three passes: guided, with its logits, with its logits and box.

    The least similar pixel is a negative point of every pass. The guided pass asks SAM for its
    single answer; of the others the mask of highest predicted IoU goes on.

    Args:
        encoded: The frame.
        maps: (K, H, W) similarity at frame size.
        prompt_embeddings: (K, C) target embeddings, not normalised.
        points_xy: (K, P, 2) positive points, frame pixels.
        boxes_xyxy: (K, 4) box prompts of the first pass, or None.
        sam: The model.
    """
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    features = encoded.features
    labels = np.full(points_xy.shape[:2], POSITIVE)
    negatives_xy = peaks_of(-maps).points_xy[:, None]
    points_xy = np.concatenate([points_xy, negatives_xy], axis=1)
    labels = np.concatenate([labels, np.full((len(labels), 1), NEGATIVE)], axis=1)
    decoded = sam.decode(
        features,
        Prompts(points_xy, labels, boxes_xyxy),
        letterbox,
        num_masks=1,
        guidance=guide(maps, prompt_embeddings, letterbox, (features.shape[1], features.shape[2])),
    )
    return cascade(
        encoded,
        points_xy,
        decoded.low_res_logits[:, 0],
        decoded.predicted_ious[:, 0],
        sam,
        point_labels=labels,
        passes_with_box=_PASSES_WITH_BOX,
    )
