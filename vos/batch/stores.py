"""Where results, records and claims are: a folder on the disk, or a store that fsspec reaches."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from vos.errors import InputError, OutputError, StoreError, VosError
from vos.files import make_folder, refusals, write_whole
from vos.source.address import is_url

R = TypeVar("R")

_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "http": "http", "https": "http"}
_DELAYS_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
# Of what these say, waiting changes nothing.
_DEFINITE: Final = (
    *(FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError),
    *(NotImplementedError, VosError),
)
_NUM_TRANSFERS: Final = 8  # at the same time


class Store(Protocol):
    """Holds small files by name; names have slashes, and files appear whole or not at all."""

    @property
    def folder(self) -> Path | None:
        """The folder on the disk, None elsewhere."""
        ...

    def read(self, name: str) -> bytes | None:
        """Read a file; None if there is none."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether there is a file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none, as one step; tell whether it was written."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are there."""
        ...

    def names(self, folder: str) -> list[str]:
        """List the files below a folder; none if there is none."""
        ...

    def put(self, names: Iterable[str], origin: Path) -> None:
        """Copy files here from a folder, by the same names."""
        ...

    def get(self, names: Iterable[str], target: Path) -> None:
        """Copy files from here to a folder, by the same names."""
        ...

    def below(self, folder: str) -> Store:
        """Give a folder in it as a store of its own."""
        ...


def open_store(address: str) -> Store:
    """Give the store at a path or URL.

    Raises:
        InputError: the kind of store is unknown, cannot be written, or needs another package; the
            message names the extra.
    """
    if not is_url(address):
        return LocalStore(Path(address))
    if address.startswith(("http://", "https://")):
        raise InputError(f"results cannot be written to {address}; take a folder, s3:// or gs://")
    files, path = open_file_system(address)
    return RemoteStore(files, path)


def _take_name(unfinished: Path, path: Path) -> None:
    """Let a file appear under a name that must be free."""
    try:
        os.link(unfinished, path)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # a disk without hard links, where others may see the file before its content
        with path.open("xb") as file:
            file.write(unfinished.read_bytes())


def open_file_system(address: str) -> tuple[Any, str]:
    """Give fsspec's file system for a URL, and the path in it.

    Raises:
        InputError: the kind of store is unknown, or needs another package; the message names the
            extra.
        StoreError: it cannot be reached.
    """
    # fsspec takes a while to import, which batches of local files have no use for.
    import fsspec

    protocol = address.split("://")[0]
    try:
        files, path = fsspec.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        what = f"install vos-persam[{extra}]" if extra else f"install its package: {error}"
        raise InputError(f"{address} needs a package that is not installed; {what}") from error
    except ValueError as error:
        raise InputError(f"{address} cannot be read: {error}") from error
    except Exception as error:
        raise StoreError(f"cannot open {address}: {error}") from error
    return files, path


def persistently(action: Callable[[], R], what: str) -> R:
    """Do something over a network, again after a while if it fails.

    Args:
        action: What to do; doing it twice must do no harm.
        what: What to call it, such as ``read s3://...``.

    Raises:
        OSError: FileNotFoundError and the like, of which waiting changes nothing.
        StoreError: it failed every time.
    """
    for delay_seconds in _DELAYS_SECONDS:
        try:
            return action()
        except _DEFINITE:
            raise
        except Exception:  # each kind of store has errors of its own
            time.sleep(delay_seconds)
    try:
        return action()
    except _DEFINITE:
        raise
    except Exception as error:
        raise StoreError(f"cannot {what}: {error or type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A folder on the disk."""

    folder: Path

    def read(self, name: str) -> bytes | None:
        """Read a file."""
        with refusals(f"read {self.folder / name}"):
            try:
                return (self.folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def has(self, name: str) -> bool:
        """Tell whether there is a file."""
        return os.path.lexists(self.folder / name)

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file."""
        path = self.folder / name
        make_folder(path.parent)
        write_whole(path, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none; others find it whole or not at all."""
        path = self.folder / name
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        while True:
            make_folder(path.parent)
            with refusals(f"write {path}"):
                try:
                    unfinished.write_bytes(content)
                    _take_name(unfinished, path)
                    return True
                except FileExistsError:
                    return False
                except FileNotFoundError:
                    continue  # another worker has just removed the empty folder
                finally:
                    unfinished.unlink(missing_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and folders that are then empty."""
        for name in names:
            path = self.folder / name
            with refusals(f"remove {path}"):
                path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()

    def names(self, folder: str) -> list[str]:
        """List files."""
        found = (self.folder / folder).rglob("*")
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())

    def put(self, names: Iterable[str], origin: Path) -> None:
        """Copy files here."""
        for name in names:
            self.write(name, (origin / name).read_bytes())

    def get(self, names: Iterable[str], target: Path) -> None:
        """Copy files from here."""
        LocalStore(target).put(names, self.folder)

    def below(self, folder: str) -> LocalStore:
        """Give a folder in it as a store of its own."""
        return LocalStore(self.folder / folder)


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """A store that fsspec reaches. What fails is tried again, then it is a StoreError."""

    files: Any
    root: str
    folder: None = None

    def read(self, name: str) -> bytes | None:
        """Read a file."""
        try:
            content: bytes = self._do("read", name, self.files.cat_file)
        except FileNotFoundError:
            return None
        return content

    def has(self, name: str) -> bool:
        """Tell whether there is a file."""
        with suppress(FileNotFoundError):
            self._do("look for", name, self.files.info)
            return True
        return False

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file."""
        self._do("write", name, lambda path: self.files.pipe_file(path, content))

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none."""
        try:
            self._do("write", name, lambda path: self.files.pipe_file(path, content, mode="create"))
        except FileExistsError:
            # An earlier try may have succeeded, and only its answer been lost.
            return self.read(name) == content
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""

        def remove(name: str) -> None:
            with suppress(FileNotFoundError):
                self._do("remove", name, self.files.rm_file)

        _each(remove, names)

    def names(self, folder: str) -> list[str]:
        """List files."""
        root = self.files._strip_protocol(self.root)
        try:
            found: list[str] = self._do("list", folder, self.files.find)
        except FileNotFoundError:
            return []
        names = (path.removeprefix(root).lstrip("/") for path in found)
        # In some stores a name may be anything; here it must not lead out of a folder.
        return sorted(name for name in names if ".." not in name.split("/") and "\\" not in name)

    def put(self, names: Iterable[str], origin: Path) -> None:
        """Copy files here."""
        _each(lambda name: self.write(name, (origin / name).read_bytes()), names)

    def get(self, names: Iterable[str], target: Path) -> None:
        """Copy files from here."""

        def get(name: str) -> None:
            content: bytes = self._do("read", name, self.files.cat_file)
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)

        _each(get, names)

    def below(self, folder: str) -> RemoteStore:
        """Give a folder in it as a store of its own."""
        return RemoteStore(self.files, self._path(folder))

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}".rstrip("/")

    def _do(self, verb: str, name: str, action: Callable[[str], Any]) -> Any:
        path = self._path(name)
        with _refusals(verb, path):
            return persistently(lambda: action(path), f"{verb} {path}")


def _each(action: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_NUM_TRANSFERS) as pool:
        for _ in pool.map(action, names):
            pass


@contextmanager
def _refusals(verb: str, path: str) -> Iterator[None]:
    try:
        yield
    except (VosError, FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise OutputError(f"cannot {verb} {path}: {error.strerror or error}") from error
