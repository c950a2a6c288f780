"""Nothing of the user's is lost: inputs stay, and so does what vos did not write."""

import json
import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from image_sets import write_perseg
from interrupted_runs import OPTIONS, contents, make_clip, shell
from PIL import Image

import vos
from vos.cli import main
from vos.errors import OutputError
from vos.masks import write_label_png
from vos.records import Frame, FrameMasks, SourceInfo
from vos.run.outputs import Outputs
from vos.run.replacing import check_inputs_kept
from vos.run.results import write_results

INFO = SourceInfo("clip", (16, 24), Fraction(25))


def make_pairs(num_frames: int, names: str = "{:05d}") -> Iterator[tuple[Frame, FrameMasks]]:
    for t in range(num_frames):
        labels = np.zeros((16, 24), np.uint8)
        labels[2:9, 2 + t : 9 + t] = 1
        rgb = np.full((16, 24, 3), 40 + t, np.uint8)
        box = np.array([[2 + t, 2, 8 + t, 8]])
        yield (
            Frame(t, t / 25, names.format(t), rgb),
            FrameMasks(labels, (1,), np.ones(1, np.float32), np.ones(1, bool), box, np.array([49])),
        )


def write(folder: Path, num_frames: int = 4, names: str = "{:05d}", **options) -> Outputs:
    outputs = Outputs(folder=folder, name="clip", **options)
    for _ in write_results(make_pairs(num_frames, names), outputs, INFO, {}):
        pass
    return outputs


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- inputs stay


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current folder, with a clip, its mask, and results of nobody's."""
    make_clip(tmp_path, num_frames=3)
    (tmp_path / "frames").mkdir()
    for index in range(3):
        Image.new("RGB", (80, 48), (index, 90, 0)).save(tmp_path / "frames" / f"{index:05d}.png")
    (tmp_path / "results" / "clip").mkdir(parents=True)
    shutil.copy(tmp_path / "mask.png", tmp_path / "results" / "clip" / "mymask.png")
    shutil.copy(tmp_path / "mask.png", tmp_path / "results" / "clip" / "other.png")
    (tmp_path / "linked.mp4").symlink_to("clip.mp4")
    os.link(tmp_path / "clip.mp4", tmp_path / "hard.mp4")
    (tmp_path / "here").symlink_to(".")
    (tmp_path / ".v.mp4.part").write_bytes((tmp_path / "clip.mp4").read_bytes())
    (tmp_path / ".v.unfinished").mkdir()
    shutil.copy(tmp_path / "mask.png", tmp_path / ".v.unfinished" / "mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "args",
    [
        ("clip.mp4", "--out", "."),
        ("./results/../clip.mp4", "--out", "here"),
        ("here/clip.mp4", "--out", "."),
        ("linked.mp4", "--out", ".", "--name", "clip"),
        ("clip.mp4", "--out", ".", "--name", "linked"),
        ("hard.mp4", "--out", ".", "--name", "clip"),
        ("frames", "--out", "."),
        ("frames/00000.png", "--out", ".", "--name", "frames"),
        ("here/frames", "--out", "here/here"),
        ("clip.mp4", "--save-ref", "clip.mp4"),
        ("clip.mp4", "--save-ref", "hard.mp4"),
        ("clip.mp4", "--save-ref", "mask.png"),
        ("frames", "--save-ref", "frames/00002.png"),
        ("clip.mp4", "--out", ".", "--name", "v", "--ref-mask", ".v.unfinished/mask.png"),
        (".v.mp4.part", "--out", ".", "--name", "v"),
        ("clip.mp4", "--out", "results", "--ref-mask", "results/clip/mymask.png"),
        ("clip.mp4", "--out", "results", "--ref", "1:results/clip/mymask.png"),
    ],
)
@pytest.mark.parametrize("option", ["", "--overwrite", "--resume"])
def test_no_input_of_a_run_is_replaced(place, capsys, args, option):
    before = contents(place)
    video, *others = args
    mask = () if "--ref-mask" in args else ("--ref-mask", "mask.png")
    out = () if "--out" in args else ("--out", "new")
    assert shell(video, *mask, *out, *others, *([option] if option else [])) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("error: ")
    assert "is read by this run and would be replaced by its results" in line
    assert contents(place) == before


def test_results_beside_the_inputs_are_no_harm(place):
    """Nothing is refused that does not touch them."""
    assert shell("clip.mp4", *OPTIONS[:2], "--out", ".", "--name", "other") == 0
    assert shell("clip.mp4", *OPTIONS[:2], "--out", ".", "--no-overlay") == 0
    assert shell("frames", "--ref-mask", "mask.png", "--out", "frames", "--name", "inside") == 0
    assert len(list((place / "frames").glob("*.png"))) == 3


def test_an_overlay_that_is_segmented_again_is_kept(place, capsys):
    assert shell("clip.mp4", *OPTIONS, "--overwrite") == 0
    before = contents(place)
    for options in ((), ("--no-overlay",)):
        run = ("out/clip.mp4", "--ref-mask", "mask.png", "--out", "out", "--overwrite")
        assert shell(*run, *options) == 1
        assert "out/clip.mp4 is read by this run" in capsys.readouterr().err
    assert contents(place) == before


def command(*args: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    return end.value.code


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    "args",
    [
        ("pics/overlays", "--out", "pics"),
        ("pics/dreambooth/images", "--out", "pics", "--for", "dreambooth"),
        ("ref.png", "--out", "."),
        ("pics/overlays", "--out", "pics/overlays/.."),
    ],
)
def test_no_picture_is_replaced(tmp_path, monkeypatch, capsys, args, options):
    for path in ("ref.png", "pics/overlays/p.jpg", "pics/dreambooth/images/p.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (90, 20, 200)).save(tmp_path / path)
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 10:30] = 1
    write_label_png(tmp_path / "m.png", labels)
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert command("images", "ref.png", "m.png", *args, *options) == 1
    assert "is read by this run and would be replaced" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_no_annotation_of_a_set_of_images_is_replaced(tmp_path, capsys):
    write_perseg(tmp_path / "set", num_images=2)
    before = contents(tmp_path)
    out = tmp_path / "set" / "Annotations"
    assert command("perseg", tmp_path / "set", "--out", out, "--overwrite") == 1
    assert "is read by this run and would be replaced" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_inputs_are_told_by_what_they_are(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "mask.png").write_bytes(b"x")
    with pytest.raises(OutputError, match=r"mask.png is read by this run"):
        check_inputs_kept([tmp_path / "deep" / "er" / "mask.png"], [tmp_path / "deep"])
    with pytest.raises(OutputError, match=r"er is read by this run"):
        check_inputs_kept([tmp_path / "deep" / "er"], [tmp_path / "deep"])
    check_inputs_kept([tmp_path / "deep" / "er"], [tmp_path / "deep" / "new.png"])
    check_inputs_kept(["rtsp://x/y", "/dev/video9", tmp_path / "absent", "a\0b"], [tmp_path])


# --- what vos did not write stays


def test_results_are_replaced_by_what_their_summary_says(tmp_path):
    write(tmp_path, num_frames=6)
    (tmp_path / "clip" / "mine.png").write_bytes(b"mine")
    (tmp_path / "clip" / "00099.png").write_bytes(b"mine too")
    (tmp_path / "clip.txt").write_text("notes")
    write(tmp_path, num_frames=2, overwrite=True)
    assert names_in(tmp_path) == ["clip", "clip.json", "clip.mp4", "clip.txt"]
    assert names_in(tmp_path / "clip") == ["00000.png", "00001.png", "00099.png", "mine.png"]
    assert (tmp_path / "clip" / "00099.png").read_bytes() == b"mine too"


def test_a_summary_in_another_form_says_the_same(tmp_path):
    """Such as jq or an editor leave."""
    write(tmp_path, num_frames=6)
    summary = tmp_path / "clip.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()), indent=2))
    write(tmp_path, num_frames=2, overwrite=True)
    assert names_in(tmp_path / "clip") == ["00000.png", "00001.png"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clip.mp4", b"holiday"),
        ("clip.json", b"{}"),
        ("clip.json", b'{"frames": [1, {"label_map": 3}], "files": [["x"]]}'),
        ("clip.json", b"[" * 100_000),
        ("clip/00000.png", b"mine"),
        ("clip", b"a file"),
        (".clip.unfinished/notes", b"mine"),
        (".clip.lock", b"not of vos"),
    ],
)
def test_what_no_summary_lists_is_not_replaced(tmp_path, name, content):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OutputError, match=r"move it elsewhere"):
        write(tmp_path, overwrite=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_bytes() == content


def test_a_label_map_of_others_is_not_replaced_later_either(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "00002.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"00002.png is there, and no summary says"):
        write(tmp_path, overwrite=True)
    assert (tmp_path / "clip" / "00002.png").read_bytes() == b"mine"
    assert json.loads((tmp_path / "clip.json").read_text())["num_frames"] == 2


def test_without_an_overlay_a_video_of_this_name_is_nobodys_business(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"holiday")
    for overwrite in (False, True):
        write(tmp_path, overlay_alpha=None, overwrite=overwrite)
    assert (tmp_path / "clip.mp4").read_bytes() == b"holiday"


def test_an_overlay_of_an_earlier_run_goes_with_it(tmp_path):
    write(tmp_path)
    write(tmp_path, overlay_alpha=None, overwrite=True)
    assert names_in(tmp_path) == ["clip", "clip.json"]


def test_a_forged_summary_reaches_no_other_file(tmp_path):
    write(tmp_path)
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"mine")
    (tmp_path / "other.mp4").write_bytes(b"mine")
    summary = tmp_path / "clip.json"
    document = json.loads(summary.read_text())
    forged = ["../outside.png", str(outside), "clip/../outside.png", "other.mp4", "a\0b", "clip"]
    document["frames"] += [{"label_map": text, "training": [text]} for text in forged]
    document["files"]["more"] = forged
    summary.write_text(json.dumps(document))
    write(tmp_path, num_frames=1, overwrite=True)
    assert outside.read_bytes() == (tmp_path / "other.mp4").read_bytes() == b"mine"
    assert names_in(tmp_path / "clip") == ["00000.png"]


def test_a_run_that_broke_off_is_replaced_by_its_journal(tmp_path):
    """As a process leaves it that is killed: no summary, and a label map that no line is of."""
    outputs = Outputs(folder=tmp_path, name="clip")
    results = write_results(make_pairs(6), outputs, INFO, {})
    for _ in range(4):
        next(results)
    killed = shutil.copytree(tmp_path, tmp_path.parent / "killed")
    results.close()
    (killed / ".clip.lock").unlink()
    (killed / "clip" / "mine.png").write_bytes(b"mine")
    with (killed / ".clip.unfinished" / "files").open("a") as journal:
        journal.write('"clip/00004.png"\n"clip/000')
    (killed / "clip" / "00004.png").write_bytes(b"half of it")
    write(killed, num_frames=1, overwrite=True)
    assert names_in(killed) == ["clip", "clip.json", "clip.mp4"]
    assert names_in(killed / "clip") == ["00000.png", "mine.png"]


def test_sets_of_images_are_replaced_by_their_summary(tmp_path, capsys):
    pictures = tmp_path / "pics"
    pictures.mkdir()
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 10:30] = 1
    write_label_png(tmp_path / "m.png", labels)
    for name in ("ref.png", "pics/a.png", "pics/b.png"):
        rgb = np.full((48, 64, 3), 90, np.uint8)
        rgb[labels > 0] = (230, 60, 40)
        Image.fromarray(rgb).save(tmp_path / name)
    run = ("images", tmp_path / "ref.png", tmp_path / "m.png")
    options = ("--out", tmp_path / "out", "--fit-steps", 2)
    assert command(*run, pictures, *options) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    entry = summary["frames"][1]
    assert entry["picture"] == str(pictures / "b.png")
    assert entry["label_map"] == "b.png"
    assert entry["overlay"] == "overlays/b.jpg"
    mine = tmp_path / "out" / "overlays" / "mine.jpg"
    mine.write_bytes(b"mine")
    assert command(*run, pictures / "a.png", *options, "--overwrite") == 0
    assert names_in(tmp_path / "out") == ["a.png", "overlays", "summary.json"]
    assert names_in(tmp_path / "out" / "overlays") == ["a.jpg", "mine.jpg"]
    (tmp_path / "out" / "overlays" / "b.jpg").write_bytes(b"mine")
    capsys.readouterr()
    assert command(*run, pictures, *options, "--overwrite") == 1
    assert "overlays/b.jpg is there, and no summary says" in capsys.readouterr().err


def test_synthetic_clips_replace_their_own_files_only(tmp_path, capsys):
    video = tmp_path / "shapes.mp4"
    video.write_bytes(b"holiday")
    synth = ("synth", tmp_path, "--frames", 3, "--size", "96x64", "--overwrite")
    assert command(*synth) == 1
    assert "shapes.mp4 is there" in capsys.readouterr().err
    assert video.read_bytes() == b"holiday"
    video.unlink()
    assert command(*synth) == 0
    masks = tmp_path / "Annotations" / "shapes"
    (masks / "mine.png").write_bytes(b"mine")
    assert command(*synth, "--frames", 2) == 0
    assert names_in(masks) == ["00000.png", "00001.png", "mine.png"]
    with vos.open_source(video) as source:
        assert len(list(source)) == 2
