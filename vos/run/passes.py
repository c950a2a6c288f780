"""The two passes of a job: their frames, their results on the disk, who is told of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import chain, dropwhile, takewhile
from typing import Final

from vos.records import Frame, FrameMasks, SourceInfo
from vos.run.backwards import (
    open_backwards_again,
    read_backwards,
    spans_of_frames,
    with_spooled,
)
from vos.run.inputs import Opened, reference_frames
from vos.run.job import Job
from vos.run.made_from import MadeFrom
from vos.run.outputs import Outputs
from vos.run.references import scored
from vos.run.resume import Saved, going_on, load_saved, open_again, read_finished
from vos.run.saving import write_and_save
from vos.segment.forward import Progress, Step, memory_of, segment_pass
from vos.segment.plan import END, Plan, Span, Window, all_ids, trusting
from vos.sink.joining import Sound
from vos.sink.passing import Pair
from vos.sink.summary import Entries
from vos.sink.tallies import DEFAULT_MIN_SCORE, ObjectTallies, unsure_from_the_start
from vos.source import open_selection
from vos.source.sound import sound_of
from vos.track.method import Model, State, frames_together, fresh_state, taught_state

_log = logging.getLogger("vos")

_FRAMES_TO_TELL: Final = 10  # after which a reference that cannot be right shows


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


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A job that is about to be done.

    Attributes:
        job: The job.
        opened: Its inputs.
        sam: Its model.
        plan: Who is tracked where.
        scores: Of references that come from hints, by frame and object.
        begin: Gives what is known before the first frame of either pass; learns it once.
        header: What the run is.
        save_every_seconds: How much work a crash may cost.
    """

    job: Job
    opened: Opened
    sam: Model
    plan: Plan
    scores: Mapping[int, Mapping[int, float]]
    begin: Callable[[], State]
    header: dict[str, object]
    save_every_seconds: float

    @property
    def batch_size(self) -> int:
        """Frames that are encoded together."""
        return frames_together(self.job.config, self.sam)

    @property
    def spans_backwards(self) -> list[Span]:
        """Spans of the pass backwards, from used frames to used frames."""
        return spans_of_frames(self.plan.spans_backwards, self.opened.window)


def begin_state(job: Job, opened: Opened, plan: Plan, sam: Model) -> State:
    """Give what is known before the first frame of either pass."""
    wanted = plan.forwards
    ids = all_ids(wanted.references.values())
    indices = list(wanted.references)
    if wanted.learns:
        indices = [index for index in indices if index < opened.window.first]
    if not indices:
        return fresh_state(ids, job.config)
    with closing(reference_frames(job, opened, indices)) as frames:
        shown = [(frame, wanted.references[frame.index]) for frame in frames]
    with memory_of(sam, job.config.method):
        return taught_state(shown, ids, sam, job.config, are_kept=wanted.learns)


@dataclass(slots=True)
class Watch:
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


def track_backwards(task: Task, outputs: Outputs, watch: Watch, *, resume: bool) -> bool:
    """Do the pass backwards, or what is left of it; tell whether it came to its end."""
    job, opened, spool = task.job, task.opened, outputs.spool
    spans = task.spans_backwards
    num_frames = num_frames_in(spans, opened.window)
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


def track_forwards(
    task: Task,
    outputs: Outputs,
    watch: Watch,
    saved: Saved | None,
    tallies: ObjectTallies,
    started: float,
) -> bool:
    """Do the pass forwards, or what is left of it; tell whether it came to its end."""
    job, opened = task.job, task.opened
    plan, num_backwards = task.plan, num_frames_in(task.spans_backwards, opened.window)
    if num_backwards:
        gaps = trusting(plan.gaps, doubts_in(outputs.spool))
        plan = Plan.of(gaps, plan.forwards.references)
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
        frames = takewhile(lambda frame: frame.index <= last, frames)
        steps = segment_pass(frames, plan.forwards, begin, task.sam, job.config)
        if saved is not None:
            steps = going_on(steps, outputs)
        if num_backwards:
            steps = with_spooled(steps, outputs.spool, plan.backwards)
        steps = scored(steps, task.scores)
        pairs = write_and_save(
            steps,
            outputs,
            info,
            task.header | {"made_from": MadeFrom.of(plan, [opened.window]).to_json_values()},
            task.sam,
            batch_size=task.batch_size,
            every_seconds=None if opened.description is None else task.save_every_seconds,
            saved=saved,
            frames=frames,
            sound=None if outputs.overlay_alpha is None else sound_of_job(job),
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


def doubts_in(spool: Outputs) -> Iterator[tuple[int, int]]:
    """Find the objects and frames in which masks of the pass backwards are doubtful.

    Raises:
        OutputError: what it found cannot be read.
    """
    with Entries(spool.summary_path) as entries:
        for entry in entries:
            for each in entry["objects"]:
                if each["score"] < DEFAULT_MIN_SCORE:
                    yield each["id"], entry["index"]


def num_frames_in(spans: Iterable[Span], window: Window) -> int:
    """Count the frames of spans from used frames to used frames."""
    return sum((last - first) // window.every + 1 for first, last in spans)


def _num_wanted(info: SourceInfo, window: Window) -> int | None:
    """Say how many frames the pass forwards has, if that is known."""
    if window.last == END:
        return info.num_frames
    num_wanted = num_frames_in([(window.first, window.last)], window)
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


def sound_of_job(job: Job) -> Sound | None:
    """Say how to open the sound of a job's source, if it has one."""
    return sound_of(job.source, max_pixels=job.selection.max_pixels)


def _warn_of_references(tallies: ObjectTallies) -> None:
    for object_id in unsure_from_the_start(tallies.rows()):
        _log.warning(
            "object %d is lost or doubtful in every frame after its reference: check that the mask "
            "belongs to that frame and has the object's shape",
            object_id,
        )
