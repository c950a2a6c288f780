"""One task from its inputs to its record: skip, claim, fetch, segment, publish, commit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from vos.batch.cache import Cache
from vos.batch.claims import EXPIRE_SECONDS, ActiveClaim, ClaimedError, Worker, claim, is_dead
from vos.batch.digest import digest_of, read_mask_file
from vos.batch.manifest import Task
from vos.batch.outcome import Outcome
from vos.batch.pack import pack_tar
from vos.batch.records import Record, read_record, write_record
from vos.batch.stage import Stage
from vos.batch.stores import open_store
from vos.batch.worker import KeptModel, WorkerSettings, can_pass, outcome_of
from vos.errors import OutputError, VosError
from vos.files import refusals, whole_file
from vos.run.job import Job
from vos.run.run_job import SAVE_EVERY_SECONDS, JobProgress, JobResult, run_job
from vos.source.address import is_url


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """What all jobs of a batch have in common. It is pickled on its way to the workers.

    Attributes:
        out: Folder or URL of the results.
        scratch: Folder on this machine for what is in the making, and for ``cache_bytes`` of
            remote videos.
        cache_bytes: See there.
        overwrite: Whether jobs that are done are done again.
        only_failed: Whether only those jobs are done that failed before.
        pack: ``tar`` puts the label maps of a job into one file.
        save_every_seconds: How much work a crash may cost.
        expire_seconds: After how long without a sign of life a worker counts as dead.
        worker: How workers are set up.
    """

    out: str
    scratch: Path
    cache_bytes: int = 10 * 10**9
    overwrite: bool = False
    only_failed: bool = False
    pack: Literal["tar"] | None = None
    save_every_seconds: float = SAVE_EVERY_SECONDS
    expire_seconds: float = EXPIRE_SECONDS
    worker: WorkerSettings = field(default_factory=WorkerSettings)


class JobWorker:
    """Does one task after another, and keeps the model of the last one; a context manager.

    Args:
        settings: Of the batch.

    Raises:
        InputError: there is no such store.
        OutputError: the scratch folder cannot be written.
    """

    def __init__(self, settings: BatchSettings) -> None:
        self._model = KeptModel(settings.worker)
        self._settings = settings
        self._store = open_store(settings.out)
        self._cache = Cache(settings.scratch / "cache", settings.cache_bytes)
        running = settings.scratch / "running"
        _clear_dead(running)
        self._worker = Worker(running)
        self._folder = running / self._worker.token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._worker.end()

    def __call__(
        self, task: Task, on_frame: Callable[[], object], should_stop: Callable[[], bool]
    ) -> Outcome:
        """Do a task."""
        return outcome_of(task.name, lambda: self._do(task, on_frame, should_stop))

    def _do(
        self, task: Task, on_frame: Callable[[], object], should_stop: Callable[[], bool]
    ) -> Outcome:
        settings, name = self._settings, task.name
        record = read_record(self._store, name)
        skipped = Outcome(name=name, state="skipped")
        if settings.only_failed and (record is None or record.state != "failed"):
            return skipped
        digest = None
        try:
            digest = digest_of(task, pack=settings.pack)
            if _is_done(record, digest) and not settings.overwrite:
                return skipped
            expire_seconds = settings.expire_seconds
            with claim(
                self._store,
                name,
                self._worker,
                renew_seconds=expire_seconds / 6,
                expire_seconds=expire_seconds,
            ) as active:
                before, record = record, read_record(self._store, name)
                if _is_done(record, digest) and (record != before or not settings.overwrite):
                    return skipped  # another worker did it just now
                return self._segment(task, record, digest, active, on_frame, should_stop)
        except ClaimedError as error:
            return Outcome(name=name, state="elsewhere", error=str(error))
        except Exception as error:
            with suppress(VosError):
                now = read_record(self._store, name)
                if not _is_done(now, digest):  # by another worker, which took over
                    has_results = now is not None and now.has_results
                    failed = Record(
                        state="failed", digest=digest, has_results=has_results, error=str(error)
                    )
                    write_record(self._store, name, failed)
            raise

    def _segment(
        self,
        task: Task,
        record: Record | None,
        digest: str,
        active: ActiveClaim,
        on_frame: Callable[[], object],
        should_stop: Callable[[], bool],
    ) -> Outcome:
        """Do a job that this worker has claimed."""
        name, settings, store = task.name, self._settings, self._store
        is_ours = record is not None and record.has_results
        begun = Record(state="begun", digest=digest, has_results=True)
        stage = None
        if store.folder is None or settings.pack is not None:
            files = [f"{name}.tar"] if settings.pack else []
            files += [] if task.job.outputs.overlay_alpha is None else [f"{name}.mp4"]
            stage = Stage(store, name, self._folder, tuple(files), settings.save_every_seconds)
        has_begun = is_ours
        if has_begun:  # no earlier "done" may outlive its results
            write_record(store, name, begun)

        def show(progress: JobProgress) -> None:
            nonlocal has_begun
            if not has_begun:
                write_record(store, name, begun)
                has_begun = True
            if stage is not None:
                stage.save_now_and_then()
            on_frame()

        def should_end() -> bool:
            return should_stop() or active.is_lost

        try:
            folder = store.folder if stage is None else stage.folder
            if folder is None:
                raise RuntimeError("a store that is no folder needs a stage")
            job = self._localize(task, folder)
            if stage is not None:
                stage.begin(is_ours=is_ours, overwrite=settings.overwrite)
            result = self._run(job, is_ours or stage is not None, show, should_end)
            if not result.is_complete:
                if stage is not None and not active.is_lost:
                    stage.save()
                return Outcome(
                    name=name,
                    state="elsewhere" if active.is_lost else "stopped",
                    num_frames=result.num_done,
                    num_before=result.num_before,
                )
            num_frames = result.num_before + result.num_done
            if stage is not None:
                _name_inputs(stage.folder / f"{name}.json", task)
                if settings.pack == "tar":
                    pack_tar(stage.folder, name)
                stage.publish()
            elif is_ours:
                store.remove([f"{name}.tar"])
        except Exception as error:
            if stage is not None and can_pass(error):
                with suppress(VosError):
                    stage.save()
            raise
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        done = replace(begun, state="done", num_frames=num_frames)
        write_record(store, name, done)
        if stage is not None:
            stage.clear()
        return Outcome(
            name=name, state="done", num_frames=result.num_done, num_before=result.num_before
        )

    def _localize(self, task: Task, folder: Path) -> Job:
        """Give the job with files of this machine; remote ones are fetched."""
        inputs = self._folder / "in"
        with refusals(f"make {inputs}"):
            inputs.mkdir(parents=True, exist_ok=True)
        job = task.job
        source = job.source
        if is_url(source):
            path = inputs / f"video{Path(source.partition('?')[0]).suffix}"
            self._cache.fetch(source, path)
            source = str(path)
        references = []
        for number, (reference, address) in enumerate(
            zip(job.references, task.mask_addresses, strict=True)
        ):
            if address is not None and is_url(address):
                path = inputs / f"mask{number}{Path(address.partition('?')[0]).suffix}"
                path.write_bytes(read_mask_file(address))
                reference = replace(reference, mask=path)
            references.append(reference)
        outputs = replace(job.outputs, folder=folder, name=task.name)
        return replace(job, source=source, references=tuple(references), outputs=outputs)

    def _run(
        self,
        job: Job,
        may_replace: bool,
        on_progress: Callable[[JobProgress], object],
        should_stop: Callable[[], bool],
    ) -> JobResult:
        """Go on with what is there; begin again where it is of the batch, but of another job."""
        settings = self._settings
        sam = self._model(job.sam)
        for resume in (False,) if settings.overwrite else (True, False):
            try:
                return run_job(
                    job,
                    sam,
                    on_progress,
                    resume=resume,
                    overwrite=not resume,
                    save_every_seconds=settings.save_every_seconds,
                    should_stop=should_stop,
                )
            except OutputError as error:
                # Where the system gives the reason, the disk is at fault.
                if not resume or not may_replace or isinstance(error.__cause__, OSError):
                    raise
        raise RuntimeError("a job was neither resumed nor begun")


def _is_done(record: Record | None, digest: str | None) -> bool:
    return record is not None and record.state == "done" and record.digest == digest


def _name_inputs(summary: Path, task: Task) -> None:
    """Let a summary name the job's inputs as the manifest does, not their copies here."""
    job = task.job.to_json_values()
    del job["outputs"]["folder"]
    job["outputs"]["name"] = task.name
    for reference, address in zip(job["references"], task.mask_addresses, strict=True):
        reference["mask"] = address
    lines = {
        f"{json.dumps(key)}: ".encode(): f"{json.dumps(key)}: {json.dumps(value)},\n".encode()
        for key, value in (("job", job), ("source", task.job.source))
    }
    with whole_file(summary) as unfinished, summary.open("rb") as old, unfinished.open("wb") as new:
        for line in old:
            new.write(next((lines[key] for key in lines if line.startswith(key)), line))


def _clear_dead(running: Path) -> None:
    """Remove what workers of this machine left that were killed."""
    for lock in running.glob("*.lock"):
        if is_dead(lock):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
