"""Frames scored side by side.

Most of a frame's time is Pillow's decoding of its two files, which lets other threads run.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from vos.errors import InputError


def scoring_threads(num_workers: int | None) -> ThreadPoolExecutor:
    """Make a pool of threads.

    Args:
        num_workers: Threads; one per core that this process may use, if None.

    Raises:
        InputError: the number is below 1.
    """
    if num_workers is None:
        has_affinity = hasattr(os, "sched_getaffinity")
        num_workers = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    elif num_workers < 1:
        raise InputError(f"num_workers must be 1 or more, got {num_workers}")
    return ThreadPoolExecutor(num_workers, thread_name_prefix="score")
