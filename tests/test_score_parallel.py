"""Calls spread over processes: errors arrive, and nothing hangs or is left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vos.errors import InputError, ScoreError
from vos.score.parallel import call_all, checked_workers


def pid_after_a_moment(number):
    time.sleep(0.05)
    return number, os.getpid()


def kill_own_process(number):
    os.kill(os.getpid(), signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_keep_their_order_and_no_process_stays():
    results = call_all(pid_after_a_moment, [(number,) for number in range(30)], 2)
    assert [number for number, _ in results] == list(range(30))
    pids = {pid for _, pid in results}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert not any(map(is_running, pids))


def test_one_process_is_this_one():
    assert call_all(pid_after_a_moment, [(1,), (2,)], 1) == [(1, os.getpid()), (2, os.getpid())]
    assert call_all(max, [], 4) == []


@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_error_is_raised_as_it_is(num_processes):
    with pytest.raises(ZeroDivisionError):
        call_all(divmod, [(1, 0)] * 4, num_processes)


def test_a_killed_process_is_reported():
    with pytest.raises(ScoreError, match="was killed"):
        call_all(kill_own_process, [(number,) for number in range(4)], 2)


def test_a_script_without_main_guard_may_score():
    """New processes must not import the caller's script once more."""
    code = "from vos.score.parallel import call_all; print(call_all(max, [(1, 2), (4, 3)], 2))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[2, 4]\n"


def test_an_interrupt_ends_at_once():
    code = (
        "import signal, time; from vos.score.parallel import call_all; print('go', flush=True);"
        # A shell that starts a test run in the background has it ignore interrupts.
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "call_all(time.sleep, [(60,)] * 4, 2)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in errors


def test_number_of_workers():
    assert checked_workers(3) == 3
    assert checked_workers(None) >= 1
    with pytest.raises(InputError, match="1 or more"):
        checked_workers(0)
