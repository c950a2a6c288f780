"""Objects that want the same pixels: who gets them, and whose masks say where they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch

from vos.records import Labels

_CONTESTED_SHARE: Final = 0.3  # of an object's mask


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """What one object wants of a frame.

    Attributes:
        object_id: 1 to 254.
        slices: Rows and columns of the frame that it speaks of; it wants nothing of the others.
        logits: Of these pixels; it wants those above 0.
        log_prior: Of these pixels, up to a constant that is the same for all objects: how likely
            each is the object's before anything is seen. It decides between objects that want the
            same pixel, together with the logits.
    """

    object_id: int
    slices: tuple[slice, slice]
    logits: torch.Tensor
    log_prior: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """What became of the claims.

    Attributes:
        labels: (H, W) uint8 label map: a pixel is the highest bidder's, of equals the first's.
        contested: (H, W) bool, the pixels that more than one object claims.
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
    best = torch.full(frame_hw, -torch.inf, device=device)
    labels = torch.zeros(frame_hw, dtype=torch.uint8, device=device)
    contested = torch.zeros(frame_hw, dtype=torch.bool, device=device)
    for claim in claims:
        is_wanted = claim.logits > 0
        bids = claim.logits if claim.log_prior is None else claim.logits + claim.log_prior
        bids = bids.masked_fill(~is_wanted, -torch.inf)
        contested[claim.slices] |= is_wanted & (labels[claim.slices] > 0)
        labels[claim.slices].masked_fill_(bids > best[claim.slices], claim.object_id)
        torch.maximum(best[claim.slices], bids, out=best[claim.slices])
    return Settled(labels.cpu().numpy(), contested)


def is_contested(claimed: torch.Tensor, contested: torch.Tensor) -> bool:
    """Say whether too much of one object's mask is contested to tell where the object is.

    Args:
        claimed: (H, W) bool, the object's own mask.
        contested: (H, W) bool from :func:`settle`.
    """
    num_claimed = int(claimed.sum())
    return int((claimed & contested).sum()) > _CONTESTED_SHARE * num_claimed
