"""Edits of what is shown on a frame: each takes a project and gives another one.

A frame's marks have one label map for all objects that are shown on it. Of some of them SAM made
the masks, from clicks and boxes; the others were painted, or come from a file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vos.app.project import (
    Marks,
    Project,
    Rgb,
    mark_absent,
    remove_object,
    shown_on,
    with_colours,
    with_marks,
    with_objects,
)
from vos.app.stored_masks import (
    StoredMasks,
    only_objects,
    paint_stroke,
    put_objects,
    without_objects,
)
from vos.hint import Click, Hint
from vos.records import Labels


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where label maps are kept, and of what size they are."""

    masks: StoredMasks
    frame_hw: tuple[int, int]

    def shown(self, project: Project, index: int) -> Labels:
        """Give the (H, W) label map of what is shown on a frame, and nothing else."""
        marks = project.marks.get(index)
        if marks is None:
            return np.zeros(self.frame_hw, np.uint8)
        return only_objects(self.masks.read(marks.mask), marks.object_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """A stroke of the brush or of the eraser.

    Attributes:
        object_id: Whose pixels are painted, or taken away.
        points_xy: The stroke's points, frame pixels.
        radius_px: Half its width.
        is_erasing: Whether the object loses the pixels.
    """

    object_id: int
    points_xy: Sequence[tuple[float, float]]
    radius_px: float
    is_erasing: bool


def paint(project: Project, canvas: Canvas, index: int, stroke: Stroke, found: Labels) -> Project:
    """Paint on a frame, over what is shown there or else over what was found.

    Args:
        project: The project.
        canvas: Where its label maps are.
        index: The frame's index.
        stroke: The stroke.
        found: (H, W) label map of the frame as people see it.
    """
    object_id = stroke.object_id
    project = with_objects(project, [object_id])
    shown = canvas.shown(project, index)
    if not (shown == object_id).any():
        shown = put_objects(shown, found, [object_id])
    painted = paint_stroke(
        shown, object_id, stroke.points_xy, stroke.radius_px, erase=stroke.is_erasing
    )
    differ = shown != painted
    changed = {*np.unique(shown[differ]).tolist(), *np.unique(painted[differ]).tolist()} - {0}
    if not changed:
        return project
    return shown_on(project, index, _painted_marks(project, canvas, index, painted, changed))


def take_mask(
    project: Project,
    canvas: Canvas,
    index: int,
    labels: Labels,
    colours: Mapping[int, Rgb],
) -> Project:
    """Show the objects of a label map on a frame, in the colours that its file has."""
    ids = {each for each in np.unique(labels).tolist() if each}
    shown = put_objects(canvas.shown(project, index), labels, ids)
    marks = _painted_marks(project, canvas, index, shown, ids)
    project = with_colours(with_objects(project, sorted(ids)), colours)
    return shown_on(project, index, marks)


def take_hint(
    project: Project,
    canvas: Canvas,
    index: int,
    object_id: int,
    hints: Mapping[int, Hint],
    labels: Labels,
    scores: Mapping[int, float],
) -> Project:
    """Show what SAM made of clicks and boxes on a frame.

    Args:
        project: The project.
        canvas: Where its label maps are.
        index: The frame's index.
        object_id: The object that was pointed out just now.
        hints: What is pointed out on the frame, of this and of other objects.
        labels: (H, W) label map of all of them.
        scores: The expected IoU of each.
    """
    before = (project.marks.get(index) or Marks(mask="")).without(hints)
    if before.painted:
        labels = _beside_painted(labels, canvas, before, object_id, hints[object_id])
    done = replace(
        before,
        mask=canvas.masks.keep(labels),
        hints=dict(hints),
        scores=before.scores | {each: round(score, 3) for each, score in scores.items()},
    )
    return shown_on(with_objects(project, [object_id]), index, done)


def take_correction(
    project: Project,
    canvas: Canvas,
    index: int,
    object_id: int,
    clicks: Sequence[Click],
    labels: Labels,
    score: float,
) -> Project:
    """Show a mask that clicks have corrected on a frame.

    Args:
        project: The project.
        canvas: Where its label maps are.
        index: The frame's index.
        object_id: The object.
        clicks: What was clicked of it on this frame.
        labels: (H, W) label map of the frame as people see it, with the corrected mask.
        score: The expected IoU of that mask.
    """
    before = project.marks.get(index) or Marks(mask="")
    shown = put_objects(np.zeros_like(labels), labels, {*before.object_ids, object_id})
    others = before.without([object_id])
    done = replace(
        others,
        mask=canvas.masks.keep(shown),
        painted=tuple(sorted({*others.painted, object_id})),
        corrections={**others.corrections, object_id: tuple(clicks)},
        scores={**others.scores, object_id: round(score, 3)},
    )
    return shown_on(with_objects(project, [object_id]), index, done)


def take_back(project: Project, canvas: Canvas, index: int, object_id: int) -> Project:
    """Take back what is shown of an object on a frame."""
    marks = project.marks.get(index)
    if marks is None or object_id not in marks.object_ids:
        return project
    if marks.object_ids == (object_id,):
        return with_marks(project, index, None)
    left = replace(
        marks.without([object_id]),
        mask=canvas.masks.keep(without_objects(canvas.shown(project, index), [object_id])),
    )
    return with_marks(project, index, left)


def drop_object(project: Project, canvas: Canvas, object_id: int) -> Project:
    """Remove an object, and what is shown of it on any frame.

    Raises:
        InputError: there is no such object.
    """
    for index in project.marks:
        project = take_back(project, canvas, index, object_id)
    return remove_object(project, object_id)


def say_absent(project: Project, canvas: Canvas, object_id: int, first: int, last: int) -> Project:
    """Say that an object is not to be seen in some frames, also where it was shown.

    Raises:
        InputError: as :func:`vos.app.project.mark_absent`.
    """
    for index in project.marks:
        if first <= index <= last:
            project = take_back(project, canvas, index, object_id)
    return mark_absent(project, object_id, first, last)


def _painted_marks(
    project: Project, canvas: Canvas, index: int, shown: Labels, painted: Collection[int]
) -> Marks:
    """Give the marks of a frame after some of its objects were painted."""
    before = project.marks.get(index) or Marks(mask="")
    present = set(np.unique(shown).tolist())
    others = before.without({*painted, *(each for each in before.painted if each not in present)})
    return replace(
        others,
        mask=canvas.masks.keep(shown),
        painted=tuple(sorted({*others.painted, *painted} & present)),
    )


def _beside_painted(
    labels: Labels,
    canvas: Canvas,
    shown: Marks,
    object_id: int,
    hint: Hint,
) -> Labels:
    """Leave painted objects as they are, but where a click says that it is the other object."""
    before = canvas.masks.read(shown.mask)
    clicked = {int(before[click.y, click.x]) for click in hint.clicks if click.is_positive}
    kept = only_objects(before, shown.painted)
    gives_way = np.isin(kept, [*clicked]) & (labels == object_id)
    return np.where((kept > 0) & ~gives_way, kept, labels)
