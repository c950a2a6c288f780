"""What takes long: tracking and exporting, one at a time, reported a few times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from vos.app.found import Bytes, Found
from vos.app.messages import ExportMessage
from vos.app.model_thread import ModelThread
from vos.app.pictures import Pictures
from vos.errors import InputError

if TYPE_CHECKING:
    from vos.export.clip import ExportFrame
    from vos.run.job import Job
    from vos.run.read_results import Results
    from vos.run.run_job import JobProgress
    from vos.sam.model import SamModel

_REPORT_SECONDS: Final = 0.15


class Stopped(Exception):
    """The user has stopped an export."""


class Runs:
    """The run that goes on, if any.

    Args:
        model: Where runs go on; what waits there is done between two frames.
        publish: Takes messages on their progress.
    """

    def __init__(self, model: ModelThread, publish: Callable[[dict[str, Any]], None]) -> None:
        self._model, self._publish = model, publish
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._frames: list[tuple[int, Bytes]] = []
        self._began = self._reported = 0.0
        self.kind: str | None = None
        self.progress: dict[str, Any] | None = None

    def claim(self, kind: str) -> None:
        """Begin a run, ``tracking`` or ``exporting``; it is to be done :meth:`within` soon.

        Raises:
            InputError: another one goes on.
        """
        with self._lock:
            if self.kind is not None:
                raise InputError(f"it is {self.kind} already; stop that first")
            self.kind = kind
            self.progress = {"done": 0, "total": None, "rate": None, "head": None}
        self._stop.clear()

    def stop(self) -> None:
        """Stop the run after the frame in hand."""
        self._stop.set()

    @contextmanager
    def within(self) -> Iterator[None]:
        """Be the run that was claimed, until the body ends, however it ends."""
        self._began = self._reported = time.monotonic()
        try:
            yield
        finally:
            self._report()
            with self._lock:
                self.kind = self.progress = None

    def track(self, job: Job, sam: SamModel, found: Found, pictures: Pictures) -> None:
        """Do a job: what is left of it, what it changes of the results, or all of it.

        Raises:
            VosError: as :func:`vos.run_job`.
        """
        from vos.app.jobs import is_same_job
        from vos.run.outputs import Outputs
        from vos.run.run_job import run_job
        from vos.run.settle import settle_stopped

        outputs = Outputs(folder=job.outputs.folder, name=job.outputs.name or "")
        is_same = found.job is not None and is_same_job(job, found.job)
        is_stopped = outputs.unfinished_folder.exists()
        is_begun = is_stopped and is_same
        is_update = found.is_complete or (is_stopped and not is_same and settle_stopped(outputs))
        is_new = not (is_update or is_begun)
        made = outputs.update if is_update else outputs

        def note(done: JobProgress) -> None:
            pictures.note(done.frame)
            self._frames.append((done.frame.index, found.note(done, made)))
            num_new = done.num_done - done.num_before
            self._note(done.num_done, done.num_frames, num_new, done.frame.index)

        found.begin(job, is_new=is_new)
        if is_new:
            self._publish({"type": "cleared"})
        run_job(
            job,
            sam,
            note,
            resume=is_begun,
            update=is_update,
            overwrite=is_new and outputs.is_of_earlier_run,
            should_stop=self._stop.is_set,
        )

    def export(self, choices: ExportMessage, results: Results, source: str) -> str:
        """Export results; gives what was exported and whereto, for people.

        Raises:
            Stopped: it was stopped; repeated, it goes on.
            VosError: as :func:`vos.export.export.export_results`.
        """
        from vos.export.clean_up import CleanUp
        from vos.export.clip import ExportOptions
        from vos.export.export import export_results

        def note(frame: ExportFrame) -> None:
            self._note(frame.number + 1, len(results.frames), frame.number + 1, None)
            if self._stop.is_set():
                raise Stopped

        clean_up = CleanUp(
            soft=choices.soft, grow_px=choices.grow_px, min_area_px=choices.min_area_px
        )
        done = export_results(
            results,
            choices.formats,
            options=ExportOptions(clean_up=clean_up, per_object=choices.per_object),
            source=source,
            overwrite=True,
            on_frame=note,
        )
        return f"{', '.join(each.name for each in done)}: in {done[0].folder.parent}"

    def _note(self, done: int, total: int | None, num_new: int, head: int | None) -> None:
        now = time.monotonic()
        rate_hz = num_new / max(now - self._began, 1e-6)
        with self._lock:
            self.progress = {"done": done, "total": total, "rate": rate_hz, "head": head}
        if now - self._reported >= _REPORT_SECONDS:
            self._report()
        self._model.do_waiting()

    def _report(self) -> None:
        frames, self._frames = self._frames, []
        self._publish({"type": "progress", "run": self.progress, "frames": frames})
        self._reported = time.monotonic()
