"""Damage to a mask as tracking does it: parts missing, parts of neighbours added, shifted, thin."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nano_training.augment import Rng

Shares = NDArray[np.float32]


def damage(rng: Rng, shares: Shares, others: Shares) -> Shares:
    """Give what might be believed of an object's cells.

    Args:
        rng: Source of everything random.
        shares: (h, w) in [0, 1], the object's share of each cell.
        others: (h, w) in [0, 1], that of other things.
    """
    ways = (_cut_off, _cut_holes, _lose_thin_parts, _add_neighbour, _shift, _shrink_or_grow)
    believed = shares
    for i in rng.choice(len(ways), size=int(rng.integers(1, 4)), replace=False):
        believed = ways[i](rng, believed, others)
    if rng.random() < 0.5:
        believed = cv2.GaussianBlur(believed, (0, 0), rng.uniform(0.4, 1.2))
    doubt = rng.normal(0, rng.uniform(0.02, 0.15), shares.shape)
    believed = np.clip(believed * rng.uniform(0.75, 1.0) + doubt * (believed > 0.02), 0, 1)
    # Something must be left to prompt with.
    return (believed if believed.max() > 0.5 else shares).astype(np.float32)


def _cut_off(rng: Rng, shares: Shares, _others: Shares) -> Shares:
    """Remove what lies beyond a line: up to six tenths."""
    rows, columns = np.nonzero(shares > 0.5)
    if not len(rows):
        return shares
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.indices(shares.shape)
    along = xs * np.cos(angle) + ys * np.sin(angle)
    line = np.quantile(along[rows, columns], rng.uniform(0.4, 0.92))
    return np.where(along > line, np.float32(0), shares)


def _cut_holes(rng: Rng, shares: Shares, _others: Shares) -> Shares:
    rows, columns = np.nonzero(shares > 0.5)
    if not len(rows):
        return shares
    cut = shares.copy()
    size = np.sqrt(len(rows))
    for pick in rng.integers(len(rows), size=int(rng.integers(1, 4))):
        _draw_ellipse(rng, cut, (columns[pick], rows[pick]), size * rng.uniform(0.08, 0.3), 0.0)
    return cut


def _lose_thin_parts(rng: Rng, shares: Shares, _others: Shares) -> Shares:
    rows = np.nonzero(shares > 0.5)[0]
    widest = max(3, int(np.sqrt(len(rows)) * rng.uniform(0.15, 0.5)) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (widest, widest))
    opened: Shares = cv2.morphologyEx(shares, cv2.MORPH_OPEN, kernel)
    return opened if opened.max() > 0.5 else shares


def _add_neighbour(rng: Rng, shares: Shares, others: Shares) -> Shares:
    """Add a part of another thing near by, or of nothing in particular at the rim."""
    size = np.sqrt(np.count_nonzero(shares > 0.5))
    if not size:
        return shares
    added = np.zeros_like(shares)
    other_rows, other_columns = np.nonzero(others > 0.5)
    if len(other_rows) and rng.random() < 0.7:
        pick = int(rng.integers(len(other_rows)))
        where = (other_columns[pick], other_rows[pick])
        _draw_ellipse(rng, added, where, size * rng.uniform(0.2, 0.8), 1.0)
        return np.maximum(shares, np.minimum(added, others))
    rim = np.argwhere((cv2.dilate(shares, np.ones((3, 3))) > 0.5) & (shares <= 0.5))
    if not len(rim):
        return shares
    row, column = rim[int(rng.integers(len(rim)))]
    _draw_ellipse(rng, added, (column, row), size * rng.uniform(0.1, 0.35), 1.0)
    return np.maximum(shares, added)


def _shift(rng: Rng, shares: Shares, _others: Shares) -> Shares:
    size = np.sqrt((shares > 0.5).sum())
    move_xy = size * rng.normal(0, 0.12, 2)
    placing = np.array([[1, 0, move_xy[0]], [0, 1, move_xy[1]]])
    return cv2.warpAffine(shares, placing, shares.shape[::-1])


def _shrink_or_grow(rng: Rng, shares: Shares, _others: Shares) -> Shares:
    width = int(rng.choice([3, 3, 5]))
    change = cv2.erode if rng.random() < 0.6 else cv2.dilate
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    changed: Shares = change(shares, kernel)
    return changed if changed.max() > 0.5 else shares


def _draw_ellipse(
    rng: Rng, canvas: Shares, centre_xy: tuple[int, int], radius: float, value: float
) -> None:
    axes = tuple(max(1, round(radius * stretch)) for stretch in rng.uniform(0.6, 1.5, 2))
    centre = (int(centre_xy[0]), int(centre_xy[1]))
    cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, value, -1)
