"""Weights files: found in the package or the cache, else fetched, and known by their hash.

Files lie in one folder of the user's cache, or where ``VOS_CACHE`` says, each under its published
name, so that one fetched elsewhere can simply be put there. Beside it, ``<file>.checked`` holds
the size and modification time it had when its SHA-256 was last found right: as long as both are
unchanged, gigabytes are not read again at every start.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import logging
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import platformdirs
from filelock import FileLock, Timeout
from tqdm import tqdm

from vos.errors import CheckpointError, DownloadError
from vos.sam.weights.registry import ModelSpec

_logger = logging.getLogger("vos")

_TIMEOUT_SECONDS: Final = 30.0
_CHUNK_BYTES: Final = 1 << 20
_PARTIAL_CONTENT: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416


def cache_folder() -> Path:
    """Say where weights are kept: ``VOS_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("VOS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("vos", appauthor=False)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hash a file.

    Returns:
        SHA-256 of its content, lower-case hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_file(spec: ModelSpec) -> Path | None:
    """Find a model's weights on this machine, without network.

    Returns:
        The file, whose hash was found right now or earlier; None where there is none or its
        content is another. Of a model without a published hash the size counts, if it is known.
    """
    if spec.url is None:
        embedded = Path(str(resources.files("vos.sam.weights") / spec.file_name))
        return embedded if embedded.is_file() else None
    path = cache_folder() / spec.file_name
    try:
        return path if _is_right(path, spec) else None
    except OSError:
        return None


def fetch(spec: ModelSpec, *, progress: bool = True) -> Path:
    """Find a model's weights on this machine, else download them.

    A download that broke off is taken up where it stopped. Processes that want the same file at
    once wait for the first of them.

    Args:
        spec: The model.
        progress: Show a bar, where the standard error output is a terminal.

    Returns:
        The file, with the right hash, if that is known.

    Raises:
        DownloadError: the server cannot be reached, refuses, breaks off or sends another file, or
            the cache cannot be written. The message says how to do without the download.
        CheckpointError: the embedded weights are missing from the package.
    """
    found = cached_file(spec)
    if found is not None:
        return found
    if spec.url is None:
        raise CheckpointError(f"the package lacks its own file {spec.file_name}; reinstall vos")
    target = cache_folder() / spec.file_name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _exclusively(target):
            # Whoever held the lock before may have fetched the file.
            if cached_file(spec) is None:
                if target.exists():
                    _logger.warning("%s has another hash than published; replacing it", target)
                _download(spec, spec.url, target, progress)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"cannot keep {spec.file_name} in {target.parent}: {error}; "
            "make room there or set VOS_CACHE to another folder"
        ) from error
    return target


def _is_right(path: Path, spec: ModelSpec) -> bool:
    if spec.sha256 is not None:
        return _has_hash(path, spec.sha256)
    return path.stat().st_size == spec.num_bytes if spec.num_bytes else path.is_file()


def _has_hash(path: Path, sha256: str) -> bool:
    fingerprint = _fingerprint(path, sha256)
    with contextlib.suppress(OSError, ValueError):
        if json.loads(_note_beside(path).read_text()) == fingerprint:
            return True
    if sha256_of(path) != sha256:
        return False
    _write_note(path, fingerprint)
    return True


def _fingerprint(path: Path, sha256: str) -> dict[str, int | str]:
    stat = path.stat()
    return {"num_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}


def _note_beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked")


def _write_note(path: Path, fingerprint: dict[str, int | str]) -> None:
    # Where the cache is read-only, the file is simply hashed at every start.
    with contextlib.suppress(OSError):
        _note_beside(path).write_text(json.dumps(fingerprint))


@contextlib.contextmanager
def _exclusively(target: Path) -> Iterator[None]:
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _logger.info("waiting for another process that is fetching %s", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(spec: ModelSpec, url: str, target: Path, progress: bool) -> None:
    partial = target.with_name(f"{target.name}.part")
    _logger.info("fetching %s to %s", url, target)
    if spec.sha256 is None:
        # Whether what was kept is of the same file could not be told.
        partial.unlink(missing_ok=True)
        _complete(partial, spec, url, progress)
        partial.replace(target)
        return
    sha256, was_resumed = _complete(partial, spec, url, progress)
    if sha256 != spec.sha256 and was_resumed:
        # What was kept may have come from an older version of the file.
        partial.unlink()
        sha256, _ = _complete(partial, spec, url, progress)
    if sha256 != spec.sha256:
        partial.unlink()
        raise _failure(spec, f"the file that came has the SHA-256 {sha256}")
    partial.replace(target)
    _write_note(target, _fingerprint(target, sha256))


def _complete(partial: Path, spec: ModelSpec, url: str, progress: bool) -> tuple[str, bool]:
    """Append to ``partial`` what it lacks; give its hash and whether its start was there before."""
    with partial.open("ab+") as file:
        file.seek(0)
        hasher = hashlib.file_digest(file, "sha256")
        num_kept = file.tell()
        if hasher.hexdigest() == spec.sha256:
            return spec.sha256, True
        with _network_errors_explained(spec):
            response = _request(url, num_kept)
        with response:
            if response.status != _PARTIAL_CONTENT:
                num_kept = 0
            num_total = spec.num_bytes if response.length is None else num_kept + response.length
            if num_total is None:
                raise _failure(spec, "the server does not say how long it is")
            if num_total != (spec.num_bytes or num_total):
                raise _failure(spec, f"it has {num_total} bytes there, not {spec.num_bytes}")
            if num_kept == 0:
                file.seek(0)
                file.truncate()
                hasher = hashlib.sha256()
            with tqdm(
                desc=spec.file_name,
                total=num_total,
                initial=num_kept,
                unit="B",
                unit_scale=True,
                disable=None if progress else True,
            ) as bar:
                for chunk in _chunks(response, spec):
                    if file.tell() + len(chunk) > num_total:
                        raise _failure(spec, f"it sends more than {num_total} bytes")
                    file.write(chunk)
                    hasher.update(chunk)
                    bar.update(len(chunk))
        num_received = file.tell()
        # The note beside the file must not outlive a power cut that the file does not survive.
        file.flush()
        os.fsync(file.fileno())
    if num_received < num_total:
        # Of a file without a published hash the rest could be that of another version.
        again = "run again" if spec.sha256 is None else "run again to go on from there"
        raise _failure(
            spec, f"the connection broke off after {num_received} of {num_total} bytes; {again}"
        )
    return hasher.hexdigest(), num_kept > 0


def _request(url: str, num_kept: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "vos"}
    if num_kept:
        headers["Range"] = f"bytes={num_kept}-"
    try:
        response: http.client.HTTPResponse = urlopen(
            Request(url, headers=headers), timeout=_TIMEOUT_SECONDS
        )
    except HTTPError as error:
        if error.code != _RANGE_NOT_SATISFIABLE or not num_kept:
            raise
        # What was kept is longer than the file is now.
        error.close()
        return _request(url, 0)
    return response


def _chunks(response: http.client.HTTPResponse, spec: ModelSpec) -> Iterator[bytes]:
    while True:
        with _network_errors_explained(spec):
            try:
                chunk = response.read(_CHUNK_BYTES)
            except http.client.IncompleteRead as error:
                # Which Pythons raise this and which return what they got differs.
                chunk = error.partial
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _network_errors_explained(spec: ModelSpec) -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        error.close()
        raise _failure(spec, f"the server answered {error.code} {error.reason}") from error
    except URLError as error:
        raise _failure(spec, error.reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise _failure(spec, error) from error


def _failure(spec: ModelSpec, reason: object) -> DownloadError:
    known_by = "" if spec.sha256 is None else f" with SHA-256 {spec.sha256}"
    return DownloadError(
        f"cannot fetch {spec.url}: {reason}; where there is no network, put the file{known_by} at "
        f"{cache_folder() / spec.file_name} by hand, or say where it is with {spec.option}"
    )
