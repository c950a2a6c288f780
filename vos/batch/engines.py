"""Which engine does a batch, and how a machine is divided among its workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from vos.batch.local import run_here, run_processes
from vos.batch.outcome import MakeWork, Outcome
from vos.batch.pending import Pending
from vos.sam.cores import usable_cores


class Engine(Protocol):
    """Does the tasks that are pending, by what ``make_work`` makes in each worker."""

    def __call__(
        self,
        pending: Pending[Any],
        make_work: MakeWork,
        *,
        on_frames: Callable[[int], object] = ...,
        should_stop: Callable[[], bool] = ...,
    ) -> Iterator[Outcome]:
        """Yield what became of each task."""
        ...


def threads_per_worker(num_workers: int, num_threads: int | None) -> int | None:
    """Divide the cores among workers; None leaves all of them to the only one."""
    if num_threads is not None or num_workers == 1:
        return num_threads
    return max(1, usable_cores() // num_workers)


def local_engine(num_workers: int, *, num_threads: int | None, device: str) -> Engine:
    """Give the engine of this machine.

    Args:
        num_workers: How many tasks are done at the same time.
        num_threads: Threads of each worker, see :func:`threads_per_worker`.
        device: Of the model; where that is any GPU, each worker has one of them in turn.
    """
    if num_workers == 1:
        return run_here
    common = {} if num_threads is None else {"OMP_NUM_THREADS": str(num_threads)}
    gpus = _gpus() if device in ("auto", "cuda") else []
    environments = [
        {**common, "CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else common
        for number in range(num_workers)
    ]
    return partial(run_processes, environments=environments)


def _gpus() -> list[str]:
    """Name the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` does."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [each for each in visible.split(",") if each.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
