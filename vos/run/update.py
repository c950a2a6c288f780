"""Doing again only what changed of results: the frames and objects that a changed job touches.

What is made anew lies in a folder of its own until all of it is there, and then takes its place
(``swap``). A run that is killed before leaves the results as they were.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, Final

import numpy as np

from vos.errors import OutputError, SourceError
from vos.files import (
    refusals,
)
from vos.records import Frame, FrameMasks
from vos.run.backwards import spans_of_frames, with_spooled
from vos.run.changes import Change, find_change
from vos.run.job import Job
from vos.run.made_from import MadeFrom
from vos.run.outputs import Outputs
from vos.run.passes import (
    Task,
    Watch,
    begin_state,
    doubts_in,
    num_frames_in,
    sound_of_job,
    track_backwards,
)
from vos.run.references import scored
from vos.run.results import described_files, described_frame
from vos.run.resume import Mark, difference, going_on, load_saved, read_finished
from vos.run.saving import write_and_save
from vos.run.swap import (
    begin_update,
    clear_update,
    finish_update,
    list_moves,
    made_overlay,
    made_summary,
    moves_of_frame,
    overlay_pieces,
)
from vos.segment.forward import Progress, Step, segment_pass
from vos.segment.plan import END, Span
from vos.sink import write_overlay
from vos.sink.passing import Pair
from vos.sink.summary import (
    Entries,
    entry_of_absent,
    read_header,
    write_entries,
)
from vos.source import open_selection
from vos.track.masks import join, measure, nothing_found, only
from vos.track.method import State

_log = logging.getLogger("vos")

_SAME: Final = (
    *("source_file", "selection", "model", "weights_sha256", "features", "settings"),
    *("overlay_alpha", "min_score"),
)
"""What of a summary must not differ between results and their update."""


@dataclass(frozen=True, slots=True, eq=False)
class Earlier:
    """Results that are updated.

    Attributes:
        outputs: Where they are.
        header: What their summary says, but for the frames.
        made_from: What they are made from.
        entries: The entries of their summary.
    """

    outputs: Outputs
    header: dict[str, Any]
    made_from: MadeFrom
    entries: Entries

    def masks(self, index: int) -> FrameMasks | None:
        """Give the masks of a frame; None where there are none."""
        entry = self.entries.of(index)
        return None if entry is None else self.outputs.read_masks(entry)


def read_earlier(outputs: Outputs, header: dict[str, Any]) -> Earlier:
    """Read results that a job is to update.

    Raises:
        OutputError: there are none, or they did not come to their end, are damaged, or are made
            otherwise; the message names what differs.
    """
    path, masks = outputs.summary_path, outputs.masks_folder
    if outputs.unfinished_folder.exists():
        raise OutputError(f"{masks} holds an unfinished run; pass --resume to go on with it")
    if not path.is_file():
        raise OutputError(f"there are no results to update: {path} is not there")
    before = read_header(path)
    if found := difference({k: before.get(k) for k in _SAME}, {k: header[k] for k in _SAME}):
        raise OutputError(
            f"{masks} cannot be updated, its run was different: {found}; choose another output "
            "folder or name, or pass --overwrite to start again"
        )
    if before.get("damaged"):
        raise OutputError(
            f"{masks} cannot be updated, its source broke off; pass --overwrite to start again"
        )
    faults = (LookupError, TypeError, ValueError, AttributeError)
    with refusals(f"update {masks}: {path} does not say what it was made from", *faults):
        made_from = MadeFrom.from_json_values(before["made_from"])
    entries = Entries(path)
    if not len(entries.indices):
        raise OutputError(f"{masks} cannot be updated: {path} holds no frames as vos writes them")
    return Earlier(outputs, before, made_from, entries)


def update_results(
    task: Task, watch: Watch, seconds: Callable[[], float]
) -> tuple[bool, list[dict[str, object]] | None]:
    """Update results, or do what is left of it. No other run may write there meanwhile.

    Args:
        task: The changed job.
        watch: Who is told of every frame.
        seconds: How long the run has taken so far.

    Returns:
        Whether there was anything to do; and a row for each object, as of
        :meth:`vos.sink.tallies.ObjectTallies.rows`, or None if the run was stopped.

    Raises:
        OutputError: as :func:`read_earlier`; or the disk refuses.
        VosError: as :func:`vos.run_job`.
    """
    outputs, header = task.opened.outputs, json.loads(json.dumps(task.header))
    finish_update(outputs)
    earlier = read_earlier(outputs, header)
    with earlier.entries:
        change = find_change(task.plan, task.opened.window, earlier.made_from)
        is_drawn_anew = any(header[key] != earlier.header.get(key) for key in ("names", "colours"))
        if change.is_nothing and not is_drawn_anew:
            clear_update(outputs)
            return False, earlier.header["tallies"]
        for line in change.in_words() or ["no frame is tracked again"]:
            _log.info("update: %s", line)
        made = outputs.update
        plan = change.plan(task.plan.forwards.references)
        with refusals(f"read {outputs.summary_path}"):
            of = hashlib.sha256(outputs.summary_path.read_bytes()).hexdigest()
        task = replace(
            task,
            plan=plan,
            begin=cache(partial(begin_state, task.job, task.opened, plan, task.sam)),
            header=header | {"update_of_sha256": of},
        )
        begin_update(outputs, task.header)
        if not change.is_nothing and read_finished(made, task.header) is None:
            if plan.backwards.stretches and not track_backwards(task, made, watch, resume=True):
                return True, None
            if plan.backwards.stretches:
                change = change.trusting(doubts_in(made.spool), earlier.made_from)
            if not _track_forwards(task, earlier, change, watch):
                return True, None
        rows = _put_together(task, earlier, change, seconds)
    finish_update(outputs)
    return True, rows


def _track_forwards(task: Task, earlier: Earlier, change: Change, watch: Watch) -> bool:
    """Do the pass forwards of an update, or what is left of it; tell whether it came to its end."""
    job, opened, made = task.job, task.opened, earlier.outputs.update
    is_both_ways = bool(task.plan.backwards.stretches)
    plan = change.plan(task.plan.forwards.references)
    spans = spans_of_frames(change.spans, opened.window)
    num_backwards = num_frames_in(task.spans_backwards, opened.window)
    saved = load_saved(made, task.header, task.sam.device)
    begin: State | Progress
    if saved is None:
        begin = task.begin()
    else:
        begin = saved.progress
        watch.num_done = watch.num_before = num_backwards + saved.num_frames
        spans = [(max(a, saved.mark.index), b) for a, b in spans if b >= saved.mark.index]
    with closing(_read_spans(job, spans, earlier)) as read:
        frames: Iterator[Frame] = read
        if saved is not None:
            frames = _from_mark(read, saved.mark, job)
        steps = segment_pass(frames, plan.forwards, begin, task.sam, job.config)
        if saved is not None:
            steps = going_on(steps, made)
        if is_both_ways:
            steps = with_spooled(steps, made.spool, plan.backwards)
        pairs = write_and_save(
            scored(_onto(steps, earlier, change), task.scores),
            made,
            opened.source.info,
            task.header | {"made_from": change.made_from.to_json_values()},
            task.sam,
            batch_size=task.batch_size,
            every_seconds=task.save_every_seconds,
            saved=saved,
            frames=frames,
        )
        num_frames = None
        if spans and spans[-1][1] + opened.window.every <= END:
            all_spans = spans_of_frames(change.spans, opened.window)
            num_frames = num_backwards + num_frames_in(all_spans, opened.window)
        return watch.follow(pairs, num_frames)


def _read_spans(job: Job, spans: list[Span], earlier: Earlier) -> Generator[Frame, None, None]:
    """Read the frames of spans, which begin with frames that are used."""
    for first, last in spans:
        try:
            source = open_selection(job.source, job.selection, first_index=first)
        except SourceError:
            if first <= earlier.entries.indices[-1]:
                raise
            return  # the source ends before
        with source:
            yield from takewhile(lambda frame, last=last: frame.index <= last, source)  # type: ignore[misc]


def _from_mark(frames: Iterator[Frame], mark: Mark, job: Job) -> Iterator[Frame]:
    """Make sure that frames begin with the one that an earlier run marked.

    Raises:
        SourceError: the source has changed.
    """
    first = next(frames, None)
    if first is None or Mark.of(mark.number, first) != mark:
        raise SourceError(f"{job.source} has changed: frame {mark.index} is not what it was")
    return chain([first], frames)


def _ids(made_from: MadeFrom) -> tuple[int, ...]:
    """Give the objects that results have, ascending."""
    given = {object_id for _, object_id in made_from.given}
    return tuple(sorted(given | {gap.object_id for gap in made_from.gaps}))


def _onto(
    steps: Generator[Step, None, None], earlier: Earlier, change: Change
) -> Generator[Step, None, None]:
    """Put what is made anew onto the earlier masks of each frame."""
    ids, changed = _ids(change.made_from), change.changed
    with closing(steps):
        for step in steps:
            index = step.frame.index
            anew = {
                object_id
                for object_id, spans in changed.items()
                if any(first <= index <= last for first, last in spans)
            }
            before = earlier.masks(index) or nothing_found(step.frame.frame_hw, ids)
            kept = only(_with_ids(before, ids), {*ids} - anew)
            found = only(_with_ids(step.masks, ids), anew)
            yield replace(step, masks=join(kept, found))


def _with_ids(masks: FrameMasks, ids: tuple[int, ...]) -> FrameMasks:
    """Give masks another object axis."""
    scores = dict(zip(masks.object_ids, masks.scores.tolist(), strict=True))
    labels = np.where(np.isin(masks.labels, ids), masks.labels, 0).astype(np.uint8)
    scores_of = np.array([scores.get(each, 0) for each in ids], np.float32)
    return replace(measure(labels, ids, scores_of), edges=masks.edges and masks.edges.only(ids))


def _put_together(
    task: Task, earlier: Earlier, change: Change, seconds: Callable[[], float]
) -> list[dict[str, object]]:
    """Make the summary and the overlay of all frames, and the list of what goes where."""
    outputs, made, info = earlier.outputs, earlier.outputs.update, task.opened.source.info
    made_from = change.made_from
    with ExitStack() as stack:
        anew = None
        if made.summary_path.is_file():
            anew = stack.enter_context(Entries(made.summary_path))
            made_from = MadeFrom.from_json_values(read_header(made.summary_path)["made_from"])
        if outputs.overlay_alpha is not None:
            spans = spans_of_frames(list(made_from.spans), task.opened.window)
            with closing(_read_spans(task.job, spans, earlier)) as frames:
                pairs = _shown(frames, earlier, anew)
                for _ in write_overlay(
                    pairs,
                    made_overlay(outputs),
                    pieces=overlay_pieces(outputs),
                    info=info,
                    style=outputs.style,
                    sound=sound_of_job(task.job),
                ):
                    pass
        header = {key: value for key, value in task.header.items() if key != "update_of_sha256"}
        rows = write_entries(
            made_summary(outputs),
            header | {"made_from": made_from.to_json_values()} | described_files(outputs, info),
            _entries(outputs, earlier, anew, _ids(made_from)),
            object_ids=_ids(made_from),
            min_score=outputs.min_score,
            elapsed_seconds=(earlier.header["elapsed_seconds"] or 0) + seconds(),
        )
        changed, added = [], []
        for entry in anew or ():
            for source, target in moves_of_frame(outputs, entry["name"]):
                if not _is_equal(source, target):
                    changed.append(source.name)
                if earlier.entries.of(entry["index"]) is None:
                    added.append(target)
    outputs.ledger.check_free(added)
    list_moves(outputs, changed)
    return rows


def _is_equal(path: Path, other: Path) -> bool:
    with refusals(f"read {path}"):
        return other.is_file() and path.read_bytes() == other.read_bytes()


def _shown(frames: Iterator[Frame], earlier: Earlier, anew: Entries | None) -> Iterator[Pair]:
    """Give the masks of frames, those made anew and the earlier ones."""
    made = earlier.outputs.update
    for frame in frames:
        entry = None if anew is None else anew.of(frame.index)
        masks = earlier.masks(frame.index)
        if entry is not None:
            masks = made.read_masks(entry)
        if masks is not None:
            yield frame, masks


def _entries(
    outputs: Outputs, earlier: Earlier, anew: Entries | None, ids: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """Give the entries of all frames, those made anew and the earlier ones."""
    indices = earlier.entries.indices
    if anew is not None:
        indices = np.union1d(indices, anew.indices)
    for index in indices.tolist():
        entry = (anew.of(index) if anew else None) or earlier.entries.of(index) or {}
        by_id = {each["id"]: each for each in entry["objects"]}
        objects = [by_id.get(each) or entry_of_absent(each) for each in ids]
        yield {**entry, **described_frame(outputs, entry["name"]), "objects": objects}
