"""Soft edges from a tracker's logits: where between the pixels an outline runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vos.masks.boxes import mask_slices
from vos.masks.edges import NEAR, RAMP_PX
from vos.records import Labels, SoftEdges
from vos.track.masks import Claim

EDGE_REACH_PX: Final = 6
"""Around an object's box: the band of its edges, and the neighbours of their gradient."""

_LOGIT_RANGE: Final = 8.0  # so that the steep logits of what is decided do not pull at the slope
_LEAST_SLOPE: Final = 1e-3  # logits per pixel


def soft_edges(claims: Sequence[Claim], labels: Labels) -> SoftEdges:
    """Find the opacity of objects near their outlines from the logits that made them.

    An object has the pixels at which its margin is above 0: its own logit, or its lead over the
    best other bid where that is less. The margin over its slope is the distance to the outline, in
    fractions of a pixel. Opacity falls from 1 to 0 over ``RAMP_PX`` across the outline. A sigmoid
    of the logits would be wider than the edges of real pictures, because logits change slowly
    between the decoder's coarse pixels.

    Args:
        claims: What the objects wanted.
        labels: (H, W) what became of it.

    Returns:
        Pixels in the claims' windows, within a few pixels of what the objects have.
    """
    if not claims:
        return SoftEdges.nothing()
    best, second = torch.full((2, *labels.shape), -torch.inf, device=claims[0].logits.device)
    for claim in claims if len(claims) > 1 else ():
        bids = _bids(claim).masked_fill(claim.logits <= 0, -torch.inf)
        first, next_one = best[claim.slices], second[claim.slices]
        torch.maximum(next_one, torch.minimum(first, bids), out=next_one)
        torch.maximum(first, bids, out=first)
    parts = []
    for claim in claims:
        box = mask_slices(labels == claim.object_id)
        if box is None:
            continue
        window = _window(box, claim.slices)
        in_claim = tuple(
            slice(each.start - of_claim.start, each.stop - of_claim.start)
            for each, of_claim in zip(window, claim.slices, strict=True)
        )
        mask = labels[window] == claim.object_id
        is_own = torch.from_numpy(mask).to(best.device)
        others = torch.where(is_own, second[window], best[window])
        lead = _bids(claim)[in_claim] - others
        margins = torch.minimum(claim.logits[in_claim], lead).float().cpu().numpy()
        near = cv2.dilate(mask.astype(np.uint8), NEAR) > cv2.erode(mask.astype(np.uint8), NEAR)
        rows, columns = np.nonzero(near)
        pixels = (rows + window[0].start) * labels.shape[1] + columns + window[1].start
        ids = np.full(len(pixels), claim.object_id, np.uint8)
        parts.append(SoftEdges(ids, pixels, _alpha(margins)[near]))
    return SoftEdges.joined(parts)


def _bids(claim: Claim) -> torch.Tensor:
    return claim.logits if claim.log_prior is None else claim.logits + claim.log_prior


def _window(box: tuple[slice, ...], around: tuple[slice, slice]) -> tuple[slice, slice]:
    """Grow rows and columns, as far as others go."""
    reach = EDGE_REACH_PX
    rows, columns = (
        slice(max(most.start, each.start - reach), min(most.stop, each.stop + reach))
        for each, most in zip(box, around, strict=True)
    )
    return rows, columns


def _alpha(margins: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give the (H, W) opacity from the margins."""
    margins = margins.clip(-_LOGIT_RANGE, _LOGIT_RANGE)
    slopes = [
        cv2.Sobel(margins, cv2.CV_32F, dx, dy, ksize=3, scale=1 / 8) for dx, dy in ((1, 0), (0, 1))
    ]
    distance_px = margins / np.maximum(np.hypot(*slopes), _LEAST_SLOPE)
    return np.rint(255 * np.clip(0.5 + distance_px / RAMP_PX, 0, 1)).astype(np.uint8)
