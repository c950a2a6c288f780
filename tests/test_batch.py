"""Many jobs: skip, redo, go on, retry; processes that are killed, and drivers."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from batches import (
    DEFAULTS,
    NUM_FRAMES,
    Slow,
    make_batch,
    results,
    run_batch,
    stand_in,
    states,
    write_manifest,
)
from interrupted_runs import make_clip

import vos
from vos.batch.claims import is_dead
from vos.batch.records import read_record
from vos.batch.stores import LocalStore
from vos.errors import DownloadError, OutputError


@pytest.fixture
def alone(tmp_path) -> dict[str, bytes]:
    """What vos.run_job alone makes of the batch in tmp_path, of four clips."""
    make_batch(tmp_path, 4)
    for number in range(4):
        clip = tmp_path / f"clip{number:03d}"
        job = replace(
            DEFAULTS,
            source=str(clip / "clip.mp4"),
            references=(vos.Reference(mask=clip / "mask.png"),),
            outputs=replace(DEFAULTS.outputs, folder=tmp_path / "alone", name=clip.name),
        )
        vos.run_job(job, stand_in(job.model))
    return results(tmp_path / "alone")


def test_a_batch_gives_what_its_jobs_alone_give(alone, tmp_path):
    frames = []
    outcomes = run_batch(tmp_path / "jobs.jsonl", tmp_path / "out", on_frames=frames.append)
    assert states(outcomes) == {"done": 4}
    assert sum(frames) == 4 * NUM_FRAMES + 2 == sum(each.num_frames for each in outcomes.values())
    assert results(tmp_path / "out") == alone
    assert not any(path.is_file() for path in (tmp_path / "out/.batch/claims").rglob("*"))
    assert not any((tmp_path / "scratch/running").iterdir())


def test_what_is_done_is_skipped_and_the_model_not_even_loaded(alone, tmp_path):
    run_batch(tmp_path / "jobs.jsonl", tmp_path / "out")

    def no_model(choice):
        raise AssertionError("nothing is to be done")

    again = run_batch(tmp_path / "jobs.jsonl", tmp_path / "out", load_model=no_model)
    assert states(again) == {"skipped": 4}


def test_what_has_changed_is_done_again_and_nothing_else(alone, tmp_path):
    """A longer video, a mask, and settings."""
    manifest, out = tmp_path / "jobs.jsonl", tmp_path / "out"
    run_batch(manifest, out)
    make_clip(tmp_path / "clip001", 8)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[2]["end"] = 2
    shutil.copy(tmp_path / "clip003/later.png", tmp_path / "clip003/mask.png")
    write_manifest(tmp_path, rows)
    outcomes = run_batch(manifest, out)
    done = {name for name, outcome in outcomes.items() if outcome.state == "done"}
    assert done == {"clip001", "clip002", "clip003"}
    assert len([*(out / "clip001").iterdir()]) == 8
    assert len([*(out / "clip002").iterdir()]) == 2
    assert (out / "clip003/00000.png").read_bytes() != (
        tmp_path / "alone/clip003/00000.png"
    ).read_bytes()
    assert states(run_batch(manifest, out)) == {"skipped": 4}


def test_a_job_that_is_done_again_is_not_done_until_it_is(alone, tmp_path):
    run_batch(tmp_path / "jobs.jsonl", tmp_path / "out")

    def dying(choice):
        raise SystemExit

    with pytest.raises(SystemExit):
        run_batch(tmp_path / "jobs.jsonl", tmp_path / "out", load_model=dying, overwrite=True)
    assert read_record(LocalStore(tmp_path / "out"), "clip000").state == "begun"
    outcomes = run_batch(tmp_path / "jobs.jsonl", tmp_path / "out")
    assert states(outcomes) == {"done": 1, "skipped": 3}
    assert results(tmp_path / "out") == alone


def test_a_moved_batch_is_still_done(alone, tmp_path):
    run_batch(tmp_path / "jobs.jsonl", tmp_path / "out")
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    assert states(run_batch(moved / "jobs.jsonl", moved / "out")) == {"skipped": 4}
    moved.rename(tmp_path)


def test_bad_jobs_are_reported_and_stop_no_others(tmp_path):
    manifest, out = make_batch(tmp_path, 3, bad=(1, 2)), tmp_path / "out"
    outcomes = run_batch(manifest, out)
    assert states(outcomes) == {"done": 1, "failed": 2}
    bad = outcomes["clip001"]
    assert (bad.error_kind, bad.num_tries, bad.can_pass) == ("MaskError", 1, False)
    assert "mask.png" in bad.error
    shutil.copy(tmp_path / "clip000/mask.png", tmp_path / "clip001/mask.png")
    outcomes = run_batch(manifest, out, only_failed=True)
    assert {name: each.state for name, each in outcomes.items() if each.state != "skipped"} == {
        "clip001": "done",
        "clip002": "failed",
    }


def test_results_of_others_are_not_replaced(tmp_path):
    manifest, out = make_batch(tmp_path, 2), tmp_path / "out"
    (out / "clip000").mkdir(parents=True)
    (out / "clip000/00000.png").write_bytes(b"mine")
    for overwrite in (False, True):
        outcomes = run_batch(manifest, out, overwrite=overwrite)
        assert outcomes["clip000"].error_kind == "OutputError"
        assert outcomes["clip001"].state == "done"
        assert (out / "clip000/00000.png").read_bytes() == b"mine"


def test_an_unexpected_error_is_reported_with_its_line(tmp_path):
    def broken(choice):
        raise KeyError("surprise")

    outcomes = run_batch(make_batch(tmp_path, 2), tmp_path / "out", load_model=broken)
    assert states(outcomes) == {"failed": 2}
    assert "a fault in vos, at " in outcomes["clip000"].error
    assert "test_batch.py" in outcomes["clip000"].error


@pytest.mark.parametrize(
    ("error", "num_tries"),
    [
        (DownloadError("no network"), 3),
        (MemoryError(), 3),
        (torch.OutOfMemoryError("CUDA out of memory"), 3),
        (OutputError("the disk is full"), 1),
    ],
)
def test_only_what_can_pass_is_tried_again(tmp_path, error, num_tries):
    def failing(choice):
        raise error

    outcomes = run_batch(make_batch(tmp_path, 1), tmp_path / "out", load_model=failing)
    assert outcomes["clip000"].num_tries == num_tries
    assert outcomes["clip000"].state == "failed"


def test_what_has_passed_is_done_at_the_next_try(tmp_path):
    fails = iter([True, True, False])

    def failing(choice):
        if next(fails):
            raise DownloadError("no network")
        return stand_in(choice)

    outcomes = run_batch(make_batch(tmp_path, 1), tmp_path / "out", load_model=failing)
    assert (outcomes["clip000"].state, outcomes["clip000"].num_tries) == ("done", 3)


@pytest.mark.parametrize("pack", [None, "tar"])
def test_a_stopped_job_goes_on(tmp_path, pack):
    manifest = make_batch(tmp_path, 3)
    run_batch(manifest, tmp_path / "whole", pack=pack)
    frames = []
    stopped = run_batch(
        manifest,
        tmp_path / "out",
        pack=pack,
        on_frames=frames.append,
        should_stop=lambda: len(frames) >= NUM_FRAMES + 2,
    )
    assert {name: each.state for name, each in stopped.items()} == {
        "clip000": "done",
        "clip001": "stopped",
    }
    outcomes = run_batch(manifest, tmp_path / "out", pack=pack)
    assert [each.state for each in outcomes.values()] == ["skipped", "done", "done"]
    assert outcomes["clip001"].num_before == 2
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert not any((tmp_path / "out/.batch/unfinished").rglob("*.png"))


def test_a_stopped_job_that_has_changed_begins_again(tmp_path):
    manifest = make_batch(tmp_path, 1, num_frames=6)
    frames = []
    run_batch(
        manifest, tmp_path / "out", on_frames=frames.append, should_stop=lambda: len(frames) >= 2
    )
    write_manifest(tmp_path, [{**json.loads(manifest.read_text()), "every": 2}])
    outcome = run_batch(manifest, tmp_path / "out")["clip000"]
    assert (outcome.state, outcome.num_frames, outcome.num_before) == ("done", 3, 0)


def drive(manifest: Path, out: Path) -> None:
    run_batch(manifest, out, num_workers=2, load_model=Slow(), save_every_seconds=0)


def wait_until(is_so, seconds=120.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_driver_and_no_job_is_done_twice(tmp_path):
    """A bad job among the others, two workers; what is there in the end is as if in one go."""
    manifest, out = make_batch(tmp_path, 8, bad=(5,), num_frames=4), tmp_path / "out"
    run_batch(manifest, tmp_path / "whole")
    driver = multiprocessing.get_context("spawn").Process(target=drive, args=(manifest, out))
    driver.start()
    store = LocalStore(out)
    names = [f"clip{number:03d}" for number in range(8)]

    def done() -> set[str]:
        found = {name: read_record(store, name) for name in names}
        return {name for name, record in found.items() if record and record.state == "done"}

    wait_until(lambda: len(done()) >= 2)
    os.kill(driver.pid, signal.SIGKILL)
    driver.join()
    # The workers finish the frame in hand and end.
    wait_until(lambda: all(map(is_dead, (tmp_path / "scratch/running").glob("*.lock"))))
    before = done()
    outcomes = run_batch(manifest, out)
    assert {name for name, each in outcomes.items() if each.state == "skipped"} == before
    assert states(outcomes) == {"skipped": len(before), "done": 7 - len(before), "failed": 1}
    assert results(out) == results(tmp_path / "whole")
