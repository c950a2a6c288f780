"""What the results say of every frame, a byte per frame and object: what the time line shows."""

from __future__ import annotations

import base64
from collections.abc import Iterable

_NOT_TRACKED = 0
_ABSENT = 1
_LOWEST = 2  # scores 0 to 1 are 2 to 255


def byte_of(score: float, *, is_present: bool) -> int:
    """Give the byte of an object in a tracked frame."""
    if not is_present:
        return _ABSENT
    return _LOWEST + round((255 - _LOWEST) * min(max(score, 0.0), 1.0))


class Timeline:
    """Bytes by object and frame: 0 not tracked, 1 absent, else the score from 2 to 255."""

    def __init__(self) -> None:
        self._rows: dict[int, bytearray] = {}

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()

    def set(self, index: int, objects: Iterable[tuple[int, int]]) -> None:
        """Set a frame's (object id, byte) pairs."""
        for object_id, byte in objects:
            row = self._rows.setdefault(object_id, bytearray())
            if index >= len(row):
                row.extend(bytes(index + 1 - len(row)))
            row[index] = byte

    @property
    def num_frames(self) -> int:
        """One more than the index of the last tracked frame."""
        return max(map(len, self._rows.values()), default=0)

    def is_tracked(self, index: int) -> bool:
        """Tell whether there are results of a frame."""
        return any(index < len(row) and row[index] for row in self._rows.values())

    def to_json(self) -> dict[int, str]:
        """Give the rows, in base64, by object id."""
        return {
            object_id: base64.b64encode(row).decode()
            for object_id, row in sorted(self._rows.items())
        }
