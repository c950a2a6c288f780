"""Objects that want the same pixels: who gets them, and whose masks say where they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch

from vos.records import Labels

_MARGIN: Final = 2.0  # logits by which the stronger claim settles a pixel
_CONTESTED_SHARE: Final = 0.3  # of an object's mask


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """What one object wants of a frame.

    Attributes:
        object_id: 1 to 254.
        slices: Rows and columns of the frame that it speaks of; it wants nothing of the others.
        logits: Of these pixels; it wants those above 0.
    """

    object_id: int
    slices: tuple[slice, slice]
    logits: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """What became of the claims.

    Attributes:
        labels: (H, W) uint8 label map: a pixel is the highest bidder's, of equals the first's.
        contested: (H, W) bool, the pixels that two objects claim about equally.
    """

    labels: Labels
    contested: torch.Tensor


def settle(
    claims: Iterable[Claim], frame_hw: tuple[int, int], device: torch.device | str
) -> Settled:
    """Let objects compete for the pixels of a frame.

    One claim is looked at after the other, so that maps of all objects need not be there at once.

    Args:
        claims: In the order of the objects.
        frame_hw: Size of the frame.
        device: That of the logits.
    """
    best, second = torch.zeros(2, *frame_hw, device=device)
    labels = torch.zeros(frame_hw, dtype=torch.uint8, device=device)
    for claim in claims:
        own_best, own_second = best[claim.slices], second[claim.slices]
        labels[claim.slices].masked_fill_(claim.logits > own_best, claim.object_id)
        torch.maximum(own_second, torch.minimum(own_best, claim.logits), out=own_second)
        torch.maximum(own_best, claim.logits, out=own_best)
    return Settled(labels.cpu().numpy(), (second > 0) & (best - second < _MARGIN))


def is_contested(claimed: torch.Tensor, contested: torch.Tensor) -> bool:
    """Say whether too much of one object's mask is contested to tell where the object is.

    Args:
        claimed: (H, W) bool, the object's own mask.
        contested: (H, W) bool from :func:`settle`.
    """
    num_claimed = int(claimed.sum())
    return int((claimed & contested).sum()) > _CONTESTED_SHARE * num_claimed
