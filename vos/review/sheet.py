"""Pictures of doubtful frames, cut out around the object."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError, SourceError
from vos.masks import grow_box_xyxy
from vos.review.doubts import Doubt
from vos.run.read_results import Results
from vos.sink.draw import draw_overlay
from vos.sink.sheet import draw_sheet
from vos.source import Selection, open_selection

_CONTEXT: Final = 0.75  # around the object's box, over its longer side,
_MIN_CONTEXT_SHARE: Final = 0.05  # and at least so much of the frame's longer side
_PANEL_WH: Final = (400, 300)
_ALPHA: Final = 0.25


def draw_doubts(
    results: Results, doubts: Iterable[Doubt], source: str | os.PathLike[str] | None = None
) -> NDArray[np.uint8]:
    """Draw a contact sheet: the worst frame of each stretch around its object, with a reason.

    An object that is absent there is looked for where it was seen last.

    Args:
        results: The results.
        doubts: From :func:`~vos.review.doubts.find_doubtful`, at least one.
        source: Where the source is now, if it was moved.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: there is no doubt to draw.
        SourceError: the source is gone, can be read only once, or has other frames.
        OutputError: a label map is gone or damaged.
    """
    panels = []
    for doubt in doubts:
        rgb = _frame(results, doubt, source)
        labels = results.labels(doubt.worst)
        drawn = draw_overlay(rgb, labels, _ALPHA)
        x0, y0, x1, y1 = _window_xyxy(results, doubt).tolist()
        text = f"frame {doubt.frame_index}, {doubt.object_name}\n{doubt.reason}"
        panels.append((drawn[y0 : y1 + 1, x0 : x1 + 1], text))
    if not panels:
        raise InputError("there is nothing doubtful to draw")
    return draw_sheet(panels, _PANEL_WH)


def _frame(
    results: Results, doubt: Doubt, source: str | os.PathLike[str] | None
) -> NDArray[np.uint8]:
    address = os.fspath(source or results.source)
    wanted = replace(results.selection or Selection(), start=doubt.frame_index, end=None, every=1)
    try:
        with open_selection(address, wanted) as frames:
            frame = next(frames)
    except SourceError as error:
        error.args = (
            f"{error}; the results in {results.folder} are of {address}: say where it is now",
        )
        raise
    if frame.index != doubt.frame_index or frame.frame_hw != results.frame_hw:
        raise SourceError(
            f"{address} is not what the results in {results.folder} are of: its frame "
            f"{frame.index} has {frame.frame_hw[1]} x {frame.frame_hw[0]} px"
        )
    return frame.rgb


def _window_xyxy(results: Results, doubt: Doubt) -> NDArray[np.int64]:
    column = results.object_ids.index(doubt.object_id)
    height, width = results.frame_hw or (1, 1)
    for number in range(doubt.worst, -1, -1):
        frame = results.frames[number]
        if frame.present[column]:
            box_xyxy = frame.boxes_xyxy[column]
            break
    else:
        return np.array([0, 0, width - 1, height - 1])
    longer_px = int((box_xyxy[2:] - box_xyxy[:2]).max()) + 1
    margin_px = round(max(_CONTEXT * longer_px, _MIN_CONTEXT_SHARE * max(height, width)))
    return grow_box_xyxy(box_xyxy, margin_px, (height, width))
