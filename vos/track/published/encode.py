"""Frames to features, in batches."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable

import torch

from vos.errors import InputError, is_out_of_memory
from vos.records import Encoded, Frame
from vos.sam.model import SamModel

_logger = logging.getLogger("vos")


def default_batch_size(sam: SamModel) -> int:
    """Give the frames per call where settings do not say: on a CPU batches gain nothing."""
    return 1 if sam.device.type == "cpu" else 8


def encode(
    frames: Iterable[Frame], sam: SamModel, batch_size: int | None, *, same_size: bool = True
) -> Generator[Encoded, None, None]:
    """Encode frames in their order.

    When ``frames`` fails, what came before the failure is encoded and delivered first, so that a
    damaged video still yields all of its good frames. When a batch does not fit into memory, it
    and those after it are halved, with a warning, until they fit.

    Args:
        frames: The pictures.
        sam: The model.
        batch_size: Frames per call; None takes :func:`default_batch_size`.
        same_size: Whether frames must be of one size, as those of a video are.

    Yields:
        One record per frame; at most one batch is held.

    Raises:
        RuntimeError: not even one frame fits into memory.
        InputError: a frame has another size than the first, where they must agree.
    """
    if batch_size is None:
        batch_size = default_batch_size(sam)
    frame_hw: tuple[int, int] | None = None
    batch: list[Frame] = []
    failure: Exception | None = None
    iterator = iter(frames)
    while failure is None:
        try:
            frame = next(iterator, None)
            if frame is not None:
                frame_hw = frame_hw or frame.frame_hw
                if same_size:
                    _check_size(frame, frame_hw)
                batch.append(frame)
        except Exception as error:
            frame, failure = None, error
        if batch and (frame is None or len(batch) >= batch_size):
            while batch:
                size = min(batch_size, len(batch))
                try:
                    features = sam.encode([frame.rgb for frame in batch[:size]])
                except (RuntimeError, MemoryError) as error:
                    if size == 1 or not is_out_of_memory(error):
                        raise
                    batch_size = size // 2
                    _logger.warning(
                        "out of memory on %s with %d frames at once; going on with %d",
                        sam.device,
                        size,
                        batch_size,
                    )
                    continue
                yield from map(Encoded, batch[:size], features)
                batch = batch[size:]
        if frame is None and failure is None:
            return
    raise failure


def unencoded(frames: Iterable[Frame]) -> Generator[Encoded, None, None]:
    """Pass on the frames of a video for a tracker that encodes parts of them by itself.

    Yields:
        One record per frame, without features.

    Raises:
        InputError: a frame has another size than the first.
    """
    frame_hw: tuple[int, int] | None = None
    for frame in frames:
        frame_hw = frame_hw or frame.frame_hw
        _check_size(frame, frame_hw)
        yield Encoded(frame, torch.empty(0))


def _check_size(frame: Frame, frame_hw: tuple[int, int]) -> None:
    if frame.frame_hw != frame_hw:
        raise InputError(
            f"frame {frame.index} is {frame.frame_hw[1]} x {frame.frame_hw[0]} px, "
            f"the first one was {frame_hw[1]} x {frame_hw[0]}; all must be of one size"
        )
