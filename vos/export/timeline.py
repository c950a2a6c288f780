"""A time line: when each object is there, how large it is, and where its mask is doubtful."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.export.pictures import save_png
from vos.export.sheet import fitted, font, legend
from vos.sink.tallies import DEFAULT_MIN_SCORE

_NUM_COLUMNS: Final = 1200
_ROW_PX: Final = 64
_GAP_PX: Final = 20
_MARGIN_PX: Final = 16
_NAMES_PX: Final = 240
_TITLE_PX: Final = 36
_MAX_TICKS: Final = 12
_STEPS_SECONDS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_INK: Final = (30, 30, 30)
_PAPER: Final = (255, 255, 255)
_GROUND: Final = (240, 240, 240)
_LOST: Final = (255, 205, 205)


def write_timeline(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name.png``: a row for each object, whose height is its area by its largest one.

    Where an object is absent the ground is red; where its score is below one half, it is pale.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    path = files.claim(f"{clip.name}.png")
    columns = _Columns(clip)
    for frame in frames:
        columns.add(frame)
        yield frame
    if path is not None:
        save_png(path, columns.draw(clip))


class _Columns:
    """What is drawn, column by column, however many frames there are."""

    def __init__(self, clip: Clip) -> None:
        shape = (len(clip.results.object_ids), _NUM_COLUMNS)
        self._areas_px = np.zeros(shape, np.int64)
        self._is_absent = np.zeros(shape, bool)
        self._is_doubtful = np.zeros(shape, bool)
        self._frames = clip.results.frames
        self.start_seconds = self._frames[0].pts_seconds
        period = float(1 / clip.rate_hz)
        self.end_seconds = max(self._frames[-1].pts_seconds, self.start_seconds) + period

    def add(self, frame: ExportFrame) -> None:
        following = frame.number + 1
        is_last = following == len(self._frames)
        end = self.end_seconds if is_last else self._frames[following].pts_seconds
        # The results' rounded times for both ends, so that no column is left out between frames.
        first = min(self._column(frame.result.pts_seconds), _NUM_COLUMNS - 1)
        part = slice(first, max(self._column(end), first + 1))
        areas_px = frame.masks.areas_px[:, None]
        self._areas_px[:, part] = np.maximum(self._areas_px[:, part], areas_px)
        self._is_absent[:, part] |= areas_px == 0
        doubtful = frame.masks.scores[:, None] < DEFAULT_MIN_SCORE
        self._is_doubtful[:, part] |= doubtful & (areas_px > 0)

    def _column(self, seconds: float) -> int:
        share = (seconds - self.start_seconds) / (self.end_seconds - self.start_seconds)
        return int(share * _NUM_COLUMNS)

    def draw(self, clip: Clip) -> NDArray[np.uint8]:
        entries = legend(clip)
        left = _MARGIN_PX + _NAMES_PX
        height = _TITLE_PX + 2 * _MARGIN_PX + len(entries) * (_ROW_PX + _GAP_PX) + _GAP_PX
        image = Image.new("RGB", (left + _NUM_COLUMNS + 4 * _MARGIN_PX, height), _PAPER)
        draw = ImageDraw.Draw(image)
        title = f"{clip.name}: {clip.num_frames} frames. Area by the largest; red: absent; pale: "
        title += f"score below {DEFAULT_MIN_SCORE}"
        draw.text((_MARGIN_PX, _MARGIN_PX), fitted(title, left + _NUM_COLUMNS), _INK, font())
        for row, (colour, name) in enumerate(entries):
            top = _TITLE_PX + _MARGIN_PX + row * (_ROW_PX + _GAP_PX)
            bars = self._bars(row, np.array(colour, np.float64))
            image.paste(Image.fromarray(bars), (left, top))
            largest_px = int(self._areas_px[row].max())
            text = fitted(name, _NAMES_PX - _MARGIN_PX)
            draw.text((_MARGIN_PX, top + 8), text, _INK, font())
            draw.text((_MARGIN_PX, top + 34), f"largest: {largest_px} px", _INK, font(13))
        bottom = height - _MARGIN_PX - _GAP_PX
        for tick_seconds, text in self._ticks():
            x = left + self._column(tick_seconds)
            draw.line((x, _TITLE_PX + _MARGIN_PX, x, bottom), (200, 200, 200))
            draw.text((x, bottom + 4), text, _INK, font(13), "ma")
        return np.asarray(image)

    def _ticks(self) -> list[tuple[float, str]]:
        """Choose round times, and write them."""
        span = self.end_seconds - self.start_seconds
        fits = (each for each in _STEPS_SECONDS if span / each <= _MAX_TICKS)
        step = next(fits, math.ceil(span / _MAX_TICKS / _STEPS_SECONDS[-1]) * _STEPS_SECONDS[-1])
        numbers = range(math.ceil(self.start_seconds / step), int(self.end_seconds / step) + 1)
        ticks = []
        for number in numbers:
            minutes, seconds = divmod(round(number * step, 1), 60)
            text = f"{seconds:04.1f}" if step < 1 else f"{seconds:02.0f}"
            ticks.append((number * step, f"{int(minutes)}:{text}"))
        return ticks

    def _bars(self, row: int, colour: NDArray[np.float64]) -> NDArray[np.uint8]:
        areas_px = self._areas_px[row]
        heights = np.ceil(areas_px / max(areas_px.max(), 1) * _ROW_PX)
        bars = np.empty((_ROW_PX, _NUM_COLUMNS, 3), np.uint8)
        bars[:] = np.where(self._is_absent[row, :, None], _LOST, _GROUND)
        pale = 0.4 * colour + 0.6 * np.array(_PAPER)
        colours = np.where(self._is_doubtful[row, :, None], pale, colour)
        is_bar = np.arange(_ROW_PX, 0, -1)[:, None] <= heights
        return np.where(is_bar[..., None], colours, bars).astype(np.uint8)
