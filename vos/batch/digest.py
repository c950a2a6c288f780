"""What tells a job from what it was before: its inputs, weights, settings, and vos itself."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import vos
from vos.batch.cache import cannot_read
from vos.batch.manifest import Task
from vos.batch.stores import open_file_system, persistently
from vos.errors import CheckpointError, MaskError, SourceError
from vos.sam.weights.download import sha256_of
from vos.sam.weights.registry import ModelSpec, find_features, find_model
from vos.source import describe_source
from vos.source.address import is_url

_ENDS_BYTES: Final = 1 << 20  # as in describe_source


def digest_of(task: Task, *, pack: str | None) -> str:
    """Give the digest of a job: a hash of all that its results depend on.

    That is of the video its size and the hash of its first and last MiB, of a folder of images
    their names and sizes, of every reference its file's hash, the weights' hash, all settings, and
    the version of vos; not where all of that lies.

    Args:
        task: The job.
        pack: How its results are packed.

    Raises:
        SourceError: the video is not there.
        MaskError: a mask is not there.
        CheckpointError: the weights are not there.
        StoreError: a store cannot be reached.
    """
    job = task.job.to_json_values()
    del job["source"], job["outputs"]["folder"], job["model"]["checkpoint"]
    features = task.job.model.features
    if features is not None:
        del job["model"]["features"]["checkpoint"]
    for reference in job["references"]:
        reference.pop("mask")
    identity = {
        "version": vos.__version__,
        "video": _describe_video(task.job.source),
        "masks": [address and _hash_mask(address) for address in task.mask_addresses],
        "weights": _known_by(find_model(task.job.model.name), task.job.model.checkpoint),
        "features": features and _known_by(find_features(features.name), features.checkpoint),
        "job": job,
        "pack": pack,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def read_mask_file(address: str) -> bytes:
    """Read the bytes of a mask's file, here or in a store.

    Raises:
        MaskError: it is not there.
        StoreError: the store cannot be reached.
    """
    try:
        if not is_url(address):
            return Path(address).read_bytes()
        files, path = open_file_system(address)
        content: bytes = persistently(lambda: files.cat_file(path), f"read {address}")
    except OSError as error:
        if is_url(address) and not isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise MaskError(f"cannot read the mask {address}: {error.strerror or error}") from error
    return content


def _hash_mask(address: str) -> str:
    return hashlib.sha256(read_mask_file(address)).hexdigest()


def _describe_video(address: str) -> dict[str, object]:
    """Describe a video as :func:`vos.source.describe_source` does, from three small reads."""
    if not is_url(address):
        described = describe_source(address)
        if described is None:
            raise SourceError(f"there is no video or folder {address}")
        return described
    files, path = open_file_system(address)
    try:
        info: dict[str, Any] = persistently(lambda: files.info(path), f"read {address}")
        num_bytes = info.get("size")
        if num_bytes is None or info.get("partial") is False:
            # A web server that gives no parts: what it says of the file must do.
            return {key: info.get(key) for key in ("size", "ETag", "url")}
        begin = max(0, num_bytes - _ENDS_BYTES)
        ends = [
            persistently(lambda: files.cat_file(path, start=0, end=_ENDS_BYTES), f"read {address}"),
            persistently(
                lambda: files.cat_file(path, start=begin, end=num_bytes), f"read {address}"
            ),
        ]
    except OSError as error:
        if not isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise cannot_read(address, error) from error
    return {
        "num_bytes": num_bytes,
        "sha256_of_ends": hashlib.sha256(b"".join(ends)).hexdigest(),
    }


def _known_by(spec: ModelSpec, checkpoint: Path | None) -> str | None:
    """Tell weights from others: by their hash, or their address where no hash is published."""
    if checkpoint is None:
        return spec.sha256 or spec.url
    try:
        status = checkpoint.stat()
        return _sha256_of(checkpoint, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise CheckpointError(
            f"cannot read the weights file {checkpoint}: {error.strerror}"
        ) from error


@cache
def _sha256_of(path: Path, _num_bytes: int, _modified_ns: int) -> str:
    return sha256_of(path)
