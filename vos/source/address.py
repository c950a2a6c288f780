"""What a path or URL names: whether it can be read again, and what tells it from others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from vos.errors import SourceError
from vos.source.images import image_files

_CAMERA_PREFIX: Final = "/dev/video"
_ENDS_BYTES: Final = 1 << 20


def is_url(address: str) -> bool:
    """Tell URLs from paths."""
    return "://" in address


def is_camera(address: str) -> bool:
    """Tell cameras from files."""
    return address.startswith(_CAMERA_PREFIX)


def can_read_again(address: str) -> bool:
    """Tell files and folders from what can be read only once: URLs, cameras, pipes."""
    return not is_url(address) and (os.path.isfile(address) or os.path.isdir(address))


def describe_source(address: str) -> dict[str, object] | None:
    """Say what tells a source from others, without reading all of it.

    Returns:
        Size and hash of a file's first and last MiB; number of a folder's images and hash of
        their names and sizes; None for what can be read only once.

    Raises:
        SourceError: it cannot be read.
    """
    if not can_read_again(address):
        return None
    path = Path(address)
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            files = image_files(path)
            for file in files:
                digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            return {"num_files": len(files), "sha256_of_names": digest.hexdigest()}
        num_bytes = path.stat().st_size
        with path.open("rb") as file_of_bytes:
            digest.update(file_of_bytes.read(_ENDS_BYTES))
            file_of_bytes.seek(max(0, num_bytes - _ENDS_BYTES))
            digest.update(file_of_bytes.read(_ENDS_BYTES))
    except OSError as error:
        raise SourceError(f"cannot read {address}: {error.strerror or error}") from error
    return {"num_bytes": num_bytes, "sha256_of_ends": digest.hexdigest()}
