"""What the commands set for their process: threads, and how they wait."""

import gc
import os
from contextlib import suppress

import pytest
import torch

from vos.cli import process


@pytest.fixture
def environment(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    yield monkeypatch
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("num_threads", "num_usable", "given", "expected"),
    [
        (None, 64, None, None),
        (None, 1, None, "1"),
        (None, 1, "7", "7"),
        (3, 1, None, "3"),
        (3, 64, "7", "3"),
    ],
)
def test_threads_are_the_given_ones_or_at_most_the_usable_cores(
    environment, num_threads, num_usable, given, expected
):
    environment.setattr(process, "usable_cores", lambda: num_usable)
    if given is not None:
        environment.setenv("OMP_NUM_THREADS", given)
    process.prepare_process(num_threads)
    assert os.environ.get("OMP_NUM_THREADS") == expected
    if expected != given and expected is not None:
        assert torch.get_num_threads() == int(expected)


def test_what_the_user_says_of_waiting_stays(environment):
    environment.setenv("GOMP_SPINCOUNT", "5")
    process.prepare_process(None)
    assert os.environ["GOMP_SPINCOUNT"] == "5"
    environment.delenv("GOMP_SPINCOUNT")
    environment.setenv("OMP_WAIT_POLICY", "passive")
    process.prepare_process(None)
    assert "GOMP_SPINCOUNT" not in os.environ
    environment.delenv("OMP_WAIT_POLICY")
    process.prepare_process(None)
    assert os.environ["GOMP_SPINCOUNT"] == "20000"


def test_garbage_is_looked_for_again_where_an_import_fails():
    with suppress(ImportError), process.without_garbage():
        assert not gc.isenabled()
        raise ImportError
    gc.unfreeze()
    assert gc.isenabled()
