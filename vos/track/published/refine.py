"""Cascaded post-refinement: a mask becomes the prompt of the next (arXiv 2305.03048, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.masks.boxes import tight_boxes_xyxy
from vos.sam.geometry import low_res_to_frame
from vos.sam.model import POSITIVE, Prompts, SamModel
from vos.track.published.encode import Encoded

_EVERY_PASS_WITH_BOX: Final = (True, True)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What the cascade found, before absence and competition are settled.

    Attributes:
        logits: (K, H, W) float32, above 0 on the object; all negative where nothing was found.
        predicted_ious: (K,) float32, SAM's estimate of each mask's quality.
    """

    logits: torch.Tensor
    predicted_ious: NDArray[np.float32]


def cascade(
    encoded: Encoded,
    points_xy: NDArray[np.int64],
    low_res: torch.Tensor,
    predicted_ious: torch.Tensor,
    sam: SamModel,
    *,
    point_labels: NDArray[np.int64] | None = None,
    passes_with_box: tuple[bool, ...] = _EVERY_PASS_WITH_BOX,
) -> Candidates:
    """Prompt with the mask's own logits, the points, and its box, once per pass.

    Of each call's three masks the one of highest predicted IoU goes on. A mask that is or becomes
    empty gives no box, and stays as it is in a pass that asks for one.

    Args:
        encoded: The frame.
        points_xy: (K, P, 2) points, frame pixels.
        low_res: (K, h', w') logits of the first call.
        predicted_ious: (K,) of the first call.
        sam: The model.
        point_labels: (K, P) labels of the points; all positive if None.
        passes_with_box: For each pass, whether the mask's box is a prompt too.

    Returns:
        The final logits at frame size and their predicted IoUs.
    """
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    if point_labels is None:
        point_labels = np.full(points_xy.shape[:2], POSITIVE)
    logits = low_res_to_frame(low_res, letterbox)
    predicted_ious = predicted_ious.clone()
    for number, with_box in enumerate(passes_with_box, start=1):
        ready, boxes_xyxy = np.arange(len(logits)), None
        if with_box:
            boxes_xyxy = tight_boxes_xyxy((logits > 0).cpu().numpy())
            ready = np.flatnonzero(boxes_xyxy[:, 2] >= 0)
            boxes_xyxy = boxes_xyxy[ready]
        if not len(ready):
            break
        rows = torch.from_numpy(ready).to(logits.device)
        prompts = Prompts(points_xy[ready], point_labels[ready], boxes_xyxy, low_res[rows])
        is_last = number == len(passes_with_box)
        decoded = sam.decode(
            encoded.features,
            prompts,
            letterbox,
            mixing="best",
            only_picture=is_last,
        )
        low_res = low_res.index_put((rows,), decoded.low_res_logits[:, 0])
        predicted_ious = predicted_ious.index_put((rows,), decoded.predicted_ious.amax(dim=1))
        logits = low_res_to_frame(low_res, letterbox)
    return Candidates(logits, predicted_ious.cpu().numpy())
