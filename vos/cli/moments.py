"""Options that name a frame."""

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
