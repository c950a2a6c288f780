"""From a project to a job of vos, and back."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vos.app.project import (
    Marks,
    ObjectStretch,
    Project,
    Rgb,
    with_colours,
    with_marks,
    with_objects,
)
from vos.app.stored_masks import StoredMasks
from vos.config import Memory, PersamF, PublishedMethod, RunConfig
from vos.errors import InputError, VosError
from vos.run.job import Absence, Job, JobOutputs, ModelChoice
from vos.run.read_results import Results
from vos.run.references import Reference
from vos.source import Selection, frame_at


def job_of(project: Project, settings: Job, masks: StoredMasks) -> Job:
    """Say what vos-run is to do.

    Args:
        project: What the user has shown.
        settings: A job of the same source, whose model, method and outputs are taken.
        masks: Where the label maps of the project are.

    Raises:
        InputError: nothing is shown yet.
    """
    if not project.marks:
        raise InputError("show an object first: click on it, draw a box around it, or paint it")
    references = tuple(
        Reference(frame=index, mask=masks.path(marks.mask))
        if marks.painted
        else Reference(frame=index, hints=marks.hints)
        for index, marks in sorted(project.marks.items())
    )
    shown = {each for marks in project.marks.values() for each in marks.object_ids}
    plain = with_objects(Project(), project.names).names
    return replace(
        settings,
        references=references,
        names={
            each: name
            for each, name in project.names.items()
            if each in shown and name != plain[each]
        },
        colours={each: rgb for each, rgb in project.colours.items() if each in shown},
        absences=tuple(
            Absence(object_id=each.object_id, first=each.first, last=each.last)
            for each in project.absences
            if each.object_id in shown
        ),
        dropped=(),
        tracked=project.tracked,
    )


def is_same_job(one: Job, other: Job) -> bool:
    """Tell whether two jobs are the same, by whatever paths they name their files."""
    return _identity(one) == _identity(other)


def _identity(job: Job) -> tuple[Any, ...]:
    """Give what tells a job from others."""
    shown = sorted(
        (each.frame or 0, _mask_identity(each, job.selection.max_pixels), repr(each.hints))
        for each in job.references
    )
    outputs = replace(job.outputs, folder=job.outputs.folder.resolve())
    return (
        *(str(Path(job.source).resolve()), shown, outputs, job.selection, job.model, job.config),
        *(job.names, job.colours, job.absences, job.dropped, job.tracked, job.causal),
    )


def _mask_identity(reference: Reference, max_pixels: int) -> str:
    if reference.mask is None:
        return ""
    try:
        changed_ns = reference.mask.stat().st_mtime_ns
        return _labels_sha256(reference.mask, reference.join_objects, changed_ns, max_pixels)
    except (OSError, VosError):
        return f"{reference.mask.resolve()}, which cannot be read"


@lru_cache(maxsize=1024)
def _labels_sha256(mask: Path, join_objects: bool, changed_ns: int, max_pixels: int) -> str:
    painted = Reference(mask=mask, join_objects=join_objects).read_mask(max_pixels=max_pixels)
    return "" if painted is None else hashlib.sha256(painted.labels.tobytes()).hexdigest()


def settings_of(
    source: str, selection: Selection, outputs: JobOutputs, model: ModelChoice, config: RunConfig
) -> Job:
    """Give the settings of a new project: a job with a reference that is to be replaced."""
    nowhere = Reference(mask=Path())
    return Job(
        source=source,
        references=(nowhere,),
        selection=selection,
        outputs=outputs,
        model=model,
        config=config,
    )


def project_of(job: Job, results: Results, masks: StoredMasks) -> Project:
    """Take over what a run was shown: its references, names, absences and range.

    Args:
        job: The job of the run.
        results: What it found.
        masks: Where the label maps of the project are kept.

    Raises:
        MaskError: a mask of the job is gone or broken.
        VosError: the source cannot be read any more.
    """
    project = Project()
    colours: dict[int, Rgb] = {}
    by_index = {frame.index: number for number, frame in enumerate(results.frames)}
    for reference in job.references:
        index = _index(reference.frame, job) if reference.frame is not None else None
        if index is None:
            index = results.frames[0].index if results.frames else 0
        if reference.hints and index in by_index:
            labels = results.labels(by_index[index])
        elif reference.hints:
            continue  # the run has not come to this frame; its mask is not known
        else:
            painted = reference.read_mask(max_pixels=job.selection.max_pixels)
            if painted is None or results.frame_hw is None:
                continue
            labels = reference.fit(painted.labels, results.frame_hw)
            colours |= painted.colours
        ids = tuple(each for each in np.unique(labels).tolist() if each)
        if reference.hints:
            marks = Marks(mask=masks.keep(labels), hints=dict(reference.hints))
        else:
            marks = Marks(mask=masks.keep(labels), painted=ids)
        project = with_marks(with_objects(project, marks.object_ids), index, marks)
    project = with_colours(project, colours | job.colours)
    names = {each: job.names.get(each, name) for each, name in project.names.items()}
    absences = tuple(
        ObjectStretch(
            object_id=each.object_id, first=_index(each.first, job), last=_index(each.last, job)
        )
        for each in job.absences
    )
    tracked = None
    if job.tracked is not None:
        tracked = _index(job.tracked[0], job), _index(job.tracked[1], job)
    return replace(project, names=names, absences=absences, tracked=tracked)


def _index(moment: int | float, job: Job) -> int:
    return frame_at(job.source, job.selection, moment)


def command_of(job: Job) -> str:
    """Give the command line that does a job.

    Where a project's mask was made of clicks and boxes, they are what is given.
    """
    words = ["vos-run", job.source]
    first, *later = sorted(job.references, key=lambda each: each.frame or 0)
    for reference in (first, *later):
        at = f"{reference.frame or 0}"
        if reference.mask is not None:
            words += ["--ref", f"{at}:{reference.mask}"]
        for object_id, hint in sorted(reference.hints.items()):
            for box in hint.boxes_xyxy:
                words += ["--ref-box", f"{at}:{object_id}:{','.join(map(str, box))}"]
            for each in hint.clicks:
                sign = "" if each.is_positive else "!"
                words += ["--ref-point", f"{at}:{object_id}:{sign}{each.x},{each.y}"]
    for object_id, name in job.names.items():
        words += ["--rename", f"{object_id}:{name}"]
    for object_id, rgb in job.colours.items():
        words += ["--colour", f"{object_id}:#{bytes(rgb).hex()}"]
    for absence in job.absences:
        words += ["--absent", f"{absence.object_id}:{absence.first}-{absence.last}"]
    if job.tracked is not None:
        words += ["--range", f"{job.tracked[0]}-{job.tracked[1]}"]
    words += ["--out", str(job.outputs.folder)]
    if job.outputs.name is not None:
        words += ["--name", job.outputs.name]
    if job.outputs.overlay_alpha is None:
        words.append("--no-overlay")
    return shlex.join([*words, *_method_words(job), *_model_words(job.model)])


def _method_words(job: Job) -> list[str]:
    method = job.config.method
    choice = job.config.method_choice
    words = [] if choice == Memory.name else ["--method", choice]
    if isinstance(method, PublishedMethod):
        words += [] if method.prior == type(method)().prior else ["--prior", method.prior]
        words += [] if method.absence is not None else ["--published"]
    if isinstance(method, PersamF) and method.fit != PersamF().fit:
        words += ["--fit-steps", str(method.fit.num_steps)]
    return words


def _model_words(model: ModelChoice) -> list[str]:
    words = []
    for option, value, default in (
        ("--model", model.name, "nano"),
        ("--checkpoint", model.checkpoint, None),
        ("--device", model.device, "auto"),
        ("--dtype", model.dtype, "auto"),
    ):
        if value != default:
            words += [option, str(value)]
    if (features := model.features) is not None:
        words += ["--features", features.name, "--features-weight", str(features.weight)]
        if features.checkpoint is not None:
            words += ["--features-checkpoint", str(features.checkpoint)]
    words += ["--skip-padding"] if model.skip_padding else []
    return words + (["--compile"] if model.compiled else [])
