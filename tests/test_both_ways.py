"""References at any frame: objects tracked both ways, absences, ranges, and what is forgotten."""

import gc
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from colour_sam import PALETTE, ColourSam

import vos
from vos.config import FitConfig
from vos.errors import InputError
from vos.masks import read_label_png, write_label_png
from vos.records import Frame, FrameMasks
from vos.run.job import JobOutputs
from vos.run.references import Reference
from vos.sink import write_video
from vos.source import Selection
from vos.source.backwards import MAX_FRAMES_IN_MEMORY
from vos.track.masks import join, measure
from vos.track.memory.follow import Tracks, follow
from vos.track.memory.relook import Seen
from vos.track.memory.tracks import learn

HEIGHT, WIDTH, SIDE, NUM_FRAMES = 64, 112, 22, 12
METHODS = [vos.Memory(), vos.PersamF(fit=FitConfig(num_steps=20)), vos.Persam()]


def draw(t: int) -> tuple[np.ndarray, np.ndarray]:
    """Two squares that move towards each other, one above the other."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for object_id, (x, y) in {1: (8 + 5 * t, 6), 2: (84 - 5 * t, 36)}.items():
        part = slice(y, y + SIDE), slice(x, x + SIDE)
        rgb[part], labels[part] = PALETTE[object_id], object_id
    return rgb, labels


TRUTH = [draw(t)[1] for t in range(NUM_FRAMES)]


def sam(image_size: int = 128) -> vos.SamModel:
    """A larger one is for the published methods, whose masks are as coarse as its pixels."""
    return vos.SamModel(ColourSam(image_size), name="colour", weights_sha256="0" * 64)


def write_inputs(folder: Path) -> None:
    """Write a clip, and masks of its frames: both objects, or one of them."""
    arrays = (draw(t)[0] for t in range(NUM_FRAMES))
    write_video(folder / "clip.mp4", vos.frames_from_arrays(arrays, fps=10), Fraction(10))
    for t, labels in enumerate(TRUTH):
        write_label_png(folder / f"both{t}.png", labels)
        for object_id in (1, 2):
            only = np.where(labels == object_id, labels, 0).astype(np.uint8)
            write_label_png(folder / f"only{object_id}_{t}.png", only)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


def make_job(folder: Path, *masks: tuple[int | float, str], out: str = "out", **fields) -> vos.Job:
    method = fields.pop("method", vos.Memory())
    return vos.Job(
        source=str(folder / "clip.mp4"),
        references=tuple(Reference(frame=t, mask=folder / f"{name}.png") for t, name in masks),
        outputs=JobOutputs(folder=folder / out, overlay_alpha=fields.pop("alpha", None)),
        config=vos.RunConfig(method=method),
        **fields,
    )


def found(job: vos.Job) -> dict[int, np.ndarray]:
    """Label maps by frame."""
    maps = sorted((job.outputs.folder / "clip").iterdir())
    return {int(path.stem): read_label_png(path) for path in maps}


def presence(job: vos.Job, object_id: int) -> list[int]:
    """The frames that show an object."""
    return [t for t, labels in found(job).items() if (labels == object_id).any()]


def ious(job: vos.Job, object_id: int) -> list[float]:
    pairs = [(labels == object_id, TRUTH[t] == object_id) for t, labels in found(job).items()]
    return [(ours & theirs).sum() / (ours | theirs).sum() for ours, theirs in pairs]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_reference_in_the_middle_is_tracked_both_ways(folder, method):
    job = make_job(folder, (7, "both7"), method=method)
    result = vos.run_job(job, sam(192))
    assert result.num_done == NUM_FRAMES + 7
    for object_id in (1, 2):
        assert min(ious(job, object_id)) > 0.8
    assert (found(job)[7] == TRUTH[7]).all()
    assert not (folder / "out" / ".clip.unfinished").exists()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_references_of_different_objects_join(folder, method):
    """Each object is tracked from its own reference; one of them is seen backwards only."""
    job = make_job(folder, (0, "only1_0"), (11, "only2_11"), method=method)
    vos.run_job(job, sam(192))
    for object_id in (1, 2):
        assert min(ious(job, object_id)) > 0.8


def test_a_frame_between_two_references_is_tracked_from_the_nearer_one(folder):
    job = make_job(folder, (0, "both0"), (10, "only1_10"))
    seen = []
    vos.run_job(job, sam(), seen.append)
    backwards = [each.frame.index for each in seen if each.is_backwards]
    assert backwards == [9, 8, 7, 6]
    assert all((each.masks.labels != 2).all() for each in seen if each.is_backwards)
    assert min(ious(job, 1)) > 0.8


def test_a_side_that_is_in_doubt_gives_way_to_the_other(folder):
    """Object 1 is out of sight in frame 8, between the second reference and the middle."""
    arrays = [draw(t)[0] for t in range(NUM_FRAMES)]
    arrays[8][TRUTH[8] == 1] = 0
    write_video(folder / "clip.mp4", vos.frames_from_arrays(arrays, fps=10), Fraction(10))
    job = make_job(folder, (0, "both0"), (11, "both11"))
    vos.run_job(job, sam())
    made_from = json.loads((folder / "out" / "clip.json").read_text())["made_from"]
    meet = {
        each["object_id"]: each["last_forwards"]
        for each in made_from["stretches"]
        if each["first"] == 1
    }
    assert meet == {1: 8, 2: 5}
    assert presence(job, 1) == [t for t in range(NUM_FRAMES) if t != 8]


def test_causal_references_count_from_their_frame_on(folder):
    job = make_job(folder, (0, "only1_0"), (5, "only2_5"), causal=True)
    result = vos.run_job(job, sam())
    assert result.num_done == NUM_FRAMES
    assert presence(job, 1) == list(range(NUM_FRAMES))
    assert presence(job, 2) == list(range(5, NUM_FRAMES))


def test_a_causal_run_is_segment_video(folder):
    job = make_job(folder, (0, "both0"), (5, "only2_5"), causal=True)
    vos.run_job(job, sam())
    with vos.open_source(folder / "clip.mp4") as frames:
        later = {5: read_label_png(folder / "only2_5.png")}
        pairs = vos.segment_video(frames, TRUTH[0], sam(), later_references=later)
        for frame, masks in pairs:
            assert (found(job)[frame.index] == masks.labels).all()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("masks", [((0, "both0"),), ((0, "both0"), (11, "both11"))])
def test_an_absent_object_has_no_mask_and_is_found_again(folder, method, masks):
    absence = vos.Absence(object_id=2, first=4, last=0.6)
    job = make_job(folder, *masks, method=method, absences=(absence,))
    vos.run_job(job, sam(192))
    assert presence(job, 1) == list(range(NUM_FRAMES))
    assert presence(job, 2) == [0, 1, 2, 3, *range(7, NUM_FRAMES)]
    assert min(iou for t, iou in enumerate(ious(job, 2)) if not 4 <= t <= 6) > 0.8


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_frame_that_says_nothing_of_an_object_is_no_proof_against_it(is_shown):
    """The object looks exactly as before, a little otherwise than in its reference."""
    rgb, labels = draw(0)
    labels = np.where(labels == 1, labels, 0).astype(np.uint8)
    rgb = np.where(labels[..., None] == 1, rgb, 0).astype(np.uint8)
    shade = (rgb * 0.55).astype(np.uint8)
    model, config = sam(), vos.Memory(return_presence=0)
    track = learn([(Frame(0, 0.0, "0", shade), labels)], 1, model, config)
    lost = replace(track, motion=replace(track.motion, num_frames_lost=9))
    frame = Frame(1, 0.1, "1", np.roll(rgb, 60, axis=1))
    # Of a frame that shows the object where it was, what is elsewhere was background.
    before = labels if is_shown else np.zeros_like(labels)
    masks, _ = follow(frame, Tracks((1,), (lost,), Seen(frame, before)), model, config)
    assert masks.present[0] != is_shown


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize(("first", "last"), [(4, 8), (0.35, 0.8), (4, 99)])
def test_only_a_range_is_tracked_and_written(folder, is_causal, first, last):
    """References are outside of it, on both sides."""
    job = make_job(
        folder, (0, "both0"), (11, "only1_11"), tracked=(first, last), causal=is_causal
    )  # fmt: skip
    seen = []
    vos.run_job(job, sam(), seen.append)
    assert list(found(job)) == [*range(4, min(last if last != 0.8 else 8, 11) + 1)]
    assert {each.frame.index for each in seen} == {*found(job)}
    for object_id in (1, 2):
        assert min(ious(job, object_id)) > 0.8
    summary = json.loads((folder / "out" / "clip.json").read_text())
    assert summary["num_frames"] == len(found(job))


def test_a_dropped_object_is_forgotten(folder):
    job = make_job(folder, (0, "both0"), (6, "only2_6"), dropped=(2,), names={1: "box"})
    vos.run_job(job, sam())
    assert presence(job, 2) == []
    summary = json.loads((folder / "out" / "clip.json").read_text())
    assert summary["objects"] == [1]
    assert summary["names"] == {"1": "box"}


def test_every_second_frame_backwards(folder):
    job = make_job(folder, (9, "both9"), selection=Selection(start=1, every=2))
    vos.run_job(job, sam())
    assert list(found(job)) == [1, 3, 5, 7, 9, 11]
    assert min(ious(job, 1) + ious(job, 2)) > 0.8


@pytest.mark.parametrize(
    ("masks", "fields", "message"),
    [
        ([(0, "both0"), (40, "both1")], {}, "reference of frame 40, but no such frame"),
        ([(0, "both0"), (0.0, "both1")], {}, "frame 0 has several references"),
        (
            [(0, "both0"), (5, "only2_5")],
            {"absences": (vos.Absence(object_id=2, first=4, last=6),)},
            "shows object 2 in frame 5, where it is said to be absent",
        ),
        (
            [(0, "both0")],
            {"absences": (vos.Absence(object_id=3, first=4, last=6),)},
            "object 3 cannot be absent: no reference shows it",
        ),
        ([(0, "both0")], {"dropped": (3,)}, "object 3 cannot be dropped"),
        ([(0, "both0")], {"names": {3: "x"}}, "object 3 cannot be named"),
        ([(0, "only1_0")], {"dropped": (1,)}, "every object"),
        ([(0, "both0")], {"tracked": (30, 40)}, "no frame from frame 30 on"),
        ([(0, "both0")], {"tracked": (0.9, 3)}, "end before they begin"),
        (
            [(4, "both4")],
            {"tracked": (5, 5), "selection": Selection(start=4, every=2)},
            "none of the frames used lies in the range to track, 5 to 5",
        ),
        ([(5, "both5")], {"selection": Selection(every=2)}, "frame 5, which is not among"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(folder, masks, fields, message):
    with pytest.raises((InputError, OSError), match=message) as refused:
        vos.run_job(make_job(folder, *masks, **fields), sam())
    assert "\n" not in str(refused.value)
    assert not (folder / "out").exists()


def test_a_source_that_can_be_read_once_is_segmented_causally(folder, monkeypatch):
    monkeypatch.setattr(vos.run.inputs, "describe_source", lambda _: None)
    monkeypatch.setattr(vos.run.inputs, "can_read_again", lambda _: False)
    job = make_job(folder, (0, "only1_0"), (5, "only2_5"))
    vos.run_job(job, sam())
    assert presence(job, 2) == list(range(5, NUM_FRAMES))
    late = make_job(folder, (0, "only1_0"), out="late", tracked=(3, 8))
    with pytest.raises(InputError, match="can be read only once"):
        vos.run_job(late, sam())
    timed = make_job(folder, (0, "only1_0"), out="timed", tracked=(0.0, 0.5))
    with pytest.raises(InputError, match="by their numbers"):
        vos.run_job(timed, sam())


def test_memory_does_not_grow_with_the_video(tmp_path):
    """The second half is as long as the first, and no more frames or masks are alive in it."""
    num_frames = 72
    arrays = (draw(t * NUM_FRAMES // num_frames)[0] for t in range(num_frames))
    write_video(tmp_path / "clip.mp4", vos.frames_from_arrays(arrays, fps=10), Fraction(10))
    write_label_png(tmp_path / "both11.png", TRUTH[11])
    alive = []

    def num_alive() -> np.ndarray:
        kinds = [type(each) for each in gc.get_objects()]
        return np.array([kinds.count(Frame), kinds.count(FrameMasks)])

    def count(progress: vos.run.run_job.JobProgress) -> None:
        if progress.num_done % 12 == 0:
            alive.append(num_alive() - before)

    gc.collect()
    before = num_alive()  # what other tests left

    job = make_job(tmp_path, (num_frames - 1, "both11"))
    vos.run_job(replace(job, config=vos.RunConfig(method=vos.Persam())), sam(), count)
    assert len(alive) == 11
    assert max(frames for frames, _ in alive) < MAX_FRAMES_IN_MEMORY + 20
    assert max(masks for _, masks in alive) < 6


# --- one frame's masks from both passes


def masks_of(rows: list[str], scores: tuple[float, float]) -> FrameMasks:
    labels = np.array([[int(each) for each in row] for row in rows], np.uint8)
    return measure(labels, (1, 2), np.array(scores, np.float32))


def test_a_pixel_that_both_passes_want_goes_to_the_higher_score():
    for scores, middle in (((0.9, 0.8), 1), ((0.8, 0.9), 2), ((0.8, 0.8), 1)):
        ours = masks_of(["1110", "0000"], (scores[0], 0))
        theirs = masks_of(["0022", "0000"], (0, scores[1]))
        joined = join(ours, theirs)
        assert joined.labels.tolist() == [[1, 1, middle, 2], [0, 0, 0, 0]]
        assert joined.scores.tolist() == pytest.approx(scores)
        assert joined.areas_px.tolist() == [3 - (middle == 2), 1 + (middle == 2)]


def test_joining_nothing_changes_nothing():
    ours = masks_of(["1120"], (0.7, 0.6))
    joined = join(ours, masks_of(["0000"], (0, 0)))
    assert (joined.labels == ours.labels).all()
    assert joined.scores.tolist() == ours.scores.tolist()
