"""The final mask of three: the head's, SAM's own, and the correspondence.

The head is fitted to one frame, and wrong where the object's looks move away from it. A mask that
lost a part is what is remembered, so that the part never comes back. SAM does not know the object,
and so is no better judge: where it shares its colours with what is beside it, SAM's mask runs over.
Where these two disagree the correspondence is the third opinion, and two of three decide.
"""

from __future__ import annotations

from typing import Final

import torch

_SAM_SHARE: Final = 0.25  # of SAM's mask in the final one, where both agree
_LOGIT_RANGE: Final = 8.0  # no opinion outweighs two others


def combine(
    head_logits: torch.Tensor, sam_logits: torch.Tensor, correspondence: torch.Tensor | None
) -> torch.Tensor:
    """Combine (h', w') logits of one object to its final ones.

    Args:
        head_logits: Of the pixel classifier.
        sam_logits: Of SAM's mask.
        correspondence: Of what is remembered: where the other two disagree the result is the median
            of all three. None takes no vote.
    """
    head_logits, sam_logits = (
        logits.clamp(-_LOGIT_RANGE, _LOGIT_RANGE) for logits in (head_logits, sam_logits)
    )
    mixed = torch.lerp(head_logits, sam_logits, _SAM_SHARE)
    if correspondence is None:
        return mixed
    lower, higher = torch.minimum(head_logits, sam_logits), torch.maximum(head_logits, sam_logits)
    median = correspondence.clamp(lower, higher)
    return torch.where((head_logits > 0) == (sam_logits > 0), mixed, median)
