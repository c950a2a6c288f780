"""Keeping the memory that one frame frees for the next, which will ask for as much again."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST: Final = 2**31 - 1
_LARGEST_BLOCK: Final = 2**30
_OWN_SETTINGS: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, and not hand it back to the system after each frame.

    The maps inside a model are freed and asked for again with every frame. glibc gives large ones
    back at once, and the system must find and clear every page anew: up to a third of the time of
    an encoder on a virtual machine (docs/performance.md). What is kept is not always where the next
    request fits, so that the most that is held may grow a little, once, and not with time.

    This is a setting of the whole process, so that vos' commands make it and vos as a library does
    not: call it once at the start of a program that segments on a CPU.

    Returns:
        Whether it was set: not where the C library is another than glibc, nor where the
        environment has settings of its own (``MALLOC_TRIM_THRESHOLD_``, ``GLIBC_TUNABLES``, ...).
    """
    is_settled = any(name in os.environ for name in _OWN_SETTINGS)
    if is_settled or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_THRESHOLD, _LARGEST_BLOCK), (_M_TRIM_THRESHOLD, _LARGEST))
    return all(mallopt(name, value) == 1 for name, value in settings)
