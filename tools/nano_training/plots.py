"""Curves of a training log, drawn with OpenCV."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PANEL_HW = (180, 320)
NUM_COLUMNS = 3
MARGIN_PX = 28


def draw_log(log: Path, png: Path) -> None:
    """Draw every column of a CSV log against its first one."""
    with log.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    # A step whose batches were all of one kind says nothing of the other.
    cells = [[float(cell) if cell else np.nan for cell in row] for row in rows]
    values = np.array(cells).reshape(len(rows), len(header))
    panels = []
    for i, name in enumerate(header[1:], start=1):
        is_known = ~np.isnan(values[:, i])
        panels.append(_draw_curve(name, values[is_known, 0], values[is_known, i]))
    panels += [np.full((*PANEL_HW, 3), 255, np.uint8)] * (-len(panels) % NUM_COLUMNS)
    lines = [np.hstack(panels[i : i + NUM_COLUMNS]) for i in range(0, len(panels), NUM_COLUMNS)]
    png.write_bytes(cv2.imencode(".png", np.vstack(lines))[1].tobytes())


def _draw_curve(name: str, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.uint8]:
    height, width = PANEL_HW
    panel = np.full((height, width, 3), 255, np.uint8)
    low, high = (float(ys.min()), float(ys.max())) if len(ys) else (0.0, 1.0)
    title = f"{name}: {low:.4g} .. {high:.4g}, last {ys[-1]:.4g}" if len(ys) else name
    cv2.putText(panel, title, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    if len(ys) > 1:
        x = np.interp(xs, (xs[0], xs[-1]), (MARGIN_PX, width - MARGIN_PX))
        y = height - MARGIN_PX - (ys - low) / max(high - low, 1e-9) * (height - 2 * MARGIN_PX)
        line = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(panel, [line], False, (180, 90, 20), 1, cv2.LINE_AA)
    return panel
