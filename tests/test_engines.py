"""Engines: processes that are killed, stops, drivers that are killed, and what each worker gets."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from light_work import Errand, worker

from vos.batch.engines import local_engine, threads_per_worker
from vos.batch.local import run_here, run_processes
from vos.batch.pending import Pending


def wait_until(is_so, seconds=60.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def run(errands, *, num_workers=2, **options) -> dict:
    pending = Pending(errands, max_tries=3, retry_seconds=0.01)
    environments = [{"WHO": str(number)} for number in range(num_workers)]
    found = run_processes(pending, worker, environments, **options)
    return {outcome.name: outcome for outcome in found}


def test_lost_processes_are_replaced_and_their_tasks_tried_again(tmp_path):
    frames = []
    errands = [Errand("a"), Errand("b", "kills once", tmp_path), Errand("c", "kills", tmp_path)]
    errands += [Errand("d", "fails")] + [Errand(f"e{number}") for number in range(4)]
    found = run(iter(errands), on_frames=frames.append)
    assert {name: each.num_tries for name, each in found.items() if each.num_tries > 1} == {
        "b": 2,
        "c": 3,
        "d": 3,
    }
    assert {name for name, each in found.items() if each.state == "failed"} == {"c", "d"}
    assert (found["c"].error_kind, sum(frames)) == ("WorkerLost", 6)
    assert "SIGKILL" in found["c"].error
    assert {each.error for each in found.values() if each.state == "done"} <= {"0", "1"}


def test_tasks_are_taken_only_when_a_worker_is_free(tmp_path):
    taken = []

    def errands():
        for number in range(6):
            taken.append(number)
            yield Errand(f"a{number}")

    pending = Pending(errands())
    outcomes = run_processes(pending, worker, [{}, {}])
    for num_done, _ in enumerate(outcomes, start=1):
        assert len(taken) <= num_done + 2
    assert len(taken) == 6


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_stop_ends_tasks_in_hand_and_begins_no_other(tmp_path, num_workers):
    taken = []

    def errands():
        for number in range(9):
            taken.append(number)
            yield Errand(f"a{number}", "waits", tmp_path)

    def should_stop() -> bool:
        return len([*tmp_path.glob("*.mark")]) == num_workers

    pending = Pending(errands())
    if num_workers == 1:
        found = [*run_here(pending, worker, should_stop=should_stop)]
    else:
        found = [*run_processes(pending, worker, [{}] * num_workers, should_stop=should_stop)]
    assert [each.state for each in found] == ["stopped"] * num_workers
    assert len(taken) == num_workers


def drive(folder: Path) -> None:
    run([Errand("a", "waits", folder), Errand("b", "waits", folder)])


def test_workers_of_a_killed_driver_stop_their_tasks_and_end(tmp_path):
    driver = multiprocessing.get_context("spawn").Process(target=drive, args=(tmp_path,))
    driver.start()
    wait_until(lambda: sum(map(bool, map(Path.read_text, tmp_path.glob("*.mark")))) == 2)
    pids = [int(mark.read_text()) for mark in tmp_path.glob("*.mark")]
    os.kill(driver.pid, signal.SIGKILL)
    driver.join()
    wait_until(lambda: len([*tmp_path.glob("*.stopped")]) == 2)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_cores_and_gpus_are_dealt_out(monkeypatch):
    monkeypatch.setattr("vos.batch.engines.usable_cores", lambda: 8)
    assert threads_per_worker(3, None) == 2
    assert threads_per_worker(16, None) == 1
    assert threads_per_worker(1, None) is None
    assert threads_per_worker(3, 5) == 5
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    engine = local_engine(3, num_threads=2, device="auto")
    visible = [each["CUDA_VISIBLE_DEVICES"] for each in engine.keywords["environments"]]
    assert visible == ["4", "6", "4"]
    assert engine.keywords["environments"][0]["OMP_NUM_THREADS"] == "2"
    on_cpu = local_engine(2, num_threads=1, device="cpu")
    assert on_cpu.keywords["environments"] == [{"OMP_NUM_THREADS": "1"}] * 2
