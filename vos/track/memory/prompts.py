"""From a correspondence to SAM's prompts, and from the decoder to masks and the head's maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.masks.boxes import grow_box_xyxy, tight_boxes_xyxy
from vos.sam.geometry import average_in_cells, low_res_to_frame
from vos.sam.model import POSITIVE, Prompts, SamModel
from vos.track.memory.colours import Colours
from vos.track.memory.crops import Crop
from vos.track.memory.parts import large_parts

_LOGIT_RANGE: Final = 6.0
_RIM_PX: Final = 2  # no pixel beyond it is nearer to one of the box
_PROMPT_GAIN: Final = 2.0  # SAM's logits are about twice as steep as the correspondence's


@dataclass(frozen=True, slots=True, eq=False)
class CropPrompts:
    """One object's prompts in a crop.

    Attributes:
        point_xy: (2,) int64 window pixels, the inmost pixel of the object.
        box_xyxy: (4,) int64 window pixels.
        low_res: (h', w') float32 logits of the correspondence.
    """

    point_xy: NDArray[np.int64]
    box_xyxy: NDArray[np.int64]
    low_res: torch.Tensor


def make_prompts(crop: Crop, probabilities: torch.Tensor) -> CropPrompts | None:
    """Turn a correspondence into prompts.

    Args:
        crop: The crop.
        probabilities: (h, w) of the object, 0 on the padding.

    Returns:
        The prompts; None where no pixel is more likely the object's than not.
    """
    low_res = to_logits(
        F.interpolate(probabilities[None, None], size=crop.pixels_hw, mode="bilinear")[0, 0]
    )
    logits = low_res_to_frame(low_res[None], crop.letterbox)[0]
    parts = large_parts(logits.cpu().numpy() > 0)
    if not parts.any():
        return None
    box_xyxy = tight_boxes_xyxy(parts[None])
    margin_px = round(crop.cell_px / 2)
    grown = grow_box_xyxy(box_xyxy, margin_px, crop.letterbox.frame_hw, beyond_px=1)[0]
    return CropPrompts(inmost_xy(parts, logits, box_xyxy[0]), grown, low_res)


def inmost_xy(
    mask: NDArray[np.bool_], logits: torch.Tensor, box_xyxy: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give the (2,) pixel of an (H, W) mask where depth times probability is greatest.

    Args:
        mask: With at least one pixel.
        logits: (H, W).
        box_xyxy: (4,) the mask's box.
    """
    x0, y0, x1, y1 = box_xyxy.tolist()
    # Most of a window is not the object; what is beside its box decides how deep its rim is.
    left, top = max(x0 - _RIM_PX, 0), max(y0 - _RIM_PX, 0)
    around = np.s_[top : y1 + 1 + _RIM_PX, left : x1 + 1 + _RIM_PX]
    depth_px = cv2.distanceTransform(mask[around].astype(np.uint8), cv2.DIST_L2, 5)
    depth_px *= torch.sigmoid(logits[around]).cpu().numpy()
    row, column = divmod(int(depth_px.argmax()), depth_px.shape[1])
    return np.array([left + column, top + row])


def decode_crop(
    crop: Crop, prompts: Sequence[CropPrompts], classifiers: torch.Tensor, sam: SamModel
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode K objects of one crop with one call, with the best of SAM's three masks each.

    That is the mask with the greatest sum of the predicted IoU and of the soft IoU with the
    correspondence: a part of the object often has the highest predicted IoU.

    Args:
        crop: The crop.
        prompts: One for each object.
        classifiers: (K, V, D) of the pixels' embeddings.
        sam: The model.

    Returns:
        (K, h', w') logits of SAM's mask, and (K, V, h', w') of the classifiers; both are nothing
        beyond the picture.
    """
    points_xy = np.stack([each.point_xy for each in prompts])[:, None]
    low_res = torch.stack([each.low_res for each in prompts])
    sam_prompts = Prompts(
        points_xy,
        np.full(points_xy.shape[:2], POSITIVE),
        np.stack([each.box_xyxy for each in prompts]),
        low_res * _PROMPT_GAIN,
    )
    decoded = sam.decode(
        crop.features,
        sam_prompts,
        crop.letterbox,
        classifiers=classifiers,
        only_picture=True,
    )
    if decoded.classifier_logits is None:
        raise RuntimeError("the decoder got classifiers and gave no logits of theirs")
    masks, wanted = torch.sigmoid(decoded.low_res_logits), torch.sigmoid(low_res)[:, None]
    common = torch.minimum(masks, wanted).sum(dim=(2, 3))
    agreement = common / torch.maximum(masks, wanted).sum(dim=(2, 3)).clamp_min(1e-6)
    best = (decoded.predicted_ious + agreement).argmax(dim=1)
    objects = torch.arange(len(best), device=best.device)
    return decoded.low_res_logits[objects, best], decoded.classifier_logits


def head_maps(prompts: CropPrompts, colours: Colours | None, rgb: torch.Tensor) -> torch.Tensor:
    """Give (2, h', w') maps for the head: correspondence and colour.

    Args:
        prompts: The object's correspondence.
        colours: The object's colours; None gives an empty map.
        rgb: (3, h', w') from :func:`low_res_rgb`.
    """
    correspondence = prompts.low_res.clamp(-_LOGIT_RANGE, _LOGIT_RANGE)
    colour = torch.zeros_like(correspondence) if colours is None else colours.look_up(rgb)
    return torch.stack([correspondence, colour])


def low_res_rgb(crop: Crop) -> torch.Tensor:
    """Give the window's (3, h', w') float colours in [0, 255] at the decoder's resolution."""
    rgb = torch.from_numpy(crop.rgb).to(crop.features.device).permute(2, 0, 1).float()
    return average_in_cells(rgb, crop.letterbox, crop.pixels_hw)


def to_logits(probabilities: torch.Tensor) -> torch.Tensor:
    """Turn probabilities into logits within +-9.2."""
    return torch.logit(probabilities, eps=1e-4)
