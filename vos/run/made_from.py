"""What results were made from, as their summary says, so that an update finds what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vos.masks import object_ids
from vos.segment.plan import END, Anchor, Gap, Plan, Span, Window, mask_hash, merged


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFrom:
    """What results were made from.

    Attributes:
        spans: The frames that there are masks of, ascending; the last may end at ``END``.
        given: Hashes of the masks that references give, by frame and object.
        gaps: All other masks.
    """

    spans: tuple[Span, ...]
    given: Mapping[tuple[int, int], str]
    gaps: tuple[Gap, ...]

    @classmethod
    def of(cls, plan: Plan, windows: Iterable[Window]) -> MadeFrom:
        """Give what the results of a plan are made from.

        Args:
            plan: Who was tracked where.
            windows: The frames that there are masks of.
        """
        spans = merged((each.first, each.last) for each in windows)
        given = {
            (index, object_id): mask_hash(labels, object_id)
            for index, labels in plan.forwards.references.items()
            if any(first <= index <= last for first, last in spans)
            for object_id in object_ids(labels)
        }
        return cls(spans=tuple(spans), given=given, gaps=plan.gaps)

    def to_json_values(self) -> dict[str, object]:
        """Give values that JSON has; what ends with the video ends with null."""
        return {
            "frames": [[first, _open(last)] for first, last in self.spans],
            "references": [
                {"index": index, "object_id": object_id, "mask_sha256": mask_sha256}
                for (index, object_id), mask_sha256 in sorted(self.given.items())
            ],
            "stretches": [
                asdict(gap) | {"last": _open(gap.last), "last_forwards": _open(gap.last_forwards)}
                for gap in self.gaps
            ],
        }

    @classmethod
    def from_json_values(cls, values: Any) -> MadeFrom:
        """Read what :meth:`to_json_values` gave.

        Raises:
            LookupError: it is something else; or TypeError.
        """
        return cls(
            spans=tuple((int(first), _closed(last)) for first, last in values["frames"]),
            given={
                (int(each["index"]), int(each["object_id"])): str(each["mask_sha256"])
                for each in values["references"]
            },
            gaps=tuple(
                Gap(
                    object_id=int(each["object_id"]),
                    first=int(each["first"]),
                    last=_closed(each["last"]),
                    last_forwards=_closed(each["last_forwards"]),
                    before=each["before"] and Anchor(**each["before"]),
                    after=each["after"] and Anchor(**each["after"]),
                )
                for each in values["stretches"]
            ),
        )


def _open(last: int) -> int | None:
    return None if last == END else last


def _closed(last: int | None) -> int:
    return END if last is None else int(last)
