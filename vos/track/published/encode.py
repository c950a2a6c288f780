"""Frames to features, in batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import compress, islice

import torch

from vos.records import Frame
from vos.sam.model import SamModel
from vos.track.batches import default_batch_size, encode_in_batches


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A frame with its image features.

    Attributes:
        frame: The picture the features belong to.
        features: (C, h, w) float32 on the model's device; empty where they are not needed.
        matching: (D, h, w) float32, what cells are compared by; empty likewise. Without a further
            model this is SAM's image embedding.
    """

    frame: Frame
    features: torch.Tensor
    matching: torch.Tensor


def encode(
    frames: Iterable[Frame],
    sam: SamModel,
    batch_size: int | None,
    is_needed: Callable[[Frame], bool] = lambda _: True,
) -> Generator[Encoded, None, None]:
    """Encode frames in their order.

    When ``frames`` fails, what came before the failure is encoded and delivered first, so that a
    damaged video still yields all of its good frames. A batch that does not fit into memory is
    halved until it does.

    Args:
        frames: The pictures, each of its own size.
        sam: The model.
        batch_size: Frames per call; None takes :func:`vos.track.batches.default_batch_size`.
        is_needed: Whether a frame's features are needed.

    Yields:
        One record per frame; at most one batch is in memory.

    Raises:
        RuntimeError: not even one frame fits into memory.
    """
    batch_size = batch_size or default_batch_size(sam.device)
    for batch in _batches(frames, batch_size):
        needed = [is_needed(frame) for frame in batch]
        pictures = [frame.rgb for frame in compress(batch, needed)]
        encoded = iter(encode_in_batches(pictures, sam, batch_size))
        for frame, is_encoded in zip(batch, needed, strict=True):
            if is_encoded:
                features = next(encoded)
                yield Encoded(frame, features, sam.matching_features(features, frame.rgb))
            else:
                yield Encoded(frame, torch.empty(0), torch.empty(0))


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Group frames; what came before a failure is a group of its own."""
    iterator = iter(frames)
    failure: Exception | None = None
    while failure is None:
        batch: list[Frame] = []
        try:
            for frame in islice(iterator, size):
                batch.append(frame)
        except Exception as error:
            failure = error
        if batch:
            yield batch
        if failure is None and len(batch) < size:
            return
    raise failure
