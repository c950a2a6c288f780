"""Frames that are already arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError
from vos.records import Frame


def frames_from_arrays(arrays: Iterable[NDArray[np.uint8]], fps: float = 25) -> Iterator[Frame]:
    """Wrap pictures as frames, one at a time.

    Args:
        arrays: Pictures, (H, W, 3) uint8 RGB.
        fps: Frames per second; picture i is shown at ``i / fps`` seconds.

    Returns:
        A generator of frames with index i and name ``00000``, ``00001`` and so on. It raises
        InputError at a picture of another layout or dtype.

    Raises:
        InputError: ``fps`` is not a positive finite number.
    """
    if not 0 < fps < float("inf"):
        raise InputError(f"fps must be positive and finite, got {fps}")
    return _wrap(arrays, fps)


def _wrap(arrays: Iterable[NDArray[np.uint8]], fps: float) -> Iterator[Frame]:
    for index, rgb in enumerate(arrays):
        yield Frame(index, float(index / fps), f"{index:05d}", rgb)
