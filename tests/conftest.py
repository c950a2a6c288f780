"""Fixtures shared by all tests."""

import os

# Before torch is loaded, here and in processes that tests start: tests run one process per core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import settings

import vos

# The same examples in every run, and no limit of time: neither luck nor load decides a test.
settings.register_profile("vos", derandomize=True, deadline=None)
settings.load_profile("vos")

# vos keeps a public name from its first use on. While a test has a stand-in in its place, that
# would be for good.
vos.load_sam  # noqa: B018

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def nano() -> vos.SamModel:
    from embedded_model import load_nano

    return load_nano()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data and golden results, which the project works without."""
    folder = Path(os.environ.get("VOS_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set VOS_SHARED to the folder that holds it")
    return folder
