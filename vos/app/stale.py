"""Where results are of another state of the project than the present one."""

from __future__ import annotations

from vos.app.edits import Canvas
from vos.app.page_state import Stale
from vos.app.project import Project
from vos.run.changes import find_change
from vos.run.made_from import MadeFrom
from vos.segment.plan import END, Span, Window, plan_both_ways


def find_stale(
    project: Project, canvas: Canvas, made_from: MadeFrom, *, first_index: int, every: int
) -> Stale:
    """Find what an update would make anew, or take away.

    Args:
        project: The present state.
        canvas: Where its label maps are.
        made_from: What the results are made from.
        first_index: The first frame that is used.
        every: Of the frames, every which one is used.

    Raises:
        MaskError: a label map is gone or broken.
    """
    first, last = project.tracked or (first_index, END)
    absences: dict[int, list[Span]] = {}
    for each in project.absences:
        absences.setdefault(each.object_id, []).append((each.first, each.last))
    window = Window(first=max(first, first_index), last=last, every=every)
    references = {index: canvas.shown(project, index) for index in project.marks}
    change = find_change(plan_both_ways(references, absences, window), window, made_from)
    cleared = {each: list(spans) for each, spans in change.cleared.items()}
    return Stale(changed=change.changed, cleared=cleared)
