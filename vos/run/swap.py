"""Putting what an update made in the place of what was there.

The update makes its files in a folder of its own. When all are there, a list of them is written;
from then on they take their places, one by one. Whoever finds the list works off the rest of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from vos.errors import OutputError
from vos.files import (
    make_folder,
    part_path,
    refusals,
    sync_files,
    sync_folders,
    write_whole,
)
from vos.run.outputs import Outputs
from vos.sink.pieces import PIECES

_LIST: Final = "moves"  # what an update made, and takes its place
_IDENTITY: Final = "update"  # which update it is
_SUMMARY: Final = "summary.json"
_OVERLAY: Final = "overlay.mp4"
_PIECES: Final = "overlay"


def made_summary(outputs: Outputs) -> Path:
    """Where an update makes the summary of the results."""
    return outputs.update.folder / _SUMMARY


def made_overlay(outputs: Outputs) -> Path:
    """Where an update makes the overlay of the results."""
    return outputs.update.folder / _OVERLAY


def overlay_pieces(outputs: Outputs) -> Path:
    """Where an update makes the pieces of the overlay."""
    return outputs.update.folder / _PIECES


def list_moves(outputs: Outputs, names: Iterable[str]) -> None:
    """Write the list of what takes its place, once all of it is safe.

    Args:
        outputs: The results.
        names: File names of label maps and soft edges; the summary does so too, and the overlay if
            there is one.

    Raises:
        OutputError: the disk refuses.
    """
    made, names = outputs.update, list(names)
    with refusals(f"write {made.folder}"):
        overlay = [] if outputs.overlay_alpha is None else [made_overlay(outputs)]
        frames = [_source_and_target(outputs, name)[0] for name in names]
        sync_files([*frames, *overlay, made_summary(outputs)])
        sync_folders(made.folder)
        write_whole(made.folder / _LIST, json.dumps(names).encode())
        sync_files([made.folder / _LIST])
        sync_folders(made.folder)


def moves_of_frame(outputs: Outputs, name: str) -> list[tuple[Path, Path]]:
    """Say where the files of a frame are made, by its name, and where they go."""
    endings = (".png", ".npz") if outputs.soft else (".png",)
    return [_source_and_target(outputs, f"{name}{ending}") for ending in endings]


def _source_and_target(outputs: Outputs, name: str) -> tuple[Path, Path]:
    made = outputs.update
    if name.endswith(".npz"):
        return made.edges_folder / name, outputs.edges_folder / name
    return made.masks_folder / name, outputs.masks_folder / name


def finish_update(outputs: Outputs) -> None:
    """Put what an update made in its place, if all of it is there.

    Raises:
        OutputError: the disk refuses.
    """
    made = outputs.update
    listed = made.folder / _LIST
    if not listed.is_file():
        return
    with refusals(f"update {outputs.masks_folder}", ValueError):
        names = [str(name) for name in json.loads(listed.read_text(encoding="utf-8"))]
        moves = [_source_and_target(outputs, name) for name in names if Path(name).name == name]
        moves += [
            (made.folder / _OVERLAY, outputs.overlay_path),
            (made.folder / _SUMMARY, outputs.summary_path),
        ]
        outputs.ledger.check_free(target for source, target in moves if source.exists())
        for source, target in moves:
            with suppress(FileNotFoundError):  # it went there before
                source.replace(target)
        sync_folders(*{target.parent for _, target in moves})
    clear_update(outputs)


def clear_update(outputs: Outputs) -> None:
    """Remove what an update made and did not put in its place.

    Raises:
        OutputError: the disk refuses.
    """
    made = outputs.update
    if not made.folder.is_dir():
        return
    made.remove_earlier()
    made.remove_unfinished()
    with refusals(f"remove {made.folder}"):
        pieces = overlay_pieces(outputs)
        files = [made.lock_path, *(made.folder / name for name in (_LIST, _SUMMARY, _OVERLAY))]
        for path in (*files, *map(part_path, files), *pieces.glob(PIECES), *pieces.glob(".*.part")):
            path.unlink(missing_ok=True)
        identity = made.folder / _IDENTITY
        for path in (part_path(identity), identity):
            path.unlink(missing_ok=True)
        for folder in (pieces, made.masks_folder, made.edges_folder, made.folder):
            with suppress(OSError):
                folder.rmdir()


def begin_update(outputs: Outputs, header: Mapping[str, object]) -> None:
    """Go on with an update that broke off, or else begin anew.

    Args:
        outputs: The results.
        header: What tells the update from others.

    Raises:
        OutputError: the disk refuses, or there is a folder of others.
    """
    made = outputs.update
    identity = {key: value for key, value in header.items() if key not in ("job", "source")}
    mark = json.dumps(identity, sort_keys=True).encode()
    path = made.folder / _IDENTITY
    with refusals(f"write {path}"):
        others = {*made.folder.glob("*")} if made.folder.exists() else set()
        if others and path not in others:
            raise OutputError(f"{made.folder} is not an update of vos; move it elsewhere")
        if not path.is_file() or path.read_bytes() != mark:
            clear_update(outputs)
            make_folder(made.folder)
            write_whole(path, mark)
