"""Remote videos on this machine's disk, within a bound."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock

from vos.batch.claims import is_dead
from vos.batch.stores import open_file_system, persistently
from vos.errors import InputError, SourceError
from vos.files import make_folder, refusals

_POLL_SECONDS: Final = 0.5
_LOCK: Final = ".lock"
_ROOM: Final = ".room"
_NEW: Final = ".new"


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of downloaded videos, which all workers of a machine share.

    The least recently used are removed to make room; never one that is in use: a worker uses a
    hard link, so that such a file has two names. A download counts with its whole size from its
    beginning.

    Attributes:
        folder: The folder; what uses its files must be on the same disk.
        max_bytes: What all files in it may take.
    """

    folder: Path
    max_bytes: int

    def fetch(self, url: str, target: Path) -> None:
        """Link a remote file to a path, after it was downloaded if need be.

        Waits while the room is taken by what others use.

        Raises:
            SourceError: there is no such file, or it may not be read.
            StoreError: it cannot be reached.
            InputError: it is larger than the cache.
            OutputError: the disk refuses.
        """
        files, path = open_file_system(url)
        try:
            info = persistently(lambda: files.info(path), f"read {url}")
        except OSError as error:
            raise cannot_read(url, error) from error
        if info.get("type") == "directory":
            raise SourceError(f"{url} is a folder; remote videos are single files")
        key = hashlib.sha256(f"{url} {_version(info)}".encode()).hexdigest()
        entry = self.folder / f"{key}{Path(path).suffix}"
        make_folder(self.folder)
        with refusals(f"keep {url} in {self.folder}"), FileLock(_lock_path(entry)):
            if not entry.exists():
                room, new = self.folder / f"{key}{_ROOM}", self.folder / f"{key}{_NEW}"
                self._reserve(room, info.get("size") or 0, url)
                try:
                    persistently(lambda: files.get_file(path, str(new)), f"read {url}")
                except FileNotFoundError as error:
                    raise cannot_read(url, error) from error
                finally:
                    room.unlink()
                new.replace(entry)
            os.utime(entry)
            target.unlink(missing_ok=True)
            os.link(entry, target)

    def _reserve(self, room: Path, num_bytes: int, url: str) -> None:
        """Wait for room, and take it with an empty file of that length."""
        if num_bytes > self.max_bytes:
            raise InputError(
                f"{url} has {num_bytes / 1e9:.2f} GB and the cache {self.max_bytes / 1e9:.2f}; "
                "raise --cache-gb"
            )
        while True:
            with FileLock(self.folder / f"all{_LOCK}"):
                if self._make_room(num_bytes):
                    with room.open("wb") as file:
                        file.truncate(num_bytes)
                    return
            time.sleep(_POLL_SECONDS)

    def _make_room(self, num_bytes: int) -> bool:
        """Remove what was not used for longest until there is room; tell whether there is."""
        entries = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                if path.suffix == _ROOM and is_dead(_lock_path(path)):
                    path.unlink()  # of a download whose process was killed
                    path.with_suffix(_NEW).unlink(missing_ok=True)
                elif path.suffix not in (_LOCK, _NEW):
                    entries.append((path.stat(), path))
        total = sum(status.st_size for status, _ in entries)
        for status, path in sorted(entries, key=lambda entry: entry[0].st_mtime):
            if total + num_bytes <= self.max_bytes:
                break
            if path.suffix == _ROOM or path.stat().st_nlink > 1:
                continue
            path.unlink()
            total -= status.st_size
        return total + num_bytes <= self.max_bytes


def _lock_path(entry: Path) -> Path:
    """Name the lock of a file; a few hundred serve all, so that they need not be removed."""
    return entry.with_name(f"{entry.name[:2]}{_LOCK}")


def cannot_read(url: str, error: OSError) -> SourceError:
    """Say that a remote file is not there, or may not be read."""
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else error
    return SourceError(f"cannot read {url}: {reason}")


def _version(info: dict[str, object]) -> str:
    """Give what changes with a file's content, where its store says it."""
    keys = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "updated", "created", "size")
    return " ".join(f"{key}={info[key]}" for key in keys if info.get(key) is not None)
