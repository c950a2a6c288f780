"""Saving a run's state now and then, so that it can go on to the same bytes if it breaks off.

The order on the disk makes a saved state true whatever happens, a loss of power included: the files
that it counts on are complete and synced before it replaces the state before it. What came after a
saved state is done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from vos.errors import SourceError
from vos.files import refusals, sync_files, sync_folders, whole_file
from vos.records import Frame, SourceInfo
from vos.run.outputs import Outputs
from vos.run.results import Kept, write_results
from vos.run.resume import Mark, Saved
from vos.run.state import decode_state, encode_state
from vos.segment.forward import Step
from vos.sink.joining import Sound
from vos.sink.passing import Pair
from vos.sink.pieces import FRAMES_PER_PIECE, PIECES
from vos.sink.tallies import ObjectTallies
from vos.track.batches import default_batch_size
from vos.track.method import Model


def write_and_save(
    steps: Generator[Step, None, None],
    outputs: Outputs,
    info: SourceInfo,
    header: dict[str, object],
    sam: Model,
    *,
    batch_size: int | None = None,
    every_seconds: float | None = 60,
    saved: Saved | None = None,
    frames: Iterable[Frame] = (),
    sound: Sound | None = None,
    tallies: ObjectTallies | None = None,
    started: float | None = None,
) -> Generator[Pair, None, None]:
    """Write results as :func:`~vos.run.results.write_results`, and save the state now and then.

    The state is also saved when the consumer stops or anything fails. When the last frame is done
    nothing but the results is left.

    Args:
        steps: The frames to come, their masks and progress.
        outputs: Where the files go.
        info: What is known of the source.
        header: What tells this run from others, and what its summary says.
        sam: The model.
        batch_size: Frames that it encodes together, as in RunConfig.
        every_seconds: How much work may be lost. None, for a source that can be read only once,
            saves no state; the results are the same.
        saved: The state to go on from, or None for a new run.
        frames: From :func:`open_again`: where ``steps`` takes its frames from.
        sound: As in :func:`~vos.run.results.write_results`.
        tallies: As in :func:`~vos.run.results.write_results`.
        started: As in :func:`~vos.run.results.write_results`.

    Yields:
        The frames of ``steps`` and their masks.

    Raises:
        OutputError: the disk refuses; what was saved last stays.
    """
    started = time.monotonic() if started is None else started
    writing = partial(
        write_results, outputs=outputs, info=info, header=header, sound=sound, tallies=tallies
    )
    if every_seconds is None:
        yield from writing(_pairs_of(steps), started=started)
        return
    # The last bits of features may depend on the size of their batch, so batches begin where they
    # would have begun without a break.
    batch_size = batch_size or default_batch_size(sam.device)
    kept = Kept()
    if saved is not None:
        kept = Kept(
            num_frames=saved.num_frames,
            num_in_pieces=saved.mark.number,
            again=_exactly(frames, saved.num_frames - saved.mark.number),
            elapsed_seconds=saved.elapsed_seconds,
        )
    began = started - kept.elapsed_seconds
    saver = _Saver(outputs, json.dumps(header), saved, batch_size, began)
    next_save = 0.0
    results = writing(saver.watch(steps), kept=kept, at_end=saver.at_end, started=started)
    with closing(results):
        try:
            for pair in results:
                saver.note()
                if time.monotonic() >= next_save and saver.save():
                    next_save = time.monotonic() + every_seconds
                yield pair
        except GeneratorExit:
            saver.save()  # before the overlay is joined, which takes long
            raise


class _Saver:
    """Keeps the latest state that a run can go on from, and puts it on the disk."""

    def __init__(
        self,
        outputs: Outputs,
        header: str,
        saved: Saved | None,
        batch_size: int,
        began: float,
    ) -> None:
        self._outputs = outputs
        self._header = header
        self._batch_size = batch_size
        self._began = began
        self._num_frames = 0 if saved is None else saved.num_frames
        self._mark = None if saved is None else saved.mark
        self._newest: Saved | None = None
        self._step: Step | None = None
        self._unsynced: list[Path] = []
        self._synced_pieces: set[Path] = set()
        self._is_proven = False

    def watch(self, steps: Generator[Step, None, None]) -> Iterator[Pair]:
        """See the steps on their way to the sinks."""
        with closing(steps):
            for self._step in steps:
                yield self._step.frame, self._step.masks

    def note(self) -> None:
        """Take notice that all sinks are done with the step."""
        if self._step is None:
            return
        frame = self._step.frame
        if self._mark is None or self._num_frames % FRAMES_PER_PIECE == 0:
            self._mark = Mark.of(self._num_frames, frame)
        self._num_frames += 1
        self._unsynced += [path for path, _ in self._outputs.frame_files(frame, self._step.masks)]
        if self._num_frames % self._batch_size == 0:
            self._newest = Saved(
                self._header,
                self._num_frames,
                self._mark,
                self._step.progress,
                time.monotonic() - self._began,
            )

    def save(self) -> bool:
        """Save the latest state, if that is not done; tell whether there was one."""
        if self._newest is None:
            return False
        outputs, path = self._outputs, self._outputs.state_path
        with refusals(f"save the state in {path.parent}"):
            self._sync_frames()
            if outputs.overlay_alpha is not None:
                pieces = {*outputs.pieces_folder.glob(PIECES)} - self._synced_pieces
                sync_files(pieces)
                sync_folders(outputs.pieces_folder)
                self._synced_pieces |= pieces
            sync_files([outputs.unfinished_summary, outputs.journal_path])
            sync_folders(path.parent, outputs.folder)
            with whole_file(path) as unfinished:
                unfinished.write_bytes(self._encoded(self._newest))
                sync_files([unfinished])
            sync_folders(path.parent)
        self._newest = None
        return True

    def at_end(self, is_done: bool) -> None:
        """Save the latest state, or remove what was kept to go on once all results are safe."""
        if not is_done:
            self.save()
            return
        outputs = self._outputs
        with refusals(f"sync {outputs.folder}"):
            self._sync_frames()
            sync_files(outputs.files)
            sync_folders(outputs.folder)
        outputs.remove_unfinished()

    def _sync_frames(self) -> None:
        sync_files(self._unsynced)
        sync_folders(*{path.parent for path in self._unsynced})
        self._unsynced.clear()

    def _encoded(self, saved: Saved) -> bytes:
        data = encode_state(saved)
        if not self._is_proven:  # what cannot be read back must show now, not after a crash
            decode_state(Saved, data, torch.device("cpu"))
            self._is_proven = True
        return data


def _pairs_of(steps: Generator[Step, None, None]) -> Iterator[Pair]:
    with closing(steps):
        for step in steps:
            yield step.frame, step.masks


def _exactly(frames: Iterable[Frame], num_frames: int) -> Iterator[Frame]:
    """Take some frames, all of which must be there."""
    num_taken = 0
    for frame in islice(frames, num_frames):
        num_taken += 1
        yield frame
    if num_taken < num_frames:
        raise SourceError(
            f"the source ends {num_frames - num_taken} frames before those done before"
        )
