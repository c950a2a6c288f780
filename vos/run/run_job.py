"""Doing a job: everything between what the user wants and files on the disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

from vos.errors import DamagedSourceError, InputError, OutputError, SourceError, VosError
from vos.masks import PaintedMask, write_label_png
from vos.records import Frame, FrameMasks, Labels
from vos.run.job import Job, ModelChoice
from vos.run.outputs import Outputs, describe_run
from vos.run.references import Reference, scored, segment_hints
from vos.run.replacing import check_inputs_kept
from vos.run.resume import going_on, load_saved, open_again, read_finished
from vos.run.saving import write_and_save
from vos.sam import load
from vos.sam.model import SamModel
from vos.segment.forward import Progress, segment_steps
from vos.sink.joining import Sound
from vos.sink.tallies import ObjectTallies, unsure_from_the_start
from vos.source import Selection, Source, can_read_again, describe_source, open_selection
from vos.source.sound import sound_of
from vos.track.method import frames_together

_log = logging.getLogger("vos")

_FRAMES_TO_TELL: Final = 10  # after which a reference that cannot be right shows

SAVE_EVERY_SECONDS: Final = 60.0
"""How much work a crash may cost, if nothing else is said."""


@dataclass(frozen=True, slots=True, eq=False)
class JobProgress:
    """How far a job is, after one more frame.

    Attributes:
        num_done: Frames done, those of an earlier run that broke off included.
        num_before: Those of the earlier run.
        num_frames: How many there will be, if that is known.
        frame: The frame.
        masks: Its masks.
    """

    num_done: int
    num_before: int
    num_frames: int | None
    frame: Frame
    masks: FrameMasks


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What became of a job.

    Attributes:
        outputs: Where the results are.
        is_complete: Whether all frames are done; False if it was stopped.
        was_complete: Whether an earlier run had done all of it, so that nothing was left to do.
        num_done: Frames done by this run.
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
        InputError: the job cannot be done as it is: a reference of a frame that is not used, a
            source that can be read only once with ``resume``, or ``resume`` with ``overwrite``.
        VosError: as :func:`vos.open_source`, :func:`vos.read_mask`, :func:`vos.load_sam`,
            :func:`vos.segment_video`; or OutputError: results are in the way, another run is
            writing there, the disk refuses, or an input of the job is where a result would go.
    """
    if resume and overwrite:
        raise InputError("a run is either resumed or overwritten, not both")
    if job.absences or job.dropped or job.tracked:
        raise InputError("absences, dropped objects and ranges are not built yet")
    started = time.monotonic()
    with ExitStack() as stack:
        opened = _open(job, stack, resume=resume, overwrite=overwrite)
        outputs = opened.outputs
        sam = sam or load_model(job.model)
        header = _describe(job, opened, sam)
        if resume and (summary := read_finished(outputs, header)) is not None:
            tallied = tuple(summary["tallies"])
            return JobResult(outputs=outputs, is_complete=True, was_complete=True, tallies=tallied)
        saved = load_saved(outputs, header, sam.device) if resume else None
        shown = {each.index: each.make_labels(sam) for each in opened.references}
        labels_by_index = {index: labels for index, (labels, _) in shown.items()}
        reference = labels_by_index.pop(opened.first.index)
        begin: Labels | Progress = reference
        if saved is not None:
            opened.source.close()
            info, frames = stack.enter_context(open_again(job.source, job.selection, saved.mark))
            begin = saved.progress
        else:
            if outputs.unfinished_folder.exists():  # it broke off before the first save
                outputs = replace(outputs, overwrite=True)
            outputs.check_free()
            info, frames = opened.source.info, chain([opened.first], opened.source)
            if job.outputs.reference_path is not None:
                write_label_png(job.outputs.reference_path, reference)
        tallies = ObjectTallies(outputs.min_score)
        steps = scored(
            segment_steps(frames, begin, sam, job.config, later_references=labels_by_index),
            {index: scores for index, (_, scores) in shown.items()},
        )
        pairs = write_and_save(
            steps if saved is None else going_on(steps, outputs),
            outputs,
            info,
            header,
            sam,
            batch_size=frames_together(job.config, sam),
            every_seconds=None if opened.description is None else save_every_seconds,
            saved=saved,
            frames=frames,
            sound=None if outputs.overlay_alpha is None else _sound(job),
            tallies=tallies,
            started=started,
        )
        num_before = num_done = 0 if saved is None else saved.num_frames
        is_complete = True
        try:
            with closing(pairs):
                for frame, masks in pairs:
                    num_done += 1
                    if on_progress is not None:
                        on_progress(
                            JobProgress(num_done, num_before, info.num_frames, frame, masks)
                        )
                    if num_done - num_before == _FRAMES_TO_TELL:
                        _warn_of_references(tallies)
                    if should_stop():
                        is_complete = False
                        break
            if num_done < _FRAMES_TO_TELL:
                _warn_of_references(tallies)
        except VosError as error:
            error.args = (f"{error}{_what_is_left(outputs, error)}",)
            raise
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(_what_is_left(outputs).removeprefix("; ")) from error
    return JobResult(
        outputs=outputs,
        is_complete=is_complete,
        num_done=num_done - num_before,
        num_before=num_before,
        seconds=time.monotonic() - started,
        tallies=tuple(tallies.rows()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """A job whose inputs are there and fit together.

    Attributes:
        source: The video, after its first frame.
        first: Its first frame.
        outputs: Where the results go.
        references: With their frames.
        painted: The masks of the job's references, None for hints.
        description: What tells the source from others, None if it can be read only once.
    """

    source: Source
    first: Frame
    outputs: Outputs
    references: list[_Shown]
    painted: list[PaintedMask | None]
    description: dict[str, object] | None


def _open(job: Job, stack: ExitStack, *, resume: bool, overwrite: bool) -> _Opened:
    """Open a job's inputs, and refuse what cannot be done before anything is written."""
    painted = [each.read_mask(max_pixels=job.selection.max_pixels) for each in job.references]
    source = stack.enter_context(open_selection(job.source, job.selection))
    outputs = Outputs(
        folder=job.outputs.folder,
        name=job.outputs.name or source.info.name,
        overlay_alpha=job.outputs.overlay_alpha,
        overwrite=overwrite,
        min_score=job.outputs.min_score,
        colours={id_: rgb for mask in painted if mask for id_, rgb in mask.colours.items()},
        names=job.names,
    )
    _check_inputs_kept(job, outputs, resume=resume)
    outputs.check_frame_size(source.info.frame_hw)
    description = describe_source(job.source)
    if resume and description is None:
        raise InputError(f"{job.source} can be read only once, so its run cannot be resumed")
    if not resume:
        outputs.check_free()
    first = next(source)
    references = [
        _find(job, reference, mask, first)
        for reference, mask in zip(job.references, painted, strict=True)
    ]
    _check_indices([each.index for each in references], first)
    return _Opened(source, first, outputs, references, painted, description)


def _describe(job: Job, opened: _Opened, sam: SamModel) -> dict[str, object]:
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


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """A reference with its frame.

    Attributes:
        reference: What shows the objects.
        labels: Its mask in the frame's size; None for hints.
        index: ``Frame.index``.
        frame: The frame itself, where hints need it.
    """

    reference: Reference
    labels: Labels | None
    index: int
    frame: Frame | None

    def make_labels(self, sam: SamModel) -> tuple[Labels, dict[int, float]]:
        if self.labels is not None:
            return self.labels, {}
        if self.frame is None:
            raise RuntimeError("hints without a frame")
        return segment_hints(self.frame, self.reference, sam)


def _check_inputs_kept(job: Job, outputs: Outputs, *, resume: bool) -> None:
    """Refuse results in the place of what the job reads, and a reference in that of any file."""
    masks = (each.mask for each in job.references if each.mask is not None)
    inputs: list[str | Path] = [job.source, *masks]
    outputs.check_inputs_kept(inputs)
    if job.outputs.reference_path is not None:
        check_inputs_kept(inputs, [job.outputs.reference_path])
        if job.outputs.reference_path.exists() and not (resume or outputs.overwrite):
            raise OutputError(
                f"{job.outputs.reference_path} is there already; choose another file for the "
                "reference, or pass --overwrite to replace it"
            )


def _sound(job: Job) -> Sound | None:
    return sound_of(job.source, max_pixels=job.selection.max_pixels)


def _find(job: Job, reference: Reference, painted: PaintedMask | None, first: Frame) -> _Shown:
    """Find the frame of a reference, before anything is written.

    Raises:
        InputError: it is not among the frames used, or the source can be read only once and the
            frame is needed now.
        SourceError: there is no such frame.
        MaskError: the mask does not fit it.
    """
    moment = reference.frame
    if moment is None or moment == first.index:
        frame = first
    elif can_read_again(job.source):
        alone = replace(job.selection, start=moment, end=None, every=1)
        try:
            with open_selection(job.source, alone) as source:
                frame = next(source)
        except SourceError as error:
            when = f"frame {moment}" if isinstance(moment, int) else f"the time {moment} s"
            raise InputError(
                f"there is a reference of {when}, but no such frame: {error}"
            ) from error
    elif painted is None or isinstance(moment, float):
        raise InputError(
            f"{job.source} can be read only once, so a later reference must be a mask of a frame "
            f"that is given by its number, got {moment}"
        )
    else:
        _check_used(job.selection, first, moment, None)
        return _Shown(reference, painted.labels, moment, None)
    _check_used(job.selection, first, frame.index, frame.pts_seconds)
    if painted is None:
        return _Shown(reference, None, frame.index, frame)
    labels = reference.fit(painted.labels, frame.frame_hw)
    return _Shown(reference, labels, frame.index, None)


def _warn_of_references(tallies: ObjectTallies) -> None:
    for object_id in unsure_from_the_start(tallies.rows()):
        _log.warning(
            "object %d is lost or doubtful in every frame after its reference: is that the mask "
            "of this frame, and of the object in its own shape?",
            object_id,
        )


def _check_indices(indices: list[int], first: Frame) -> None:
    """Refuse several references of one frame, and none of the first."""
    for index in indices:
        if indices.count(index) > 1:
            raise InputError(f"frame {index} has several references; give one for each frame")
    if first.index not in indices:
        raise InputError(f"the first frame used is frame {first.index}, and no reference is of it")


def _check_used(selection: Selection, first: Frame, index: int, pts_seconds: float | None) -> None:
    """Refuse the reference of a frame that is not used."""
    is_skipped = index < first.index or (index - first.index) % selection.every != 0
    is_after = selection.is_after(index, first.pts_seconds if pts_seconds is None else pts_seconds)
    if is_skipped or is_after:
        raise InputError(
            f"there is a reference of frame {index}, which is not among the frames used: they "
            f"begin with frame {first.index}"
            + (f", every {selection.every} frames" if selection.every > 1 else "")
            + (f", and end before {selection.end}" if is_after else "")
        )


def _what_is_left(outputs: Outputs, error: VosError | None = None) -> str:
    """Say what there is of a run that broke off, after a semicolon."""
    if isinstance(error, DamagedSourceError):
        return f"; the results of the good frames are in {outputs.masks_folder}"
    if outputs.state_path.exists():
        return (
            f"; what is done is kept in {outputs.masks_folder}: the same command goes on with it "
            "with --resume"
        )
    if error is None and outputs.masks_folder.exists():
        return f"; the results so far are in {outputs.masks_folder}, and cannot be resumed"
    return ""
