"""Files on disk: written whole or not at all, synced, and one error for what the system refuses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vos.errors import OutputError


@contextmanager
def refusals(action: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what the system refuses into an error of ours.

    Args:
        action: What could not be done, such as ``write out/clip.json``.
        kinds: Errors of libraries that count as refusals, beside OSError.

    Raises:
        OutputError: the body met a refusal.
    """
    all_kinds: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except OutputError:
        raise
    except all_kinds as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot {action}: {reason}") from error


def part_path(path: Path) -> Path:
    """Name a file while it is being written."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def whole_file(path: Path, *kinds: type[Exception]) -> Iterator[Path]:
    """Let a file appear whole or not at all.

    Args:
        path: The file, replaced if it exists. Its folder must be there.
        kinds: As in :func:`refusals`.

    Yields:
        Where to write it. It takes its name when the body ends, and goes if the body raises.

    Raises:
        OutputError: the disk refuses.
    """
    unfinished = part_path(path)
    with refusals(f"write {path}", *kinds):
        try:
            yield unfinished
            unfinished.replace(path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all.

    Args:
        path: The file, replaced if it exists. Its folder must be there.
        content: What it holds.

    Raises:
        OutputError: the disk refuses.
    """
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        OutputError: the disk refuses.
    """
    with refusals(f"make the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)


def sync_files(paths: Iterable[Path]) -> None:
    """Wait until the contents of files are on the disk.

    Raises:
        OSError: the disk refuses, or a file is gone.
    """
    for path in paths:
        with path.open("r+b") as file:
            os.fsync(file.fileno())


def sync_folders(*folders: Path) -> None:
    """Wait until the names in folders are on the disk, where the system can do that.

    Raises:
        OSError: the disk refuses, or a folder is gone.
    """
    if os.name == "nt":
        return
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
