"""Maps of cells cut into square windows, in which attention then stays."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cut(cells: Tensor, side: int) -> Tensor:
    """Cut (B, h, w, C) cells into (B * windows, side * side, C), row by row.

    A map that is no multiple of the side is padded with zeros on the right and at the bottom; they
    take part in attention unmasked, as TinyViT and SAM's ViT were trained.
    """
    batch, height, width, channels = cells.shape
    padded = F.pad(cells, (0, 0, 0, -width % side, 0, -height % side))
    rows, columns = padded.shape[1] // side, padded.shape[2] // side
    windows = padded.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
    return windows.reshape(-1, side * side, channels)


def join(windows: Tensor, side: int, cells_hw: tuple[int, int]) -> Tensor:
    """Undo :func:`cut`, to (B, h, w, C), without the padding."""
    height, width = cells_hw
    rows, columns = -(-height // side), -(-width // side)
    cells = windows.view(-1, rows, columns, side, side, windows.shape[2]).transpose(2, 3)
    return cells.reshape(-1, rows * side, columns * side, windows.shape[2])[:, :height, :width]
