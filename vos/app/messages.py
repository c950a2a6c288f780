"""What the page may say, checked before anything is done with it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vos.app.project import MAX_NAME_LENGTH
from vos.errors import InputError
from vos.records import MAX_OBJECT_ID

MAX_MESSAGE_BYTES = 1 << 18
_MAX_SIDE_PX = 1 << 20
_MAX_POINTS = 4096

Index = Annotated[int, Field(ge=0, le=1 << 40)]
ObjectId = Annotated[int, Field(ge=1, le=MAX_OBJECT_ID)]
Coordinate = Annotated[int, Field(ge=-_MAX_SIDE_PX, le=_MAX_SIDE_PX)]
Level = Annotated[int, Field(ge=0, le=255)]
Position = Annotated[float, Field(ge=-_MAX_SIDE_PX, le=_MAX_SIDE_PX)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ClickMessage(_Message):
    """A click on an object, or beside it."""

    type: Literal["click"]
    frame: Index
    object: ObjectId
    x: Coordinate
    y: Coordinate
    positive: bool


class BoxMessage(_Message):
    """A box around an object, both corners inside."""

    type: Literal["box"]
    frame: Index
    object: ObjectId
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class StrokeMessage(_Message):
    """A stroke of the brush or of the eraser."""

    type: Literal["stroke"]
    frame: Index
    object: ObjectId
    radius: Annotated[float, Field(gt=0, le=4096)]
    points: Annotated[list[tuple[Position, Position]], Field(min_length=1, max_length=_MAX_POINTS)]
    erase: bool


class ClearMessage(_Message):
    """What is shown of an object on a frame is taken back."""

    type: Literal["clear"]
    frame: Index
    object: ObjectId


class HoverMessage(_Message):
    """The pointer is on a pixel: what would a click there mean?"""

    type: Literal["hover"]
    frame: Index
    x: Coordinate
    y: Coordinate


class RestMessage(_Message):
    """The pointer rests on a pixel, where a click on an object is likely to come."""

    type: Literal["rest"]
    frame: Index
    object: ObjectId
    x: Coordinate
    y: Coordinate


class LookMessage(_Message):
    """The page stays at a frame, in which clicks are likely to come."""

    type: Literal["look"]
    frame: Index


class AddObjectMessage(_Message):
    """A further object."""

    type: Literal["add_object"]


class NameMessage(_Message):
    """A name for an object."""

    type: Literal["name"]
    object: ObjectId
    name: Annotated[str, Field(max_length=4 * MAX_NAME_LENGTH)]


class ColourMessage(_Message):
    """A colour for an object; None for that of its id."""

    type: Literal["colour"]
    object: ObjectId
    rgb: tuple[Level, Level, Level] | None


class RemoveObjectMessage(_Message):
    """An object less."""

    type: Literal["remove_object"]
    object: ObjectId


class AbsentMessage(_Message):
    """An object is not to be seen in some frames, or may be again."""

    type: Literal["absent"]
    object: ObjectId
    first: Index
    last: Index
    is_absent: bool


class RangeMessage(_Message):
    """Which frames are tracked; None for all."""

    type: Literal["range"]
    range: tuple[Index, Index] | None


class UndoMessage(_Message):
    """Back by one edit, or forward again."""

    type: Literal["undo", "redo"]


class TrackMessage(_Message):
    """Track: all frames or the range, or from a frame forwards or backwards only."""

    type: Literal["track"]
    frame: Index
    direction: Literal["both", "forwards", "backwards"]


class AcceptMessage(_Message):
    """Doubtful masks of an object are right as they are."""

    type: Literal["accept"]
    object: ObjectId
    first: Index
    last: Index


class ExportMessage(_Message):
    """Export the results."""

    type: Literal["export"]
    formats: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=32)]
    per_object: bool = False
    soft: bool = False
    grow_px: Annotated[float, Field(ge=-64, le=64)] = 0.0
    min_area_px: Annotated[int, Field(ge=0, le=1 << 20)] = 0


class StopMessage(_Message):
    """Stop tracking or exporting."""

    type: Literal["stop"]


Message = (
    ClickMessage
    | BoxMessage
    | StrokeMessage
    | ClearMessage
    | HoverMessage
    | RestMessage
    | LookMessage
    | AddObjectMessage
    | NameMessage
    | ColourMessage
    | RemoveObjectMessage
    | AbsentMessage
    | RangeMessage
    | UndoMessage
    | TrackMessage
    | AcceptMessage
    | ExportMessage
    | StopMessage
)


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[Message, Field(discriminator="type")])


def parse_message(text: str) -> Message:
    """Read a message.

    Raises:
        InputError: it is none.
    """
    try:
        message: Message = _adapter().validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise InputError(f"this is no message: {where}: {fault['msg']}") from error
    return message
