"""The options that show the objects: masks of frames, boxes and clicks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vos.errors import InputError
from vos.moments import parse_moment

if TYPE_CHECKING:
    from vos.run.references import Reference
    from vos.track.hints import Hint

# Python refuses to read numbers of thousands of digits.
_HINT = re.compile(r"(?:(?P<id>\d{1,18}):)?(?P<numbers>-?\d{1,18}(?:,-?\d{1,18})+)")


Boxes = tuple[tuple[int | None, tuple[int, ...]], ...]
Points = tuple[tuple[int | None, tuple[int, ...]], ...]


class Coordinates(click.ParamType[tuple[int | None, tuple[int, ...]]]):
    """``[ID:]X,Y[,...]`` in frame pixels, with a fixed number of values."""

    def __init__(self, form: str) -> None:
        self.name = form
        self.num_values = form.count(",") + 1

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, tuple[int, ...]]:
        """Read the id, if any, and the numbers."""
        match = _HINT.fullmatch(value.strip())
        numbers = tuple(map(int, match["numbers"].split(","))) if match else ()
        if match is None or len(numbers) != self.num_values:
            self.fail(f"{value!r} is not {self.name}, or ID:{self.name}, in pixels", param, ctx)
        return (int(match["id"]) if match["id"] else None), numbers


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


def _hints(boxes: Boxes, points: Points) -> dict[int, Hint]:
    """Put together what was pointed out of each object.

    Boxes without an id are objects 1, 2, ... in their order; clicks without one are of object 1.
    """
    from vos.track.hints import Hint

    boxes_by_id: dict[int, tuple[int, int, int, int]] = {}
    for object_id, (x0, y0, x1, y1) in boxes:
        named_id = object_id or len(boxes_by_id) + 1
        if named_id in boxes_by_id:
            raise InputError(f"object {named_id} has several boxes; give one for each object")
        boxes_by_id[named_id] = (x0, y0, x1, y1)
    points_by_id: dict[int, tuple[tuple[int, int], ...]] = {}
    for object_id, (x, y) in points:
        points_by_id[object_id or 1] = (*points_by_id.get(object_id or 1, ()), (x, y))
    return {
        object_id: Hint(points_by_id.get(object_id, ()), boxes_by_id.get(object_id))
        for object_id in sorted(boxes_by_id.keys() | points_by_id.keys())
    }
