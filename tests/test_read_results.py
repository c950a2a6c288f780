"""Results read back: of runs, of sets, of runs that broke off; and what is wrong with them."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from exported_clip import (
    ABSENT,
    HW,
    NUM_FRAMES,
    OBJECT_IDS,
    PTS,
    TIME_BASE,
    job_of,
    make_labels,
    make_results,
    masks_of,
    write_clip_results,
    write_picture_results,
    write_turned_clip,
)
from image_sets import image_set
from PIL import Image

import vos
from vos.errors import OutputError, SourceError
from vos.masks import write_label_png
from vos.run.read_results import read_results


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy that a test may break; the source stays where it is."""
    return shutil.copytree(made, tmp_path / "results")


def test_results_come_back_as_they_were_written(made):
    results = vos.read_results(made)
    assert (results.folder, results.name, results.is_complete) == (made, "clip", True)
    assert results.job == job_of(made.parent / "clip.mp4", made, "clip")
    assert (results.object_ids, results.frame_hw) == (OBJECT_IDS, HW)
    assert results.names == {1: "object 1", 2: "object 2", 3: "object 3"}
    assert len(results.frames) == NUM_FRAMES
    for index, frame in enumerate(results.frames):
        want = masks_of(make_labels(index), index)
        assert (frame.index, frame.name) == (index, f"{index:05d}")
        assert frame.pts_seconds == pytest.approx(float(PTS[index] * TIME_BASE), abs=1e-6)
        got = results.masks(index)
        for field in ("labels", "present", "boxes_xyxy", "areas_px"):
            np.testing.assert_array_equal(getattr(got, field), getattr(want, field))
        np.testing.assert_allclose(got.scores, want.scores, atol=1e-6)
    assert [f.present[1] for f in results.frames[ABSENT.start : ABSENT.stop]] == [False] * 4
    assert results.frames[-1].index == NUM_FRAMES - 1


def test_frames_come_in_order_whatever_the_summary_says(folder):
    change(folder / "clip.json", lambda document: document["frames"].reverse())
    results = read_results(folder)
    assert [frame.index for frame in results.frames] == list(range(NUM_FRAMES))
    np.testing.assert_array_equal(results.labels(2), make_labels(2))
    assert results.frames[ABSENT.start].present.tolist() == [True, False, True]


@pytest.mark.parametrize("path", ["clip.json", "clip"])
def test_a_summary_or_its_label_maps_name_the_results(made, path):
    assert read_results(made / path).name == "clip"


def test_frames_of_the_source_come_in_step(made):
    results = read_results(made)
    with results.open_frames() as triples:
        got = list(triples)
    with vos.open_source(results.source) as source:
        for (frame, result, labels), want in zip(got, source, strict=True):
            assert (frame.index, frame.pts_seconds) == (want.index, want.pts_seconds)
            assert result.index == frame.index
            np.testing.assert_array_equal(frame.rgb, want.rgb)
            np.testing.assert_array_equal(labels, make_labels(frame.index))


def test_a_part_of_the_source_stays_in_step(tmp_path):
    job = job_of(write_turned_clip(tmp_path / "clip.mp4"), tmp_path / "out")
    folder = write_clip_results(job)
    summary = folder / "clip.json"
    lines = summary.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(('{"index": 0,', '{"index": 4,'))]
    summary.write_text("".join(kept))
    with read_results(folder).open_frames() as triples:
        assert [frame.index for frame, *_ in triples] == [1, 2, 3, *range(5, NUM_FRAMES)]


def test_a_moved_source_can_be_named(folder, tmp_path):
    results = read_results(folder)
    moved = shutil.copy(results.source, tmp_path / "moved.mp4")
    document = (folder / "clip.json").read_text().replace("clip.mp4", "gone.mp4")
    (folder / "clip.json").write_text(document)
    results = read_results(folder)
    with (
        pytest.raises(SourceError, match=r"no video or folder .*gone.mp4; .* say where"),
        results.open_frames(),
    ):
        pass
    with results.open_frames(moved) as triples:
        assert len(list(triples)) == NUM_FRAMES


@pytest.mark.parametrize("source", ["http://localhost/clip.mp4", "/dev/stdin"])
def test_what_can_be_read_only_once_is_not_opened_unasked(folder, source):
    """Anybody may have written an address into a summary."""
    change(folder / "clip.json", lambda document: document.update(source=source))
    with (
        pytest.raises(SourceError, match="can be read only once: say where"),
        read_results(folder).open_frames(),
    ):
        pass


def test_another_source_is_refused(folder, tmp_path):
    results = read_results(folder)
    with (
        pytest.raises(SourceError, match="is not what the results"),
        results.open_frames(write_other(tmp_path / "other.png", (10, 10))),
    ):
        pass
    with results.open_frames(write_other(tmp_path / "one.png", HW)) as triples:
        next(triples)
        with pytest.raises(SourceError, match="has no frame 1, of which there are results"):
            next(triples)


def write_other(path: Path, hw: tuple[int, int]) -> Path:
    Image.fromarray(np.zeros((*hw, 3), np.uint8)).save(path)
    return path


def test_names_of_the_job_are_the_objects(folder):
    change(folder / "clip.json", lambda document: document["job"].update(names={"2": "person"}))
    results = read_results(folder)
    assert results.names == {1: "object 1", 2: "person", 3: "object 3"}


def change(summary: Path, edit) -> None:
    """Rewrite a summary as other programs do, which lay it out anew."""
    document = json.loads(summary.read_text())
    edit(document)
    summary.write_text(json.dumps(document, indent=1))


def test_a_job_of_another_version_is_none(folder):
    change(folder / "clip.json", lambda document: document["job"].update(unheard_of=1))
    results = read_results(folder)
    assert results.job is None
    with results.open_frames() as triples:
        assert len(list(triples)) == NUM_FRAMES


def test_a_run_that_was_killed_gives_what_is_done(folder):
    unfinished = folder / ".clip.unfinished"
    unfinished.mkdir()
    text = (folder / "clip.json").read_text()
    (unfinished / "summary.json").write_text(text[: text.index('{"index": 5') + 40])
    (folder / "clip.json").unlink()
    results = read_results(folder)
    assert not results.is_complete
    assert [frame.index for frame in results.frames] == list(range(5))
    np.testing.assert_array_equal(results.labels(4), make_labels(4))


def test_several_results_want_a_name(folder):
    shutil.copy(folder / "clip.json", folder / "other.json")
    (folder / "notes.json").write_text("{}")
    with pytest.raises(OutputError, match=r"several results in .*: clip, other; say which"):
        read_results(folder)
    assert read_results(folder, "clip").name == "clip"
    with pytest.raises(OutputError, match=r"no results third in .*; there is clip, other"):
        read_results(folder, "third")


def test_no_results(tmp_path):
    with pytest.raises(OutputError, match=r"no results at .*gone: it is not a folder"):
        read_results(tmp_path / "gone")
    with pytest.raises(OutputError, match=r"no results in .*: it holds no summary"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda document: document.pop("objects"),
        lambda document: document.update(width_px="wide"),
        lambda document: document["frames"][3]["objects"][0].update(id=9),
        lambda document: document["frames"][3]["objects"][0].update(box_xyxy=[1, 2]),
        lambda document: document["frames"].append(3),
    ],
)
def test_a_damaged_summary(folder, edit):
    change(folder / "clip.json", edit)
    with pytest.raises(OutputError, match=r"clip\.json is damaged"):
        read_results(folder)


def test_a_summary_that_was_cut(folder):
    text = (folder / "clip.json").read_text()
    (folder / "clip.json").write_text(text[: len(text) // 2])
    with pytest.raises(OutputError, match=r"clip\.json is damaged"):
        read_results(folder)


def test_a_label_map_that_is_gone_or_of_another_size(folder):
    results = read_results(folder)
    (folder / "clip" / "00003.png").unlink()
    write_label_png(folder / "clip" / "00004.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(OutputError, match=r"00003\.png is gone, though the results"):
        results.labels(3)
    with pytest.raises(OutputError, match=r"00004\.png is 3 x 3, the results' frames are 48 x 64"):
        results.labels(4)


def test_pictures(tmp_path):
    results = read_results(write_picture_results(tmp_path))
    assert (results.name, results.job, results.frame_hw) == ("out", None, None)
    with results.open_frames() as triples:
        for (frame, result, labels), (rgb, want) in zip(triples, image_set(2), strict=True):
            assert result.name == frame.name
            np.testing.assert_array_equal(frame.rgb, rgb)
            np.testing.assert_array_equal(labels, want)
    (tmp_path / "photos" / "0.png").unlink()
    with results.open_frames() as triples, pytest.raises(SourceError, match="no video or folder"):
        next(triples)


def test_detections_for_supervision(made):
    results = read_results(made)
    detections = results.masks(ABSENT.start).to_supervision(results.names)
    labels = make_labels(ABSENT.start)
    assert detections.tracker_id.tolist() == [1, 3]
    assert detections.data["class_name"].tolist() == ["object 1", "object 3"]
    for row, object_id in enumerate((1, 3)):
        np.testing.assert_array_equal(detections.mask[row], labels == object_id)
    assert detections.area.tolist() == [(labels == 1).sum(), 1]
    x0, y0, x1, y1 = detections.xyxy[1]
    assert (x1 - x0, y1 - y0) == (1, 1)


def test_supervision_that_is_absent(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="needs the package supervision"):
        read_results(made).masks(0).to_supervision()
