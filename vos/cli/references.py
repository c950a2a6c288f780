"""The options that show the objects: masks of frames, boxes and clicks."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vos.errors import InputError
from vos.hint import Box, Click, Hint, parse_click
from vos.moments import parse_moment

if TYPE_CHECKING:
    from vos.run.references import Reference

# Python refuses to read numbers of thousands of digits.
_BOX = re.compile(r"(?:(\d{1,18}):)?(-?\d{1,18}),(-?\d{1,18}),(-?\d{1,18}),(-?\d{1,18})")

Boxes = tuple[tuple[int | None, Box], ...]
Clicks = tuple[tuple[int | None, Click], ...]


class BoxHint(click.ParamType[tuple[int | None, Box]]):
    """``[ID:]X0,Y0,X1,Y1`` in frame pixels."""

    name = "X0,Y0,X1,Y1"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, Box]:
        """Read the id, if any, and the corners."""
        match = _BOX.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is not {self.name}, or ID:{self.name}, in pixels", param, ctx)
        named_id, *numbers = match.groups()
        x0, y0, x1, y1 = map(int, numbers)
        return (int(named_id) if named_id else None), (x0, y0, x1, y1)


class ClickHint(click.ParamType[tuple[int | None, Click]]):
    """``[ID:]X,Y`` in frame pixels; ``[ID:]!X,Y`` is beside the object."""

    name = "X,Y"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, Click]:
        """Read the id, if any, and the click."""
        try:
            return parse_click(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


class FrameMask(click.ParamType[tuple[int | float, Path]]):
    """``FRAME:MASK``: a frame, by its number or time, and the file of its mask."""

    name = "FRAME:MASK"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | float, Path]:
        """Read the frame and the file's path; times and paths may hold colons themselves."""
        colons = [index for index, letter in enumerate(value) if letter == ":"]
        splits = [(parse_moment(value[:colon]), value[colon + 1 :]) for colon in colons]
        legal = [(moment, Path(path)) for moment, path in splits if moment is not None and path]
        if not legal:
            self.fail(
                f"{value!r} is not {self.name}, such as 120:mask.png or 4.8s:mask.png", param, ctx
            )
        existing = []
        with suppress(OSError, ValueError):  # no system takes such a name
            existing = [pair for pair in legal if pair[1].exists()]
        return (existing or legal)[-1]


def references_of(ctx: click.Context) -> tuple[Reference, ...]:
    """Read the options that show the objects.

    Raises:
        click.UsageError: there is neither a mask nor a hint of the first frame, or there are both.
    """
    from vos.run.references import Reference

    given, resize = ctx.params["ref_mask"], ctx.params["resize_mask"]
    mask = None if given is None else Path(given)
    hints = _hints(ctx.params["ref_boxes"], ctx.params["ref_points"])
    if mask is None and not hints:
        raise click.UsageError(
            "nothing shows the object: give its mask in the first frame with --ref-mask, or click "
            "on it with --ref-point X,Y, or draw a box around it with --ref-box X0,Y0,X1,Y1"
        )
    if mask is not None and hints:
        raise click.UsageError(
            "--ref-mask shows the objects already: leave out --ref-point and --ref-box, or the mask"
        )
    later = [
        Reference(frame=frame, mask=path, resize=resize) for frame, path in ctx.params["later_refs"]
    ]
    return Reference(mask=mask, hints=hints, resize=resize), *later


def _hints(boxes: Boxes, clicks: Clicks) -> dict[int, Hint]:
    """Put together what was pointed out of each object.

    Boxes without an id are objects 1, 2, ... in their order; clicks without one are of object 1.
    """
    boxes_by_id: dict[int, tuple[Box, ...]] = {}
    for object_id, box_xyxy in boxes:
        named_id = object_id or len(boxes_by_id) + 1
        boxes_by_id[named_id] = (*boxes_by_id.get(named_id, ()), box_xyxy)
    clicks_by_id: dict[int, tuple[Click, ...]] = {}
    for object_id, each in clicks:
        clicks_by_id[object_id or 1] = (*clicks_by_id.get(object_id or 1, ()), each)
    return {
        object_id: Hint(clicks_by_id.get(object_id, ()), boxes_by_id.get(object_id, ()))
        for object_id in sorted(boxes_by_id.keys() | clicks_by_id.keys())
    }
