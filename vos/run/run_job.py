"""Doing a job: everything between what the user wants and files on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Final

from vos.config import Cutie, Sam2
from vos.errors import DamagedSourceError, InputError, OutputError, VosError
from vos.masks import write_label_png
from vos.run.inputs import Opened, make_plan, open_inputs
from vos.run.job import Job, ModelChoice
from vos.run.only_writer import only_writer
from vos.run.outputs import Outputs, describe_run
from vos.run.passes import JobProgress as JobProgress
from vos.run.passes import Task, Watch, begin_state, track_backwards, track_forwards
from vos.run.resume import load_saved, read_finished
from vos.run.swap import clear_update, finish_update
from vos.run.update import update_results
from vos.sam import load
from vos.sam.model import SamModel
from vos.sink.tallies import ObjectTallies
from vos.track.method import Model, load_network

SAVE_EVERY_SECONDS: Final = 60.0
"""How much work a crash may cost, if nothing else is said."""

_UPDATE_LEFT: Final = (
    "the results are unchanged; run the same command again to go on with the update"
)


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
        if self.outputs.update.folder.exists():
            return _UPDATE_LEFT
        return _what_is_left(self.outputs).removeprefix("; ")


def run_job(
    job: Job,
    sam: Model | None = None,
    on_progress: Callable[[JobProgress], object] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    update: bool = False,
    save_every_seconds: float = SAVE_EVERY_SECONDS,
    should_stop: Callable[[], bool] = lambda: False,
) -> JobResult:
    """Run a job, or the rest of one that broke off.

    The state is saved at intervals, when the run is stopped, and when anything fails. The same job
    with ``resume`` then goes on, and ends with the same bytes as a run that did not break off.

    Args:
        job: What to do.
        sam: The model, if it is loaded already; it must be the job's own. Where the method has a
            network of its own it is that, or the SAM that makes masks of clicks and boxes.
        on_progress: Called after every frame whose results are on the disk.
        resume: Go on with a run that broke off. A finished one is left as it is.
        overwrite: Replace earlier results of this name.
        update: Compute only what the job changes in its earlier results: the frames and objects
            that new, removed or changed references, absences and the like affect. Every other
            label map stays the same to the byte. An update that broke off leaves the results
            unchanged; the same call goes on with it.
        save_every_seconds: Time between two saved states; a crash loses at most this much work.
        should_stop: Called after every frame; True stops the run.

    Raises:
        InputError: the job cannot be done as it is: a reference of a frame that is not used, or of
            an object where it is said to be absent; a source that can be read only once with
            ``resume`` or ``update``, or with references before the range to track; a causal job
            with ``update``; or several of ``resume``, ``overwrite`` and ``update``.
        VosError: as :func:`vos.open_source`, :func:`vos.read_mask`, :func:`vos.load_sam`,
            :func:`vos.segment_video`; or OutputError: results are in the way, another run is
            writing there, the disk refuses, an input of the job is where a result would go, or
            what is to be updated was made of another source, with another model or other settings.
    """
    if resume + overwrite + update > 1:
        raise InputError("choose one of resume, overwrite and update")
    started = time.monotonic()
    if update:
        watch = Watch(on_progress, should_stop)
        return _update(job, sam, watch, save_every_seconds, started)
    with ExitStack() as stack:
        going_on = "resumed" if resume else None
        opened = open_inputs(job, stack, overwrite=overwrite, going_on=going_on)
        outputs = opened.outputs
        if outputs.update.folder.exists():
            with only_writer(outputs.lock_path, outputs.masks_folder):
                finish_update(outputs)
                if overwrite:
                    clear_update(outputs)
        sam, load_sam = _models(job, sam)
        plan, scores = make_plan(job, opened, load_sam)
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
        begin = cache(partial(begin_state, job, opened, plan, sam))
        task = Task(job, opened, sam, plan, scores, begin, header, save_every_seconds)
        watch = Watch(on_progress, should_stop)
        try:
            is_complete = True
            if plan.backwards.stretches and saved is None:
                is_complete = track_backwards(task, outputs, watch, resume=resume)
                outputs = replace(outputs, overwrite=True)  # the run that may replace has begun
            if is_complete:
                is_complete = track_forwards(task, outputs, watch, saved, tallies, started)
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


def _update(
    job: Job, sam: Model | None, watch: Watch, save_every_seconds: float, started: float
) -> JobResult:
    """Update the results of a job."""
    if job.causal:
        raise InputError("an update looks at the whole video, so it cannot be of a causal job")
    with ExitStack() as stack:
        opened = open_inputs(job, stack, overwrite=False, going_on="updated")
        outputs = opened.outputs
        sam, load_sam = _models(job, sam)
        plan, scores = make_plan(job, opened, load_sam, both_ways=True)
        begin = partial(begin_state, job, opened, plan, sam)
        header = _describe(job, opened, sam)
        task = Task(job, opened, sam, plan, scores, begin, header, save_every_seconds)
        stack.enter_context(only_writer(outputs.lock_path, outputs.masks_folder))
        try:
            is_new, rows = update_results(task, watch, lambda: time.monotonic() - started)
        except VosError as error:
            if outputs.update.folder.exists():
                error.args = (f"{error}; {_UPDATE_LEFT}",)
            raise
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(_UPDATE_LEFT) from error
    return JobResult(
        outputs=outputs,
        is_complete=rows is not None,
        was_complete=not is_new,
        num_done=watch.num_done - watch.num_before,
        num_before=watch.num_before,
        seconds=time.monotonic() - started,
        tallies=tuple(rows or ()),
    )


def _describe(job: Job, opened: Opened, sam: Model) -> dict[str, object]:
    """Say what the run is: what its summary begins with, and what tells it from other runs."""
    outputs = opened.outputs
    references = zip(job.references, opened.painted, strict=True)
    has_hints = any(each.hints for each in job.references)
    of_hints = {} if isinstance(sam, SamModel) or not has_hints else {"hints_by": job.sam.name}
    return {
        "job": _without_folder(job),
        **describe_run(job.source, sam, job.config),
        **of_hints,
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


def _models(job: Job, given: Model | None) -> tuple[Model, Callable[[], SamModel]]:
    """Give what a job tracks with, and what gives the SAM that makes masks of its hints."""
    method = job.config.method
    if isinstance(method, Cutie | Sam2):
        sam = given if isinstance(given, SamModel) else None
        if given is None or sam is not None:
            given = load_network(method, job.model.checkpoint, job.model.device)
        return given, cache(lambda: sam or load_model(job.sam))
    if given is not None and not isinstance(given, SamModel):
        raise InputError(f"the method {method.name} needs a SAM, got {given.name}")
    model = given or load_model(job.model)
    return model, lambda: model


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
        features=choice.features,
    )


def _what_is_left(outputs: Outputs, error: VosError | None = None) -> str:
    """Say what there is of a run that broke off, after a semicolon."""
    if isinstance(error, DamagedSourceError):
        return f"; the results of the good frames are in {outputs.masks_folder}"
    if outputs.spool.state_path.exists():
        return "; what is done is kept: the same command with --resume goes on"
    if outputs.state_path.exists():
        kept = f"what is done is kept in {outputs.masks_folder}"
        return f"; {kept}: the same command with --resume goes on"
    if error is None and outputs.masks_folder.exists():
        return f"; the results so far are in {outputs.masks_folder}, and cannot be resumed"
    return ""
