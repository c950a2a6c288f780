"""Methods with a network of their own: the packages' own masks, and all that vos does around."""

import itertools
import json
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import run_batch, write_manifest
from colour_sam import ColourSam
from interrupted_runs import contents
from small_networks import IDS, NETWORKS, clip, draw

import vos
from vos.app.messages import TrackMessage
from vos.app.session import Session
from vos.errors import InputError, OutputError
from vos.masks import read_label_png, write_label_png
from vos.run.state import decode_state, encode_state
from vos.segment.forward import Progress, segment_steps
from vos.sink import write_video

NUM_FRAMES = 20
VIDEO_FRAMES = 12


@pytest.fixture(scope="module", params=NETWORKS)
def tracker(request):
    """A network, its package's own loop, and settings."""
    build, loop, config = NETWORKS[request.param]
    return build(), loop, vos.RunConfig(method=config, num_read_ahead=0)


@pytest.fixture
def video(tmp_path) -> Path:
    """A folder with the clip, and label maps of its frames as drawn."""
    frames, _ = clip(VIDEO_FRAMES)
    write_video(tmp_path / "clip.mp4", frames, Fraction(25))
    for t in range(VIDEO_FRAMES):
        write_label_png(tmp_path / f"{t}.png", draw(t)[1])
    return tmp_path


def job(folder: Path, config: vos.RunConfig, *frames: int, out: str = "out", **fields) -> vos.Job:
    """A job with references of some frames."""
    return vos.Job(
        source=str(folder / "clip.mp4"),
        references=tuple(vos.Reference(frame=t, mask=folder / f"{t}.png") for t in frames),
        outputs=vos.JobOutputs(folder=folder / out, name="clip", overlay_alpha=None),
        config=config,
        **fields,
    )


def labels_of(folder: Path, out: str = "out") -> dict[int, np.ndarray]:
    files = sorted((folder / out / "clip").glob("*.png"))
    return {int(path.stem): read_label_png(path) for path in files}


def found(frames, mask, network, config, **options):
    return [masks for _, masks in vos.segment_video(frames, mask, network, config, **options)]


def test_masks_are_those_of_the_package(tracker):
    """Three objects, of which one leaves and returns; beyond what either network remembers."""
    network, loop, config = tracker
    frames, mask = clip(NUM_FRAMES)
    results = found(frames, mask, network, config)
    np.testing.assert_array_equal(results[0].labels, mask)
    wanted = list(loop(network, frames, mask, IDS))
    assert len(np.unique(np.stack(wanted))) > 2  # random weights, but not the same of every pixel
    for masks, labels in zip(results[1:], wanted, strict=True):
        np.testing.assert_array_equal(masks.labels, labels)
        assert masks.object_ids == IDS
        assert masks.present.tolist() == [(labels == each).any() for each in IDS]
        assert ((masks.scores > 0) == masks.present).all()
        assert (masks.scores <= 1).all()


def test_what_is_known_does_not_grow_and_survives_bytes(tracker):
    network, _, config = tracker
    if isinstance(config.method, vos.Cutie):
        config = replace(config, method=vos.Cutie(memory_every=1))
    frames, mask = clip(NUM_FRAMES)
    steps = list(segment_steps(frames, mask, network, config))
    sizes = [len(encode_state(step.progress)) for step in steps]
    assert max(sizes[16:]) - min(sizes[16:]) < 64  # digits of the frame's number
    middle = decode_state(Progress, encode_state(steps[8].progress), torch.device("cpu"))
    again = list(segment_steps(frames[9:], middle, network, config))
    for step, other in zip(steps[9:], again, strict=True):
        np.testing.assert_array_equal(step.masks.labels, other.masks.labels)
        np.testing.assert_array_equal(step.masks.scores, other.masks.scores)
    assert encode_state(steps[-1].progress) == encode_state(again[-1].progress)


def test_a_mask_of_the_last_frame_is_tracked_backwards(tracker, video):
    network, loop, config = tracker
    vos.run_job(job(video, config, 5, tracked=(0, 5)), network)
    with vos.open_source(str(video / "clip.mp4")) as source:
        frames = list(source)[:6]
    wanted = list(loop(network, frames[::-1], draw(5)[1], IDS))
    ours = labels_of(video)
    np.testing.assert_array_equal(ours.pop(5), draw(5)[1])
    for t, labels in zip(range(4, -1, -1), wanted, strict=True):
        np.testing.assert_array_equal(ours[t], labels)


def test_a_run_that_stopped_goes_on_to_the_same_bytes(tracker, video):
    """Both passes, with references of different objects, and stops in either."""
    network, _, config = tracker
    first = np.where(draw(0)[1] == 3, 0, draw(0)[1]).astype(np.uint8)
    write_label_png(video / "0.png", first)
    whole = job(video, config, 0, 8, out="whole")
    vos.run_job(whole, network)
    parts = replace(whole, outputs=replace(whole.outputs, folder=video / "parts"))
    num_done = []
    is_complete = False
    while not is_complete:
        frames = itertools.count(1)
        result = vos.run_job(
            parts,
            network,
            resume=bool(num_done),
            save_every_seconds=0,
            should_stop=lambda frames=frames: next(frames) == 6,
        )
        is_complete = result.is_complete
        num_done.append(result.num_done)
    assert num_done[:-1] == [6] * (len(num_done) - 1)
    assert sum(num_done) > VIDEO_FRAMES
    assert contents(video / "parts") == contents(video / "whole")


def test_absent_objects_and_a_range(tracker, video):
    network, _, config = tracker
    away = vos.Absence(object_id=3, first=6, last=9)
    vos.run_job(job(video, config, 0, absences=(away,), tracked=(4, 11)), network)
    results = vos.read_results(video / "out", "clip")
    assert [frame.index for frame in results.frames] == list(range(4, 12))
    assert results.object_ids == IDS
    for frame in results.frames[2:6]:
        assert not frame.present[2]
        assert frame.scores[2] == 0


def test_an_update_leaves_other_masks_as_they_are(tracker, video):
    network, _, config = tracker
    vos.run_job(job(video, config, 0, 4), network)
    before = contents(video / "out" / "clip")
    vos.run_job(job(video, config, 0, 4, 11), network, update=True)
    after = contents(video / "out" / "clip")
    assert {name for name in after if after[name] == before[name]} >= {
        f"{t:05d}.png" for t in range(5)
    }
    np.testing.assert_array_equal(labels_of(video)[11], draw(11)[1])


def test_a_later_reference_is_learned_when_it_comes(tracker):
    network, _, config = tracker
    frames, mask = clip(9)
    first = np.where(mask == 3, 0, mask).astype(np.uint8)
    results = found(frames, first, network, config, later_references={5: draw(5)[1]})
    assert not any(masks.present[2] for masks in results[:5])
    np.testing.assert_array_equal(results[5].labels, draw(5)[1])
    from_there = found(frames[5:], draw(5)[1], network, config)
    assert len(from_there) == 4
    assert {masks.object_ids for masks in results} == {IDS}


def test_clicks_are_made_masks_by_a_sam(tracker, video, monkeypatch):
    network, _, config = tracker
    monkeypatch.setattr("vos.run.run_job.load_network", lambda *choice: network)
    clicked = vos.Hint(clicks=(vos.Click(15, 15),))
    shown = replace(job(video, config, 0), references=(vos.Reference(frame=0, hints={1: clicked}),))
    result = vos.run_job(shown, vos.SamModel(ColourSam()))
    summary = json.loads(result.outputs.summary_path.read_text())
    assert (summary["model"], summary["hints_by"]) == (network.name, "nano")
    assert summary["weights_sha256"] == "0" * 64
    assert network.package in summary["versions"]
    assert (labels_of(video)[0] == 1).any()


def test_the_page_and_a_batch_give_the_same_masks(tracker, video, monkeypatch):
    """The page goes on with results of the method, and a further mask."""
    network, _, config = tracker
    monkeypatch.setattr("vos.run.run_job.load_network", lambda *choice: network)
    vos.run_job(job(video, config, 0, out="alone"))
    rows = [{"name": "clip", "video": "clip.mp4", "mask": "0.png"}]
    rows[0]["config"] = config.to_json_values()
    outcomes = run_batch(write_manifest(video, rows), video / "batch")
    assert outcomes["clip"].state == "done", outcomes["clip"].error
    assert_equal(labels_of(video, "batch"), labels_of(video, "alone"))

    session = Session(
        str(video / "clip.mp4"),
        video / "batch",
        "clip",
        choose_model=vos.ModelChoice,
        sam=vos.SamModel(ColourSam()),
    )
    try:
        session.picture(0, "png")
        wait_until(lambda: session.state()["status"] == "ready")
        session.import_mask(10, video / "10.png")
        session.handle(TrackMessage(type="track", frame=10, direction="both"))
        wait_until(lambda: session.state()["status"] == "ready")
    finally:
        session.close()
    vos.run_job(job(video, config, 0, 10, out="alone"), update=True)
    assert_equal(labels_of(video, "batch"), labels_of(video, "alone"))
    np.testing.assert_array_equal(labels_of(video, "batch")[10], draw(10)[1])
    assert vos.read_results(video / "batch", "clip").job.config == config


def assert_equal(some: dict[int, np.ndarray], others: dict[int, np.ndarray]) -> None:
    assert list(some) == list(others) == list(range(VIDEO_FRAMES))
    for t, labels in some.items():
        np.testing.assert_array_equal(labels, others[t])


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_state_or_a_model_of_another_method_is_refused(tracker, video):
    network, _, config = tracker
    frames, mask = clip(2)
    sam = vos.SamModel(ColourSam())
    with pytest.raises(InputError, match="network of its own and cannot use custom"):
        found(frames, mask, sam, config)
    other = vos.RunConfig(method=vos.Sam2(size="large"))
    with pytest.raises(InputError, match=f"sam2.1-large .* cannot use {network.name}"):
        found(frames, mask, network, other)
    with pytest.raises(InputError, match="the method memory needs a SAM"):
        found(frames, mask, network, vos.RunConfig())
    with pytest.raises(InputError, match="the method memory needs a SAM"):
        vos.run_job(job(video, vos.RunConfig(), 0), network)
    with pytest.raises(InputError, match="needs the frame before, which pictures do not have"):
        next(vos.segment_images(frames, [(frames[0], mask)], sam, config))
    vos.run_job(job(video, config, 0), network, should_stop=lambda: True)
    with pytest.raises(OutputError, match="holds another run"):
        vos.run_job(job(video, vos.RunConfig(), 0), sam, resume=True)
