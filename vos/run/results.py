"""The sinks that write one result, chained, in the form that another run can go on from."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from vos.errors import OutputError, VosError
from vos.files import refusals
from vos.masks import read_label_png
from vos.records import Frame, SourceInfo
from vos.run.only_writer import only_writer
from vos.run.outputs import Outputs
from vos.sink import write_label_pngs, write_overlay, write_summary
from vos.sink.joining import Sound
from vos.sink.passing import Pair, closing_upstream
from vos.sink.soft_edges import with_matched_edges, write_soft_edges
from vos.sink.summary import masks_of, read_kept
from vos.sink.tallies import ObjectTallies


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What a run takes over from an earlier one that broke off.

    Attributes:
        num_frames: Frames whose label maps and summary are done.
        num_in_pieces: Those of them that stand in closed pieces of the overlay.
        again: The frames between these two, read once more.
        elapsed_seconds: How long they took.
    """

    num_frames: int = 0
    num_in_pieces: int = 0
    again: Iterable[Frame] = ()
    elapsed_seconds: float = 0.0


_NOTHING_KEPT: Final = Kept()


def write_results(
    pairs: Iterable[Pair],
    outputs: Outputs,
    info: SourceInfo,
    header: Mapping[str, object],
    *,
    kept: Kept = _NOTHING_KEPT,
    at_end: Callable[[bool], None] | None = None,
    sound: Sound | None = None,
    tallies: ObjectTallies | None = None,
    started: float | None = None,
) -> Generator[Pair, None, None]:
    """Write everything that was asked for while the frames pass by.

    Nothing is touched before the first frame is there, so that a bad reference or model leaves no
    trace. What is on the disk after each frame is enough for another run to go on from there.

    Args:
        pairs: Frames and their masks.
        outputs: Where the files go.
        info: What is known of the source.
        header: What the summary says of the run.
        kept: What there is of an earlier run.
        at_end: Called when nothing more is written, while no other run may write there: with
            True if the last frame is done, with False if the run breaks off. What is in
            ``outputs.unfinished_folder`` is its to keep or to remove; without it, it is removed.
        sound: Opens the source's sound for the overlay, see :func:`vos.source.sound.sound_of`.
        tallies: Counts what became of each object, for :func:`vos.sink.tallies.report_objects`.
        started: When the run began, by :func:`time.monotonic`; now if None.

    Yields:
        The same pairs.

    Raises:
        OutputError: results are in the way, another run is writing there, the frames are too large
            for an overlay, the disk refuses, or what is to be kept is gone.
    """
    started = time.monotonic() if started is None else started
    tallies = tallies or ObjectTallies(outputs.min_score)
    with closing_upstream(pairs) as iterator:
        outputs.check_frame_size(info.frame_hw)
        first = None
        if not kept.num_frames:
            outputs.check_free()
            first = next(iterator, None)
            if first is None:
                return
            iterator = chain([first], iterator)
        with only_writer(outputs.lock_path, outputs.masks_folder):
            again: Iterator[Pair] = iter(())
            if first is None:
                again = _take_over(outputs, kept, tallies)
            else:
                outputs.check_free()  # another run may have come first
                outputs.ledger.check_free(path for path, _ in outputs.frame_files(*first))
                if outputs.overwrite:
                    outputs.remove_earlier()
                outputs.ledger.begin(outputs.files)

            def elapsed_seconds() -> float:
                return kept.elapsed_seconds + time.monotonic() - started

            pairs = with_matched_edges(iterator) if outputs.soft else iterator
            pairs = outputs.ledger.note(pairs, outputs.frame_files)
            pairs = write_label_pngs(pairs, outputs.masks_folder)
            if outputs.soft:
                pairs = write_soft_edges(pairs, outputs.edges_folder)
            if outputs.overlay_alpha is None:
                for _ in again:
                    pass  # the source moves on
            else:
                pairs = write_overlay(
                    pairs,
                    outputs.overlay_path,
                    pieces=outputs.pieces_folder,
                    info=info,
                    style=outputs.style,
                    sound=sound,
                    num_kept=kept.num_in_pieces,
                    again=again,
                )
            is_done = False
            try:
                yield from write_summary(
                    pairs,
                    outputs.summary_path,
                    {**header, **described_files(outputs, info)},
                    unfinished=outputs.unfinished_summary,
                    num_kept=kept.num_frames,
                    describe=lambda frame, _: described_frame(outputs, frame.name),
                    tallies=tallies,
                    elapsed_seconds=elapsed_seconds,
                )
                is_done = True
            finally:
                with nullcontext() if is_done else suppress(VosError):
                    if at_end is None:
                        outputs.remove_unfinished()
                    else:
                        at_end(is_done)


def described_files(outputs: Outputs, info: SourceInfo) -> dict[str, object]:
    """Say what the summary says of the source and of the files."""
    rate_hz = info.frame_rate_hz
    files = {"label_maps": outputs.name, "summary": outputs.summary_path.name}
    if outputs.soft:
        files["soft_edges"] = outputs.edges_folder.name
    if outputs.overlay_alpha is not None:
        files["overlay"] = outputs.overlay_path.name
    return {
        "width_px": info.frame_hw[1],
        "height_px": info.frame_hw[0],
        "frame_rate_hz": None if rate_hz is None else round(float(rate_hz), 6),
        "sample_aspect_ratio": str(info.sample_aspect_ratio),
        "min_score": outputs.min_score,
        "files": files,
    }


def described_frame(outputs: Outputs, name: str) -> dict[str, str]:
    """Say what the summary says of the files of a frame, by its name."""
    described = {"label_map": f"{outputs.name}/{name}.png"}
    if outputs.soft:
        described["soft_edges"] = f"{outputs.edges_folder.name}/{name}.npz"
    return described


def _take_over(outputs: Outputs, kept: Kept, tallies: ObjectTallies) -> Iterator[Pair]:
    """Make sure that all label maps of the earlier run are there, and count its frames.

    Returns:
        The frames that are drawn again, with their masks.
    """
    recent: deque[dict[str, Any]] = deque(maxlen=kept.num_frames - kept.num_in_pieces)
    faults = (KeyError, TypeError, ValueError, RecursionError)
    with refusals(f"read {outputs.unfinished_summary}", *faults):
        for entry in read_kept(outputs.unfinished_summary, kept.num_frames):
            for text in described_frame(outputs, entry["name"]).values():
                if not (outputs.folder / text).is_file():
                    raise OutputError(
                        f"{outputs.folder / text}, which was done before, is gone; pass "
                        "--overwrite to start again"
                    )
            tallies.add(entry["index"], entry["objects"])
            recent.append(entry)
    num_files_of_frame = 2 if outputs.soft else 1
    outputs.ledger.go_on(len(outputs.files) + kept.num_frames * num_files_of_frame)
    return _drawn_again(outputs, kept.again, recent)


def _drawn_again(
    outputs: Outputs, frames: Iterable[Frame], entries: Iterable[dict[str, Any]]
) -> Iterator[Pair]:
    for frame, entry in zip(frames, entries, strict=True):
        labels = read_label_png(outputs.label_path(frame))
        with refusals(f"read {outputs.unfinished_summary}", KeyError, TypeError, ValueError):
            masks = masks_of(entry, labels)
        yield frame, masks
