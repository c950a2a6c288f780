"""A contact sheet: frames of the whole video with their masks, names and scores."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.export.pictures import save_png
from vos.masks import OBJECT_COLOURS
from vos.sink.draw import draw_overlay

_MAX_TILES: Final = 24
_NUM_COLUMNS: Final = 6
_TILE_PX: Final = 320  # the longer side
_MARGIN_PX: Final = 12
_TEXT_PX: Final = 16
_LINE_PX: Final = 24
_INK: Final = (30, 30, 30)
_PAPER: Final = (255, 255, 255)


def write_sheet(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name.png`` with up to 24 frames, evenly over the whole.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    path = files.claim(f"{clip.name}.png")
    num_tiles = min(_MAX_TILES, clip.num_frames)
    wanted = {round(each) for each in np.linspace(0, clip.num_frames - 1, num_tiles)}
    tiles: list[tuple[str, NDArray[np.uint8]]] = []
    for frame in frames:
        if path is not None and frame.number in wanted:
            tiles.append((_caption(frame, clip), _tile(frame, clip)))
        yield frame
    if path is not None:
        save_png(path, _laid_out(tiles, clip))


def font(size_px: int = _TEXT_PX) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Give the font that comes with Pillow."""
    return ImageFont.load_default(size_px)


def fitted(text: str, length_px: float, size_px: int = _TEXT_PX) -> str:
    """Cut a text that is too long, and end it with dots."""
    written = font(size_px)
    if written.getlength(text) <= length_px:
        return text
    while text and written.getlength(f"{text}…") > length_px:
        text = text[:-1]
    return f"{text.rstrip()}…"


def legend(clip: Clip) -> list[tuple[tuple[int, ...], str]]:
    """List the objects' colours, (red, green, blue), with their ids and names."""
    return [
        (
            tuple(OBJECT_COLOURS[object_id].tolist()),
            name if name == f"object {object_id}" else f"{object_id} {name}",
        )
        for object_id, name in clip.results.names.items()
    ]


def _caption(frame: ExportFrame, clip: Clip) -> str:
    if clip.results.pictures:
        return frame.result.name
    minutes, seconds = divmod(frame.pts_seconds, 60)
    return f"frame {frame.result.index}, {int(minutes)}:{seconds:06.3f}"


def _tile(frame: ExportFrame, clip: Clip) -> NDArray[np.uint8]:
    """Draw a frame small, with square pixels, so that what is written on it can be read."""
    height, width = frame.masks.labels.shape if clip.results.pictures else clip.square_hw
    scale = _TILE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rgb = np.asarray(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    labels = cv2.resize(frame.masks.labels, size, interpolation=cv2.INTER_NEAREST)
    scores = {object_id: score for object_id, score, *_ in frame.present()}
    return draw_overlay(rgb, np.asarray(labels, np.uint8), 0.5, scores=scores)


def _laid_out(tiles: list[tuple[str, NDArray[np.uint8]]], clip: Clip) -> NDArray[np.uint8]:
    height = max(tile.shape[0] for _, tile in tiles) + _LINE_PX + _MARGIN_PX
    width = max(tile.shape[1] for _, tile in tiles) + _MARGIN_PX
    num_columns = min(_NUM_COLUMNS, len(tiles))
    num_rows = -(-len(tiles) // num_columns)
    entries = legend(clip)
    sheet_width = max(num_columns * width + _MARGIN_PX, 2 * _TILE_PX)
    top = _MARGIN_PX + (1 + len(entries)) * _LINE_PX
    sheet = Image.new("RGB", (sheet_width, top + num_rows * height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title = f"{clip.name}: {clip.num_frames} frames of {clip.results.source}"
    draw.text((_MARGIN_PX, _MARGIN_PX), fitted(title, sheet_width - 2 * _MARGIN_PX), _INK, font())
    for row, (colour, name) in enumerate(entries, start=1):
        y = _MARGIN_PX + row * _LINE_PX
        draw.rectangle((_MARGIN_PX, y, _MARGIN_PX + _TEXT_PX, y + _TEXT_PX), fill=colour)
        text = fitted(name, sheet_width - 2 * _MARGIN_PX - _LINE_PX)
        draw.text((_MARGIN_PX + _LINE_PX, y), text, _INK, font())
    for number, (caption, tile) in enumerate(tiles):
        row, column = divmod(number, num_columns)
        x, y = _MARGIN_PX + column * width, top + row * height
        sheet.paste(Image.fromarray(tile), (x, y))
        draw.text((x, y + tile.shape[0] + 2), caption, _INK, font())
    return np.asarray(sheet)
