"""What runs have found: the results on the disk, and those of a run that goes on."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vos.app.timeline import Timeline, byte_of
from vos.errors import MaskError
from vos.masks import read_label_png
from vos.records import Labels
from vos.source.random_access import FrameReader

if TYPE_CHECKING:
    from vos.run.job import Job
    from vos.run.made_from import MadeFrom
    from vos.run.outputs import Outputs
    from vos.run.read_results import Results
    from vos.run.run_job import JobProgress

_ENTRY: Final = '{"index": '  # how a frame's line in a summary begins
_MAX_DOUBTS: Final = 100

Bytes = list[tuple[int, int]]
"""(object id, byte) pairs of a frame, as of :class:`vos.app.timeline.Timeline`."""


class Found:
    """The results of one name in a folder; methods may be called from any thread.

    Args:
        reader: The source that they are of.
        folder: The folder.
        name: Their name.
        max_pixels: Most pixels that a label map may have.
    """

    def __init__(self, reader: FrameReader, folder: Path, name: str, max_pixels: int) -> None:
        self._reader = reader
        self._folder, self._name, self._max_pixels = folder, name, max_pixels
        self._lock = threading.Lock()
        self._made: tuple[Path, ...] = ()  # where a run keeps its label maps until it has ended
        self.timeline = Timeline()
        self.job: Job | None = None
        self.made_from: MadeFrom | None = None
        self.is_complete = False
        self.doubts: list[dict[str, Any]] = []

    def labels(self, index: int) -> Labels:
        """Give the (H, W) label map of a frame; without objects where there is none."""
        with self._lock:
            folders = (*self._made, self._folder / self._name)
            is_tracked = self.timeline.is_tracked(index)
        name = f"{self._reader.frame_name(index)}.png"
        for folder in folders if is_tracked else ():
            with suppress(MaskError):  # a run that begins anew removes them
                if (folder / name).exists():
                    return read_label_png(folder / name, max_pixels=self._max_pixels)
        return np.zeros(self._reader.info.frame_hw, np.uint8)

    def read(self) -> Results | None:
        """Read the results, if there are any, and what is doubtful of them.

        Raises:
            OutputError: they are damaged.
        """
        from vos.review import find_doubtful
        from vos.run.read_results import read_results, result_names

        if not self._folder.is_dir() or self._name not in result_names(self._folder):
            return None
        results = read_results(self._folder, self._name)
        timeline = Timeline()
        for frame in results.frames:
            rows = zip(results.object_ids, frame.scores, frame.present, strict=True)
            timeline.set(
                frame.index, [(id_, byte_of(float(s), is_present=bool(p))) for id_, s, p in rows]
            )
        doubts = [
            {
                "object": each.object_id,
                "first": each.first_index,
                "last": each.last_index,
                "frame": each.frame_index,
                "reason": each.reason,
            }
            for each in find_doubtful(results)[:_MAX_DOUBTS]
        ]
        with self._lock:
            self._made = ()
            self.timeline, self.doubts = timeline, doubts
            self.is_complete = results.is_complete
            self.job = results.job and replace(results.job, source=self._reader.address)
            self.made_from = _read_made_from(results.summary_path)
        return results

    def begin(self, job: Job, *, is_new: bool) -> None:
        """Take notice of a run that begins.

        Args:
            job: Its job.
            is_new: Whether it begins at its first frame, and what there is goes.
        """
        with self._lock:
            self.job = job
            if is_new:
                self.timeline, self.doubts = Timeline(), []
                self.made_from = None

    def note(self, done: JobProgress, outputs: Outputs) -> Bytes:
        """Take notice of a frame that was tracked.

        Args:
            done: The frame.
            outputs: Where the run keeps what it makes.
        """
        spool, masks = outputs.spool.masks_folder, done.masks
        rows = zip(masks.object_ids, masks.scores, masks.present, strict=True)
        values = [
            (id_, byte_of(float(s), is_present=bool(p)))
            for id_, s, p in rows
            if p or not done.is_backwards  # that pass knows some of the objects only
        ]
        with self._lock:
            self._made = (spool,) if done.is_backwards else (outputs.masks_folder, spool)
            self.timeline.set(done.frame.index, values)
        return values


def _read_made_from(summary_path: Path) -> MadeFrom | None:
    """Read what results were made from; None where they do not say it."""
    from vos.run.made_from import MadeFrom

    with suppress(OSError, LookupError, TypeError, ValueError, AttributeError):
        with summary_path.open(encoding="utf-8") as file:
            header = "".join(takewhile(lambda line: not line.startswith(_ENTRY), file))
        document = json.JSONDecoder().raw_decode(header + "]}")[0]
        return MadeFrom.from_json_values(document["made_from"])
    return None
