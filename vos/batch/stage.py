"""A folder on this machine in which a job's results grow that go elsewhere when complete.

What is needed to go on is copied to the store now and then, so that another machine can.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vos.batch.stores import Store
from vos.errors import OutputError
from vos.files import refusals
from vos.sink.summary import listed_files

_UNFINISHED: Final = ".batch/unfinished"


@dataclass(slots=True, eq=False)
class Stage:
    """Where the results of one job grow, and how they get to their store.

    Attributes:
        store: Where the results go.
        name: The job's.
        base: Folder of the worker.
        files: Of the results, but for the summary and the label maps.
        save_every_seconds: How much work the loss of the machine may cost.
    """

    store: Store
    name: str
    base: Path
    files: tuple[str, ...]
    save_every_seconds: float
    _old_files: frozenset[str] = frozenset()
    _saved: dict[str, tuple[int, int]] = field(default_factory=dict)
    _saved_at: float = 0.0

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        return self.base / "out"

    @property
    def _unfinished(self) -> Store:
        return self.store.below(f"{_UNFINISHED}/{self.name}")

    def begin(self, *, is_ours: bool, overwrite: bool) -> None:
        """Fetch what an earlier worker has left, and note which files are to be replaced.

        Raises:
            OutputError: files in the way are of no batch, and no summary says that vos wrote them;
                or one says so, and they may not be replaced.
        """
        with refusals(f"make {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
        name = self.name
        files = [file for file in (f"{name}.json", *self.files) if self.store.has(file)]
        files += [file for file in self.store.names(name) if file.endswith(".png")]
        files += [file for file in self.store.names(f"{name}.edges") if file.endswith(".npz")]
        listed = self._listed() if is_ours or overwrite else frozenset()
        if not is_ours:
            for file in files:
                if file not in listed:
                    raise OutputError(
                        f"{file} exists, and no batch wrote it; choose another name or --out"
                        + ("" if overwrite else ", or pass --overwrite if vos wrote it")
                    )
        self._old_files = listed | ({f"{name}.mp4", f"{name}.tar"} if is_ours else set())
        if not overwrite:
            unfinished = self._unfinished
            unfinished.get(unfinished.names(""), self.folder)
        self._saved, self._saved_at = self._sizes(), time.monotonic()

    def _listed(self) -> frozenset[str]:
        """Read from an earlier summary which files are written by vos, the summary among them."""
        summary = f"{self.name}.json"
        content = self.store.read(summary)
        if content is None:
            return frozenset()
        earlier = self.base / "earlier.json"
        with refusals(f"write {earlier}"):
            earlier.write_bytes(content)
        listed = {*listed_files(earlier)}
        prefixes = (f"{self.name}/", f"{self.name}.edges/", f"{self.name}.mp4", summary)
        return frozenset(file for file in listed if file.startswith(prefixes))

    def save_now_and_then(self) -> None:
        """Save, if it is time."""
        if time.monotonic() - self._saved_at >= self.save_every_seconds:
            self.save()

    def save(self) -> None:
        """Copy what has changed to the store; the run's state, which counts on it, at last."""
        now = self._sizes()
        changed = [name for name, size in now.items() if self._saved.get(name) != size]
        states = [name for name in changed if name.endswith(".unfinished/state")]
        self._unfinished.put([name for name in changed if name not in states], self.folder)
        self._unfinished.put(states, self.folder)
        self._saved, self._saved_at = now, time.monotonic()

    def publish(self) -> None:
        """Copy the results to the store, the summary at last, and remove those before them."""
        summary = f"{self.name}.json"
        names = {name for name in self._sizes() if not name.startswith(".")}
        self.store.put(sorted(names - {summary}), self.folder)
        self.store.remove(sorted(self._old_files - names))
        self.store.put([summary], self.folder)

    def clear(self) -> None:
        """Remove what was kept to go on."""
        unfinished = self._unfinished
        unfinished.remove(unfinished.names(""))

    def _sizes(self) -> dict[str, tuple[int, int]]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {
            path.relative_to(self.folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in found
            if not path.name.endswith(".lock")
        }
