"""The options that show the objects: masks of frames, boxes and clicks."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vos.errors import InputError, OutputError
from vos.hint import Box, Click, Hint, Target, parse_box, parse_click
from vos.moments import parse_moment, write_moment

if TYPE_CHECKING:
    from vos.run.job import Job
    from vos.run.references import Reference

Boxes = tuple[tuple[Target, Box], ...]
Clicks = tuple[tuple[Target, Click], ...]

_LAST_LIKELY_ID: Final = 9  # up to which a number may be meant as an object's

_log = logging.getLogger("vos")


class BoxHint(click.ParamType[tuple[Target, Box]]):
    """``[FRAME:][ID:]X0,Y0,X1,Y1`` in frame pixels."""

    name = "[FRAME:][ID:]X0,Y0,X1,Y1"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Target, Box]:
        """Read the frame and the id, if any, and the corners."""
        try:
            return parse_box(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


class ClickHint(click.ParamType[tuple[Target, Click]]):
    """``[FRAME:][ID:]X,Y`` in frame pixels; ``[FRAME:][ID:]!X,Y`` is beside the object."""

    name = "[FRAME:][ID:]X,Y"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Target, Click]:
        """Read the frame and the id, if any, and the click."""
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
        click.UsageError: there is neither a mask nor a hint, or a frame has both.
    """
    from vos.run.references import Reference

    given, resize = ctx.params["ref_mask"], ctx.params["resize_mask"]
    masks: list[tuple[int | float | None, Path]] = [] if given is None else [(None, Path(given))]
    masks += ctx.params["later_refs"]
    _warn_of_other_reading((*ctx.params["ref_boxes"], *ctx.params["ref_points"]))
    hints = _hints_by_frame(ctx.params["ref_boxes"], ctx.params["ref_points"])
    if not masks and not hints:
        raise click.UsageError(
            "no object is given: pass a mask of the first frame with --ref-mask, a click on the "
            "object with --ref-point X,Y, or a box around it with --ref-box X0,Y0,X1,Y1"
        )
    for frame in hints.keys() & {frame for frame, _ in masks}:
        option = "--ref-mask" if frame is None else f"--ref {write_moment(frame)}:..."
        raise click.UsageError(
            f"{option} gives the objects of this frame already: leave out either the mask, or the "
            "--ref-point and --ref-box of this frame"
        )
    references = [Reference(frame=frame, mask=path, resize=resize) for frame, path in masks]
    references += [Reference(frame=frame, hints=of_frame) for frame, of_frame in hints.items()]
    return tuple(sorted(references, key=lambda each: each.frame is not None))


def preview(job: Job, path: Path, *, overwrite: bool) -> None:
    """Draw the references of a job on their frames, and say what they are.

    Raises:
        InputError: the picture's name does not end in .png.
        OutputError: the picture exists already, or is read by the job.
        VosError: as :func:`vos.run.preview.show_references`.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"the name of a preview must end in .png, got {path}")
    if not overwrite and path.exists():
        raise OutputError(f"{path} exists already; pass --overwrite")
    from vos.run.preview import draw_references, show_references
    from vos.run.replacing import check_inputs_kept
    from vos.sink.sheet import write_sheet

    inputs = [each.mask for each in job.references if each.mask is not None]
    check_inputs_kept([job.source, *inputs, *job.model.checkpoints], [path])
    shown = show_references(job)
    write_sheet(path, draw_references(shown, job))
    for each in shown:
        for object_id, area_px in each.areas_px.items():
            score = each.scores.get(object_id)
            expected = "" if score is None else f", expected IoU {score:.2f}"
            click.echo(f"frame {each.frame.index}, object {object_id}: {area_px} px{expected}")
    click.echo(f"preview: {path}")


def _warn_of_other_reading(hints: tuple[tuple[Target, Box | Click], ...]) -> None:
    """Say what else a lone small number before a hint may be meant as.

    Version 0.1 read it as an object's id.
    """
    for target in dict.fromkeys(target for target, _ in hints):
        number = target.frame
        is_number = isinstance(number, int) and 1 <= number <= _LAST_LIKELY_ID
        if is_number and target.object_id is None:
            _log.warning(
                "a click or box that begins with %d: is in frame %d; for object %d of the first "
                "frame, write :%d: (object 1 of frame %d is %d:1:)",
                *(number,) * 6,
            )


def _hints_by_frame(boxes: Boxes, clicks: Clicks) -> dict[int | float | None, dict[int, Hint]]:
    """Put together what was pointed out of each object in each frame.

    Boxes of a frame without an id are objects 1, 2, ... in their order; clicks without one are of
    object 1.
    """
    num_boxes: Counter[int | float | None] = Counter()
    boxes_of: defaultdict[Target, list[Box]] = defaultdict(list)
    clicks_of: defaultdict[Target, list[Click]] = defaultdict(list)
    for target, box_xyxy in boxes:
        num_boxes[target.frame] += target.object_id is None
        boxes_of[_named(target, num_boxes[target.frame])].append(box_xyxy)
    for target, each in clicks:
        clicks_of[_named(target, 1)].append(each)
    hints: dict[int | float | None, dict[int, Hint]] = {}
    for target in dict.fromkeys([*boxes_of, *clicks_of]):
        hint = Hint(tuple(clicks_of[target]), tuple(boxes_of[target]))
        hints.setdefault(target.frame, {})[target.object_id or 0] = hint
    return hints


def _named(target: Target, default_id: int) -> Target:
    return replace(target, object_id=default_id) if target.object_id is None else target
