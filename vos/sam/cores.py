"""How many processor cores the process may use; can be asked before torch is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_ROOT: Final = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Count the cores that the process may use, for as many threads.

    That is the least of the machine's, of those that the process is bound to (``taskset``, a batch
    system), and of the CPU quotas of the control groups it is in (``docker run --cpus 1``,
    ``systemd-run -p CPUQuota=100%``), versions 1 and 2. A quota of two and a half cores counts as
    two: threads wait for one another, so that one that is stopped stops all.

    Args:
        root: Where ``proc`` and ``sys`` are.

    Returns:
        1 or more.
    """
    if hasattr(os, "sched_getaffinity"):
        num_cores = len(os.sched_getaffinity(0))
    else:
        num_cores = os.cpu_count() or 1
    return max(1, int(min([num_cores, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Give the quotas, in cores, of the process's control groups and of those above them."""
    mounted = root / "sys/fs/cgroup"
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        hierarchy = mounted / "cpu" if controllers else mounted
        # Inside a container the path may be the host's, of which only the container's own group is
        # there, as the root.
        folder = PurePosixPath(path)
        for each in (folder, *folder.parents):
            quota = _quota(hierarchy / each.relative_to("/"))
            if quota is not None:
                yield quota


def _quota(folder: Path) -> float | None:
    """Read the quota of one control group, in cores; None if it has none."""
    try:
        if (folder / "cpu.max").exists():
            quota_us, period_us = (folder / "cpu.max").read_text().split()
        else:
            quota_us = (folder / "cpu.cfs_quota_us").read_text()
            period_us = (folder / "cpu.cfs_period_us").read_text()
        quota = int(quota_us) / int(period_us)
    except (OSError, ValueError, ZeroDivisionError):  # there is no such file, or it says "max"
        return None
    return quota if quota > 0 else None
