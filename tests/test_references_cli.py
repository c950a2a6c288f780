"""Hints at any frame on the command line, the score of what they give, and the preview."""

import json

import numpy as np
import pytest
from colour_sam import PALETTE, ColourSam
from PIL import Image

import vos
from vos.cli import run_main
from vos.masks import read_label_png, write_label_png
from vos.run.job import Job, JobOutputs
from vos.run.references import Reference
from vos.sam import load

NUM_FRAMES = 6


@pytest.fixture(autouse=True)
def sam(monkeypatch) -> vos.SamModel:
    """Stands in for every model; it is certain of nothing, so that scores are below 1."""
    sam = vos.SamModel(ColourSam())
    monkeypatch.setattr(load, "load_sam", lambda *_, **__: sam)
    return sam


def draw(index: int) -> np.ndarray:
    """A red square that goes to the right, and a green one that stays."""
    rgb = np.zeros((96, 128, 3), np.uint8)
    rgb[20:60, 10 + 4 * index : 50 + 4 * index] = PALETTE[1]
    rgb[50:86, 84:120] = PALETTE[2]
    return rgb


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "frames"
    folder.mkdir()
    for index in range(NUM_FRAMES):
        Image.fromarray(draw(index)).save(folder / f"{index:05d}.png")
    return folder


@pytest.fixture
def run(frames, tmp_path):
    def run(*args: object) -> int:
        with pytest.raises(SystemExit) as end:
            run_main([*map(str, (frames, "--out", tmp_path / "out", "-q", "--no-overlay", *args))])
        return end.value.code

    return run


def summary_of(folder) -> dict:
    return json.loads((folder / "out" / "frames.json").read_text())


def test_hints_of_several_frames_and_objects(run, tmp_path):
    """The second object is shown in frame 3 only, and tracked from there in both directions."""
    hints = ("30,40", "-100,70", "3:2:100,70", "3:2:!40,40")
    assert run(*(word for hint in hints for word in ("--ref-point", hint))) == 0
    summary = summary_of(tmp_path)
    assert [each["frame"] for each in summary["references"]] == [None, 3]
    rows = [{row["id"]: row["present"] for row in frame["objects"]} for frame in summary["frames"]]
    assert [row[1] for row in rows] == [True] * NUM_FRAMES
    assert [row[2] for row in rows] == [True] * NUM_FRAMES
    labels = read_label_png(tmp_path / "out" / "frames" / "00003.png")
    green = (draw(3) == PALETTE[2]).all(axis=2)
    assert np.count_nonzero((labels == 2) & green) > 0.9 * np.count_nonzero((labels == 2) | green)


def test_which_frame_a_hint_is_of_is_said(run, frames, tmp_path, capsys):
    hints = ("--ref-point", "30,40", "--ref-point", "2:34,40")
    with pytest.raises(SystemExit):
        run_main([str(frames), *hints, "--out", str(tmp_path / "loud"), "--no-overlay"])
    said = capsys.readouterr().err
    assert "frame 0, object 1: mask from clicks or boxes, expected IoU 0." in said
    assert "frame 2, object 1: mask from clicks or boxes, expected IoU 0." in said
    assert run(*hints) == 0
    assert "mask from clicks or boxes" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hint", "is_ambiguous"),
    [("2:34,40", True), ("2:1:34,40", False), (":1:34,40", False), ("2s:34,40", False)],
)
def test_a_hint_that_may_name_an_object_is_said_to_name_a_frame(run, capsys, hint, is_ambiguous):
    run("--ref-point", "30,40", "--ref-point", hint, "--preview", "look.txt")
    said = capsys.readouterr().err
    reading = (
        "a click or box that begins with 2: is in frame 2; for object 2 of the first frame, "
        "write :2: (object 1 of frame 2 is 2:1:)"
    )
    assert (reading in said) == is_ambiguous


def test_boxes_without_id_are_numbered_in_each_frame(run, tmp_path):
    boxes = ("8,18,52,62", "82,48,122,88", "2:16,18,60,62")
    assert run(*(word for box in boxes for word in ("--ref-box", box))) == 0
    first, later = summary_of(tmp_path)["references"]
    assert first["hints"].keys() == {"1", "2"}
    assert later["hints"].keys() == {"1"}


def test_a_reference_has_the_score_that_its_hint_deserves(run, tmp_path, sam):
    assert run("--ref-point", "30,40", "--ref-point", "3:2:100,70") == 0
    frames = summary_of(tmp_path)["frames"]
    expected = {
        index: vos.reference_from_hints(draw(index), {1: hint}, sam)[1][1]
        for index, hint in (
            (0, vos.Hint((vos.Click(30, 40),))),
            (3, vos.Hint((vos.Click(100, 70),))),
        )
    }
    assert frames[0]["objects"][0]["score"] == pytest.approx(expected[0], abs=1e-5)
    assert frames[3]["objects"][1]["score"] == pytest.approx(expected[3], abs=1e-5)
    assert 0 < expected[0] < 1


def test_what_the_results_are_made_of_is_the_same_after_a_break(frames, tmp_path, sam):
    """The score of a reference is kept, too."""
    hints = {1: vos.Hint((vos.Click(30, 40),))}
    for name, stops in (("whole", False), ("broken", True)):
        job = Job(
            source=str(frames),
            references=(Reference(hints=hints),),
            outputs=JobOutputs(folder=tmp_path / name, overlay_alpha=None),
        )
        vos.run_job(job, sam, should_stop=lambda stops=stops: stops, save_every_seconds=0)
    vos.run_job(job, sam, resume=True)
    one, other = (
        json.loads((tmp_path / name / "frames.json").read_text())["frames"]
        for name in ("whole", "broken")
    )
    assert one == other
    assert one[0]["objects"][0]["score"] < 1


def test_a_preview_shows_the_references_and_stops(run, tmp_path, capsys):
    path = tmp_path / "preview.png"
    assert run("--ref-point", "30,40", "--ref-box", "3:2:82,48,122,88", "--preview", path) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("frame 0, object 1: 1")
    assert ", expected IoU 0." in printed[0]
    assert printed[1].startswith("frame 3, object 2: 1")
    assert printed[-1] == f"preview: {path}"
    picture = np.asarray(Image.open(path))
    assert picture.shape[1] > 2 * 128
    assert sorted(each.name for each in tmp_path.iterdir()) == ["preview.png"]
    hint = ("--ref-point", "30,40", "--preview", path, "--overwrite")
    assert run(*hint) == 0
    unnamed = np.asarray(Image.open(path))
    assert run(*hint, "--rename", "1:crate") == 0
    named = np.asarray(Image.open(path))
    assert named.shape == unnamed.shape
    assert not np.array_equal(named, unnamed)
    assert run(*hint, "--colour", "1:#ff0000") == 0
    assert not np.array_equal(np.asarray(Image.open(path)), unnamed)
    assert run(*hint, "--colour", "1:red") == 2
    assert "is not ID:#RRGGBB" in capsys.readouterr().err
    assert run("--ref-point", "30,40", "--colour", "2:#ff0000", "--out", tmp_path / "out") == 1
    assert "object 2 cannot be given a colour: no reference shows it" in capsys.readouterr().err


def test_a_preview_of_masks_needs_no_model(run, frames, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(load, "load_sam", None)
    labels = np.zeros((96, 128), np.uint8)
    labels[20:60, 10:50] = 7
    write_label_png(tmp_path / "mask.png", labels)
    path = tmp_path / "preview.png"
    assert run("--ref-mask", tmp_path / "mask.png", "--preview", path) == 0
    assert "frame 0, object 7: 1600 px\n" in capsys.readouterr().out
    shown = np.asarray(Image.open(path)).astype(int)
    # The frame's pixels are there, tinted where the mask is.
    assert np.any(np.all(shown == PALETTE[2], axis=2))
    assert not np.any(np.all(shown == PALETTE[1], axis=2))


def test_a_preview_replaces_nothing_unasked(run, frames, tmp_path, capsys):
    path = tmp_path / "preview.png"
    path.write_bytes(b"mine")
    assert run("--ref-point", "30,40", "--preview", path) == 1
    assert "pass --overwrite" in capsys.readouterr().err
    assert path.read_bytes() == b"mine"
    assert run("--ref-point", "30,40", "--preview", path, "--overwrite") == 0
    assert path.read_bytes() != b"mine"
    picture_of_the_job = frames / "00000.png"
    before = picture_of_the_job.read_bytes()
    assert run("--ref-point", "30,40", "--preview", picture_of_the_job, "--overwrite") == 1
    assert "is read by this run" in capsys.readouterr().err
    assert picture_of_the_job.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--ref-point", "9:30,40", "--preview", "{}.png"), 1, "holds no frame from frame 9"),
        (("--ref-point", "30,40", "--preview", "{}.jpg"), 1, "must end in .png"),
        (("--ref-mask", "m.png", "--ref-point", "1,2"), 2, "--ref-mask gives the objects of this"),
        (("--ref", "3:m.png", "--ref-box", "3:1,2,9,9"), 2, "--ref 3:... gives the objects"),
        (("--ref-point", "1:2:3:4,5"), 2, "a frame and an object (120:2:)"),
        (("--ref-point", "2:!4,5"), 1, "needs a box or a click on the object"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, capsys, args, code, message):
    assert run(*(arg.format(tmp_path / "p") for arg in args)) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())
