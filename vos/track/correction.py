"""What one click changes of a mask: the part at the click, and nothing of the rest."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vos.hint import Click
from vos.sam.geometry import average_in_cells
from vos.track.candidates import Candidate
from vos.track.hint_parts import frame_logits
from vos.track.memory.crops import Crop
from vos.track.memory.prompts import to_logits

_PREDICTED_IOU: Final = 0.9
"""Of a mask that SAM has not judged; answers to a click are compared with it."""


def mask_as_candidate(mask: NDArray[np.bool_], crop: Crop) -> Candidate:
    """Make of a mask what SAM would have answered, so that it can be asked again.

    Args:
        mask: (H, W) bool of the frame.
        crop: A crop that holds all of it.
    """
    in_crop = torch.from_numpy(mask[crop.slices].astype(np.float32)).to(crop.features.device)
    shares = average_in_cells(in_crop[None], crop.letterbox, crop.pixels_hw)[0]
    return Candidate(crop, to_logits(shares), _PREDICTED_IOU)


def changed_at(
    click: Click, mask: NDArray[np.bool_], before: Candidate, after: Candidate
) -> NDArray[np.bool_]:
    """Take over what a click has changed, where that is connected with the click.

    Args:
        click: On the wrong side of the mask.
        mask: (H, W) bool of the frame.
        before: The same as a candidate.
        after: The answer to the click, of the same crop.

    Returns:
        (H, W) bool; the same mask where nothing has changed at the click.
    """
    crop, sign = before.crop, click.is_positive
    # Seen from the click: what has it on its side, and what should.
    had, has, owns = (
        each == sign
        for each in (
            (frame_logits(before, crop.slices) > 0).cpu().numpy(),
            (frame_logits(after, crop.slices) > 0).cpu().numpy(),
            mask[crop.slices],
        )
    )
    column, row = np.array([click.x, click.y]) - crop.window_xyxy[:2]
    gained = (has & ~had & ~owns).view(np.uint8)
    # The decoder's pixels are coarser than the frame's. An answer draws all of the contour anew by
    # about one of them, which the click did not mean unless it is on something as thin.
    side_px = 1 + 2 * math.ceil(max(crop.letterbox.frame_hw) / max(crop.pixels_hw))
    kernel = np.ones((side_px, side_px), np.uint8)
    opened = cv2.morphologyEx(gained, cv2.MORPH_OPEN, kernel)
    _, parts = cv2.connectedComponents(opened if opened[row, column] else gained)
    changed = mask.copy()
    if parts[row, column]:
        part = (parts == parts[row, column]).view(np.uint8)
        changed[crop.slices][(cv2.dilate(part, kernel) > 0) & has & ~owns] = sign
    return changed
