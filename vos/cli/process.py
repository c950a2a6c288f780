"""What is set for the whole process before torch is loaded: threads, memory, and its import."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vos.sam.cores import usable_cores
from vos.sam.fast.allocator import keep_freed_memory


def prepare_process(num_threads: int | None) -> None:
    """Set the threads of torch and OpenMP, and keep freed memory for the next frame.

    What the user has set in the environment stays, unless a number is given. OpenMP's threads wait
    for their next work by spinning; where other processes want the cores they hold up one another,
    so they spin for a short time only (docs/performance.md).

    Args:
        num_threads: How many. If None, torch decides, but takes no more than the process may use:
            torch counts the machine's cores, also in a container that has one of them.
    """
    keep_freed_memory()
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    num_usable = usable_cores()
    if num_threads is None:
        if "OMP_NUM_THREADS" in os.environ or num_usable >= (os.cpu_count() or 1):
            return
        num_threads = num_usable
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(num_threads)


@contextmanager
def without_garbage() -> Iterator[None]:
    """Import torch and the like without looking for garbage, of which imports leave none.

    The search takes a sixth of torch's import. What is imported is not searched later either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
