"""What the page is told of a project, as values that JSON has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vos.app.project import ObjectStretch, Project

if TYPE_CHECKING:  # the page begins before torch is loaded
    from vos.segment.plan import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """Frames in which masks are not those of the present state, by object id.

    Attributes:
        changed: Where an update makes them anew.
        cleared: Where it takes them away.
    """

    changed: Mapping[int, list[Span]] = field(default_factory=dict)
    cleared: Mapping[int, list[Span]] = field(default_factory=dict)


def stale_to_json(stale: Stale, num_frames: int) -> dict[str, dict[int, list[Span]]]:
    """Give where masks are stale, within the frames that there are."""
    last = num_frames - 1
    return {
        name: {
            object_id: [(first, min(end, last)) for first, end in spans if first <= last]
            for object_id, spans in by_object.items()
        }
        for name, by_object in (("changed", stale.changed), ("cleared", stale.cleared))
    }


def project_to_json(project: Project) -> dict[str, Any]:
    """Give what the page shows of a project; label maps are fetched by frame."""
    return {
        "names": project.names,
        "colours": project.colours,
        "marks": {
            index: {
                "painted": marks.painted,
                "corrections": {
                    object_id: [[c.x, c.y, c.is_positive] for c in clicks]
                    for object_id, clicks in marks.corrections.items()
                },
                "scores": marks.scores,
                "hints": {
                    object_id: {
                        "clicks": [[c.x, c.y, c.is_positive] for c in hint.clicks],
                        "boxes": hint.boxes_xyxy,
                    }
                    for object_id, hint in marks.hints.items()
                },
            }
            for index, marks in project.marks.items()
        },
        "absences": [_triple(each) for each in project.absences],
        "accepted": [_triple(each) for each in project.accepted],
        "tracked": project.tracked,
    }


def _triple(stretch: ObjectStretch) -> tuple[int, int, int]:
    return stretch.object_id, stretch.first, stretch.last
