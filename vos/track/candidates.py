"""SAM's masks of one crop for what a user pointed out, and which of them is best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vos.errors import MaskError
from vos.hint import Click
from vos.sam.model import NEGATIVE, POSITIVE, Prompts, SamModel
from vos.track.memory.crops import Crop

_VIOLATION: Final = 2.0  # what a click on the wrong side costs, by its depth over the mask's radius
_STABILITY_OFFSET: Final = 1.0  # logits
# As the root of the stability and the inmostness, found on what benchmarks/hints.py --fit reads.
_CLOSED_POWER: Final = 4  # of the share that the crop's edge does not cut
# Masks that fill a box best are often all that is in it, where the object has thin parts.
_FIT_POWER: Final = 0.25  # of the IoU of a mask's box with the box that was given

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What masks are judged by, in frame pixels.

    Attributes:
        frame_hw: Size of the frame.
        clicks: What a mask should hold, and what not.
        box_xyxy: (4,) the box that it should fill, if one is known.
        before: A mask of the same crop that is to be corrected, not replaced.
    """

    frame_hw: tuple[int, int]
    clicks: tuple[Click, ...]
    box_xyxy: Float | None = None
    before: Candidate | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """One mask of a crop.

    Attributes:
        crop: The crop.
        low_res: (h', w') logits over the crop's padded input.
        predicted_iou: SAM's own estimate, in [0, 1].
    """

    crop: Crop
    low_res: torch.Tensor
    predicted_iou: float

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """(r, c) those of the logits that lie on the picture."""
        columns, rows = np.ceil(self._crop_wh / self._pixel_wh).astype(np.int64).tolist()
        pixels: NDArray[np.float32] = self.low_res[:rows, :columns].cpu().numpy()
        return pixels

    @property
    def box_xyxy(self) -> Float:
        """(4,) frame pixels around the mask, which must not be empty."""
        x, y, width, height = cv2.boundingRect((self.pixels > 0).view(np.uint8))
        corners = np.array([[x, y], [x + width, y + height]]) * self._pixel_wh
        return np.concatenate([corners[0], corners[1] - 1]) + np.tile(self._corner_xy, 2)

    @property
    def inmost_click(self) -> Click:
        """A click where the mask is thickest."""
        padded = np.pad((self.pixels > 0).view(np.uint8), 1)
        depths = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        row, column = np.unravel_index(int(depths.argmax()), depths.shape)
        offset_xy = np.minimum((np.array([column, row]) + 0.5) * self._pixel_wh, self._crop_wh - 1)
        return Click(*(offset_xy + self._corner_xy).astype(np.int64).tolist())

    def covers(self, points_xy: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which of (..., 2) points of the frame are in the crop."""
        offsets_xy = points_xy - self._corner_xy
        covered: NDArray[np.bool_] = np.all(
            (offsets_xy >= 0) & (offsets_xy < self._crop_wh), axis=-1
        )
        return covered

    def holds(self, points_xy: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which of (..., 2) points of the frame are in the mask."""
        is_on = self.pixels[self._index(points_xy)] > 0
        is_in_mask: NDArray[np.bool_] = self.covers(points_xy) & is_on
        return is_in_mask

    def heeds(self, click: Click) -> bool:
        """Say whether a click is on the side of the mask's contour that it asks for."""
        return bool(self.holds(np.array([(click.x, click.y)]))[0]) == click.is_positive

    def depth_over_radius(self, click: Click) -> float:
        """Give a click's distance from the mask's contour over the radius of a disc of its area."""
        mask = (self.pixels > 0).view(np.uint8)
        row, column = self._index(np.array([click.x, click.y]))
        side = mask if mask[row, column] else 1 - mask
        depth = cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[row, column]
        return float(depth) / math.sqrt(np.count_nonzero(mask) / math.pi)

    def patched(self, patch: Candidate, max_share: float, *, is_added: bool) -> Candidate:
        """Add another mask of the same crop, or take it away.

        Args:
            patch: The other mask.
            max_share: Where more than this share of the mask's area would change, it stays.
            is_added: Else it is taken away.
        """
        low_res = (
            torch.maximum(self.low_res, patch.low_res)
            if is_added
            else torch.minimum(self.low_res, -patch.low_res)
        )
        patched = Candidate(self.crop, low_res, self.predicted_iou)
        before, after = self.pixels > 0, patched.pixels > 0
        num_changed = np.count_nonzero(before != after)
        return patched if num_changed <= max_share * np.count_nonzero(before) else self

    def iou_with(self, other: Candidate) -> float:
        """Give the IoU with the mask of another crop, as far as this one's crop reaches."""
        height, width = self.pixels.shape
        indices = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        offsets_xy = np.minimum((indices + 0.5) * self._pixel_wh, self._crop_wh - 1)
        points_xy = (offsets_xy + self._corner_xy).astype(np.int64)
        return mask_iou(self.pixels > 0, other.holds(points_xy))

    def merit(self, wanted: Wanted) -> float:
        """Say how well the mask answers a hint, in [0, 1]; 0 if it does not at all."""
        if not (self.pixels > 0).any():
            return 0.0
        points_xy = np.array([(click.x, click.y) for click in wanted.clicks]).reshape(-1, 2)
        is_wanted = np.array([click.is_positive for click in wanted.clicks], dtype=np.bool_)
        is_in_mask = self.holds(points_xy)
        merit = self.predicted_iou
        for click in wanted.clicks:
            if not self.heeds(click):
                merit /= 1 + _VIOLATION * self.depth_over_radius(click)
        if wanted.before is not None:
            merit *= mask_iou(self.pixels > 0, wanted.before.pixels > 0)
        if wanted.box_xyxy is not None:
            return merit * math.pow(box_iou(self.box_xyxy, wanted.box_xyxy), _FIT_POWER)
        if not (is_in_mask & is_wanted).any():
            return 0.0
        merit *= math.sqrt(stability(self.pixels))
        merit *= math.pow(1 - self._cut_share(wanted.frame_hw), _CLOSED_POWER)
        if np.count_nonzero(is_wanted) == 1:  # further ones are at what the first one missed
            merit *= self._inmostness(points_xy[is_wanted][0])
        return merit

    def _inmostness(self, point_xy: NDArray[np.int64]) -> float:
        """Give a point's depth in the mask over that of the inmost one, in [0, 1]."""
        padded = np.pad((self.pixels > 0).view(np.uint8), 1)
        depths = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        return float(depths[self._index(point_xy)] / depths.max())

    def _index(self, points_xy: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give rows and columns of the pixels at (..., 2) points, or nearest to them."""
        indices = ((points_xy - self._corner_xy + 0.5) / self._pixel_wh).astype(np.int64)
        height, width = self.pixels.shape
        return indices[..., 1].clip(0, height - 1), indices[..., 0].clip(0, width - 1)

    def _cut_share(self, frame_hw: tuple[int, int]) -> float:
        """Give the share of the crop's edge at which the mask may go on beyond it."""
        x0, y0, x1, y1 = self.crop.window_xyxy
        mask = self.pixels > 0
        edges = (
            (mask[:, 0], x0 > 0),
            (mask[:, -1], x1 < frame_hw[1]),
            (mask[0], y0 > 0),
            (mask[-1], y1 < frame_hw[0]),
        )
        num_cut = sum(np.count_nonzero(edge) for edge, goes_on in edges if goes_on)
        return num_cut / (2 * sum(mask.shape))

    @property
    def _corner_xy(self) -> NDArray[np.int64]:
        return np.array(self.crop.window_xyxy[:2])

    @property
    def _crop_wh(self) -> NDArray[np.int64]:
        return np.array(self.crop.letterbox.frame_hw[::-1])

    @property
    def _pixel_wh(self) -> Float:
        """Width and height of the decoder's pixels, frame pixels."""
        letterbox = self.crop.letterbox
        model_px = letterbox.image_size / np.array(self.low_res.shape[::-1])
        model_per_frame = np.array(letterbox.resized_hw[::-1]) / self._crop_wh
        pixel_wh: Float = model_px / model_per_frame
        return pixel_wh


def best_mask(
    sam: SamModel,
    crop: Crop,
    wanted: Wanted,
    click_sets: Iterable[tuple[Click, ...]],
    box_xyxy: Float | None = None,
    low_res: torch.Tensor | None = None,
) -> Candidate:
    """Ask for one object's masks in a crop, and give the one of most merit.

    Args:
        sam: The model.
        crop: The crop.
        wanted: What masks are judged by.
        click_sets: Sets of clicks, each for a call of its own; clicks beyond the crop are
            left out.
        box_xyxy: (4,) frame pixels, the box prompt of each call.
        low_res: (h', w') logits of an earlier call on the crop.

    Raises:
        MaskError: all masks are empty, or without a box none holds a positive click.
    """
    left, top, right, bottom = crop.window_xyxy
    candidates: list[Candidate] = []
    for clicks in click_sets:
        near = [c for c in clicks if left <= c.x < right and top <= c.y < bottom]
        points_xy = np.array([(click.x - left, click.y - top) for click in near], dtype=np.int64)
        labels = [POSITIVE if click.is_positive else NEGATIVE for click in near]
        box = None
        if box_xyxy is not None:
            box = np.rint(box_xyxy - [left, top, left, top]).astype(np.int64)[None]
        prompts = Prompts(
            points_xy.reshape(1, -1, 2),
            np.array([labels], dtype=np.int64),
            box,
            None if low_res is None else low_res[None],
        )
        decoded = sam.decode(crop.features, prompts, crop.letterbox)
        predicted_ious = decoded.predicted_ious[0].clamp(0, 1).tolist()
        pairs = zip(decoded.low_res_logits[0], predicted_ious, strict=True)
        candidates += [Candidate(crop, *pair) for pair in pairs]
    if wanted.before is not None:
        candidates.append(wanted.before)
    merits = [candidate.merit(wanted) for candidate in candidates]
    best = int(np.argmax(merits))
    if merits[best] <= 0:
        raise MaskError("SAM finds no object there")
    return candidates[best]


def box_iou(one_xyxy: Float, other_xyxy: Float) -> float:
    """Give the IoU of two (4,) boxes of pixels, with both corners inside."""
    sizes = np.minimum(one_xyxy, other_xyxy)[2:] - np.maximum(one_xyxy, other_xyxy)[:2] + 1
    common = float(sizes.clip(0).prod())
    areas = [float((box[2:] - box[:2] + 1).prod()) for box in (one_xyxy, other_xyxy)]
    return common / (sum(areas) - common)


def mask_iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Give the IoU of two masks; that of two empty ones is 0."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def stability(logits: NDArray[np.float32]) -> float:
    """Give the IoU of the masks at logits of 1 and of -1 (arXiv 2304.02643, 5)."""
    sure, possible = (np.count_nonzero(logits > sign * _STABILITY_OFFSET) for sign in (1, -1))
    return sure / possible if possible else 0.0
