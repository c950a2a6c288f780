"""What the user has shown and said of one video, as a value; each edit gives another one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from vos.config import STRICT
from vos.errors import InputError
from vos.hint import Box, Click, Hint
from vos.masks import OBJECT_COLOURS
from vos.records import MAX_OBJECT_ID

MAX_NAME_LENGTH = 80

Rgb = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What is shown of some objects on one frame.

    Attributes:
        mask: Name of the label map of these objects, see :mod:`vos.app.stored_masks`.
        hints: The clicks and boxes of the objects whose masks SAM made.
        painted: The objects whose masks were painted, read from a file, or corrected: the mask
            alone says what they are.
        corrections: The clicks that corrected some of these masks, by object id.
        scores: The expected IoU of the masks that SAM made or corrected, by object id.
    """

    __pydantic_config__: ClassVar = STRICT

    mask: str
    hints: dict[int, Hint] = field(default_factory=dict)
    painted: tuple[int, ...] = ()
    corrections: dict[int, tuple[Click, ...]] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that are shown, ascending."""
        return tuple(sorted({*self.hints, *self.painted}))

    def without(self, object_ids: Collection[int]) -> Marks:
        """Give the same of the other objects; their label map stays."""
        return Marks(
            mask=self.mask,
            hints={each: hint for each, hint in self.hints.items() if each not in object_ids},
            painted=tuple(each for each in self.painted if each not in object_ids),
            corrections={
                each: clicks for each, clicks in self.corrections.items() if each not in object_ids
            },
            scores={each: score for each, score in self.scores.items() if each not in object_ids},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStretch:
    """Frames of which something is said of an object.

    Attributes:
        object_id: The object.
        first: Index of the first frame.
        last: Index of the last frame.
    """

    __pydantic_config__: ClassVar = STRICT

    object_id: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """All that the user wants of a video, but for the settings of the run.

    Attributes:
        names: The objects, by id.
        colours: (red, green, blue) of objects, by id; the others have that of their id.
        marks: What is shown, by the frame's index.
        absences: Where objects are not to be seen, in order.
        tracked: Indices of the first and the last frame to be tracked; None for all.
        accepted: Doubtful stretches of an object that are right as they are.
    """

    __pydantic_config__: ClassVar = STRICT

    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, Rgb] = field(default_factory=dict)
    marks: dict[int, Marks] = field(default_factory=dict)
    absences: tuple[ObjectStretch, ...] = ()
    tracked: tuple[int, int] | None = None
    accepted: tuple[ObjectStretch, ...] = ()

    def check_object(self, object_id: int) -> None:
        """Check that there is such an object.

        Raises:
            InputError: there is none.
        """
        if object_id not in self.names:
            raise InputError(f"there is no object {object_id}")

    def is_absent(self, object_id: int, index: int) -> bool:
        """Tell whether the user said that an object is not to be seen in a frame."""
        return any(
            each.object_id == object_id and each.first <= index <= each.last
            for each in self.absences
        )


def add_object(project: Project) -> Project:
    """Add an object with the lowest free id, and a colour that no other has while there is one.

    Raises:
        InputError: there are as many as a label map can hold.
    """
    free = next((n for n in range(1, MAX_OBJECT_ID + 1) if n not in project.names), None)
    if free is None:
        raise InputError(f"there are {MAX_OBJECT_ID} objects already, as many as a mask can hold")
    added = with_objects(project, [free])
    palette = [tuple(rgb) for rgb in OBJECT_COLOURS.tolist()]
    taken = {project.colours.get(each, palette[each]) for each in project.names}
    unused = [rgb for rgb in palette[1:] if rgb not in taken]
    if palette[free] not in taken or not unused:
        return added
    return colour_object(added, free, unused[0])


def with_objects(project: Project, object_ids: Iterable[int]) -> Project:
    """Add objects that are not there yet, under plain names."""
    new = {each: f"object {each}" for each in object_ids if each not in project.names}
    return replace(project, names=dict(sorted({**project.names, **new}.items())))


def rename_object(project: Project, object_id: int, name: str) -> Project:
    """Name an object.

    Raises:
        InputError: there is no such object, or the name is empty or too long.
    """
    project.check_object(object_id)
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise InputError(f"a name has 1 to {MAX_NAME_LENGTH} characters, got {name[:100]!r}")
    return replace(project, names={**project.names, object_id: name})


def colour_object(project: Project, object_id: int, rgb: Rgb | None) -> Project:
    """Give an object a colour, or with None that of its id.

    Raises:
        InputError: there is no such object.
    """
    project.check_object(object_id)
    colours = {each: colour for each, colour in project.colours.items() if each != object_id}
    if rgb is not None:
        colours[object_id] = rgb
    return replace(project, colours=dict(sorted(colours.items())))


def with_colours(project: Project, colours: Mapping[int, Rgb]) -> Project:
    """Take over colours of objects that have none yet, and which are not those of their ids."""
    new = {
        object_id: rgb
        for object_id, rgb in colours.items()
        if object_id in project.names and rgb != tuple(OBJECT_COLOURS[object_id].tolist())
    }
    return replace(project, colours=dict(sorted((new | project.colours).items())))


def remove_object(project: Project, object_id: int) -> Project:
    """Remove an object of which no frame shows anything.

    Raises:
        InputError: there is no such object.
    """
    project.check_object(object_id)
    return replace(
        project,
        names={each: name for each, name in project.names.items() if each != object_id},
        colours={each: rgb for each, rgb in project.colours.items() if each != object_id},
        absences=tuple(each for each in project.absences if each.object_id != object_id),
        accepted=tuple(each for each in project.accepted if each.object_id != object_id),
    )


def with_marks(project: Project, index: int, marks: Marks | None) -> Project:
    """Replace what is shown on a frame; None takes it away."""
    others = {frame: each for frame, each in project.marks.items() if frame != index}
    if marks is not None and marks.object_ids:
        others[index] = marks
    return replace(project, marks=dict(sorted(others.items())))


def shown_on(project: Project, index: int, marks: Marks) -> Project:
    """Show objects on a frame, in which they are then not absent."""
    for object_id in marks.object_ids:
        if project.is_absent(object_id, index):
            project = mark_absent(project, object_id, index, index, is_absent=False)
    return with_marks(project, index, marks)


def mark_absent(
    project: Project, object_id: int, first: int, last: int, *, is_absent: bool = True
) -> Project:
    """Say that an object is not to be seen in some frames, or take that back.

    Raises:
        InputError: there is no such object, or the frames are out of order.
    """
    project.check_object(object_id)
    if not 0 <= first <= last:
        raise InputError(f"the frames {first} to {last} are in no order")
    kept = []
    for each in project.absences:
        if each.object_id != object_id or each.last < first - 1 or each.first > last + 1:
            kept.append(each)
        elif is_absent:  # they touch
            first, last = min(first, each.first), max(last, each.last)
        else:
            if each.first < first:
                kept.append(replace(each, last=min(each.last, first - 1)))
            if each.last > last:
                kept.append(replace(each, first=max(each.first, last + 1)))
    if is_absent:
        kept.append(ObjectStretch(object_id=object_id, first=first, last=last))
    kept.sort(key=lambda each: (each.object_id, each.first))
    return replace(project, absences=tuple(kept))


def accept(project: Project, object_id: int, first: int, last: int) -> Project:
    """Say that the masks of an object are right in some frames.

    Raises:
        InputError: there is no such object.
    """
    project.check_object(object_id)
    stretch = ObjectStretch(object_id=object_id, first=first, last=last)
    return replace(project, accepted=(*project.accepted, stretch))


def set_range(project: Project, tracked: tuple[int, int] | None) -> Project:
    """Say which frames are tracked; None for all.

    Raises:
        InputError: the frames are out of order.
    """
    if tracked is not None and not 0 <= tracked[0] <= tracked[1]:
        raise InputError(f"the frames {tracked[0]} to {tracked[1]} are in no order")
    return replace(project, tracked=tracked)


def further_hint(before: Hint | None, clicks: tuple[Click, ...], boxes: tuple[Box, ...]) -> Hint:
    """Add clicks or boxes to what was pointed out of an object.

    Args:
        before: What was pointed out of it on this frame.
        clicks: Further clicks.
        boxes: Further boxes.

    Raises:
        InputError: a click beside an object of which nothing is known.
    """
    if before is not None:
        return Hint((*before.clicks, *clicks), (*before.boxes_xyxy, *boxes))
    if not boxes and not any(each.is_positive for each in clicks):
        raise InputError("click on the object first; then take away what is not it")
    return Hint(clicks, boxes)
