"""Make the reference mask with SAM itself, from boxes and clicks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vos.errors import InputError, MaskError
from vos.records import MAX_OBJECT_ID, Frame, Labels
from vos.sam.model import POSITIVE, Prompts, SamModel
from vos.track.masks import merge
from vos.track.published.encode import encode
from vos.track.published.refine import cascade


@dataclass(frozen=True, slots=True)
class Hint:
    """What a user pointed out of one object, in frame pixels.

    Attributes:
        points_xy: Clicks on the object.
        box_xyxy: A box around it, or None.
    """

    points_xy: tuple[tuple[int, int], ...] = ()
    box_xyxy: tuple[int, int, int, int] | None = None


@torch.inference_mode()
def reference_from_hints(frame: Frame, hints: Mapping[int, Hint], sam: SamModel) -> Labels:
    """Segment the hinted objects of one frame.

    Each object takes SAM's mask of highest predicted IoU, refined as every tracked mask is
    (arXiv 2305.03048, 3.2). A box alone is clicked in its centre.

    Args:
        frame: The frame.
        hints: What is known of each object, by its id.
        sam: The model.

    Returns:
        (H, W) uint8 label map.

    Raises:
        InputError: no hint, an id out of range, or coordinates outside of the frame.
        MaskError: SAM found nothing at a hint.
    """
    if not hints:
        raise InputError("at least one box or point is needed")
    object_ids = tuple(sorted(hints))
    for object_id in object_ids:
        _check(object_id, hints[object_id], frame.frame_hw)
    (encoded,) = encode([frame], sam, batch_size=1)
    letterbox = sam.letterbox(frame.frame_hw)
    candidates = []
    for object_id in object_ids:
        points_xy, boxes_xyxy = _prompt(hints[object_id])
        labels = np.full(points_xy.shape[:2], POSITIVE)
        prompts = Prompts(points_xy, labels, boxes_xyxy)
        decoded = sam.decode(encoded.features, prompts, letterbox, mixing="best")
        predicted_ious = decoded.predicted_ious.amax(dim=1)
        low_res = decoded.low_res_logits[:, 0]
        candidates.append(cascade(encoded, points_xy, low_res, predicted_ious, sam).logits)
    reference = merge(torch.cat(candidates), np.ones(len(hints), dtype=np.bool_), object_ids)
    lost = set(object_ids) - set(np.unique(reference).tolist())
    if lost:
        raise MaskError(
            f"the model {sam.name} found no object at the hints of id {sorted(lost)}; "
            "add points, draw the box closer, or give a mask"
        )
    return reference


def _prompt(hint: Hint) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Give (1, P, 2) points and a (1, 4) box or None."""
    if hint.box_xyxy is None:
        return np.array([hint.points_xy]), None
    x0, y0, x1, y1 = hint.box_xyxy
    points_xy = hint.points_xy or (((x0 + x1) // 2, (y0 + y1) // 2),)
    return np.array([points_xy]), np.array([hint.box_xyxy])


def _check(object_id: int, hint: Hint, frame_hw: tuple[int, int]) -> None:
    height, width = frame_hw
    if not 1 <= object_id <= MAX_OBJECT_ID:
        raise InputError(f"object ids must be within 1..{MAX_OBJECT_ID}, got {object_id}")
    if hint.box_xyxy is None and not hint.points_xy:
        raise InputError(f"object {object_id} has neither a box nor a point")
    if hint.box_xyxy is not None:
        x0, y0, x1, y1 = hint.box_xyxy
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise InputError(
                f"box {x0},{y0},{x1},{y1} must have x0 < x1 and y0 < y1 "
                f"within the frame's {width} x {height} px"
            )
    for x, y in hint.points_xy:
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(f"point {x},{y} lies outside of the frame's {width} x {height} px")
