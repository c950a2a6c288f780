"""Exporting results in several formats, in one pass over their frames."""

from __future__ import annotations

import glob
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from vos.errors import InputError
from vos.export.clip import ExportFrame, ExportOptions, describe_clip, open_frames
from vos.export.formats import find_format
from vos.export.journal import ExportFiles
from vos.run.read_results import Results
from vos.run.replacing import check_inputs_kept

_FOLDER: Final = "exports"
_DEFAULTS: Final = ExportOptions()
_log = logging.getLogger("vos")


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of one format.

    Attributes:
        name: The format.
        folder: Where its files are.
        was_complete: Whether an earlier export had made all of them.
    """

    name: str
    folder: Path
    was_complete: bool


def export_results(
    results: Results,
    formats: Sequence[str],
    out: Path | None = None,
    options: ExportOptions = _DEFAULTS,
    *,
    source: str | None = None,
    overwrite: bool = False,
    on_frame: Callable[[ExportFrame], object] | None = None,
) -> tuple[Exported, ...]:
    """Write results in the formats of other programs.

    Files are written whole or not at all. An export that broke off goes on when it is repeated:
    pictures and files that are done are not written again. One that is done is left as it is.

    Args:
        results: From :func:`vos.read_results`.
        formats: Names of formats, see ``vos.export.formats.FORMATS``.
        out: Folder of the exports, with a folder for each format; ``exports`` beside the results
            if None.
        options: How.
        source: Where the source is now, if it was moved.
        overwrite: Whether earlier exports into the same files may be replaced.
        on_frame: Called after every frame.

    Raises:
        InputError: an unknown format, one named twice, no frames, pictures smoothed in time, or a
            format that cannot hold the
            clip; before anything is written.
        SourceError: the source is needed and is gone, damaged, or another one.
        OutputError: files of others or another export are in the way, a file would take the
            place of the source or of the results, a label map is gone, or the disk refuses.
    """
    chosen = {name: find_format(name) for name in formats}
    if len(chosen) != len(formats) or not chosen:
        raise InputError(f"name each format once, got {', '.join(formats) or 'none'}")
    if not results.frames:
        raise InputError(f"the results {results.name} in {results.folder} have no frames to export")
    if results.pictures and options.clean_up.smooth_time > 1:
        raise InputError("smooth_time is for videos, and these are results of pictures")
    if not results.is_complete:
        _log.warning(
            "the run broke off: %d frames are exported; finish it for the rest",
            len(results.frames),
        )
    needs_source = any(each.needs_pixels(options) for each in chosen.values())
    clip = describe_clip(results, options, source, needs_source=needs_source)
    for each in chosen.values():
        each.check(clip)
    if options.clean_up.soft:
        _log.info(
            "soft edges: from the logits of the run"
            if clip.has_soft_edges
            else "soft edges: from the distance to the outline; vos-run --soft keeps what it takes "
            "to have them from the logits"
        )
    out = results.folder / _FOLDER if out is None else out
    digest = _sha256(results.summary_path)
    inputs: list[str | Path] = [
        clip.address,
        *results.pictures,
        results.summary_path,
        results.frames[0].label_path.parent,
    ]
    exported = []
    with ExitStack() as stack:
        unfinished = []
        for name, each in chosen.items():
            identity = {
                "format": name,
                "vos": metadata.version("vos-persam"),
                "results_sha256": digest,
                "options": asdict(options),
            }
            files = ExportFiles(out / name, results.name, identity)
            check_inputs_kept(inputs, _own_paths(files))
            stack.enter_context(files.open(overwrite=overwrite))
            exported.append(Exported(name, files.folder, files.is_complete))
            if not files.is_complete:
                unfinished.append((each, files))
        if not unfinished:
            return tuple(exported)
        needs_pixels = any(each.needs_pixels(options) for each, _ in unfinished)
        frames: Iterator[ExportFrame] = stack.enter_context(
            open_frames(clip, needs_pixels=needs_pixels)
        )
        for each, files in unfinished:
            frames = stack.enter_context(closing(each.write(frames, clip, files)))
        for frame in frames:
            if on_frame is not None:
                on_frame(frame)
        for _, files in unfinished:
            files.finish()
    return tuple(exported)


def _own_paths(files: ExportFiles) -> list[Path]:
    """Give what an export may write or replace, as far as it is there."""
    there = files.folder.glob(f"{glob.escape(files.name)}*") if files.folder.is_dir() else ()
    return [files.journal_path, files.folder / files.name, *there]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
