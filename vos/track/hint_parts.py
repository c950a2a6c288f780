"""One mask of those that several crops give of a hint, and what speaks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from vos.errors import MaskError
from vos.masks import mask_box_xyxy
from vos.sam.geometry import low_res_to_frame
from vos.track.candidates import Candidate, Float, Wanted, box_iou, mask_iou, stability

_SLACK: Final = 0.03  # of a box's longer side, by which its mask may reach beyond it,
_MIN_SLACK_PX: Final = 2  # and at least so far
_OUTSIDE: Final = -32.0  # the logit of what is beyond that
_NUM_SAMPLES: Final = 128  # rows and columns at which masks of several crops are compared

WEIGHTS: Final = (3.51, 1.05, 1.94, 0.21)
"""Of the fields of :class:`Evidence`, in their order: a logistic regression of the IoU with the
annotation, which ``benchmarks/hints.py --fit`` repeats."""

BIAS: Final = -3.86


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a mask; all in [0, 1].

    Attributes:
        predicted_iou: SAM's own estimate.
        stability: IoU of the masks at logits of 1 and of -1.
        agreement: Mean IoU with the best masks of other crops and other calls.
        fit: IoU of the mask's box with the box that was given; 0 where none was.
    """

    predicted_iou: float
    stability: float
    agreement: float
    fit: float

    @property
    def expected_iou(self) -> float:
        """The IoU with the truth that masks with such evidence have had, in [0, 1]."""
        pairs = zip(WEIGHTS, astuple(self), strict=True)
        return 1 / (1 + math.exp(-sum(weight * each for weight, each in pairs) - BIAS))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The mask of one box, or of the clicks in no box.

    Attributes:
        slices: Rows and columns of the frame that it lies in.
        logits: (h, w) float32 of these pixels, above 0 on the object.
        evidence: What speaks for it.
    """

    slices: tuple[slice, slice]
    logits: torch.Tensor
    evidence: Evidence

    @property
    def area_px(self) -> int:
        """Frame pixels of the mask."""
        return int((self.logits > 0).sum())


def join(masks: Sequence[Candidate], others: Sequence[Candidate], wanted: Wanted) -> Part:
    """Make one mask of those of one or several crops.

    Args:
        masks: One of each crop; their logits are averaged where all crops are.
        others: What was found on the way to them, for comparison.
        wanted: What was pointed out.

    Raises:
        MaskError: nothing is left of the mask.
    """
    windows = np.array([mask.crop.window_xyxy for mask in masks])
    x0, y0 = windows[:, :2].max(axis=0).tolist()
    x1, y1 = windows[:, 2:].min(axis=0).tolist()
    slices = slice(y0, y1), slice(x0, x1)
    logits = torch.stack([frame_logits(mask, slices) for mask in masks]).mean(dim=0)
    if wanted.box_xyxy is not None:
        logits = _within(wanted.box_xyxy, logits, slices)
    pixels = logits.cpu().numpy()
    box_xyxy = mask_box_xyxy(pixels > 0)
    if box_xyxy is None:
        raise MaskError("SAM finds no object there")
    rows = np.linspace(0, y1 - y0 - 1, _NUM_SAMPLES).astype(np.int64)
    columns = np.linspace(0, x1 - x0 - 1, _NUM_SAMPLES).astype(np.int64)
    sampled = pixels[np.ix_(rows, columns)] > 0
    points_xy = np.stack(np.meshgrid(columns + x0, rows + y0), axis=-1)
    others = [*others, *(masks if len(masks) > 1 else ())]
    evidence = Evidence(
        predicted_iou=float(np.mean([mask.predicted_iou for mask in masks])),
        stability=stability(pixels),
        agreement=float(np.mean([_agreement(sampled, points_xy, other) for other in others])),
        fit=0.0
        if wanted.box_xyxy is None
        else box_iou(box_xyxy + np.array([x0, y0, x0, y0]), wanted.box_xyxy),
    )
    return Part(slices, logits, evidence)


def frame_logits(mask: Candidate, slices: tuple[slice, slice]) -> torch.Tensor:
    """Give a mask's logits for pixels of the frame, which lie within its crop."""
    left, top = mask.crop.window_xyxy[:2]
    rows, columns = slices
    logits = low_res_to_frame(mask.low_res[None], mask.crop.letterbox)[0]
    return logits[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _within(box_xyxy: Float, logits: torch.Tensor, slices: tuple[slice, slice]) -> torch.Tensor:
    """Keep a mask within its box but for a few pixels."""
    slack_px = max(_MIN_SLACK_PX, _SLACK * float((box_xyxy[2:] - box_xyxy[:2]).max()))
    x0, y0, x1, y1 = box_xyxy.tolist()
    rows = torch.arange(slices[0].start, slices[0].stop, device=logits.device)[:, None]
    columns = torch.arange(slices[1].start, slices[1].stop, device=logits.device)
    is_outside = (rows < y0 - slack_px) | (rows > y1 + slack_px)
    is_outside = is_outside | (columns < x0 - slack_px) | (columns > x1 + slack_px)
    return logits.masked_fill(is_outside, _OUTSIDE)


def _agreement(sampled: NDArray[np.bool_], points_xy: NDArray[np.int64], other: Candidate) -> float:
    """Give the IoU of a mask, sampled at points, with another as far as its crop reaches."""
    return mask_iou(sampled & other.covers(points_xy), other.holds(points_xy))
