"""What a user points out of an object in a frame: clicks and boxes, plain values.

As text, a click is ``X,Y`` and a box ``X0,Y0,X1,Y1``, in pixels. Before it may stand the frame and
the object, which are separated by colons: ``120:X,Y`` is in frame 120, ``120:2:X,Y`` is of object 2
in frame 120, and ``:2:X,Y`` of object 2 in the first frame. A time instead of a frame's number has
a unit or a decimal point, as ``4.8s`` and ``0:04.8`` have, which tells it from frame and object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from vos.config import STRICT
from vos.errors import InputError
from vos.moments import parse_moment

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in frame pixels, both corners inside."""

# Python refuses to read numbers of thousands of digits.
_CLICK: Final = re.compile(r"(?P<not>[!-])?(?P<x>\d{1,18}),(?P<y>\d{1,18})")
_BOX: Final = re.compile(r"(-?\d{1,18}),(-?\d{1,18}),(-?\d{1,18}),(-?\d{1,18})")
_FRAME_AND_ID: Final = re.compile(r"(?P<frame>\d{0,18}):(?P<id>\d{1,18})")
_TARGET_FORMS: Final = (
    "before it, you may write a frame (120: or 4.8s:), a frame and an object (120:2:), or an "
    "object of the first frame (:2:)"
)


@dataclass(frozen=True, slots=True)
class Click:
    """One click in a frame.

    Attributes:
        x: Frame pixels, to the right.
        y: Frame pixels, down.
        is_positive: Whether the object is there; else the click says that it is not.
    """

    __pydantic_config__: ClassVar = STRICT

    x: int
    y: int
    is_positive: bool = True

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: a coordinate is no integer.
        """
        _check_integers("a click", (self.x, self.y))

    def is_in(self, box_xyxy: Box) -> bool:
        """Tell whether it lies in a box."""
        x0, y0, x1, y1 = box_xyxy
        return x0 <= self.x <= x1 and y0 <= self.y <= y1


@dataclass(frozen=True, slots=True)
class Hint:
    """All that is pointed out of one object in one frame.

    Each box is around a part of the object, or around all of it. Clicks inside a box belong to
    that part; positive clicks in no box are together on one further part.

    Attributes:
        clicks: In the order in which they were made.
        boxes_xyxy: Boxes, frame pixels.
    """

    __pydantic_config__: ClassVar = STRICT

    clicks: tuple[Click, ...] = ()
    boxes_xyxy: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        """Check that it says where the object is.

        Raises:
            InputError: neither a box nor a positive click, or a box that is none.
        """
        if not self.boxes_xyxy and not any(click.is_positive for click in self.clicks):
            raise InputError("a hint needs a box or a click on the object")
        for box_xyxy in self.boxes_xyxy:
            _check_integers("a box", box_xyxy)
            x0, y0, x1, y1 = box_xyxy
            if not (x0 < x1 and y0 < y1):
                raise InputError(f"box {x0},{y0},{x1},{y1} must have x0 < x1 and y0 < y1")

    def check_within(self, frame_hw: tuple[int, int]) -> None:
        """Check that it lies in a frame; a box may end one pixel after the last.

        Raises:
            InputError: coordinates outside of the frame.
        """
        height, width = frame_hw
        for x0, y0, x1, y1 in self.boxes_xyxy:
            if not (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height):
                raise InputError(
                    f"box {x0},{y0},{x1},{y1} reaches out of the frame's {width} x {height} px"
                )
        check_clicks_within(self.clicks, frame_hw)


def check_clicks_within(clicks: Sequence[Click], frame_hw: tuple[int, int]) -> None:
    """Check that clicks lie in a frame.

    Raises:
        InputError: one lies outside of it.
    """
    height, width = frame_hw
    for click in clicks:
        if not (0 <= click.x < width and 0 <= click.y < height):
            raise InputError(
                f"click {click.x},{click.y} lies outside of the frame's {width} x {height} px"
            )


@dataclass(frozen=True, slots=True)
class Target:
    """Which object is pointed out, and in which frame.

    Attributes:
        frame: The frame, by index (int) or by time in seconds (float); None is the first frame
            used.
        object_id: The object's id, if it is named.
    """

    frame: int | float | None = None
    object_id: int | None = None


def parse_click(text: str) -> tuple[Target, Click]:
    """Read ``[FRAME:][ID:]X,Y``, a click on an object; with ``!X,Y`` or ``-X,Y``, one beside it.

    Raises:
        InputError: ``text`` is of another form.
    """
    target, coordinates = _parse_target(text)
    match = _CLICK.fullmatch(coordinates)
    if target is None or match is None:
        raise InputError(
            f"{text!r} is not a click: write X,Y in pixels, or !X,Y where the object is not; "
            f"{_TARGET_FORMS}"
        )
    return target, Click(int(match["x"]), int(match["y"]), is_positive=match["not"] is None)


def parse_box(text: str) -> tuple[Target, Box]:
    """Read ``[FRAME:][ID:]X0,Y0,X1,Y1``.

    Raises:
        InputError: ``text`` is of another form.
    """
    target, coordinates = _parse_target(text)
    match = _BOX.fullmatch(coordinates)
    if target is None or match is None:
        raise InputError(f"{text!r} is not a box: write X0,Y0,X1,Y1 in pixels; {_TARGET_FORMS}")
    x0, y0, x1, y1 = map(int, match.groups())
    return target, (x0, y0, x1, y1)


def _parse_target(text: str) -> tuple[Target | None, str]:
    """Split what a hint is of from its coordinates; None if it is of no known form."""
    before, colon, coordinates = text.strip().rpartition(":")
    match = _FRAME_AND_ID.fullmatch(before)
    if match is not None:
        frame = int(match["frame"]) if match["frame"] else None
        return Target(frame, int(match["id"])), coordinates
    if not colon:
        return Target(), coordinates
    if (moment := _parse_frame(before)) is not None:
        return Target(moment), coordinates
    before, _, id_text = before.rpartition(":")
    moment = _parse_frame(before)
    if moment is None or not re.fullmatch(r"\d{1,18}", id_text):
        return None, coordinates
    return Target(moment, int(id_text)), coordinates


def _parse_frame(text: str) -> int | float | None:
    moment = parse_moment(text)
    is_ambiguous = ":" in text and not text.endswith("s") and "." not in text
    return None if is_ambiguous else moment


def _check_integers(what: str, numbers: tuple[int, ...]) -> None:
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise InputError(f"{what} must be in whole pixels of the frame, got {numbers}")
