"""What a user points out of an object in a frame: clicks and boxes, plain values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

from vos.config import STRICT
from vos.errors import InputError

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in frame pixels, both corners inside."""

# Python refuses to read numbers of thousands of digits.
_CLICK: Final = re.compile(r"(?:(?P<id>\d{1,18}):)?(?P<not>[!-])?(?P<x>\d{1,18}),(?P<y>\d{1,18})")


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
        for click in self.clicks:
            if not (0 <= click.x < width and 0 <= click.y < height):
                raise InputError(
                    f"click {click.x},{click.y} lies outside of the frame's {width} x {height} px"
                )


def parse_click(text: str) -> tuple[int | None, Click]:
    """Read ``[ID:]X,Y``, a click on an object, or ``[ID:]!X,Y`` or ``[ID:]-X,Y``, one beside it.

    Returns:
        The object's id, if there is one, and the click.

    Raises:
        InputError: ``text`` is of another form.
    """
    match = _CLICK.fullmatch(text.strip())
    if match is None:
        raise InputError(
            f"{text!r} is no click: write X,Y in pixels, !X,Y where the object is not, and "
            "ID:X,Y to name the object"
        )
    click = Click(int(match["x"]), int(match["y"]), is_positive=match["not"] is None)
    return (int(match["id"]) if match["id"] else None), click


def _check_integers(what: str, numbers: tuple[int, ...]) -> None:
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise InputError(f"{what} is of whole frame pixels, got {numbers}")
