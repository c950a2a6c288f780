"""What a job has come to, in a small file beside the results; it is written after them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

from vos.batch.stores import Store

_FOLDER: Final = ".batch/jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of one job.

    Attributes:
        state: ``begun``, ``failed``, or ``done``: then the results are complete.
        digest: What the job was, see :mod:`vos.batch.digest`; None if that could not be had.
        has_results: Whether what bears the job's name among the results is the batch's own, and
            so may be replaced when the job has changed.
        num_frames: Frames of a job that is done.
        error: Why it failed.
    """

    state: Literal["begun", "failed", "done"]
    digest: str | None
    has_results: bool
    num_frames: int | None = None
    error: str | None = None


def read_record(store: Store, name: str) -> Record | None:
    """Read the record of a job; None if there is none, or none that was written to its end.

    Raises:
        VosError: the store refuses.
    """
    content = store.read(_file(name))
    try:
        return None if content is None else Record(**json.loads(content))
    except (ValueError, TypeError):
        return None


def write_record(store: Store, name: str, record: Record) -> None:
    """Write the record of a job.

    Raises:
        VosError: the store refuses.
    """
    store.write(_file(name), json.dumps(asdict(record), indent=1).encode())


def _file(name: str) -> str:
    return f"{_FOLDER}/{name}.json"
