"""A contact sheet: several pictures beside and below each other, each with a line of text."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vos.files import write_whole

_GAP_PX: Final = 4
_TEXT_SHARE: Final = 0.035  # of a panel's width,
_TEXT_PX: Final = (12, 24)  # but at least and at most so much
_GROUND_RGB: Final = (24, 24, 24)
_TEXT_RGB: Final = (240, 240, 240)


def draw_sheet(
    panels: Sequence[tuple[NDArray[np.uint8], str]], panel_wh: tuple[int, int]
) -> NDArray[np.uint8]:
    """Arrange pictures in about as many rows as columns, in reading order.

    Args:
        panels: (h, w, 3) uint8 RGB pictures of any size, at least one, each with its text of some
            lines, which are cut where its panel ends.
        panel_wh: Width and height, in pixels, that each picture is scaled to fit into.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    num_columns = math.ceil(math.sqrt(len(panels)))
    num_rows = math.ceil(len(panels) / num_columns)
    width, height = panel_wh
    text_px = min(max(_TEXT_PX[0], round(_TEXT_SHARE * width)), _TEXT_PX[1])
    text_height = (text_px + _GAP_PX) * max(text.count("\n") + 1 for _, text in panels) + _GAP_PX
    cell_wh = width + _GAP_PX, height + text_height + _GAP_PX
    size_wh = num_columns * cell_wh[0] + _GAP_PX, num_rows * cell_wh[1] + _GAP_PX
    sheet = Image.new("RGB", size_wh, _GROUND_RGB)
    font = ImageFont.load_default(text_px)
    for index, (rgb, text) in enumerate(panels):
        left = _GAP_PX + index % num_columns * cell_wh[0]
        top = _GAP_PX + index // num_columns * cell_wh[1]
        lines = Image.new("RGB", (width, text_height), _GROUND_RGB)
        ImageDraw.Draw(lines).text((_GAP_PX, 0), text, _TEXT_RGB, font, spacing=_GAP_PX)
        sheet.paste(lines, (left, top))
        sheet.paste(Image.fromarray(_fit(rgb, panel_wh)), (left, top + text_height))
    return np.asarray(sheet)


def write_sheet(path: Path, sheet: NDArray[np.uint8]) -> None:
    """Write an (H, W, 3) uint8 RGB picture as a PNG, whole or not at all.

    Raises:
        OutputError: the disk refuses.
    """
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())


def _fit(rgb: NDArray[np.uint8], panel_wh: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = min(panel_wh[0] / width, panel_wh[1] / height)
    if scale == 1:
        return rgb
    size_wh = max(1, round(scale * width)), max(1, round(scale * height))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted: NDArray[np.uint8] = cv2.resize(rgb, size_wh, interpolation=interpolation).astype(
        np.uint8
    )
    return fitted
