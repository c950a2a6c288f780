"""Looking twice: what a first pass lost is found from behind, and nothing else changes."""

import itertools
import json
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from colour_sam import PALETTE, ColourSam
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from interrupted_runs import shell
from PIL import Image

import vos
from vos import both_ways, spill
from vos.both_ways import fill_in, plan_second_pass
from vos.errors import DamagedSourceError, InputError, MaskError, OutputError, SourceError
from vos.masks import read_label_png, write_label_png
from vos.run.outputs import Outputs
from vos.sets.davis import find_davis_sequences, segment_sequence
from vos.track.published.segment import frame_masks

HEIGHT, WIDTH, SIDE, NUM_FRAMES = 80, 120, 24, 16
HIDDEN, FADED = range(4, 8), range(8, 12)
FADE = 0.52
CONFIG = vos.RunConfig(memory=vos.MemoryConfig(return_likeness=0.9))


@pytest.fixture(scope="module")
def sam() -> vos.SamModel:
    return vos.SamModel(ColourSam(128))


def draw(t: int, comes_back: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Object 1 moves; object 2 hides, returns elsewhere and looks like itself only after a while.

    Faded, it is halfway to the background: enough to be followed (score 0.8), but not to be taken
    up again.
    """
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    places = {1: (5 + t, 5)}
    if t not in HIDDEN and (comes_back or t < HIDDEN.start):
        places[2] = (80, 50) if t < HIDDEN.start else (5 + t, 50)
    for object_id, (x, y) in places.items():
        part = slice(y, y + SIDE), slice(x, x + SIDE)
        fade = FADE if object_id == 2 and t in FADED else 1
        rgb[part] = np.array(PALETTE[object_id]) * fade
        labels[part] = object_id
    return rgb, labels


def write_folder(folder: Path, arrays) -> Path:
    folder.mkdir(parents=True)
    for t, rgb in enumerate(arrays):
        Image.fromarray(rgb).save(folder / f"{t:05d}.png")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("both") / "clip"
    return write_folder(folder, (draw(t)[0] for t in range(NUM_FRAMES)))


def forward(path, sam, reference=None, config=CONFIG, **options):
    reference = draw(0)[1] if reference is None else reference
    with vos.open_source(path) as frames:
        return list(vos.segment_video(frames, reference, sam, config, **options))


def both(path, sam, reference=None, config=CONFIG, **options):
    reference = draw(0)[1] if reference is None else reference
    return list(vos.segment_both_ways(path, reference, sam, config, **options))


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    union = (ours | theirs).sum()
    return (ours & theirs).sum() / union if union else 1.0


def assert_same(results, others):
    for (frame, masks), (other_frame, other) in zip(results, others, strict=True):
        assert (frame.index, frame.name) == (other_frame.index, other_frame.name)
        np.testing.assert_array_equal(frame.rgb, other_frame.rgb)
        for name in ("labels", "scores", "present", "boxes_xyxy", "areas_px"):
            np.testing.assert_array_equal(getattr(masks, name), getattr(other, name))


def test_what_came_back_is_found_before_the_first_pass_knew_it(clip, sam):
    once, twice = forward(clip, sam), both(clip, sam)
    assert [frame.index for frame, _ in twice] == list(range(NUM_FRAMES))
    for t, ((_, first), (_, masks)) in enumerate(zip(once, twice, strict=True)):
        truth = draw(t)[1]
        assert masks.object_ids == (1, 2)
        assert first.present.tolist() == [True, t not in (*HIDDEN, *FADED)]
        assert masks.present.tolist() == [True, t not in HIDDEN]
        assert (masks.scores > 0).tolist() == masks.present.tolist()
        for object_id in (1, 2):
            assert iou(masks.labels == object_id, truth == object_id) > 0.8
        assert masks.areas_px.tolist() == [(masks.labels == i).sum() for i in (1, 2)]
    seen = [t for t in range(NUM_FRAMES) if t not in FADED]
    assert_same([twice[t] for t in seen], [once[t] for t in seen])


def test_where_nothing_is_lost_there_is_no_second_pass(tmp_path, sam):
    path = write_folder(tmp_path / "clip", (draw(t)[0] for t in range(HIDDEN.start)))
    passes = []
    twice = both(path, sam, on_frame=lambda *noted: passes.append(noted))
    assert_same(twice, forward(path, sam))
    assert passes == [(1, number) for number in range(1, HIDDEN.start + 1)]


def test_what_never_comes_back_stays_away(tmp_path, sam):
    path = write_folder(tmp_path / "clip", (draw(t, comes_back=False)[0] for t in range(10)))
    twice = both(path, sam)
    assert not any(masks.present[1] for _, masks in twice[HIDDEN.start :])
    assert_same(twice, forward(path, sam))


def test_an_object_of_a_later_reference_is_found_before_it(clip, sam):
    """And references stay as they are given, where they are wrong too."""
    reference = np.where(draw(0)[1] == 1, 1, 0).astype(np.uint8)
    given = np.where(draw(14)[1] == 2, 2, 0).astype(np.uint8)
    given[70:, :5] = 2
    options = {"reference": reference, "later_references": {14: given}}
    once, twice = forward(clip, sam, **options), both(clip, sam, **options)
    assert not any(masks.present[1] for _, masks in once[:14])
    for t in FADED.stop, FADED.stop + 1:
        assert iou(twice[t][1].labels == 2, draw(t)[1] == 2) > 0.8
    assert_same([twice[0], twice[14]], [once[0], once[14]])
    np.testing.assert_array_equal(twice[14][1].labels == 2, given == 2)


def test_parts_of_a_video_are_followed_as_parts(clip, sam):
    part = {"start": 2, "end": 15, "every": 2}
    reference = draw(2)[1]
    twice = both(clip, sam, reference, **part)
    assert [frame.index for frame, _ in twice] == list(range(2, 15, 2))
    found = {frame.index: masks.present[1] for frame, masks in twice}
    assert [index for index in found if not found[index]] == [4, 6]


def test_two_runs_are_equal_and_leave_nothing(clip, sam, tmp_path):
    first, second = (both(clip, sam, spill_folder=tmp_path / "spill") for _ in range(2))
    assert_same(first, second)
    assert list((tmp_path / "spill").iterdir()) == []


@given(arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 3)),
              elements=st.sampled_from([0, 0.5, 0.7, 0.8, 0.95, 1])))  # fmt: skip
def test_plans_lead_from_confident_frames_over_lost_ones(scores):
    starts, followed = plan_second_pass(scores, 0.75)
    assert starts.shape == followed.shape == scores.shape
    assert not (starts | followed)[0].any()
    assert not (starts & followed).any()
    needed = np.maximum(0.9 * scores[1:].max(axis=0, initial=0), 0.75)
    assert (scores >= needed)[starts].all()
    assert not (scores >= needed)[followed].any()
    for place, row in zip(*np.nonzero(followed), strict=True):
        assert followed[place + 1, row] or starts[place + 1, row]
    for row in range(scores.shape[1]):
        confident = np.flatnonzero(scores[:, row] >= needed[row])
        for place in np.flatnonzero(scores[:, row] == 0):
            assert followed[place, row] == bool(place and (confident > place).any())


def test_a_plan():
    scores = np.array([1, 0.9, 0, 0, 0.78, 0.9, 0, 0.8, 0, 0], dtype=np.float32)[:, None]
    starts, followed = plan_second_pass(scores, 0.75)
    assert np.flatnonzero(starts).tolist() == [5]  # 0.8 is below nine tenths of 0.9
    assert np.flatnonzero(followed).tolist() == [2, 3, 4]
    starts, followed = plan_second_pass(scores[:8], 0.95)
    assert not starts.any()
    assert not followed.any()


def masks_of(rows: str, scores: list[float]):
    labels = np.array([[int(digit) for digit in rows]], dtype=np.uint8)
    return frame_masks(labels, (1, 2, 3), np.array(scores, dtype=np.float32))


@pytest.mark.parametrize(
    ("one", "one_scores", "other", "other_scores", "labels", "scores"),
    [
        ("1100", [0.6, 0, 0], "0022", [0.9, 0.7, 0], "1122", [0.6, 0.7, 0]),
        ("1100", [0.6, 0, 0], "0222", [0, 0.7, 0], "1222", [0.6, 0.7, 0]),
        ("1100", [0.8, 0, 0], "0222", [0, 0.7, 0], "1122", [0.8, 0.7, 0]),
        ("1100", [0.7, 0, 0], "0222", [0, 0.7, 0], "1122", [0.7, 0.7, 0]),
        ("1100", [0.6, 0, 0], "2200", [0, 0.7, 0], "2200", [0, 0.7, 0]),
        ("0000", [0, 0, 0], "1233", [0.7, 0.8, 0.9], "1233", [0.7, 0.8, 0.9]),
    ],
)
def test_what_is_added_competes_by_score(one, one_scores, other, other_scores, labels, scores):
    filled = fill_in(masks_of(one, one_scores), masks_of(other, other_scores))
    assert "".join(map(str, filled.labels[0])) == labels
    np.testing.assert_allclose(filled.scores, scores)


def test_a_frame_without_anything_new_is_left_alone():
    found = masks_of("1100", [0.6, 0, 0])
    assert fill_in(found, masks_of("2211", [0.9, 0, 0])) is found


def test_neither_pictures_nor_masks_are_kept(clip, sam, monkeypatch):
    """But for those of the reference and of the frame in hand."""
    added, seen_alive = [], []
    add, replace = spill.Spill.add, spill.Spill.replace

    def noting_add(self, frame, masks):
        added.extend(weakref.ref(each) for each in (frame.rgb, masks.labels))
        add(self, frame, masks)

    def noting_replace(self, place, masks):
        added.append(weakref.ref(masks.labels))
        replace(self, place, masks)

    monkeypatch.setattr(spill.Spill, "add", noting_add)
    monkeypatch.setattr(spill.Spill, "replace", noting_replace)

    def note(number, num_frames):
        seen_alive.append(sum(each() is not None for each in added))

    pairs = both(clip, sam, on_frame=note)
    assert len(added) == 2 * NUM_FRAMES + len(FADED)
    assert len(seen_alive) > NUM_FRAMES + len(FADED)
    assert max(seen_alive) <= 6
    del pairs
    assert not any(each() is not None for each in added)


class Broken(Exception):
    pass


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_a_failing_pass_leaves_nothing(clip, sam, tmp_path, number, error):
    def fail(pass_number, num_frames):
        if (pass_number, num_frames) == (number, 3):
            (own,) = tmp_path.iterdir()
            assert len(list(own.glob("*.png"))) == (3 if number == 1 else NUM_FRAMES)
            raise error

    with pytest.raises(error):
        both(clip, sam, spill_folder=tmp_path, on_frame=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_consumer_that_stops_leaves_nothing(clip, sam, tmp_path):
    pairs = vos.segment_both_ways(clip, draw(0)[1], sam, spill_folder=tmp_path)
    next(pairs)
    assert len(list(tmp_path.iterdir())) == 1
    pairs.close()
    assert list(tmp_path.iterdir()) == []


def test_a_bad_reference_makes_no_folder(clip, sam, tmp_path):
    with pytest.raises(MaskError):
        both(clip, sam, draw(0)[1][1:], spill_folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_refuses(clip, sam, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot make a folder in .*file"):
        both(clip, sam, spill_folder=tmp_path / "file")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill, "write_label_png", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*00000000\.png: No space left"):
        both(clip, sam, spill_folder=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_label_maps_that_vanish(clip, sam, tmp_path):
    pairs = vos.segment_both_ways(clip, draw(0)[1], sam, spill_folder=tmp_path)
    next(pairs)
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    with pytest.raises(OutputError, match=r"found is gone: .*00000001"):
        next(pairs)


@pytest.mark.parametrize("change", ["less", "more"])
def test_a_source_that_changes_meanwhile(tmp_path, sam, change):
    path = write_folder(tmp_path / "clip", (draw(t)[0] for t in range(3)))
    pairs = vos.segment_both_ways(path, draw(0)[1], sam, on_frame=lambda _pass, num: (
        num == 3 and ((path / "00002.png").unlink() if change == "less"
                      else Image.fromarray(draw(3)[0]).save(path / "00003.png"))
    ))  # fmt: skip
    with pytest.raises(SourceError, match="same 3 frames twice"):
        list(pairs)


def test_a_damaged_source_is_followed_as_far_as_it_is_good(tmp_path, sam):
    path = write_folder(tmp_path / "clip", (draw(t)[0] for t in range(NUM_FRAMES)))
    (path / f"{NUM_FRAMES:05d}.png").write_bytes(b"no picture")
    pairs = vos.segment_both_ways(path, draw(0)[1], sam, CONFIG)
    found = [masks.present[1] for _, masks in itertools.islice(pairs, NUM_FRAMES)]
    assert found == [t not in HIDDEN for t in range(NUM_FRAMES)]
    with pytest.raises(DamagedSourceError):
        next(pairs)


def test_what_can_be_read_only_once_is_refused_first(sam, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("rtsp://host/camera", tmp_path / "pipe"):
        with pytest.raises(SourceError, match="can be read only once; save it as a file"):
            both(path, sam)
    with pytest.raises(InputError, match="needs a path, got list_iterator; segment_video"):
        both(iter([]), sam)


def test_other_priors_are_refused(clip, sam):
    with pytest.raises(InputError, match="needs the prior memory, got box"):
        both(clip, sam, config=vos.RunConfig(prior="box"))


def test_the_command_writes_all_results(clip, tmp_path, capsys):
    """An object is shown in a later frame only, and found before it."""
    write_label_png(tmp_path / "mask.png", np.where(draw(0)[1] == 1, 1, 0).astype(np.uint8))
    write_label_png(tmp_path / "later.png", np.where(draw(14)[1] == 2, 2, 0).astype(np.uint8))
    options = ["--ref-mask", tmp_path / "mask.png", "--ref", f"14:{tmp_path / 'later.png'}"]
    options += ["--out", tmp_path / "out"]
    assert shell(clip, *options, "--name", "twice", "--direction", "both") == 0
    assert f"{NUM_FRAMES} frames in" in capsys.readouterr().out
    assert shell(clip, *options, "--name", "once") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {name + end for name in ("once", "twice") for end in ("", ".mp4", ".json")}
    once, twice = (
        [read_label_png(path) for path in sorted((tmp_path / "out" / name).iterdir())]
        for name in ("once", "twice")
    )
    assert len(once) == len(twice) == NUM_FRAMES
    assert [t for t in range(NUM_FRAMES) if (once[t] == 2).any()] == [14, 15]
    found = [t for t in range(NUM_FRAMES) if (twice[t] == 2).any()]
    assert found[-4:] == [12, 13, 14, 15]
    summary = json.loads((tmp_path / "out" / "twice.json").read_text())
    assert summary["direction"] == "both"
    there = [frame["objects"][1]["present"] for frame in summary["frames"]]
    assert [t for t in range(NUM_FRAMES) if there[t]] == found


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--resume"], 2, "both cannot be resumed"),
        (["--save-every", "60"], 2, "both cannot be resumed"),
        (["--prior", "box"], 1, "needs the prior memory"),
        (["--published"], 1, "needs the prior memory"),
    ],
)
def test_what_the_command_refuses(clip, tmp_path, capsys, options, code, message):
    write_label_png(tmp_path / "mask.png", draw(0)[1])
    out = tmp_path / "out"
    standard = ["--ref-mask", tmp_path / "mask.png", "--out", out, "--direction", "both"]
    assert shell(clip, *standard, *options) == code
    assert message in capsys.readouterr().err
    assert shell("rtsp://host/camera", *standard) == 1
    assert "can be read only once" in capsys.readouterr().err
    assert not out.exists()


def test_a_sequence_of_a_set(tmp_path, sam):
    write_folder(tmp_path / "JPEGImages/480p/clip", (draw(t)[0] for t in range(NUM_FRAMES)))
    (tmp_path / "Annotations/480p/clip").mkdir(parents=True)
    write_label_png(tmp_path / "Annotations/480p/clip/00000.png", draw(0)[1])
    (sequence,) = find_davis_sequences(tmp_path)
    for direction, lost in (("forward", (*HIDDEN, *FADED)), ("both", HIDDEN)):
        outputs = Outputs(folder=tmp_path / direction, name="clip", overlay_alpha=None)
        pairs = segment_sequence(sequence, outputs, sam, CONFIG, direction=direction)
        assert [masks.present[1] for _, masks in pairs] == [
            t not in lost for t in range(NUM_FRAMES)
        ]
        assert json.loads(outputs.summary_path.read_text())["direction"] == direction
        assert {path.name for path in outputs.folder.iterdir()} == {"clip", "clip.json"}


def test_other_errors_in_the_second_pass_are_not_hidden(clip, sam, tmp_path, monkeypatch):
    def fail(*_):
        raise Broken

    monkeypatch.setattr(both_ways, "follow", fail)
    with pytest.raises(Broken):
        both(clip, sam, spill_folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
