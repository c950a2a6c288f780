"""Where to look: what is found in the numbers of a summary, how it is told, and the pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exported_clip import ABSENT, make_results
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vos
from vos.cli import main
from vos.errors import InputError, SourceError
from vos.review import Doubt, find_doubtful
from vos.review.sheet import draw_doubts
from vos.run.job import Absence
from vos.run.read_results import ResultFrame, Results, read_results
from vos.run.references import Reference

NUM_FRAMES = 40
EVERY = 3  # frames of the source that are used


def results_of(
    boxes_xyxy: np.ndarray, scores: np.ndarray, present: np.ndarray | None = None, **names: str
) -> Results:
    """Results of objects that fill their (N, K, 4) boxes, with (N, K) scores."""
    num_frames, num_objects = scores.shape
    present = np.ones(scores.shape, bool) if present is None else present
    boxes_xyxy = np.where(present[..., None], boxes_xyxy, 0)
    sides_px = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2] + 1
    frames = [
        ResultFrame(
            index=EVERY * t,
            pts_seconds=EVERY * t / 25,
            name=f"{EVERY * t:05d}",
            label_path=Path("nowhere"),
            scores=np.where(present[t], scores[t], 0).astype(np.float32),
            present=present[t],
            areas_px=np.where(present[t], sides_px[t].prod(axis=1), 0),
            boxes_xyxy=boxes_xyxy[t],
        )
        for t in range(num_frames)
    ]
    ids = tuple(range(1, num_objects + 1))
    return Results(
        folder=Path(),
        name="clip",
        source="clip.mp4",
        job=None,
        selection=None,
        object_ids=ids,
        names={i: names.get(f"object_{i}", f"object {i}") for i in ids},
        frame_hw=(300, 400),
        frame_rate_hz=25.0,
        frames=frames,
        summary_path=Path("clip.json"),
        is_complete=True,
    )


@pytest.fixture
def steady() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and presence of two objects that move evenly and well apart."""
    boxes_xyxy = np.zeros((NUM_FRAMES, 2, 4), np.int64)
    boxes_xyxy[:, 0] = [20, 20, 79, 99]
    boxes_xyxy[:, 1] = [250, 150, 339, 249]
    boxes_xyxy += np.arange(NUM_FRAMES)[:, None, None]
    return boxes_xyxy, np.full((NUM_FRAMES, 2), 0.93), np.ones((NUM_FRAMES, 2), bool)


# --- what is found


def test_nothing_is_doubtful_where_all_is_well(steady):
    assert find_doubtful(results_of(*steady)) == ()


def test_low_scores_are_one_line(steady):
    """Forty frames of one fault are no forty lines."""
    boxes_xyxy, scores, present = steady
    scores[12:18, 1] = 0.3
    scores[15, 1] = 0.2
    (doubt,) = find_doubtful(results_of(boxes_xyxy, scores, present, object_2="Zoë"))
    assert (doubt.object_id, doubt.object_name) == (2, "Zoë")
    assert (doubt.worst, doubt.frame_index) == (15, 15 * EVERY)
    assert doubt.pts_seconds == pytest.approx(15 * EVERY / 25)
    assert doubt.first_index <= 12 * EVERY <= 17 * EVERY <= doubt.last_index
    assert doubt.score == pytest.approx(0.2)
    assert doubt.risk > 0.5
    assert doubt.reason.endswith("expected IoU 0.20")


def test_faults_far_apart_are_lines_of_their_own_worst_first(steady):
    boxes_xyxy, scores, present = steady
    scores[5, 0], scores[32, 0] = 0.35, 0.1
    doubts = find_doubtful(results_of(boxes_xyxy, scores, present))
    assert [doubt.worst for doubt in doubts] == [32, 5]
    assert doubts[0].risk > doubts[1].risk


def test_an_object_that_is_lost_and_found_again(steady):
    boxes_xyxy, scores, present = steady
    present[10:16, 0] = False
    (doubt,) = find_doubtful(results_of(boxes_xyxy, scores, present))
    assert doubt.object_id == 1
    assert doubt.first_index == 10 * EVERY
    assert doubt.last_index >= 15 * EVERY
    assert doubt.reason == "lost for 6 frames"
    # Where it was found again, it is of another size.
    boxes_xyxy[16:, 0, 2:] += 90
    scores[16:, 0] = 0.2
    doubts = find_doubtful(results_of(boxes_xyxy, scores, present))
    assert doubts[0].reason.startswith("found again after 6 frames")


def test_an_object_that_is_not_there_yet_is_not_lost(steady):
    boxes_xyxy, scores, present = steady
    present[:10, 1] = False
    assert find_doubtful(results_of(boxes_xyxy, scores, present)) == ()


def test_an_object_that_the_job_says_is_absent_is_not_lost(steady):
    boxes_xyxy, scores, present = steady
    present[10:16] = False
    results = results_of(boxes_xyxy, scores, present)
    absences = (
        Absence(object_id=1, first=10 * EVERY, last=15 * EVERY),
        Absence(object_id=2, first=10.5 * EVERY / 25, last=15.0 * EVERY / 25),
    )
    reference = Reference(hints={1: vos.Hint((vos.Click(1, 1),))})
    job = vos.Job(source="clip.mp4", references=(reference,), absences=absences)
    first, last = sorted(find_doubtful(replace(results, job=job)), key=lambda each: each.object_id)
    # What follows an absence is worth a look, and so is the frame that only the second has before.
    assert (first.object_id, first.first_index) == (1, 16 * EVERY)
    assert first.reason.startswith("found again after 6 frames")
    assert (last.object_id, last.first_index) == (2, 10 * EVERY)


def test_results_of_pictures_are_refused(steady):
    results = replace(results_of(*steady), pictures=("a.jpg",) * NUM_FRAMES)
    with pytest.raises(InputError, match="results of pictures, which do not follow one another"):
        find_doubtful(results)


def test_a_sudden_change_of_area_and_place(steady):
    boxes_xyxy, scores, present = steady
    scores[:] = 0.7  # the tracker says little
    boxes_xyxy[20, 0] = [300, 20, 329, 49]
    doubts = find_doubtful(results_of(boxes_xyxy, scores, present))
    assert doubts[0].worst in (20, 21)
    worst = [doubt for doubt in doubts if doubt.worst == 20]
    assert worst
    assert "area 0.19 times that of the frames around" in worst[0].reason
    assert "jumped by" in worst[0].reason


def test_an_object_that_another_one_swallows(steady):
    boxes_xyxy, scores, present = steady
    boxes_xyxy[:, 0] = [100, 100, 179, 199]
    boxes_xyxy[:, 1] = [180, 100, 259, 199]
    boxes_xyxy[20:, 0] = [100, 100, 114, 199]
    boxes_xyxy[20:, 1] = [115, 100, 259, 199]
    scores[19:23] = 0.6
    doubts = find_doubtful(results_of(boxes_xyxy, scores, present, object_2="the dog"))
    first = next(doubt for doubt in doubts if doubt.object_id == 1)
    assert 19 <= first.worst <= 24
    assert "the dog claims the same pixels" in first.reason
    # Two that change together without meeting do not contest each other.
    boxes_xyxy[:, 1, 1::2] += 110
    apart = find_doubtful(results_of(boxes_xyxy, scores, present))
    assert not any("contested" in doubt.reason for doubt in apart)


def test_a_sudden_change_is_listed_last_if_the_scores_are_high(steady):
    boxes_xyxy, scores, present = steady
    scores[8, 1] = 0.3
    boxes_xyxy[20:22, 0, 2] -= 40
    first, last = find_doubtful(results_of(boxes_xyxy, scores, present))
    assert (first.worst, last.object_id) == (8, 1)
    assert last.risk < first.risk / 2
    assert last.reason == "area 0.33 times that of the frames around; expected IoU 0.93"
    assert (last.first_index, last.last_index) == (20 * EVERY, 21 * EVERY)


def test_no_frames_and_one_frame(steady):
    boxes_xyxy, scores, present = steady
    assert find_doubtful(results_of(boxes_xyxy[:0], scores[:0], present[:0])) == ()
    assert find_doubtful(results_of(boxes_xyxy[:1], scores[:1], present[:1])) == ()
    assert find_doubtful(results_of(boxes_xyxy, scores, present & False)) == ()


@given(st.data())
def test_any_numbers_give_a_list_that_is_in_order(data):
    num_frames = data.draw(st.integers(1, 14))
    numbers = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    present = numbers.random((num_frames, 3)) < 0.7
    corners = numbers.integers(0, 100, (num_frames, 3, 2))
    boxes_xyxy = np.concatenate([corners, corners + numbers.integers(0, 80, corners.shape)], 2)
    results = results_of(boxes_xyxy, numbers.random((num_frames, 3)), present)
    doubts = find_doubtful(results, min_risk=0.1)
    risks = [doubt.risk for doubt in doubts]
    assert risks == sorted(risks, reverse=True)
    assert all(0 <= risk <= 1 for risk in risks)
    for doubt in doubts:
        assert doubt.first_index <= doubt.frame_index <= doubt.last_index
        assert results.frames[doubt.worst].index == doubt.frame_index


# --- the command


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Results in which object 2 is lost for a while and object 3 always doubtful."""
    return make_results(tmp_path_factory.mktemp("results"))


def shell(*args) -> int:
    """Run ``vos review`` in this process and give its exit code."""
    with pytest.raises(SystemExit) as end:
        main(["review", *map(str, args)])
    return end.value.code


def test_the_list(made, capsys):
    assert shell(made) == 0
    lines = capsys.readouterr().out.splitlines()
    lost = next(line for line in lines if "object 2" in line)
    assert lost.startswith(f"frame {ABSENT.start} at 0.133 s, object 2: lost for {len(ABSENT)} fr")
    assert ", frames 4-" in lost
    assert any("object 3: " in line and "expected IoU 0.40" in line for line in lines)
    assert not any("object 1" in line for line in lines)
    assert shell(made, "--max", 1) == 0
    assert capsys.readouterr().out.splitlines() == lines[:1]


def test_the_list_as_json(made, capsys):
    assert shell(made, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    doubts = find_doubtful(vos.read_results(made))
    assert [Doubt(**each) for each in printed] == list(doubts)


def test_a_sheet(made, tmp_path, capsys):
    path = tmp_path / "sheet.png"
    assert shell(made, "--sheet", path) == 0
    assert f"sheet: {path}" in capsys.readouterr().out
    results = read_results(made)
    drawn = draw_doubts(results, find_doubtful(results))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), drawn)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100
    assert shell(made, "--sheet", path) == 1
    assert "pass --overwrite" in capsys.readouterr().err
    assert shell(made, "--sheet", path, "--overwrite", "--json") == 0
    json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("{made}", "--sheet", "{out}.jpg"), "must end in .png"),
        (("{made}", "--sheet", "{out}.png", "--source", "gone.mp4"), "say where it is now"),
        (("{made}", "--name", "other"), "there are no results other"),
        (("{out}",), "there are no results"),
    ],
)
def test_mistakes_are_one_line(made, tmp_path, capsys, args, message):
    assert shell(*(arg.format(made=made, out=tmp_path / "out") for arg in args)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_sheet_replaces_no_result(made, capsys):
    label = made / "clip" / "00003.png"
    before = label.read_bytes()
    assert shell(made, "--sheet", label, "--overwrite") == 1
    assert "is read by this run" in capsys.readouterr().err
    assert label.read_bytes() == before


def test_what_cannot_be_drawn(made, tmp_path):
    results = read_results(made)
    with pytest.raises(InputError, match="nothing doubtful"):
        draw_doubts(results, [])
    other = tmp_path / "other.png"
    Image.new("RGB", (10, 10)).save(other)
    with pytest.raises(SourceError, match=r"is not what the results|holds no frame"):
        draw_doubts(results, find_doubtful(results), other)
