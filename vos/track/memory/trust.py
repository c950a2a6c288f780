"""How far a mask can be trusted: what speaks for it, and the IoU that such evidence has meant.

The weights are a logistic regression on the tracked frames of the 30 training sequences of DAVIS
2016, with the embedded weights and the default settings; ``tools/calibrate_score.py`` fits them and
says how well they do on other videos (docs/tracking.md). Every part of the evidence is relative to
the object's own reference or to another mask of the same frame, so that it means the same for other
weights, if not to the second digit.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
import torch

_STABILITY_OFFSET: Final = 1.0

WEIGHTS: Final = (3.27, 2.47, 3.04, 2.56)
"""Of the fields of :class:`Evidence`, in their order."""

BIAS: Final = -8.3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one object's mask; all in [0, 1].

    Attributes:
        likeness: Similarity of the mask's cells to the object's in the references, over what two
            crops of a reference give. It alone decides on loss and return.
        agreement: IoU of the mask and SAM's for the same prompts.
        correspondence: Soft IoU of the mask and the correspondence, over cells.
        stability: IoU of the masks at logits of 1 and of -1 (arXiv 2304.02643, 5).
    """

    likeness: float
    agreement: float
    correspondence: float
    stability: float


def likeness_of(shares: torch.Tensor, similarities: torch.Tensor, self_similarity: float) -> float:
    """Give the likeness of :class:`Evidence`.

    Args:
        shares: (N,) the object's share of each cell.
        similarities: (N,) of the cells to the most similar one of the object in any reference.
        self_similarity: What two crops of a reference give.
    """
    weight = shares.sum().clamp_min(1e-6)
    similarity = float((shares * similarities).sum() / weight)
    return float(np.clip(similarity / max(self_similarity, 1e-6), 0, 1))


def compare_masks(
    likeness: float,
    logits: torch.Tensor,
    sam_logits: torch.Tensor,
    shares: torch.Tensor,
    probabilities: torch.Tensor,
) -> Evidence:
    """Compare an object's mask with what else is known of it in the same crop.

    Args:
        likeness: See :class:`Evidence`.
        logits: (H, W) final logits of the crop.
        sam_logits: (H, W) those of SAM's mask.
        shares: (h, w) the object's share of each cell.
        probabilities: (h, w) of the correspondence.
    """
    # NumPy compares several times as fast as torch does on a CPU.
    pixels, sam_pixels = logits.cpu().numpy(), sam_logits.cpu().numpy()
    mask, sam_mask = pixels > 0, sam_pixels > 0
    both, either = map(np.count_nonzero, (mask & sam_mask, mask | sam_mask))
    common = float(torch.minimum(shares, probabilities).sum())
    any_of_both = float(torch.maximum(shares, probabilities).sum())
    sure, possible = (np.count_nonzero(pixels > sign * _STABILITY_OFFSET) for sign in (1, -1))
    parts = torch.tensor([both, common, sure]) / torch.tensor([either, any_of_both, possible])
    return Evidence(likeness, *parts.nan_to_num().tolist())


def expected_iou(evidence: Evidence) -> float:
    """Give the IoU with the truth that masks with such evidence have had, in [0, 1]."""
    pairs = zip(WEIGHTS, astuple(evidence), strict=True)
    return 1 / (1 + math.exp(-sum(weight * part for weight, part in pairs) - BIAS))
