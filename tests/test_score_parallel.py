"""Calls spread over processes: errors arrive, and nothing hangs or is left behind."""

import os
import signal
import time

import pytest

from vos.errors import InputError, ScoreError
from vos.score import parallel
from vos.score.parallel import call_all, checked_workers


@pytest.fixture(autouse=True)
def helpers(monkeypatch):
    """All processes that a test starts; each has ended after it."""
    started = []

    class Recorded(parallel.subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(parallel.subprocess, "Popen", Recorded)
    yield started
    assert all(helper.returncode is not None for helper in started)


def pid_after_a_moment(number):
    time.sleep(0.05)
    return number, os.getpid()


def fail_elsewhere(pid, how):
    """Fail in every process but one, in which it takes its time."""
    if os.getpid() == pid:
        time.sleep(0.02)
    elif how == "exit":
        os._exit(7)
    else:
        raise KeyError("lost")


def interrupt_here(pid):
    if os.getpid() == pid:
        signal.raise_signal(signal.SIGINT)
    time.sleep(60)


def test_results_keep_their_order_and_come_from_all_processes(helpers):
    results = call_all(pid_after_a_moment, [(number,) for number in range(30)], 2)
    assert [number for number, _ in results] == list(range(30))
    assert {pid for _, pid in results} == {os.getpid(), helpers[0].pid}


def test_one_process_starts_no_other(helpers):
    assert call_all(max, [(1, 2), (4, 3)], 1) == [2, 4]
    assert call_all(max, [], 1) == []
    assert helpers == []


@pytest.mark.parametrize(
    ("how", "message"),
    [("exit", r"died \(exit status 7\)"), ("raise", "(?s)Traceback.*KeyError: 'lost'")],
)
def test_an_error_elsewhere_reaches_the_caller(how, message):
    with pytest.raises(ScoreError, match=message):
        call_all(fail_elsewhere, [(os.getpid(), how)] * 500, 2)


def test_an_error_here_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError):
        call_all(divmod, [(1, 0)] * 4, 2)


def test_an_interrupt_ends_everything_at_once(helpers):
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        call_all(interrupt_here, [(os.getpid(),)] * 4, 2)
    assert time.perf_counter() - started < 10
    assert len(helpers) == 1


def test_number_of_workers():
    assert checked_workers(3) == 3
    assert checked_workers(None) >= 1
    with pytest.raises(InputError, match="1 or more"):
        checked_workers(0)
