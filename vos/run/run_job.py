"""Doing a job: everything between what the user wants and files on the disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain, dropwhile, takewhile
from typing import Final

from vos.errors import DamagedSourceError, InputError, OutputError, VosError
from vos.masks import write_label_png
from vos.records import Frame, FrameMasks, SourceInfo
from vos.run.backwards import (
    open_backwards_again,
    read_backwards,
    spans_of_frames,
    with_spooled,
)
from vos.run.inputs import Opened, make_plan, open_inputs, reference_frames
from vos.run.job import Job, ModelChoice
from vos.run.only_writer import only_writer
from vos.run.outputs import Outputs, describe_run
from vos.run.resume import Saved, going_on, load_saved, open_again, read_finished
from vos.run.saving import write_and_save
from vos.sam import load
from vos.sam.model import SamModel
from vos.segment.forward import Progress, Step, memory_of, segment_pass
from vos.segment.plan import Plan, Span, Window, all_ids
from vos.sink.joining import Sound
from vos.sink.passing import Pair
from vos.sink.tallies import ObjectTallies, unsure_from_the_start
from vos.source import open_selection
from vos.source.sound import sound_of
from vos.track.method import State, frames_together, fresh_state, taught_state

_log = logging.getLogger("vos")

_FRAMES_TO_TELL: Final = 10  # after which a reference that cannot be right shows

SAVE_EVERY_SECONDS: Final = 60.0
"""How much work a crash may cost, if nothing else is said."""


@dataclass(frozen=True, slots=True, eq=False)
class JobProgress:
    """How far a job is, after one more frame.

    Attributes:
        num_done: Frames done, those of an earlier run that broke off included. A frame counts in
            each pass that it is in.
        num_before: Those of the earlier run.
        num_frames: How many there will be, if that is known.
        frame: The frame.
        masks: Its masks.
        is_backwards: Whether it is a frame of the pass backwards, which comes first where there is
            one. What that finds is written when the frame comes again.
    """

    num_done: int
    num_before: int
    num_frames: int | None
    frame: Frame
    masks: FrameMasks
    is_backwards: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What became of a job.

    Attributes:
        outputs: Where the results are.
        is_complete: Whether all frames are done; False if it was stopped.
        was_complete: Whether an earlier run had done all of it, so that nothing was left to do.
        num_done: Frames done by this run, counted as in :class:`JobProgress`.
        num_before: Frames done by an earlier one that broke off.
        seconds: What this run took.
        tallies: A row per object, as :meth:`vos.sink.tallies.ObjectTallies.rows` gives.
    """

    outputs: Outputs
    is_complete: bool
    was_complete: bool = False
    num_done: int = 0
    num_before: int = 0
    seconds: float = 0.0
    tallies: tuple[dict[str, object], ...] = ()

    @property
    def what_is_left(self) -> str:
        """What there is of a job that was stopped, for people."""
        return _what_is_left(self.outputs).removeprefix("; ")


def run_job(
    job: Job,
    sam: SamModel | None = None,
    on_progress: Callable[[JobProgress], object] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    save_every_seconds: float = SAVE_EVERY_SECONDS,
    should_stop: Callable[[], bool] = lambda: False,
) -> JobResult:
    """Do a job, or what is left of it.

    The run's state is saved now and then, when it is stopped, and when anything fails. The same
    job with ``resume`` then goes on, and ends with the same bytes as a run that did not break off.

    Args:
        job: What to do.
        sam: The model, if it is loaded already; it must be the job's own.
        on_progress: Called after every frame whose results are on the disk.
        resume: Go on with a run that broke off. A finished one is left as it is.
        overwrite: Replace earlier results of this name.
        save_every_seconds: How much work a crash may cost.
        should_stop: Asked after every frame.

    Raises:
        InputError: the job cannot be done as it is: a reference of a frame that is not used, or of
            an object where it is said to be absent; a source that can be read only once with
            ``resume``, or with references before the range to track; or ``resume`` with
            ``overwrite``.
        VosError: as :func:`vos.open_source`, :func:`vos.read_mask`, :func:`vos.load_sam`,
            :func:`vos.segment_video`; or OutputError: results are in the way, another run is
            writing there, the disk refuses, or an input of the job is where a result would go.
    """
    if resume and overwrite:
        raise InputError("a run is either resumed or overwritten, not both")
    started = time.monotonic()
    with ExitStack() as stack:
        opened = open_inputs(job, stack, resume=resume, overwrite=overwrite)
        outputs = opened.outputs
        sam = sam or load_model(job.model)
        plan = make_plan(job, opened, sam)
        header = _describe(job, opened, sam)
        if resume and (summary := read_finished(outputs, header)) is not None:
            lock = only_writer(outputs.lock_path, outputs.masks_folder)
            with suppress(OutputError), lock:  # a run may have been killed at its very end
                outputs.remove_unfinished()
            tallied = tuple(summary["tallies"])
            return JobResult(outputs=outputs, is_complete=True, was_complete=True, tallies=tallied)
        saved = load_saved(outputs, header, sam.device) if resume else None
        if saved is None:
            if resume and outputs.unfinished_folder.exists():
                outputs = replace(outputs, overwrite=True)  # it broke off before the first save
            outputs.check_free()
            if job.outputs.reference_path is not None:
                references = plan.forwards.references
                write_label_png(job.outputs.reference_path, references[min(references)])
        tallies = ObjectTallies(outputs.min_score)
        task = _Task(job, opened, sam, plan, header, save_every_seconds)
        watch = _Watch(on_progress, should_stop)
        try:
            is_complete = True
            if plan.backwards.stretches and saved is None:
                is_complete = _track_backwards(task, outputs, watch, resume=resume)
                outputs = replace(outputs, overwrite=True)  # the run that may replace has begun
            if is_complete:
                is_complete = _track_forwards(task, outputs, watch, saved, tallies, started)
        except VosError as error:
            error.args = (f"{error}{_what_is_left(outputs, error)}",)
            raise
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(_what_is_left(outputs).removeprefix("; ")) from error
    return JobResult(
        outputs=outputs,
        is_complete=is_complete,
        num_done=watch.num_done - watch.num_before,
        num_before=watch.num_before,
        seconds=time.monotonic() - started,
        tallies=tuple(tallies.rows()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A job that is about to be done."""

    job: Job
    opened: Opened
    sam: SamModel
    plan: Plan
    header: dict[str, object]
    save_every_seconds: float

    @property
    def batch_size(self) -> int:
        return frames_together(self.job.config, self.sam)

    def begin(self) -> State:
        """Give what is known before the first frame of a pass."""
        wanted, config = self.plan.forwards, self.job.config
        ids = all_ids(wanted.references.values())
        indices = list(wanted.references)
        if wanted.learns:
            indices = [index for index in indices if index < self.opened.window.first]
        if not indices:
            return fresh_state(ids, config)
        with closing(reference_frames(self.job, self.opened, indices)) as frames:
            shown = [(frame, wanted.references[frame.index]) for frame in frames]
        with memory_of(self.sam, config.method):
            return taught_state(shown, ids, self.sam, config, are_kept=wanted.learns)


@dataclass(slots=True)
class _Watch:
    """Who is told of every frame, and may stop the run after it."""

    on_progress: Callable[[JobProgress], object] | None
    should_stop: Callable[[], bool]
    num_done: int = 0
    num_before: int = 0

    def follow(
        self,
        pairs: Generator[Pair, None, None],
        num_frames: int | None,
        *,
        is_backwards: bool = False,
    ) -> bool:
        """Pull frames through; tell whether they came to their end."""
        with closing(pairs):
            for frame, masks in pairs:
                self.num_done += 1
                if self.on_progress is not None:
                    done = self.num_done, self.num_before, num_frames, frame, masks
                    self.on_progress(JobProgress(*done, is_backwards=is_backwards))
                if self.should_stop():
                    return False
        return True


def _track_backwards(task: _Task, outputs: Outputs, watch: _Watch, *, resume: bool) -> bool:
    """Do the pass backwards, or what is left of it; tell whether it came to its end."""
    job, opened, spool = task.job, task.opened, outputs.spool
    spans = spans_of_frames(task.plan.spans_backwards, opened.window)
    num_frames = _num_frames(spans, opened.window)
    saved = None
    if resume:
        if read_finished(spool, task.header) is not None:
            watch.num_done = watch.num_before = num_frames
            return True
        saved = load_saved(spool, task.header, task.sam.device, is_backwards=True)
    with ExitStack() as stack:
        begin: State | Progress
        if saved is None:
            begin = task.begin()
            frames: Iterator[Frame] = stack.enter_context(
                closing(read_backwards(job.source, job.selection, spans))
            )
        else:
            begin = saved.progress
            watch.num_done = watch.num_before = saved.num_frames
            frames = stack.enter_context(
                open_backwards_again(job.source, job.selection, spans, saved.mark)
            )
        steps = segment_pass(frames, task.plan.backwards, begin, task.sam, job.config)
        steps = (
            _after_first(steps, outputs.begin_spool) if saved is None else going_on(steps, spool)
        )
        pairs = write_and_save(
            steps,
            spool,
            opened.source.info,
            task.header,
            task.sam,
            batch_size=task.batch_size,
            every_seconds=task.save_every_seconds,
            saved=saved,
            frames=frames,
        )
        num_forwards = _num_wanted(opened.source.info, opened.window)
        num_in_all = None if num_forwards is None else num_frames + num_forwards
        return watch.follow(pairs, num_in_all, is_backwards=True)


def _track_forwards(
    task: _Task,
    outputs: Outputs,
    watch: _Watch,
    saved: Saved | None,
    tallies: ObjectTallies,
    started: float,
) -> bool:
    """Do the pass forwards, or what is left of it; tell whether it came to its end."""
    job, opened = task.job, task.opened
    spans = spans_of_frames(task.plan.spans_backwards, opened.window)
    num_backwards = _num_frames(spans, opened.window)
    with ExitStack() as stack:
        if saved is None:
            begin: State | Progress = task.begin()
            info, frames = _wanted_frames(job, opened, stack)
        else:
            opened.source.close()
            selection = job.selection
            if opened.window.first != opened.first.index:
                selection = replace(selection, start=opened.window.first)
            info, frames = stack.enter_context(open_again(job.source, selection, saved.mark))
            begin = saved.progress
            watch.num_done = watch.num_before = num_backwards + saved.num_frames
        last = opened.window.last
        if last is not None:
            frames = takewhile(lambda frame: frame.index <= last, frames)
        steps = segment_pass(frames, task.plan.forwards, begin, task.sam, job.config)
        if saved is not None:
            steps = going_on(steps, outputs)
        if spans:
            steps = with_spooled(steps, outputs.spool)
        pairs = write_and_save(
            steps,
            outputs,
            info,
            task.header,
            task.sam,
            batch_size=task.batch_size,
            every_seconds=None if opened.description is None else task.save_every_seconds,
            saved=saved,
            frames=frames,
            sound=None if outputs.overlay_alpha is None else _sound(job),
            tallies=tallies,
            started=started,
        )
        num_forwards = _num_wanted(info, opened.window)
        num_in_all = None if num_forwards is None else num_backwards + num_forwards
        return watch.follow(_warning(pairs, tallies), num_in_all)


def _after_first(
    steps: Generator[Step, None, None], do: Callable[[], object]
) -> Generator[Step, None, None]:
    """Do something when the first step is there, so that a failure before it leaves no trace."""
    with closing(steps):
        for number, step in enumerate(steps):
            if number == 0:
                do()
            yield step


def _wanted_frames(
    job: Job, opened: Opened, stack: ExitStack
) -> tuple[SourceInfo, Iterator[Frame]]:
    """Give the frames from the first wanted one on."""
    frames: Iterator[Frame] = chain([opened.first], opened.source)
    first = opened.window.first
    if first == opened.first.index:
        return opened.source.info, frames
    if opened.description is None:
        return opened.source.info, dropwhile(lambda frame: frame.index < first, frames)
    opened.source.close()
    source = stack.enter_context(open_selection(job.source, job.selection, first_index=first))
    return source.info, source


def _num_frames(spans: Iterable[Span], window: Window) -> int:
    return sum((last - first) // window.every + 1 for first, last in spans)


def _num_wanted(info: SourceInfo, window: Window) -> int | None:
    """Say how many frames the pass forwards has, if that is known."""
    if window.last is None:
        return info.num_frames
    num_wanted = _num_frames([(window.first, window.last)], window)
    return num_wanted if info.num_frames is None else min(num_wanted, info.num_frames)


def _warning(
    pairs: Generator[Pair, None, None], tallies: ObjectTallies
) -> Generator[Pair, None, None]:
    """Warn of references that cannot be right after some frames, or at an earlier end."""
    num_frames = 0
    with closing(pairs):
        for num_frames, pair in enumerate(pairs, start=1):
            if num_frames == _FRAMES_TO_TELL:
                _warn_of_references(tallies)
            yield pair
    if num_frames < _FRAMES_TO_TELL:
        _warn_of_references(tallies)


def _describe(job: Job, opened: Opened, sam: SamModel) -> dict[str, object]:
    """Say what the run is: what its summary begins with, and what tells it from other runs."""
    outputs = opened.outputs
    references = zip(job.references, opened.painted, strict=True)
    return {
        "job": _without_folder(job),
        **describe_run(job.source, sam, job.config),
        "selection": asdict(job.selection),
        "references": [reference.describe(mask) for reference, mask in references],
        "overlay_alpha": outputs.overlay_alpha,
        "min_score": outputs.min_score,
        "colours": {str(id_): rgb for id_, rgb in sorted(outputs.colours.items())},
        "names": {str(id_): name for id_, name in sorted(outputs.names.items())},
        "absences": {str(id_): spans for id_, spans in sorted(opened.absences.items())},
        "dropped": sorted(job.dropped),
        "tracked": None if job.tracked is None else [opened.window.first, opened.window.last],
        "causal": job.causal,
        "source_file": opened.description,
    }


def _without_folder(job: Job) -> dict[str, object]:
    """Give a job as its results carry it: they may be moved, and lie beside it."""
    document = job.to_json_values()
    del document["outputs"]["folder"]
    return document


def load_model(choice: ModelChoice) -> SamModel:
    """Load the model of a job; several jobs may share it.

    Raises:
        VosError: as :func:`vos.load_sam`.
    """
    return load.load_sam(
        choice.name,
        choice.checkpoint,
        choice.device,
        choice.dtype,
        compiled=choice.compiled,
        skip_padding=choice.skip_padding,
    )


def _sound(job: Job) -> Sound | None:
    return sound_of(job.source, max_pixels=job.selection.max_pixels)


def _warn_of_references(tallies: ObjectTallies) -> None:
    for object_id in unsure_from_the_start(tallies.rows()):
        _log.warning(
            "object %d is lost or doubtful in every frame after its reference: is that the mask "
            "of this frame, and of the object in its own shape?",
            object_id,
        )


def _what_is_left(outputs: Outputs, error: VosError | None = None) -> str:
    """Say what there is of a run that broke off, after a semicolon."""
    if isinstance(error, DamagedSourceError):
        return f"; the results of the good frames are in {outputs.masks_folder}"
    if outputs.spool.state_path.exists():
        return "; what is done is kept: the same command goes on with it with --resume"
    if outputs.state_path.exists():
        return (
            f"; what is done is kept in {outputs.masks_folder}: the same command goes on with it "
            "with --resume"
        )
    if error is None and outputs.masks_folder.exists():
        return f"; the results so far are in {outputs.masks_folder}, and cannot be resumed"
    return ""
