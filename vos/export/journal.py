"""Which files an export made: it can go on after a break, and replaces nothing of others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from vos.errors import OutputError
from vos.files import make_folder, part_path, refusals
from vos.run.only_writer import only_writer

_DONE: Final = b"null\n"


class ExportFiles:
    """The files of one export of one format, all of them in ``folder/name*``.

    Their list grows in ``folder/.name.export`` before they do. It stays there, as proof that vos
    wrote them.

    Attributes:
        folder: Folder of the format.
        name: Name of the results.
        is_complete: Whether an earlier export of the same results made all of them.
    """

    def __init__(self, folder: Path, name: str, identity: Mapping[str, object]) -> None:
        """Say what is exported; nothing is read or written before :meth:`open`.

        Args:
            folder: Folder of the format.
            name: Name of the results.
            identity: What tells this export from others into the same files; JSON values.
        """
        self.folder = folder
        self.name = name
        self.is_complete = False
        self._header = json.dumps(identity, sort_keys=True).encode() + b"\n"
        self._earlier: Iterator[bytes] = iter(())
        self._list: BinaryIO | None = None

    @property
    def journal_path(self) -> Path:
        """The list of files."""
        return self.folder / f".{self.name}.export"

    @contextmanager
    def open(self, *, overwrite: bool = False) -> Iterator[None]:
        """Begin the export, or go on with one that broke off.

        Args:
            overwrite: Whether an earlier export may be replaced.

        Raises:
            OutputError: files of others or of another export are in the way, another process
                exports there, or the disk refuses.
        """
        lock_path = self.folder / f".{self.name}.export-lock"
        with only_writer(lock_path, self.folder / self.name), refusals(f"write {self.folder}"):
            is_same = self._is_same(overwrite=overwrite)
            if not is_same:
                self.journal_path.write_bytes(self._header)
            with (
                self.journal_path.open("rb") as earlier,
                self.journal_path.open("ab") as self._list,
            ):
                next(earlier)
                self._earlier = earlier
                self.is_complete = is_same and _last_line(self.journal_path) == _DONE
                yield

    def _is_same(self, *, overwrite: bool) -> bool:
        """Make room; tell whether there is a part of the same export."""
        if not self.journal_path.exists():
            target = self.folder / self.name
            if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
                raise _in_the_way(target)
            return False
        with self.journal_path.open("rb") as file:
            header = file.readline()
        if overwrite:
            self._remove_earlier()
            return False
        if header != self._header:
            raise OutputError(
                f"{self.folder / self.name} is an export of other results or with other options; "
                "pass --overwrite to replace it, or choose another folder"
            )
        _cut_last_line(self.journal_path)
        return True

    def claim(self, *parts: str) -> Path | None:
        """Enter a file in the list; the same files in the same order each time.

        Args:
            parts: Its path below the folder; the first one begins with the name.

        Returns:
            Where to write it, whole or not at all, in a folder that is there; None if it is done.

        Raises:
            OutputError: a file of others is there, or the disk refuses.
        """
        path = self.folder.joinpath(*parts)
        line = json.dumps(path.relative_to(self.folder).as_posix()).encode() + b"\n"
        with refusals(f"write {path}"):
            earlier = next(self._earlier, None)
            if earlier is not None:
                if earlier != line:
                    raise OutputError(
                        f"{self.journal_path} does not list {path}; pass --overwrite to export anew"
                    )
                if path.exists() and path.stat().st_size:
                    return None
            elif os.path.lexists(path):
                raise _in_the_way(path)
            else:
                self._earlier = iter(())  # what follows in the file are lines of this process
                assert self._list is not None, "claim() is called within open()"
                self._list.write(line)
                self._list.flush()
        make_folder(path.parent)
        return path

    def finish(self) -> None:
        """Note that all files are there.

        Raises:
            OutputError: the disk refuses.
        """
        with refusals(f"write {self.journal_path}"):
            assert self._list is not None, "finish() is called within open()"
            self._list.write(_DONE)
            self._list.flush()
        self.is_complete = True

    def _remove_earlier(self) -> None:
        """Remove what the list says that vos wrote; the list may be forged."""
        folders = set()
        with self.journal_path.open("rb") as file:
            for line in file:
                path = self._own_path(line)
                if path is not None:
                    for each in (path, part_path(path)):
                        each.unlink(missing_ok=True)
                    folders.add(path.parent)
        for folder in sorted(folders, key=lambda each: -len(each.parts)):
            while folder != self.folder:
                with suppress(OSError):  # files of others stay
                    folder.rmdir()
                folder = folder.parent

    def _own_path(self, line: bytes) -> Path | None:
        with suppress(ValueError, RecursionError):
            text = json.loads(line)
            parts = Path(text).parts if isinstance(text, str) else ()
            is_own = parts and (parts[0] == self.name or parts[0].startswith(f"{self.name}."))
            if is_own and ".." not in parts:
                return self.folder.joinpath(*parts)
        return None


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_DONE)))
        return file.read()


def _cut_last_line(path: Path) -> None:
    """Remove a last line that has no end, as a process that is killed may leave it."""
    length = 0
    with path.open("r+b") as file:
        for line in file:
            length += len(line) if line.endswith(b"\n") else 0
        file.truncate(length)


def _in_the_way(path: Path) -> OutputError:
    return OutputError(
        f"{path} is there, and vos did not export it; move it elsewhere, or choose another folder"
    )
