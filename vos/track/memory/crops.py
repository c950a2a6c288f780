"""Crops: windows of a frame, each encoded as a picture of its own.

An object that is small in the frame is small in SAM's input too, where the frame's longest side
has but so many pixels. A crop of the object's surroundings shows it several times as large, for
the same price as the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.records import Frame
from vos.sam.geometry import Letterbox, cell_centres
from vos.sam.model import SamModel
from vos.track.batches import encode_in_batches

_FREE_LOSS: Final = 1.15  # of magnification, which sharing a window may cost

Window = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in frame pixels; as in a slice, the right and the bottom edge are outside."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """An encoded window of a frame.

    Attributes:
        window_xyxy: The window.
        rgb: (h, w, 3) uint8, the window's pixels; not a copy.
        letterbox: How the window lies in the model's input: its "frame" is the window.
        features: (C, h, w) of the window.
        cells: (N, D) unit length, what cells are compared by, of those on the picture, in reading
            order.
        positions_xy: (N, 2) float32 frame pixels, the centres of these cells.
        is_inside: (h, w) bool, which cells these are.
    """

    window_xyxy: Window
    rgb: NDArray[np.uint8]
    letterbox: Letterbox
    features: torch.Tensor
    cells: torch.Tensor
    positions_xy: torch.Tensor
    is_inside: torch.Tensor

    @property
    def cells_hw(self) -> tuple[int, int]:
        """Feature cells, those of the padding too."""
        return self.features.shape[1], self.features.shape[2]

    @property
    def pixels_hw(self) -> tuple[int, int]:
        """Pixels of the decoder's low-resolution masks."""
        return 4 * self.features.shape[1], 4 * self.features.shape[2]

    @property
    def cell_px(self) -> float:
        """Side of a cell, frame pixels."""
        return max(self.letterbox.frame_hw) / max(self.cells_hw)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window as rows and columns of the frame."""
        x0, y0, x1, y1 = self.window_xyxy
        return slice(y0, y1), slice(x0, x1)

    def as_map(self, values: torch.Tensor) -> torch.Tensor:
        """Put (N,) values of the cells on the picture into an (h, w) map, 0 on the padding."""
        full = torch.zeros(self.is_inside.shape, device=values.device)
        full[self.is_inside] = values
        return full


def encode_crops(frame: Frame, windows_xyxy: Sequence[Window], sam: SamModel) -> list[Crop]:
    """Encode windows of a frame."""
    pictures = [np.ascontiguousarray(frame.rgb[y0:y1, x0:x1]) for x0, y0, x1, y1 in windows_xyxy]
    encoded = encode_in_batches(pictures, sam)
    crops = []
    for window_xyxy, rgb, features in zip(windows_xyxy, pictures, encoded, strict=True):
        letterbox = sam.letterbox((rgb.shape[0], rgb.shape[1]))
        cells_hw = (features.shape[1], features.shape[2])
        positions_xy, is_inside = cell_centres(letterbox, cells_hw)
        # The picture lies at the top left of its padding.
        on_picture = slice(int(is_inside[:, 0].sum())), slice(int(is_inside[0].sum()))
        matching = sam.matching_features(features, rgb)
        cells = F.normalize(matching.permute(1, 2, 0)[on_picture].flatten(0, 1), dim=1)
        positions_xy = positions_xy[on_picture].flatten(0, 1) + torch.tensor(window_xyxy[:2])
        on_device = positions_xy.to(sam.device), is_inside.to(sam.device)
        crops.append(Crop(window_xyxy, rgb, letterbox, features, cells, *on_device))
    return crops


def side_px(window_xyxy: Window) -> int:
    """Give the longer side of a window, frame pixels."""
    x0, y0, x1, y1 = window_xyxy
    return max(x1 - x0, y1 - y0)


def window_around(
    box_xyxy: NDArray[np.float64], frame_hw: tuple[int, int], context: float, min_share: float
) -> Window:
    """Give the square window around a box, moved and if need be cut to lie within the frame.

    Args:
        box_xyxy: (4,) frame pixels.
        frame_hw: Size of the frame.
        context: Side of the window over the box's longer side.
        min_share: Least side of the window over the frame's longer side.
    """
    height, width = frame_hw
    x0, y0, x1, y1 = box_xyxy
    side = max((max(x1 - x0, y1 - y0) + 1) * context, max(frame_hw) * min_share, 1)
    corners = []
    for low, high, size in ((x0, x1, width), (y0, y1, height)):
        length = min(side, size)
        first = min(max((low + high + 1) / 2 - length / 2, 0), size - length)
        corners.append((round(first), max(round(first) + 1, round(first + length))))
    (left, right), (top, bottom) = corners
    return left, top, min(right, width), min(bottom, height)


def share_windows(
    windows_xyxy: Sequence[Window], frame_hw: tuple[int, int], max_windows: int
) -> tuple[list[Window], list[int]]:
    """Let objects that are near each other share windows.

    Two windows become one where it is hardly larger than they are, and otherwise only while there
    are too many; those first that lose least.

    Args:
        windows_xyxy: K windows.
        frame_hw: Size of the frame.
        max_windows: Most windows that remain.

    Returns:
        The windows, and (K,) the index of each object's window among them.
    """
    shared = list(windows_xyxy)
    indices = list(range(len(shared)))
    while len(shared) > 1:
        a, b, loss = _cheapest_pair(np.array(shared))
        if loss > _FREE_LOSS and len(shared) <= max_windows:
            break
        shared[a] = _union(shared[a], shared[b], frame_hw)
        del shared[b]
        indices = [a if index == b else index - (index > b) for index in indices]
    return shared, indices


def _cheapest_pair(windows_xyxy: NDArray[np.int64]) -> tuple[int, int, float]:
    """Give the two of (K, 4) windows that lose the least magnification as one, and how much."""
    low, high = windows_xyxy[:, :2], windows_xyxy[:, 2:]
    sides_px = (high - low).max(axis=1)
    corners = np.maximum(high[:, None], high) - np.minimum(low[:, None], low)
    losses = corners.max(axis=2) / np.minimum(sides_px[:, None], sides_px)
    losses[np.tril_indices(len(losses))] = np.inf
    a, b = divmod(int(losses.argmin()), len(losses))
    return a, b, float(losses[a, b])


def _union(one: Window, other: Window, frame_hw: tuple[int, int]) -> Window:
    """Give the square window around two, as far as the frame allows."""
    low, high = np.minimum(one, other)[:2], np.maximum(one, other)[2:]
    return window_around(np.concatenate([low, high - 1]).astype(np.float64), frame_hw, 1.0, 0.0)
