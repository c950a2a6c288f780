"""``vos images``, ``vos perseg`` and ``vos run --ref`` as a user types them."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from batches import load_stand_in_in_workers
from image_sets import draw, image_set, write_perseg
from interrupted_runs import stand_in
from PIL import Image
from test_cli import shell

import vos
from vos.cli import main, run_main
from vos.masks import read_label_png, write_label_png
from vos.sink import write_video

NUM_PICTURES = 2
FEW = ("--fit-steps", "40")


@pytest.fixture
def stand_in_model(monkeypatch):
    """For what does not hang on the model."""
    monkeypatch.setattr("vos.sam.load.load_sam", stand_in)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder with ref.jpg, mask.png and photos/0.jpg ... of different sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "photos").mkdir()
    for n, (rgb, labels) in enumerate(image_set(NUM_PICTURES)):
        Image.fromarray(rgb).save(folder / f"photos/{n}.jpg", quality=95)
        if n == 0:
            Image.fromarray(rgb).save(folder / "ref.jpg", quality=95)
            write_label_png(folder / "mask.png", labels)
    return folder


def images(pictures: Path, out: Path, *args) -> int:
    files = pictures / "ref.jpg", pictures / "mask.png", pictures / "photos"
    return shell(main, "images", *files, "--out", out, *FEW, *args)


def overlap(labels: np.ndarray, truth: np.ndarray) -> float:
    ours, theirs = labels > 0, truth > 0
    return (ours & theirs).sum() / (ours | theirs).sum()


@pytest.mark.parametrize("options", [["--method", "persam-f", *FEW], ["--method", "persam"]])
def test_one_picture_and_mask_find_the_object_in_all_others(pictures, tmp_path, capsys, options):
    files = pictures / "ref.jpg", pictures / "mask.png", pictures / "photos"
    assert shell(main, "images", *files, "--out", tmp_path / "out", *options) == 0
    assert capsys.readouterr().out.startswith(f"{NUM_PICTURES} pictures in ")
    for n, (rgb, truth) in enumerate(image_set(NUM_PICTURES)):
        labels = read_label_png(tmp_path / "out" / f"{n}.png")
        assert labels.shape == rgb.shape[:2]
        assert overlap(labels, truth) > 0.85
        with Image.open(tmp_path / "out" / "overlays" / f"{n}.jpg") as overlay:
            assert overlay.size == rgb.shape[1::-1]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["settings"]["method"]["name"] == options[1]
    assert summary["instances"] == [{"id": 1, "object": 1}]
    assert summary["references"] == [
        {"picture": str(pictures / "ref.jpg"), "mask": str(pictures / "mask.png")}
    ]
    for n, entry in enumerate(summary["frames"]):
        assert entry["name"] == f"{n}.jpg"
        assert entry["picture"] == str(pictures / "photos" / f"{n}.jpg")
        assert entry["objects"][0]["score"] > 0.5
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.usefixtures("stand_in_model")
def test_further_references(pictures, tmp_path):
    more = f"{pictures / 'photos' / '0.jpg'}:{pictures / 'mask.png'}"
    assert images(pictures, tmp_path / "out", "--ref", more, "--no-overlay") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [Path(each["picture"]).name for each in summary["references"]] == ["ref.jpg", "0.jpg"]
    truth = image_set(2)[1][1]
    assert overlap(read_label_png(tmp_path / "out" / "1.png"), truth) > 0.85


@pytest.mark.usefixtures("stand_in_model")
def test_a_training_set_in_two_folders(pictures, tmp_path):
    assert images(pictures, tmp_path, "--no-overlay", "--for", "dreambooth") == 0
    for n, (rgb, _) in enumerate(image_set(NUM_PICTURES)):
        found = read_label_png(tmp_path / f"{n}.png") > 0
        with Image.open(tmp_path / "dreambooth" / "images" / f"{n}.png") as image:
            picture = np.array(image)
        assert np.abs(picture.astype(int) - rgb).mean() < 5
        with Image.open(tmp_path / "dreambooth" / "masks" / f"{n}.png") as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.array(image), found * np.uint8(255))
        with Image.open(tmp_path / "dreambooth" / "cutouts" / f"{n}.png") as image:
            assert image.mode == "RGBA"
            np.testing.assert_array_equal(np.array(image)[..., 3], found * np.uint8(255))
            np.testing.assert_array_equal(np.array(image)[..., :3], picture)


@pytest.mark.usefixtures("stand_in_model")
def test_a_training_set_of_pairs(pictures, tmp_path):
    assert images(pictures, tmp_path, "--no-overlay", "--for", "onetrainer") == 0
    names = sorted(path.name for path in (tmp_path / "onetrainer").iterdir())
    assert names == sorted(f"{n}{end}" for n in range(2) for end in ("-masklabel.png", ".png"))
    with Image.open(tmp_path / "onetrainer" / "1-masklabel.png") as image:
        found = read_label_png(tmp_path / "1.png") > 0
        np.testing.assert_array_equal(np.array(image), found * np.uint8(255))


@pytest.mark.usefixtures("stand_in_model")
def test_a_reference_among_the_pictures_keeps_the_mask_that_was_drawn(pictures, tmp_path):
    """The masks are no good, so that nothing but what was drawn can be right."""
    rgb, labels = draw((120, 160), [(1, 0.4, 0.5, 0.25), (3, 1.0, 0.5, 0.2)])
    Image.fromarray(rgb).save(tmp_path / "both.png")
    drawn = np.zeros_like(labels)
    drawn[40:80, 20:70], drawn[50:70, 100:140] = 1, 3
    for object_id in (1, 3):
        write_label_png(tmp_path / f"{object_id}.png", np.where(drawn == object_id, drawn, 0))
    (tmp_path / "link.png").symlink_to("both.png")
    files = tmp_path / "both.png", tmp_path / "1.png", tmp_path / "link.png"
    more = f"{tmp_path / 'both.png'}:{tmp_path / '3.png'}"
    options = "--ref", more, "--instances", 2, "--no-overlay", "--for", "dreambooth"
    other = pictures / "photos" / "1.jpg"
    assert shell(main, "images", *files, other, "--out", tmp_path / "out", *options, *FEW) == 0
    found = read_label_png(tmp_path / "out" / "link.png")
    np.testing.assert_array_equal(found[drawn > 0], drawn[drawn > 0])
    with Image.open(tmp_path / "out" / "dreambooth" / "masks" / "link.png") as mask:
        assert np.array(mask)[drawn > 0].all()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    scores = {each["id"]: each["score"] for each in summary["frames"][0]["objects"]}
    assert scores[1] == scores[3] == 1
    assert all(each["score"] < 1 for each in summary["frames"][1]["objects"])


@pytest.mark.usefixtures("stand_in_model")
def test_doubtful_finds_are_not_in_the_training_set(pictures, tmp_path, caplog):
    rgb, _ = draw((120, 160), [(2, 0.5, 0.5, 0.25)], seed=1)
    Image.fromarray(rgb).save(tmp_path / "other.png")
    files = pictures / "ref.jpg", pictures / "mask.png", pictures / "photos", tmp_path / "other.png"
    options = "--out", tmp_path / "out", "--no-overlay", "--for", "onetrainer"
    assert shell(main, "images", *files, *options, *FEW) == 0
    names = {path.name for path in (tmp_path / "out" / "onetrainer").iterdir()}
    assert names == {f"{n}{end}" for n in (0, 1) for end in (".png", "-masklabel.png")}
    assert "not in the training set: other (object 1 has a score of 0.0" in caplog.text
    entry = json.loads((tmp_path / "out" / "summary.json").read_text())["frames"][2]
    assert entry["objects"][0]["present"]
    assert "training" not in entry
    assert shell(main, "images", *files, *options, *FEW, "--overwrite", "--maybe-absent") == 0
    assert "not in the training set: other (nothing was found)" in caplog.text
    entry = json.loads((tmp_path / "out" / "summary.json").read_text())["frames"][2]
    assert not entry["objects"][0]["present"]


@pytest.mark.usefixtures("stand_in_model")
def test_earlier_results_are_not_replaced_unless_asked(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    assert images(pictures, out, "--for", "onetrainer") == 0
    (out / "mine.png").write_bytes(b"mine")
    assert images(pictures, out) == 1
    assert "--overwrite" in capsys.readouterr().err
    one = pictures / "photos" / "1.jpg"
    files = pictures / "ref.jpg", pictures / "mask.png", one
    assert shell(main, "images", *files, "--out", out, "--overwrite", "--no-overlay", *FEW) == 0
    assert sorted(path.name for path in out.glob("*.*")) == ["1.png", "mine.png", "summary.json"]
    assert not list((out / "overlays").iterdir())
    assert not list((out / "onetrainer").iterdir())


@pytest.mark.usefixtures("stand_in_model")
def test_no_earlier_result_is_removed_that_is_read(pictures, tmp_path, capsys):
    """The mask is a result of the first run, and would go with the other results of it."""
    assert images(pictures, tmp_path, "--no-overlay") == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    files = pictures / "photos" / "0.jpg", tmp_path / "0.png", pictures / "photos" / "1.jpg"
    assert shell(main, "images", *files, "--out", tmp_path, "--overwrite", *FEW) == 1
    assert "0.png is read by this run and would be replaced" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.usefixtures("stand_in_model")
def test_a_broken_picture_does_not_stop_the_others(pictures, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    good = (pictures / "ref.jpg").read_bytes()
    for name, content in (("0.jpg", good), ("1.jpg", good[:300]), ("2.jpg", good)):
        (folder / name).write_bytes(content)
    files = pictures / "ref.jpg", pictures / "mask.png", folder
    assert shell(main, "images", *files, "--out", tmp_path / "out", "--no-overlay", *FEW) == 1
    assert "1 of 3 pictures" in capsys.readouterr().err.splitlines()[-1]
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["0.png", "2.png", "summary.json"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["absent.jpg", "mask.png", "photos"], "absent.jpg"),
        (["ref.jpg", "absent.png", "photos"], "absent.png"),
        (["ref.jpg", "photos/0.jpg", "photos"], "photos/0.jpg"),
        (["ref.jpg", "blank.png", "photos"], "no object"),
        (["ref.jpg", "small.png", "photos"], "60 x 50 pixels, the frame 160 x 120"),
        (["text.txt", "mask.png", "photos"], "text.txt is not a picture"),
        (["broken.jpg", "mask.png", "photos"], "broken.jpg"),
        (["ref.jpg", "mask.png", "nowhere"], "there is no picture or folder nowhere"),
        (["ref.jpg", "mask.png", "empty"], "empty holds no images"),
        (["ref.jpg", "mask.png", "text.txt"], "text.txt is not a picture"),
        (["ref.jpg", "mask.png", "photos", "photos/0.jpg"], "would both be 0.png"),
        (["ref.jpg", "mask.png", "photos", "--ref", "ref.jpg:blank.png"], "no object"),
        (["ref.jpg", "mask.png", "photos", "--ref", "ref.jpg:absent.png"], "absent.png"),
        (["ref.jpg", "mask.png", "photos", "--instances", "300"], "300 ids"),
        (["ref.jpg", "mask.png", "photos", "--model", "vit_hh"], "did you mean vit_h"),
        (["ref.jpg", "mask.png", "photos", "--checkpoint", "text.txt"], "text.txt"),
        (["ref.jpg", "mask.png", "photos", "--out", "text.txt"], "is a file"),
        (["ref.jpg", "mask.png", "mask.png", "--out", "."], "mask.png is read by this run"),
        (
            ["ref.jpg", "mask.png", "mask.jpg", "--out", ".", "--overwrite"],
            "mask.png is read by this run",
        ),
        (["ref.jpg", "mask.png", "broken.jpg"], "1 of 1 pictures cannot be read: broken.jpg"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    pictures, tmp_path, monkeypatch, capsys, args, message
):
    for path in pictures.iterdir():
        (tmp_path / path.name).symlink_to(path)
    write_label_png(tmp_path / "blank.png", np.zeros((120, 160), np.uint8))
    write_label_png(tmp_path / "small.png", np.ones((50, 60), np.uint8))
    (tmp_path / "text.txt").write_text("no picture")
    (tmp_path / "broken.jpg").write_bytes((pictures / "ref.jpg").read_bytes()[:300])
    (tmp_path / "mask.jpg").write_bytes((pictures / "ref.jpg").read_bytes())
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert shell(main, "images", *args, *([] if "--out" in args else ["--out", "out"])) == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "args",
    [
        ["ref.jpg"],
        ["ref.jpg", "mask.png"],
        ["ref.jpg", "mask.png", "photos", "--instances", "0"],
        ["ref.jpg", "mask.png", "photos", "--for", "fun"],
        ["ref.jpg", "mask.png", "photos", "--ref", "no_colon"],
        ["ref.jpg", "mask.png", "photos", "--ref", "a.jpg:"],
        ["ref.jpg", "mask.png", "photos", "--method", "magic"],
    ],
)
def test_wrong_options_exit_with_2(args, capsys):
    assert shell(main, "images", *args) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("stand_in_model")
def test_a_perseg_set_is_run_and_scored_with_one_command(tmp_path, capsys, monkeypatch):
    load_stand_in_in_workers(monkeypatch)
    write_perseg(tmp_path / "set", num_images=2)
    out = tmp_path / "results"
    assert shell(main, "perseg", tmp_path / "set", "--out", out, *FEW) == 0
    *_, first, second, mean = capsys.readouterr().out.splitlines()
    for line, name, num_images in (
        (first, "class_1", 1), (second, "class_2", 1), (mean, "mean over classes", 2),
    ):  # fmt: skip
        figures = line.removeprefix(name).split()
        assert int(figures[0]) == num_images
        assert float(figures[1]) > 0.9
        assert 0 < float(figures[2]) <= 1
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert written == sorted(
        f"class_{label}/{name}" for label in (1, 2) for name in ("00.png", "01.png", "summary.json")
    )
    assert shell(main, "perseg", tmp_path / "set", "--out", out) == 1
    assert "--overwrite" in capsys.readouterr().err
    parallel = tmp_path / "parallel"
    options = ("--workers", 2, "--threads", 1, *FEW)
    assert shell(main, "perseg", tmp_path / "set", "--out", parallel, *options) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [first, second, mean]


@pytest.mark.usefixtures("stand_in_model")
def test_a_class_that_fails_does_not_stop_the_others(tmp_path, capsys):
    write_perseg(tmp_path / "set", num_images=2)
    mask = tmp_path / "set" / "Annotations" / "class_1" / "00.png"
    write_label_png(mask, read_label_png(mask) * np.uint8(0))
    assert shell(main, "perseg", tmp_path / "set", "--out", tmp_path / "results", *FEW) == 1
    captured = capsys.readouterr()
    assert "mean over classes" in captured.out
    assert "1 of 2 classes failed" in captured.err
    assert "class_1" in captured.err
    assert not (tmp_path / "results" / "class_1").exists()


@pytest.mark.parametrize(
    ("remove", "options", "message"),
    [
        ("Images", [], "must hold the folders Images and Annotations"),
        ("Images/class_1/00.jpg", [], "class class_1 must have its reference 00"),
        ("Annotations/class_1/00.png", [], "class class_1 must have its reference 00"),
        (None, ["--class", "cat"], "there is no class cat"),
        (None, ["--reference", "07"], "reference 07"),
    ],
)
def test_sets_of_another_layout(tmp_path, capsys, remove, options, message):
    write_perseg(tmp_path / "set", num_images=2)
    if remove is not None:
        (tmp_path / "set" / remove).rename(tmp_path / "elsewhere")
    args = [tmp_path / "set", "--out", tmp_path / "results", *options]
    assert shell(main, "perseg", *args) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "results").exists()


def clip_frame(t: int) -> tuple[np.ndarray, np.ndarray]:
    discs = [(1, 0.4 + 0.05 * t, 0.5, 0.2)] + ([(2, 1.3, 0.5, 0.25)] if t >= 2 else [])
    return draw((96, 176), discs)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A folder with clip.mp4 and the masks of its frames; object 2 enters at frame 2."""
    folder = tmp_path_factory.mktemp("clip")
    frames = vos.frames_from_arrays((clip_frame(t)[0] for t in range(5)), fps=10)
    write_video(folder / "clip.mp4", frames, Fraction(10))
    for t in range(5):
        write_label_png(folder / f"{t}.png", clip_frame(t)[1])
    write_label_png(folder / "small.png", np.ones((50, 60), np.uint8))
    return folder


def run(clip: Path, out: Path, *args) -> int:
    video = clip / "clip.mp4", "--ref-mask", clip / "0.png"
    return shell(run_main, *video, "--out", out, "--no-overlay", *args)


@pytest.mark.usefixtures("stand_in_model")
def test_a_later_mask_corrects_its_frame_and_brings_a_new_object(clip, tmp_path):
    assert run(clip, tmp_path, "--ref", f"3:{clip / '3.png'}") == 0
    summary = json.loads((tmp_path / "clip.json").read_text())
    assert summary["objects"] == [1, 2]
    present = [[each["present"] for each in frame["objects"]] for frame in summary["frames"]]
    assert present == [[True, False]] * 2 + [[True, True]] * 3
    np.testing.assert_array_equal(read_label_png(tmp_path / "clip" / "00003.png"), clip_frame(3)[1])
    last, truth = read_label_png(tmp_path / "clip" / "00004.png"), clip_frame(4)[1]
    assert overlap(last == 2, truth == 2) > 0.8


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--ref", "99:3.png"], "99"),
        (["--ref", "0:3.png"], "frame 0 has several references"),
        (["--ref", "3:3.png", "--every", "2"], "frame 3, which is not among the frames used"),
        (["--ref", "3:3.png", "--end", "2"], "frame 3, which is not among the frames used"),
        (["--ref", "1:3.png", "--start", "2"], "frame 1, which is not among the frames used"),
        (["--ref", "1:3.png", "--start", "0.2s"], "frame 1, which is not among the frames used"),
        (["--ref", "3:3.png", "--ref", "3:3.png"], "frame 3 has several references"),
        (["--ref", "0.3s:3.png", "--ref", "3:3.png"], "frame 3 has several references"),
        (["--ref", "3:absent.png"], "absent.png"),
        (["--ref", "3:small.png"], "small.png: the mask is 60 x 50 pixels, the frame 176 x 96"),
    ],
)
def test_bad_later_masks_are_one_clear_line_and_leave_nothing(
    clip, tmp_path, monkeypatch, capsys, args, message
):
    monkeypatch.chdir(clip)
    assert run(clip, tmp_path / "out", *args) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("refs", [["3.png"], ["x:3.png"], ["3:"]])
def test_wrong_forms_of_later_masks_exit_with_2(clip, tmp_path, refs):
    assert run(clip, tmp_path, *(text for ref in refs for text in ("--ref", ref))) == 2
