"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data and golden results, which the project works without."""
    folder = Path(os.environ.get("VOS_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set VOS_SHARED to the folder that holds it")
    return folder
