"""The edits of a project, kept on the disk: undo and redo outlive the page and the server.

The file has a line for each step, appended: a new state, or by how many steps undo and redo have
gone. A line that a crash cut short is left out.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from vos.app.project import Project
from vos.files import refusals, write_whole

_MAX_STEPS = 1000  # that can be undone


class History:
    """The states of a project, one of which is the present one.

    Args:
        path: The file; it need not exist, its folder must.

    Raises:
        OutputError: it cannot be read, or is no history.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps: list[tuple[str, Project]] = [("", Project())]
        self._now = 0
        if path.exists():
            self._read()

    @property
    def project(self) -> Project:
        """The present state."""
        return self._steps[self._now][1]

    @property
    def undo_label(self) -> str | None:
        """What undo takes back, None if there is nothing."""
        return self._steps[self._now][0] if self._now else None

    @property
    def redo_label(self) -> str | None:
        """What redo does again, None if there is nothing."""
        return self._steps[self._now + 1][0] if self._now + 1 < len(self._steps) else None

    def do(self, label: str, project: Project) -> None:
        """Make another state the present one; what was undone before is gone.

        Args:
            label: What was done, for people.
            project: The state.

        Raises:
            OutputError: the disk refuses.
        """
        if project == self.project:
            return
        values = _adapter().dump_python(project, mode="json")
        self._append({"do": label, "project": values})
        self._steps[self._now + 1 :] = [(label, project)]
        self._now += 1

    def undo(self) -> None:
        """Go back one step, if there is one."""
        self._go(max(0, self._now - 1))

    def redo(self) -> None:
        """Go forward one step, if one was undone."""
        self._go(min(len(self._steps) - 1, self._now + 1))

    def _go(self, step: int) -> None:
        if step != self._now:
            self._append({"go": step - self._now})
            self._now = step

    def _append(self, line: dict[str, Any]) -> None:
        with refusals(f"write {self._path}"), self._path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        faults = (ValueError, LookupError, TypeError, RecursionError)
        with refusals(f"read {self._path}", *faults):
            content = self._path.read_bytes()
            whole, _, rest = content.rpartition(b"\n")
            for line in whole.splitlines():
                step = json.loads(line)
                if "go" in step:
                    self._now = min(max(0, self._now + int(step["go"])), len(self._steps) - 1)
                    continue
                project = _adapter().validate_json(json.dumps(step["project"]))
                if "do" not in step:
                    self._steps, self._now = [("", project)], 0
                    continue
                self._steps[self._now + 1 :] = [(str(step["do"]), project)]
                self._now += 1
        if rest or len(self._steps) > _MAX_STEPS:
            self._rewrite()

    def _rewrite(self) -> None:
        """Write the file anew, without the oldest steps and without a line that was cut short."""
        first = max(0, self._now - _MAX_STEPS)
        self._steps, self._now = self._steps[first:], self._now - first
        adapter = _adapter()
        lines: list[dict[str, Any]] = [
            {"do": label, "project": adapter.dump_python(project, mode="json")}
            for label, project in self._steps
        ]
        del lines[0]["do"]
        back = len(self._steps) - 1 - self._now
        write_whole(
            self._path,
            b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, {"go": -back}]),
        )


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Project)
