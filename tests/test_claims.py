"""Claims: one worker for a job, and what becomes of those of dead ones."""

import errno
import json
import multiprocessing
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from vos.batch.claims import ClaimedError, Worker, claim
from vos.batch.stores import Store, open_store


@pytest.fixture(params=["disk", "memory"])
def store(request, tmp_path) -> Store:
    return open_store(str(tmp_path / "out") if request.param == "disk" else f"memory:/{tmp_path}")


@pytest.fixture
def workers(tmp_path):
    workers = [Worker(tmp_path / "locks") for _ in range(2)]
    yield workers
    for worker in workers:
        worker.end()


def take_over(store, name, worker) -> bool:
    try:
        with claim(store, name, worker):
            return True
    except ClaimedError:
        return False


def test_a_claimed_job_is_not_for_others_until_it_is_given_back(store, workers):
    first, second = workers
    with claim(store, "a", first) as held:
        assert not take_over(store, "a", second)
        assert take_over(store, "a.1", second)
        assert not held.is_lost
    assert take_over(store, "a", second)
    assert store.names(".batch/claims") == []
    assert store.folder is None or not any((store.folder / ".batch/claims").iterdir())


def test_of_many_at_the_same_time_one_gets_it(store, tmp_path):
    barrier, refused, got = threading.Barrier(8), threading.Semaphore(0), []

    def ask() -> None:
        worker = Worker(tmp_path / "locks")
        barrier.wait()
        try:
            with claim(store, "a", worker):
                got.append(worker)
                assert all(refused.acquire(timeout=60) for _ in range(7))
        except ClaimedError:
            refused.release()
        worker.end()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_claim_appears_with_its_content(tmp_path, workers, monkeypatch):
    """Who found it empty would take it for that of a worker that was killed while it wrote."""
    first, second = workers
    store = open_store(str(tmp_path / "out"))
    link = os.link

    def link_what_is_whole(source, target):
        assert json.loads(Path(source).read_bytes())["token"] == first.token
        assert not Path(target).exists()
        link(source, target)

    monkeypatch.setattr(os, "link", link_what_is_whole)
    with claim(store, "a", first):
        assert not take_over(store, "a", second)
    assert store.names("") == []


def test_on_a_disk_without_hard_links_one_gets_it_too(tmp_path, workers, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = open_store(str(tmp_path / "out"))
    assert store.create("x/1", b"first")
    assert not store.create("x/1", b"second")
    assert store.read("x/1") == b"first"
    assert store.names("") == ["x/1"]
    with claim(store, "a", workers[0]):
        assert not take_over(store, "a", workers[1])


def hold_until_killed(address: str, locks: Path, ready) -> None:
    with claim(open_store(address), "a", Worker(locks)):
        ready.set()
        time.sleep(600)


def test_the_claim_of_a_killed_process_of_this_machine_ends_with_it(tmp_path, workers):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    args = (str(tmp_path / "out"), tmp_path / "locks", ready)
    process = context.Process(target=hold_until_killed, args=args)
    process.start()
    assert ready.wait(60)
    store = open_store(str(tmp_path / "out"))
    assert not take_over(store, "a", workers[0])
    process.kill()
    process.join()
    assert take_over(store, "a", workers[0])


def forge(store: Store, age_seconds: float) -> None:
    """Leave a claim as a worker of another machine would."""
    forged = {"token": "x", "host": "far away", "renewed_at": time.time()}
    forged["renewed_at"] -= age_seconds
    store.write(".batch/claims/a/1", json.dumps(forged).encode())


def test_the_claim_of_another_machine_expires(store, workers):
    forge(store, age_seconds=5)
    with pytest.raises(ClaimedError, match="far away"), claim(store, "a", workers[0]):
        pass
    forge(store, age_seconds=100)
    assert take_over(store, "a", workers[0])
    assert store.names(".batch/claims") == []


def test_a_forged_claim_touches_no_file(store, workers, tmp_path):
    (tmp_path / "mine.lock").write_text("mine")
    forged = {"token": "../mine", "host": socket.gethostname(), "renewed_at": time.time()}
    store.write(".batch/claims/a/1", json.dumps(forged).encode())
    assert not take_over(store, "a", workers[0])
    assert (tmp_path / "mine.lock").read_text() == "mine"


@pytest.mark.parametrize(
    "content", [b'{"token"', b"[]", b'{"token": 1, "host": 2, "renewed_at": "x"}']
)
def test_a_claim_cut_short_is_not_for_ever(store, workers, content):
    store.write(".batch/claims/a/1", content)
    assert take_over(store, "a", workers[0])


def test_a_worker_that_was_held_up_learns_that_it_has_lost_the_job(store, workers):
    with claim(store, "a", workers[0], renew_seconds=0.05) as held:
        time.sleep(0.2)
        assert not held.is_lost
        store.write(".batch/claims/a/2", store.read(".batch/claims/a/1"))
        end = time.monotonic() + 30
        while not held.is_lost:
            assert time.monotonic() < end
            time.sleep(0.02)
    # What is of the new holder stays.
    assert ".batch/claims/a/2" in store.names(".batch/claims")
