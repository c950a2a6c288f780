"""The final mask of three: the head's, SAM's own, and the correspondence.

The head is fitted to one frame, and wrong where the object's looks move away from it. A mask that
lost a part is what is remembered, so that the part never comes back. SAM does not know the object,
and so is no better judge: where it shares its colours with what is beside it, SAM's mask runs over.
The correspondence is coarse, but it follows the object from frame to frame. So whichever of the
other two is more like it counts more, and where they disagree it has a vote of its own. Where they
disagree much, and together lose much of what it shows, it is believed instead: masks erode so,
first a wheel, then a leg. Where they agree on less, something else hides the object.
docs/notebook/tracking.md has what each of the three rules is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

_LOGIT_RANGE: Final = 8.0  # no opinion outweighs two others
_SAM_SHARE: Final = 0.25  # of SAM's mask in the final one, where there is no vote
_HEAD_ODDS: Final = 1.1  # log odds of the head against SAM where both are as like: three to one
_LEAD: Final = 0.05  # of IoU with the correspondence, which changes these odds by a factor of e
# A mask is eroded that has less than this of the correspondence's area,
_ERODED_AREA: Final = 0.92
# as far as its IoU with the correspondence falls from the first to the second
_WHOLE_IOU: Final = 0.9
_ERODED_IOU: Final = 0.75
# and as far as the IoU of head and SAM does.
_UNITED_IOU: Final = 0.85
_DIVIDED_IOU: Final = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """What is made of an object's three masks.

    Attributes:
        logits: (h', w') the final ones.
        sam_logits: (h', w') SAM's, as far as they are to be remembered.
    """

    logits: torch.Tensor
    sam_logits: torch.Tensor


def combine(
    head_logits: torch.Tensor, sam_logits: torch.Tensor, correspondence: torch.Tensor | None
) -> Combined:
    """Combine (h', w') logits of one object to its final ones.

    Args:
        head_logits: Of the pixel classifier.
        sam_logits: Of SAM's mask.
        correspondence: Of what is remembered. None takes no vote.
    """
    head, sam = (each.clamp(-_LOGIT_RANGE, _LOGIT_RANGE) for each in (head_logits, sam_logits))
    if correspondence is None:
        return Combined(torch.lerp(head, sam, _SAM_SHARE), sam_logits)
    lead = _iou(head, correspondence) - _iou(sam, correspondence)
    mixed = torch.lerp(sam, head, torch.sigmoid(lead / _LEAD + _HEAD_ODDS))
    mixed = torch.where((head > 0) == (sam > 0), mixed, mixed + correspondence)
    is_smaller = (mixed > 0).sum() < _ERODED_AREA * (correspondence > 0).sum()
    missing = (_WHOLE_IOU - _iou(mixed, correspondence)) / (_WHOLE_IOU - _ERODED_IOU)
    division = (_UNITED_IOU - _iou(head, sam)) / (_UNITED_IOU - _DIVIDED_IOU)
    erosion = missing.clamp(0, 1) * division.clamp(0, 1) * is_smaller
    return Combined(
        torch.lerp(mixed, correspondence, erosion), torch.lerp(sam, correspondence, erosion)
    )


def _iou(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    one, other = logits > 0, others > 0
    return (one & other).sum() / (one | other).sum().clamp_min(1)
