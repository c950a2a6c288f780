"""The connected parts of a mask, and which of them can be the object's."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.sam.geometry import low_res_to_frame
from vos.track.memory.correspond import Correspondence
from vos.track.memory.crops import Crop
from vos.track.memory.motion import Motion

_MIN_PART: Final = 0.1  # of the largest part's size
_ONE_PIECE: Final = 0.98  # of the object's pixels in one part
_AREA_SLACK: Final = 1.15  # of the expected area
_REFUTED: Final = 1.5  # of the expected area: one part alone that large says it is wrong
_SPECK: Final = 0.02  # of the expected area: too small to be another thing


def large_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drop the connected parts of an (H, W) mask that are small beside the largest."""
    parts, areas_px, _ = _parts_of(mask)
    if len(areas_px) < 3:
        return mask
    is_large = areas_px >= _MIN_PART * areas_px[1:].max()
    is_large[0] = False
    kept: NDArray[np.bool_] = is_large[parts]
    return kept


def is_one_piece(mask: NDArray[np.bool_]) -> bool:
    """Say whether nearly all of an (H, W) mask that is not empty is one connected part."""
    areas_px = _parts_of(mask)[1][1:]
    return bool(areas_px.max() > _ONE_PIECE * areas_px.sum())


def unlikely_parts(
    crop: Crop, logits: torch.Tensor, found: Correspondence, motion: Motion
) -> torch.Tensor:
    """Say which pixels of a mask are too much for the object.

    What resembles the object is often not all of it: its colour is on a shoe as well as on the
    ball. The part is kept that memory says most surely is the object, that is most like it in the
    references and nearest to the expected area; others only while all of them together stay within
    that area. Where that part of an object in sight is alone far too large, it came nearer faster
    than expected, and the area says nothing of the others.

    Args:
        crop: The crop.
        logits: (H, W) of the crop.
        found: What memory says of the crop's (h w) cells.
        motion: Where the object is expected, and how large.

    Returns:
        (H, W) bool.
    """
    parts, areas_px, centres_xy = _parts_of(logits.cpu().numpy() > 0)
    if len(areas_px) < 3:
        return torch.zeros_like(logits, dtype=torch.bool)
    # Similar is also what only looks like the object; that it was not here memory knows.
    cells = crop.as_map(found.object_similarities * found.probabilities)[None, None]
    low_res = F.interpolate(cells, size=crop.pixels_hw, mode="bilinear")[0]
    likely = low_res_to_frame(low_res, crop.letterbox)[0].cpu().numpy()
    worth = np.bincount(parts.ravel(), weights=likely.ravel()) / areas_px
    worth *= np.minimum(areas_px / motion.area_px, motion.area_px / areas_px)
    if motion.num_frames_contested:
        centres_xy = centres_xy + np.array(crop.window_xyxy[:2])
        worth /= 1 + (_distances_px(motion, centres_xy) / motion.size_px) ** 2
    best_first = 1 + np.argsort(-worth[1:], kind="stable")
    is_followed = not motion.num_frames_lost
    if is_followed and areas_px[best_first[0]] > _REFUTED * motion.area_px:
        return torch.zeros_like(logits, dtype=torch.bool)
    is_dropped = areas_px >= _SPECK * motion.area_px
    is_dropped[0] = False
    room_px = _AREA_SLACK * motion.area_px
    for rank, part in enumerate(best_first):
        if not rank or not is_dropped[part] or areas_px[part] <= room_px:
            is_dropped[part] = False
            room_px -= areas_px[part]
    return torch.from_numpy(is_dropped[parts]).to(logits.device)


def _parts_of(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Number the parts from 1, and give areas and (N, 2) centres; 0 is what is outside."""
    pixels = mask.view(np.uint8)
    # Most of a window is background, and candidate that out costs far less than measuring it.
    left, top, width, height = cv2.boundingRect(pixels)
    inner = np.s_[top : top + height, left : left + width]
    parts: NDArray[np.int32] = np.zeros(mask.shape, dtype=np.int32)
    if not width:
        return parts, np.zeros(1), np.zeros((1, 2))
    _, parts[inner], statistics, inner_xy = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(pixels[inner]), connectivity=8
    )
    areas_px = statistics[:, cv2.CC_STAT_AREA].astype(np.float64)
    centres_xy = inner_xy.astype(np.float64) + np.array([left, top])
    return parts, areas_px, centres_xy


def _distances_px(motion: Motion, positions_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the (N,) distances of positions to the path of the object's centre in this frame."""
    step_xy = motion.velocity_xy
    along = (positions_xy - motion.centre_xy) @ step_xy / max(float(step_xy @ step_xy), 1e-6)
    nearest_xy = motion.centre_xy + along.clip(0, 1)[:, None] * step_xy
    distances_px: NDArray[np.float64] = np.linalg.norm(positions_xy - nearest_xy, axis=1)
    return distances_px
