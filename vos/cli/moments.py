"""Options that name a frame, or frames from one to another."""

from __future__ import annotations

import click

from vos.moments import parse_moment


class Moment(click.ParamType[int | float]):
    """A frame's number (``250``) or a time (``2.5s``, ``1:30``, ``1:02:03.5``)."""

    name = "frame|time"

    def convert(
        self, value: str | int | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        """Read a frame number as int, a time as float seconds."""
        if not isinstance(value, str):
            return value
        moment = parse_moment(value)
        if moment is None:
            self.fail(f"{value!r} is neither a frame number nor a time as 2.5s or 1:30", param, ctx)
        return moment


class MomentRange(click.ParamType[tuple[int | float, int | float]]):
    """Two frames, both of them included: ``50-200``, ``2.5s-0:08``."""

    name = "first-last"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | float, int | float]:
        """Read both as frame numbers or times."""
        first, _, last = value.partition("-")
        moments = parse_moment(first), parse_moment(last)
        if moments[0] is None or moments[1] is None:
            self.fail(f"{value!r} is not FIRST-LAST, such as 50-200 or 2.5s-8s", param, ctx)
        return moments[0], moments[1]


class ObjectRange(click.ParamType[tuple[int, int | float, int | float]]):
    """An object and frames: ``2:100-140``."""

    name = "id:first-last"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | float, int | float]:
        """Read the id, and both frames or times."""
        object_id, _, frames = value.partition(":")
        if not (object_id.isdecimal() and len(object_id) <= 18 and frames):
            self.fail(f"{value!r} is not ID:FIRST-LAST, such as 2:100-140", param, ctx)
        return int(object_id), *MomentRange().convert(frames, param, ctx)
