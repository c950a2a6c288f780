"""Data sets as batches: a task for each sequence of DAVIS, and for each class of PerSeg."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from vos.batch.outcome import Outcome, Work
from vos.batch.worker import KeptModel, WorkerSettings, outcome_of
from vos.config import RunConfig
from vos.errors import SourceError
from vos.run.job import Job, ModelChoice
from vos.run.run_job import run_job
from vos.sets.image_outputs import ImageOutputs
from vos.sets.perseg import ImageClass
from vos.sets.pictures import Pictures, read_references, segment_pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A sequence of a set to segment.

    Attributes:
        name: Its name.
        job: Its job.
    """

    name: str
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureClass:
    """A class of a set of pictures to segment.

    Attributes:
        name: Its name.
        found: Its pictures and its reference.
        outputs: Where the results go.
        model: The model.
        config: The method and its settings.
        max_pixels: Most pixels that a picture may have.
    """

    name: str
    found: ImageClass
    outputs: ImageOutputs
    model: ModelChoice
    config: RunConfig
    max_pixels: int


@contextmanager
def sequence_worker(settings: WorkerSettings, *, overwrite: bool) -> Iterator[Work]:
    """Give what segments a :class:`Sequence`; one that was finished before is skipped.

    Args:
        settings: Of the worker.
        overwrite: Whether earlier results are replaced, instead of gone on with.
    """
    model = KeptModel(settings)

    def segment(
        sequence: Sequence, on_frame: Callable[[], object], should_stop: Callable[[], bool]
    ) -> Outcome:
        result = run_job(
            sequence.job,
            model(sequence.job.sam),
            lambda _: on_frame(),
            resume=not overwrite,
            overwrite=overwrite,
            should_stop=should_stop,
        )
        if result.was_complete:
            return Outcome(name=sequence.name, state="skipped")
        return Outcome(
            name=sequence.name,
            state="done" if result.is_complete else "stopped",
            num_frames=result.num_done,
            num_before=result.num_before,
        )

    yield lambda task, on_frame, should_stop: outcome_of(
        task.name, lambda: segment(task, on_frame, should_stop)
    )


@contextmanager
def class_worker(settings: WorkerSettings) -> Iterator[Work]:
    """Give what segments a :class:`PictureClass`.

    Args:
        settings: Of the worker.
    """
    model = KeptModel(settings)

    def segment(
        task: PictureClass, on_frame: Callable[[], object], should_stop: Callable[[], bool]
    ) -> Outcome:
        pictures = Pictures(task.found.pictures, max_pixels=task.max_pixels)
        references = read_references(
            [task.found.reference], join_objects=True, max_pixels=task.max_pixels
        )
        num_done = 0
        sam = model(task.model)
        with closing(
            segment_pictures(pictures, references, task.outputs, sam, task.config)
        ) as results:
            for _ in results:
                num_done += 1
                on_frame()
                if should_stop():
                    return Outcome(name=task.name, state="stopped", num_frames=num_done)
        if pictures.failures:
            raise SourceError("; ".join(map(str, pictures.failures.values())))
        return Outcome(name=task.name, state="done", num_frames=num_done)

    yield lambda task, on_frame, should_stop: outcome_of(
        task.name, lambda: segment(task, on_frame, should_stop)
    )
