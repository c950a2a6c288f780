"""Between frame pixels and model pixels: the only module that knows both.

A frame is scaled so that its longest side is the model's input side S, and padded on the right
and at the bottom. Coordinates scale without a half-pixel shift, as in segment_anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from vos.errors import InputError

_NUM_PARTS: Final = 4
"""Of an axis: with more there are fewer zeros and more calls."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How frames of one size lie in the model's square input.

    Attributes:
        frame_hw: Height and width in frame pixels.
        image_size: Side S of the model's input, model pixels.
    """

    frame_hw: tuple[int, int]
    image_size: int

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            InputError: a side is not positive.
        """
        if min(*self.frame_hw, self.image_size) < 1:
            raise InputError(f"sizes must be positive, got {self.frame_hw}, {self.image_size}")

    @property
    def resized_hw(self) -> tuple[int, int]:
        """Height and width of the scaled frame without padding, model pixels."""
        scale = self.image_size / max(self.frame_hw)
        height, width = self.frame_hw
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def points_to_model(self, points_xy: torch.Tensor) -> torch.Tensor:
        """Scale (..., 2) frame-pixel coordinates to model pixels."""
        return points_xy * self._scale_xy(points_xy)

    def points_to_frame(self, points_model_xy: torch.Tensor) -> torch.Tensor:
        """Scale (..., 2) model-pixel coordinates to frame pixels."""
        return points_model_xy / self._scale_xy(points_model_xy)

    def boxes_to_model(self, boxes_xyxy: torch.Tensor) -> torch.Tensor:
        """Scale (..., 4) frame-pixel boxes to model pixels."""
        corners = boxes_xyxy.reshape(*boxes_xyxy.shape[:-1], 2, 2)
        return self.points_to_model(corners).flatten(-2)

    def _scale_xy(self, like: torch.Tensor) -> torch.Tensor:
        height, width = self.frame_hw
        model_height, model_width = self.resized_hw
        return like.new_tensor([model_width / width, model_height / height])


def resize_for_model(picture: NDArray[np.uint8], letterbox: Letterbox) -> NDArray[np.uint8]:
    """Scale a picture to model pixels, antialiased bilinear.

    Args:
        picture: (H, W) or (H, W, 3) uint8 of the letterbox's frame size.
        letterbox: The geometry.

    Returns:
        uint8 of ``letterbox.resized_hw``, not padded.
    """
    height, width = letterbox.resized_hw
    if (height, width) == picture.shape[:2]:
        return picture
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def masks_to_cells(
    masks: NDArray[np.bool_],
    letterbox: Letterbox,
    cells_hw: tuple[int, int],
    min_coverage: float,
) -> NDArray[np.bool_]:
    """Find the feature cells that belong to each mask.

    The mask is resized like the picture and sampled bilinearly at the cells' centres. The padding
    counts as exactly at the threshold, as it does in the published code, where the mask runs
    through the picture's own normalisation and zero padding.

    Args:
        masks: (K, H, W) bool, none of them empty.
        letterbox: The geometry.
        cells_hw: (h, w) of the features.
        min_coverage: A cell is foreground above this share, in [0, 1].

    Returns:
        (K, h, w) bool with at least one cell per mask: a mask too small for the threshold gets
        the one cell that it covers most.
    """
    side = letterbox.image_size
    height, width = letterbox.resized_hw
    cells = np.empty((len(masks), *cells_hw), dtype=np.bool_)
    for mask, is_foreground in zip(masks, cells, strict=True):
        resized = resize_for_model(mask.astype(np.uint8) * 255, letterbox)
        padded = torch.zeros(1, 1, side, side)
        padded[0, 0, :height, :width] = torch.from_numpy(resized / np.float32(255)) - min_coverage
        sampled = F.interpolate(padded, size=cells_hw, mode="bilinear", align_corners=False)
        is_foreground[:] = sampled[0, 0].numpy() > 0
        if not is_foreground.any():
            is_foreground[_most_covered_cell(mask, letterbox, cells_hw)] = True
    return cells


def cells_to_frame(maps: torch.Tensor, letterbox: Letterbox) -> torch.Tensor:
    """Enlarge (K, h, w) maps over the padded input to (K, H, W): x4, to S, crop, to the frame."""
    enlarged = F.interpolate(maps[:, None], scale_factor=4, mode="bilinear", align_corners=False)
    return low_res_to_frame(enlarged[:, 0], letterbox)


def low_res_to_frame(logits: torch.Tensor, letterbox: Letterbox) -> torch.Tensor:
    """Enlarge (K, h', w') decoder logits over the padded input to (K, H, W), bilinear."""
    side = letterbox.image_size
    height, width = letterbox.resized_hw
    maps = logits[:, None]
    size = [side, side]
    needed_hw = needed_low_res(letterbox, (maps.shape[2], maps.shape[3]))
    for axis, needed in ((2, needed_hw[0]), (3, needed_hw[1])):
        num_low = maps.shape[axis]
        if side % num_low == 0:
            maps = maps.narrow(axis, 0, needed)
            size[axis - 2] = needed * (side // num_low)
    model = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    cropped = model[..., :height, :width]
    frame = F.interpolate(cropped, size=letterbox.frame_hw, mode="bilinear", align_corners=False)
    return frame[:, 0]


def needed_low_res(letterbox: Letterbox, low_res_hw: tuple[int, int]) -> tuple[int, int]:
    """Give the rows and columns of (h', w') maps over the padded input that the frame is made of.

    Those are the picture's, and one beyond them, with which its last pixels are blended.
    """
    side = letterbox.image_size
    rows, columns = (
        min(num_low, -(-used_px * num_low // side) + 1)
        for num_low, used_px in zip(low_res_hw, letterbox.resized_hw, strict=True)
    )
    return rows, columns


def needed_cells(letterbox: Letterbox, cells_hw: tuple[int, int]) -> tuple[int, int]:
    """Give the rows and columns of cells, of 4 x 4 logits each, that the frame is made of."""
    rows, columns = needed_low_res(letterbox, (4 * cells_hw[0], 4 * cells_hw[1]))
    return -(-rows // 4), -(-columns // 4)


def frame_to_cells(
    maps: torch.Tensor, letterbox: Letterbox, cells_hw: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample (K, H, W) maps bilinearly at the feature cells' centres.

    Returns:
        (K, h, w) samples, and (h, w) bool: the cells whose centre lies on the picture rather than
        on the padding. Cells of the padding repeat the picture's border.
    """
    axes, inside = [], []
    for num_cells, model_px in zip(cells_hw, letterbox.resized_hw, strict=True):
        centres = torch.arange(num_cells, device=maps.device, dtype=maps.dtype) + 0.5
        shares = centres * (letterbox.image_size / num_cells / model_px)
        axes.append(2 * shares - 1)
        inside.append(shares < 1)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([columns, rows], dim=-1)[None]
    sampled = F.grid_sample(maps[None], grid, padding_mode="border", align_corners=False)
    return sampled[0], inside[0][:, None] & inside[1]


def average_in_cells(
    maps: torch.Tensor, letterbox: Letterbox, cells_hw: tuple[int, int]
) -> torch.Tensor:
    """Average (N, H, W) float maps over each of (h, w) cells: (N, h, w), 0 on the padding.

    Maps are scaled like the picture, antialiased bilinear, which is linear along each axis, as is
    averaging: together they are two products, and a map of model pixels is never there.
    """
    axes = [
        _cell_axis(*sizes, letterbox.image_size)
        for sizes in zip(letterbox.frame_hw, letterbox.resized_hw, cells_hw, strict=True)
    ]
    rows, columns = ([(used, part.to(maps.device)) for used, part in axis] for axis in axes)
    by_row = torch.cat([part @ maps[:, used] for used, part in rows], dim=1)
    return torch.cat([by_row[..., used] @ part.T for used, part in columns], dim=2)


@lru_cache(maxsize=16)
def _cell_axis(
    frame_px: int, model_px: int, num_cells: int, image_size: int
) -> tuple[tuple[slice, torch.Tensor], ...]:
    """Give the shares that frame pixels have in the means of cells.

    A cell is made of few pixels, so that the matrix of all would be zeros mostly.

    Returns:
        For one part of the cells after another, its p of the frame's pixels and their (n, p)
        shares.
    """
    scale = frame_px / model_px
    reach_px = max(scale, 1.0)
    centres = scale * (np.arange(model_px)[:, None] + 0.5)
    first = np.floor(centres - reach_px).astype(np.int64)
    sources = first + np.arange(int(2 * reach_px) + 2)
    weights = (1 - np.abs(sources + 0.5 - centres) / reach_px).clip(min=0)
    weights *= (sources >= 0) & (sources < frame_px)
    weights /= weights.sum(axis=1, keepdims=True)
    # A model pixel that a side of cells runs through counts in full for the cells of both sides.
    pixels = np.arange(model_px)[:, None]
    cells = pixels * num_cells // image_size
    last_cells = ((pixels + 1) * num_cells - 1) // image_size
    sums = np.zeros(num_cells * frame_px)
    sources = sources.clip(0, frame_px - 1)
    while (is_covered := cells <= last_cells).any():
        flat = cells.clip(max=num_cells - 1) * frame_px + sources
        sums += np.bincount(flat.ravel(), (weights * is_covered).ravel(), num_cells * frame_px)
        cells += 1
    cells = np.arange(num_cells)[:, None]
    sizes = -(-(cells + 1) * image_size // num_cells) - cells * image_size // num_cells
    shares = (sums.reshape(num_cells, frame_px) / sizes).astype(np.float32)
    parts = []
    for part in np.array_split(shares, min(_NUM_PARTS, num_cells)):
        not_zero = np.nonzero(part.any(axis=0))[0]
        used = slice(int(not_zero[0]), int(not_zero[-1]) + 1) if len(not_zero) else slice(0)
        parts.append((used, torch.from_numpy(np.ascontiguousarray(part[:, used]))))
    return tuple(parts)


def cell_centres(
    letterbox: Letterbox, cells_hw: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Say where the (h, w) cells lie on the frame.

    Returns:
        (h, w, 2) float32 frame pixels, and (h, w) bool: the cells whose centre lies on the picture
        rather than on the padding, and those of the first row and column, even if the picture is
        thinner than half a cell.
    """
    axes, inside = [], []
    for num_cells, model_px, frame_px in zip(
        cells_hw, letterbox.resized_hw, letterbox.frame_hw, strict=True
    ):
        centres = (torch.arange(num_cells) + 0.5) * (letterbox.image_size / num_cells)
        axes.append(centres * (frame_px / model_px) - 0.5)
        inside.append((centres < model_px) | (torch.arange(num_cells) == 0))
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([columns, rows], dim=-1), inside[0][:, None] & inside[1]


def _most_covered_cell(
    mask: NDArray[np.bool_], letterbox: Letterbox, cells_hw: tuple[int, int]
) -> tuple[int, int]:
    """Give (row, column) of the cell that holds most of the mask's pixels."""
    height, width = letterbox.frame_hw
    model_height, model_width = letterbox.resized_hw
    rows_px, columns_px = np.nonzero(mask)
    rows = (rows_px + 0.5) * (model_height / height * cells_hw[0] / letterbox.image_size)
    columns = (columns_px + 0.5) * (model_width / width * cells_hw[1] / letterbox.image_size)
    counts = np.zeros(cells_hw, dtype=np.int64)
    np.add.at(counts, (rows.astype(np.int64), columns.astype(np.int64)), 1)
    row, column = np.unravel_index(int(counts.argmax()), cells_hw)
    return int(row), int(column)
