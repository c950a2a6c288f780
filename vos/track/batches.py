"""Pictures to features, as many at once as fit into memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from vos.errors import is_out_of_memory
from vos.sam.model import SamModel

_logger = logging.getLogger("vos")

# cuDNN tries one convolution after another and drops the reason why each failed. So a full card can
# end like this, but so does a cuDNN that is broken, in which a smaller batch fails as well.
_NO_CONVOLUTION: Final = "unable to find an engine"

# Kept for as long as the model lives: else every further frame would run out of memory again.
_most_that_fit: Final[WeakKeyDictionary[SamModel, int]] = WeakKeyDictionary()


def default_batch_size(device: torch.device) -> int:
    """Give the pictures per call where settings do not say.

    On a CPU batches gain nothing: the activations of one picture just fit into its cache.
    """
    return 1 if device.type == "cpu" else 8


def encode_in_batches(
    pictures: Sequence[NDArray[np.uint8]], sam: SamModel, batch_size: int | None = None
) -> list[torch.Tensor]:
    """Encode pictures; a batch that does not fit into memory is halved, with a warning.

    Batches of the same model that come after it are no larger.

    Args:
        pictures: (H, W, 3) uint8 RGB, each of its own size.
        sam: The model.
        batch_size: Pictures per call, at most; None takes :func:`default_batch_size`.

    Returns:
        (C, h, w) float32 features of each picture, on the model's device.

    Raises:
        RuntimeError: not even one picture fits into memory, or torch cannot encode it.
        MemoryError: not even one picture fits into memory, as Python says it.
    """
    batch_size = batch_size or default_batch_size(sam.device)
    features: list[torch.Tensor] = []
    while len(features) < len(pictures):
        size = min(batch_size, _most_that_fit.get(sam, batch_size), len(pictures) - len(features))
        try:
            features += sam.encode(pictures[len(features) : len(features) + size])
        except (RuntimeError, MemoryError) as error:
            may_fit = is_out_of_memory(error) or _NO_CONVOLUTION in str(error)
            if size == 1 or not may_fit:
                raise
            _most_that_fit[sam] = size // 2
            _logger.warning(
                "out of memory on %s with %d pictures at once; going on with %d",
                sam.device,
                size,
                size // 2,
            )
    return features
