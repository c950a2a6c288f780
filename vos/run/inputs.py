"""Opening what a job reads, and refusing what cannot be done before anything is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vos.errors import InputError, OutputError, SourceError
from vos.masks import PaintedMask
from vos.records import Frame, Labels
from vos.run.job import Job
from vos.run.outputs import Outputs
from vos.run.references import Reference, segment_hints
from vos.run.replacing import check_inputs_kept
from vos.sam.model import SamModel
from vos.segment.plan import (
    END,
    Plan,
    Span,
    Window,
    check_absences,
    plan_both_ways,
    plan_forwards,
)
from vos.source import Selection, Source, can_read_again, describe_source, frame_at, open_selection


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A job whose inputs are there and fit together.

    Attributes:
        source: The video, after its first frame.
        first: Its first frame.
        outputs: Where the results go.
        references: With their frames.
        painted: The masks of the job's references, None for hints.
        description: What tells the source from others, None if it can be read only once.
        absences: Where objects are not, by id.
        window: The frames of which masks are wanted.
    """

    source: Source
    first: Frame
    outputs: Outputs
    references: list[Shown]
    painted: list[PaintedMask | None]
    description: dict[str, object] | None
    absences: dict[int, list[Span]]
    window: Window

    @property
    def is_causal(self) -> bool:
        """Whether every reference is known from its own frame on."""
        alone = all(each.index == self.first.index for each in self.references)
        return self.description is None or (alone and self.window.first == self.first.index)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
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

    def make_labels(self, load_sam: Callable[[], SamModel]) -> tuple[Labels, dict[int, float]]:
        """Give the (H, W) label map, and of hints the IoU with the truth to expect by object."""
        if self.labels is not None:
            return self.labels, {}
        if self.frame is None:
            raise RuntimeError("hints without a frame")
        return segment_hints(self.frame, self.reference, load_sam())


def open_inputs(
    job: Job, stack: ExitStack, *, overwrite: bool, going_on: str | None = None
) -> Opened:
    """Open a job's inputs.

    Args:
        job: The job.
        stack: Closes them.
        overwrite: Whether earlier results are replaced.
        going_on: What becomes of earlier results instead, if they are gone on with.

    Raises:
        VosError: as :func:`vos.run.run_job.run_job`.
    """
    painted = [each.read_mask(max_pixels=job.selection.max_pixels) for each in job.references]
    source = stack.enter_context(open_selection(job.source, job.selection))
    of_masks = {id_: rgb for mask in painted if mask for id_, rgb in mask.colours.items()}
    outputs = Outputs(
        folder=job.outputs.folder,
        name=job.outputs.name or source.info.name,
        overlay_alpha=job.outputs.overlay_alpha,
        overwrite=overwrite,
        min_score=job.outputs.min_score,
        colours=of_masks | job.colours,
        names=job.names,
        soft=job.config.soft,
    )
    _check_inputs_kept(job, outputs, is_going_on=going_on is not None)
    outputs.check_frame_size(source.info.frame_hw)
    description = describe_source(job.source)
    if going_on is None:
        outputs.check_free()
    elif description is None:
        raise InputError(f"{job.source} can be read only once, so its run cannot be {going_on}")
    first = next(source)
    references = [
        _find(job, reference, mask, first)
        for reference, mask in zip(job.references, painted, strict=True)
    ]
    _check_indices([each.index for each in references])
    window = _window(job, first)
    if description is None and any(each.index < window.first for each in references):
        raise InputError(
            f"{job.source} can be read only once, so the range to track must not begin after a "
            f"reference, got {window.first}"
        )
    absences: dict[int, list[Span]] = defaultdict(list)
    for each in job.absences:
        if each.object_id not in job.dropped:
            absences[each.object_id].append(_span(job, each.first, each.last))
    return Opened(source, first, outputs, references, painted, description, absences, window)


def make_plan(
    job: Job, opened: Opened, load_sam: Callable[[], SamModel], *, both_ways: bool = False
) -> tuple[Plan, dict[int, dict[int, float]]]:
    """Make the masks of all references, and plan who is tracked where.

    Args:
        job: The job.
        opened: Its inputs.
        load_sam: Gives its SAM, for hints.
        both_ways: Whether references are known from the beginning, whatever they are.

    Returns:
        The plan, and the scores of masks that come from hints, by frame and object.

    Raises:
        InputError: a reference shows an object where it is said to be absent; a name, a colour, an
            absence or a dropped object is of none that is shown; or nothing is left to track.
        VosError: as :func:`vos.mask_from_hints`.
    """
    made = {each.index: each.make_labels(load_sam) for each in opened.references}
    labels_by_index = {index: labels for index, (labels, _) in made.items()}
    scores = {index: of_frame for index, (_, of_frame) in made.items()}
    shown = {int(each) for labels in labels_by_index.values() for each in np.unique(labels)}
    for what, ids in (
        ("named", job.names),
        ("given a colour", job.colours),
        ("dropped", job.dropped),
    ):
        for object_id in ids:
            if object_id not in shown:
                raise InputError(f"object {object_id} cannot be {what}: no reference shows it")
    references = {
        index: np.where(np.isin(labels, job.dropped), np.uint8(0), labels)
        for index, labels in sorted(labels_by_index.items())
    }
    references = {index: labels for index, labels in references.items() if labels.any()}
    if not references:
        raise InputError("every object of the references is dropped; keep at least one")
    check_absences(references, opened.absences)
    if not both_ways and (job.causal or opened.is_causal):
        return plan_forwards(references, opened.absences, opened.window), scores
    return plan_both_ways(references, opened.absences, opened.window), scores


def reference_frames(job: Job, opened: Opened, indices: Iterable[int]) -> Generator[Frame]:
    """Read the frames of references once more, one at a time."""
    for index in indices:
        if index == opened.first.index:
            yield opened.first
            continue
        with open_selection(job.source, replace(job.selection, start=index, end=None)) as source:
            yield next(source)


def _window(job: Job, first: Frame) -> Window:
    """Find the frames of which masks are wanted.

    Raises:
        InputError: there is none, or a time is not that of a frame.
    """
    every = job.selection.every
    if job.tracked is None:
        return Window(first=first.index, every=every)
    begin, last = _span(job, *job.tracked)
    num_before = max(0, -(-(begin - first.index) // every))
    window = Window(first=first.index + num_before * every, last=last, every=every)
    if window.first > window.last:
        raise InputError(
            f"none of the frames used lies in the range to track, {begin} to {last}: they begin "
            f"with frame {first.index}" + (f", every {every} frames" if every > 1 else "")
        )
    return window


def _span(job: Job, first: int | float, last: int | float) -> Span:
    """Give the indices of two frames.

    Raises:
        InputError: a time cannot be looked up, or the last frame comes before the first.
    """
    indices = []
    for moment in (first, last):
        if isinstance(moment, int):
            indices.append(moment)
        elif not can_read_again(job.source):
            raise InputError(
                f"{job.source} can be read only once, so frames must be given by their numbers, "
                f"got {moment} s"
            )
        else:
            try:
                indices.append(frame_at(job.source, job.selection, moment))
            except SourceError:
                indices.append(END)
    if indices[0] > indices[1]:
        raise InputError(f"frames {first!r} to {last!r} end before they begin")
    return indices[0], indices[1]


def _check_inputs_kept(job: Job, outputs: Outputs, *, is_going_on: bool) -> None:
    """Refuse results in the place of what the job reads, and a reference in that of any file."""
    masks = (each.mask for each in job.references if each.mask is not None)
    inputs: list[str | Path] = [job.source, *masks]
    outputs.check_inputs_kept(inputs)
    if job.outputs.reference_path is not None:
        check_inputs_kept(inputs, [job.outputs.reference_path])
        if job.outputs.reference_path.exists() and not (is_going_on or outputs.overwrite):
            raise OutputError(
                f"{job.outputs.reference_path} exists already; choose another file for the "
                "reference, or pass --overwrite to replace it"
            )


def _find(job: Job, reference: Reference, painted: PaintedMask | None, first: Frame) -> Shown:
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
        return Shown(reference, reference.fit(painted.labels, first.frame_hw), moment, None)
    _check_used(job.selection, first, frame.index, frame.pts_seconds)
    if painted is None:
        return Shown(reference, None, frame.index, frame)
    labels = reference.fit(painted.labels, frame.frame_hw)
    return Shown(reference, labels, frame.index, None)


def _check_indices(indices: list[int]) -> None:
    """Refuse several references of one frame."""
    for index in indices:
        if indices.count(index) > 1:
            raise InputError(f"frame {index} has several references; give one for each frame")


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
