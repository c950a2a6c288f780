"""Objects that want the same pixels: while they cross, neither's mask says where it is."""

from __future__ import annotations

from typing import Final

import torch

_MARGIN: Final = 2.0  # logits by which the stronger claim settles a pixel
_CONTESTED_SHARE: Final = 0.3  # of an object's mask


def contested_pixels(logits: torch.Tensor) -> torch.Tensor:
    """Say which pixels two objects claim about equally.

    Args:
        logits: (K, H, W); -inf where an object was not looked for.

    Returns:
        (H, W) bool.
    """
    if len(logits) < 2:
        return torch.zeros_like(logits[0], dtype=torch.bool)
    best, winner = logits.max(dim=0, keepdim=True)
    second = logits.scatter(0, winner, -torch.inf).amax(dim=0)
    return (second > 0) & (best[0] - second < _MARGIN)


def is_contested(claimed: torch.Tensor, contested: torch.Tensor) -> bool:
    """Say whether too much of one object's mask is contested to tell where the object is.

    Args:
        claimed: (H, W) bool, the object's own mask.
        contested: (H, W) bool from :func:`contested_pixels`.
    """
    num_claimed = int(claimed.sum())
    return int((claimed & contested).sum()) > _CONTESTED_SHARE * num_claimed
