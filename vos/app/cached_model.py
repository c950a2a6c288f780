"""A model that decodes the same prompts once. Loads torch.

The sketch of a click is the first of the calls that its mask takes, and a further click repeats
many calls of those before it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vos.sam.fast.decoder import Mixing
from vos.sam.geometry import Letterbox
from vos.sam.guidance import Guidance
from vos.sam.model import Decoded, Prompts, SamModel

_MAX_DECODED: Final = 32  # of some 0.8 MB each


class Superseded(Exception):
    """What was computed ahead is interrupted: something else is wanted now."""


class CachedModel(SamModel):
    """A model for the clicks and boxes of one frame.

    Args:
        sam: The model, which is shared.
    """

    def __init__(self, sam: SamModel) -> None:
        self.__dict__.update(sam.__dict__)
        self._shared = sam
        # The features are kept, so that no other ones come to lie at the same address.
        self._decoded: OrderedDict[object, tuple[torch.Tensor, Decoded]] = OrderedDict()
        self.is_superseded: Callable[[], bool] = lambda: False
        """Asked before each computation."""

    def encode(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Encode pictures, as :meth:`SamModel.encode` does.

        Raises:
            Superseded: something else is wanted now.
        """
        self._check()
        return self._shared.encode(pictures)

    def decode(
        self,
        features: torch.Tensor,
        prompts: Prompts,
        letterbox: Letterbox,
        *,
        num_masks: Literal[1, 3] = 3,
        guidance: Guidance | None = None,
        classifiers: torch.Tensor | None = None,
        mixing: Mixing = None,
        only_picture: bool = False,
    ) -> Decoded:
        """Decode prompts, as :meth:`SamModel.decode` does.

        Raises:
            Superseded: something else is wanted now.
        """
        is_plain = guidance is None and classifiers is None and mixing is None
        key = (features.data_ptr(), letterbox, num_masks, only_picture, *_prompts_key(prompts))
        if is_plain and key in self._decoded:
            self._decoded.move_to_end(key)
            return self._decoded[key][1]
        self._check()
        decoded = self._shared.decode(
            features,
            prompts,
            letterbox,
            num_masks=num_masks,
            guidance=guidance,
            classifiers=classifiers,
            mixing=mixing,
            only_picture=only_picture,
        )
        if is_plain:
            self._decoded[key] = features, decoded
            while len(self._decoded) > _MAX_DECODED:
                self._decoded.popitem(last=False)
        return decoded

    def _check(self) -> None:
        if self.is_superseded():
            raise Superseded


def _prompts_key(prompts: Prompts) -> tuple[object, ...]:
    boxes, logits = prompts.boxes_xyxy, prompts.low_res_logits
    return (
        prompts.points_xy.shape,
        prompts.points_xy.tobytes(),
        prompts.point_labels.tobytes(),
        None if boxes is None else boxes.tobytes(),
        None if logits is None else hashlib.sha256(logits.cpu().numpy().tobytes()).digest(),
    )
