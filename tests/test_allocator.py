"""Freed memory is kept, where that can be asked for."""

import os
import platform
import subprocess
import sys

import pytest

# Frees and asks for 80 MB again and again; prints whether that was set, and page faults per time.
PROGRAM = """
import resource, sys
import numpy as np
from vos.sam.fast.allocator import keep_freed_memory
was_set = keep_freed_memory() if sys.argv[1] == "keep" else False
def work():
    for megabytes in (50, 25, 4, 1):
        np.ones(megabytes << 18, dtype=np.float32)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(int(was_set), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


def run(how: str, **variables: str) -> tuple[bool, int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    clean.pop("GLIBC_TUNABLES", None)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env={**clean, **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    was_set, num_faults = result.stdout.split()
    return was_set == "1", int(num_faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_freed_memory_is_kept():
    _, usual = run("usual")
    was_set, kept = run("keep")
    assert was_set
    assert kept < usual / 5


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1000"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")],
)
def test_the_users_own_settings_stand(name, value):
    was_set, _ = run("keep", **{name: value})
    assert not was_set
