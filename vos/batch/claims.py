"""Claims: they keep two workers from one job, and those of a dead worker expire.

A job's claims are numbered files. Who creates the next one holds the job; creating is one step that
only one worker can take, where the store has such a step (disks, S3, Google's; the others only as
well as they can). A claim is alive while its worker renews it; a worker of the same machine is also
known to be dead by its lock, which the system gives back when a process ends.

What that guarantees: while a worker's claim is renewed in time, and the machines' clocks agree to
within half of the expiry, no other works on its job. A worker that was suspended for longer than
the expiry notices after the frame in hand that it has lost the job; until then two may work on it.
They make the same results.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from vos.batch.stores import Store
from vos.errors import StoreError, VosError
from vos.files import make_folder, refusals

_log = logging.getLogger("vos")

_FOLDER: Final = ".batch/claims"
RENEW_SECONDS: Final = 15.0
EXPIRE_SECONDS: Final = 90.0


class ClaimedError(VosError):
    """Another worker that is alive has claimed the job."""


@dataclass(frozen=True, slots=True, eq=False)
class Worker:
    """A worker's identity, and the lock by which others on its machine know that it lives.

    Args:
        lock_folder: Folder of the locks, one for all workers of a machine.
    """

    lock_folder: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    lock: FileLock = field(init=False)

    def __post_init__(self) -> None:
        """Take the lock, which this process holds until its end."""
        make_folder(self.lock_folder)
        lock = FileLock(self.lock_folder / f"{self.token}.lock", thread_local=False)
        with refusals(f"lock {lock.lock_file}"):
            lock.acquire(timeout=10)  # others try whether it is taken
        object.__setattr__(self, "lock", lock)

    def end(self) -> None:
        """Give the lock back."""
        self.lock.release()
        with suppress(OSError):
            os.unlink(self.lock.lock_file)


def is_dead(lock_path: Path) -> bool:
    """Tell whether a worker of this machine has ended; False where there is no such lock."""
    if not lock_path.exists():
        return False
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    token: str
    host: str
    renewed_at: float

    @classmethod
    def of(cls, worker: Worker) -> _Claim:
        return cls(token=worker.token, host=socket.gethostname(), renewed_at=time.time())

    def is_of_dead(self, lock_folder: Path) -> bool:
        """Tell whether it is of a worker of this machine that has ended."""
        # What others wrote names no file here but a lock.
        is_token = re.fullmatch("[0-9a-f]{32}", str(self.token)) is not None
        is_here = is_token and self.host == socket.gethostname()
        return is_here and is_dead(lock_folder / f"{self.token}.lock")

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(eq=False)
class ActiveClaim:
    """A claim that this worker holds.

    Attributes:
        is_lost: Whether another worker has taken the job over.
    """

    is_lost: bool = False


@contextmanager
def claim(
    store: Store,
    name: str,
    worker: Worker,
    *,
    renew_seconds: float = RENEW_SECONDS,
    expire_seconds: float = EXPIRE_SECONDS,
) -> Iterator[ActiveClaim]:
    """Hold a job while the body runs.

    Args:
        store: Where the job's results go.
        name: The job's.
        worker: Who claims it.
        renew_seconds: How often the claim is renewed.
        expire_seconds: After how long without renewal it is that of a dead worker; the same for all
            workers.

    Raises:
        ClaimedError: another worker holds it.
        VosError: the store refuses.
    """
    folder = f"{_FOLDER}/{name}"
    number = _next_number(store, folder, worker, expire_seconds)
    if not store.create(_file(folder, number), _Claim.of(worker).encode()):
        raise ClaimedError(f"another worker has just claimed {name}")
    if _numbers(store, folder)[-1] > number:
        store.remove([_file(folder, number)])
        raise ClaimedError(f"another worker has just claimed {name}")
    active = ActiveClaim()
    ended = threading.Event()
    renewing = threading.Thread(
        target=_renew,
        args=(store, folder, number, worker, active, ended, renew_seconds, expire_seconds),
        daemon=True,
    )
    renewing.start()
    try:
        yield active
    finally:
        ended.set()
        renewing.join()
        numbers = _numbers(store, folder)
        if numbers and numbers[-1] == number:
            store.remove(_file(folder, each) for each in numbers)


def _next_number(store: Store, folder: str, worker: Worker, expire_seconds: float) -> int:
    numbers = _numbers(store, folder)
    if not numbers:
        return 1
    content = store.read(_file(folder, numbers[-1]))
    try:
        newest = _Claim(**json.loads(content or b"{}"))
        newest = replace(newest, renewed_at=float(newest.renewed_at))
    except (ValueError, TypeError):  # its writer was killed while it wrote, or it is gone
        return numbers[-1] + 1
    is_renewed = time.time() - newest.renewed_at < expire_seconds
    if is_renewed and not newest.is_of_dead(worker.lock_folder):
        raise ClaimedError(f"a worker on {newest.host} has claimed {folder.rpartition('/')[2]}")
    return numbers[-1] + 1


def _renew(
    store: Store,
    folder: str,
    number: int,
    worker: Worker,
    active: ActiveClaim,
    ended: threading.Event,
    renew_seconds: float,
    expire_seconds: float,
) -> None:
    renewed = time.monotonic()
    while not ended.wait(renew_seconds):
        try:
            active.is_lost = _numbers(store, folder)[-1:] != [number]
            if active.is_lost:
                return
            store.write(_file(folder, number), _Claim.of(worker).encode())
            renewed = time.monotonic()
        except (VosError, OSError) as error:
            _log.warning("a claim could not be renewed: %s", error)
            if not isinstance(error, StoreError) or time.monotonic() - renewed > expire_seconds:
                active.is_lost = True
                return


def _numbers(store: Store, folder: str) -> list[int]:
    names = (name.rpartition("/")[2] for name in store.names(folder))
    return sorted(int(name) for name in names if name.isdecimal())


def _file(folder: str, number: int) -> str:
    return f"{folder}/{number}"
