"""The commands as a user types them: results, exit codes, one clear line for every mistake."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import click
import numpy as np
import pytest
import torch
from interrupted_runs import contents, stand_in
from PIL import Image

import vos
from vos.cli import main, program, run_main
from vos.masks import read_label_png, write_label_png
from vos.sink import write_video

HEIGHT, WIDTH, NUM_FRAMES = 90, 160, 5


def shell(command, *args) -> int:
    """Run a command in this process and give its exit code."""
    with pytest.raises(SystemExit) as end:
        command([str(arg) for arg in args])
    return end.value.code


def draw(t: int) -> tuple[np.ndarray, np.ndarray]:
    rgb = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[30:70, 20 + 4 * t : 70 + 4 * t] = 1
    rgb[mask > 0] = (230, 60, 40)
    return rgb, mask


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A folder with clip.mp4 and mask.png."""
    folder = tmp_path_factory.mktemp("clip")
    frames = vos.frames_from_arrays((draw(t)[0] for t in range(NUM_FRAMES)), fps=10)
    write_video(folder / "clip.mp4", frames, Fraction(10))
    write_label_png(folder / "mask.png", draw(0)[1])
    return folder


@pytest.fixture
def stand_in_model(monkeypatch):
    """For what does not hang on the model."""
    monkeypatch.setattr("vos.sam.load.load_sam", stand_in)


def run(clip: Path, out: Path, *args) -> int:
    standard = ["--ref-mask", clip / "mask.png", "--out", out]
    return shell(run_main, clip / "clip.mp4", *standard, *args)


def test_a_video_and_a_mask_give_masks_overlay_and_summary(clip, tmp_path, capsys):
    assert run(clip, tmp_path / "out") == 0
    *_, done, report = capsys.readouterr().out.strip().splitlines()
    assert done.startswith(f"{NUM_FRAMES} frames in ")
    assert str(tmp_path / "out" / "clip") in done
    assert report == f"object 1: in {NUM_FRAMES} of {NUM_FRAMES} frames"

    names = [f"{t:05d}.png" for t in range(NUM_FRAMES)]
    assert sorted(path.name for path in (tmp_path / "out" / "clip").iterdir()) == names
    first, *later = [read_label_png(tmp_path / "out" / "clip" / name) for name in names]
    np.testing.assert_array_equal(first, draw(0)[1])
    for t, labels in enumerate(later, start=1):
        truth = draw(t)[1] > 0
        assert (truth & (labels == 1)).sum() / (truth | (labels == 1)).sum() > 0.8

    with av.open(str(tmp_path / "out" / "clip.mp4")) as overlay:
        times = [frame.time for frame in overlay.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(NUM_FRAMES) / 10, atol=1e-3)

    summary = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert summary["model"] == "nano"
    assert summary["weights_sha256"]
    assert summary["num_frames"] == NUM_FRAMES
    assert summary["frames"][2]["pts_seconds"] == pytest.approx(0.2)
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.usefixtures("stand_in_model")
def test_two_runs_write_the_same_bytes(clip, tmp_path):
    for out in ("a", "b"):
        assert run(clip, tmp_path / out) == 0
    written = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(written) == NUM_FRAMES + 2
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.usefixtures("stand_in_model")
def test_options_select_frames_and_outputs(clip, tmp_path):
    options = ["--start", "0.1s", "--every", 2, "--no-overlay", "--name", "other"]
    assert run(clip, tmp_path, *options) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "other.json"]
    summary = json.loads((tmp_path / "other.json").read_text())
    assert [frame["index"] for frame in summary["frames"]] == [1, 3]


def test_the_summary_says_how_the_model_was_run(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.compile", lambda call: call)
    for folder, options in (("plain", []), ("fast", ["--skip-padding", "--compile"])):
        assert run(clip, tmp_path / folder, "--end", 2, *options) == 0
        summary = json.loads((tmp_path / folder / "clip.json").read_text())
        assert summary["compiled"] == (folder == "fast")
        assert summary["skip_padding"] == (folder == "fast")
        assert summary["dtype"] == "float32"


@pytest.mark.usefixtures("stand_in_model")
def test_clicks_and_boxes_make_the_reference(clip, tmp_path):
    for hint in (["--ref-point", "45,50"], ["--ref-box", "18,28,72,72"]):
        saved = tmp_path / f"{hint[0]}.png"
        done = shell(
            run_main, clip / "clip.mp4", *hint, "--save-ref", saved, "--out", tmp_path / hint[0],
            "--end", 1,
        )  # fmt: skip
        assert done == 0
        reference, truth = read_label_png(saved) == 1, draw(0)[1] > 0
        assert (reference & truth).sum() / (reference | truth).sum() > 0.7


@pytest.mark.usefixtures("stand_in_model")
def test_a_mask_of_another_size_may_be_resized(clip, tmp_path):
    small = tmp_path / "small.png"
    write_label_png(small, draw(0)[1][::2, ::2])
    args = [clip / "clip.mp4", "--ref-mask", small, "--out", tmp_path / "out"]
    assert shell(run_main, *args) == 1
    assert shell(run_main, *args, "--resize-mask", "--end", 1) == 0


@pytest.mark.usefixtures("stand_in_model")
def test_earlier_results_are_not_replaced_unless_asked(clip, tmp_path, capsys):
    assert run(clip, tmp_path, "--no-overlay") == 0
    foreign = tmp_path / "clip" / "notes.txt"
    foreign.write_text("mine")
    assert run(clip, tmp_path, "--no-overlay") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(clip, tmp_path, "--no-overlay", "--overwrite", "--end", 2) == 0
    left = sorted(path.name for path in (tmp_path / "clip").iterdir())
    assert left == ["00000.png", "00001.png", "notes.txt"]


@pytest.mark.usefixtures("stand_in_model")
def test_a_truncated_video_keeps_its_good_frames(clip, tmp_path, capsys):
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    frames = vos.frames_from_arrays((draw(t % 12)[0] for t in range(40)), fps=10)
    write_video(whole, frames, Fraction(10))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    code = shell(run_main, cut, "--ref-mask", clip / "mask.png", "--out", tmp_path / "out")
    captured = capsys.readouterr()
    assert code == 1
    assert "good frames" in captured.err
    kept = list((tmp_path / "out" / "cut").iterdir())
    assert 0 < len(kept) < 40
    summary = json.loads((tmp_path / "out" / "cut.json").read_text())
    assert summary["num_frames"] == len(kept)
    with av.open(str(tmp_path / "out" / "cut.mp4")) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == len(kept)


def write_mistakes(folder: Path) -> None:
    """The files that the mistakes below need."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video")
    (folder / "nothing").mkdir()
    rng = np.random.default_rng(0)
    write_label_png(folder / "blank.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    photo = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "photo.png")
    np.save(folder / "many.npy", np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH))
    write_label_png(folder / "other_size.png", np.eye(50, 60, dtype=np.uint8))
    (folder / "broken.png").write_bytes((folder / "photo.png").read_bytes()[:500])
    (folder / "text.pth").write_text("not weights")
    torch.save(torch.nn.Linear(1, 1), folder / "pickled.pth")
    torch.save({"weight": torch.ones(1)}, folder / "foreign.pth")
    (folder / "file").write_text("")


@pytest.mark.parametrize(
    ("video", "options", "message"),
    [
        ("absent.mp4", {}, "absent.mp4"),
        ("empty.mp4", {}, "empty.mp4"),
        ("text.mp4", {}, "text.mp4"),
        ("nothing", {}, "nothing"),
        ("clip.mp4", {"--ref-mask": "absent.png"}, "absent.png"),
        ("clip.mp4", {"--ref-mask": "broken.png"}, "broken.png"),
        ("clip.mp4", {"--ref-mask": "blank.png"}, "no object"),
        ("clip.mp4", {"--ref-mask": "photo.png"}, "photo.png"),
        ("clip.mp4", {"--ref-mask": "many.npy"}, "254"),
        ("clip.mp4", {"--ref-mask": "other_size.png"}, "60 x 50 pixels, the frame 160 x 90"),
        ("clip.mp4", {"--model": "vit_hh"}, "did you mean vit_h"),
        ("clip.mp4", {"--checkpoint": "absent.pth"}, "absent.pth"),
        ("clip.mp4", {"--checkpoint": "text.pth"}, "text.pth"),
        ("clip.mp4", {"--checkpoint": "pickled.pth"}, "pickled.pth"),
        ("clip.mp4", {"--checkpoint": "foreign.pth"}, "foreign.pth"),
        ("clip.mp4", {"--out": "file"}, "is a file"),
        ("clip.mp4", {"--name": "../up"}, "plain file name"),
        ("clip.mp4", {"--start": "99"}, "99"),
        pytest.param(
            "clip.mp4",
            {"--device": "cuda"},
            "sees 0 CUDA devices",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA"),
        ),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    clip, tmp_path, monkeypatch, capsys, video, options, message
):
    write_mistakes(tmp_path)
    for name in ("clip.mp4", "mask.png"):
        (tmp_path / name).symlink_to(clip / name)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    options = {"--ref-mask": "mask.png", "--out": "out", **options}
    code = shell(run_main, video, *[text for pair in options.items() for text in pair])
    captured = capsys.readouterr()
    assert code == 1
    (line,) = [line for line in captured.err.splitlines() if line]
    assert line.startswith("error: ")
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--ref-mask", "m.png", "--ref-point", "1,2"],
        ["--ref-box", "1,2,3"],
        ["--ref-point", "a,b"],
        ["--ref-mask", "m.png", "--method", "magic"],
        ["--ref-mask", "m.png", "--start", "soon"],
        ["--ref-mask", "m.png", "--nonsense"],
    ],
)
def test_wrong_options_exit_with_2(options, capsys):
    assert shell(run_main, "video.mp4", *options) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_synth_writes_a_clip_and_exact_masks(tmp_path, capsys):
    args = ["synth", tmp_path, "--frames", 3, "--size", "96x64", "--objects", 2]
    assert shell(main, *args) == 0
    masks = sorted((tmp_path / "Annotations" / "shapes").iterdir())
    assert [path.name for path in masks] == ["00000.png", "00001.png", "00002.png"]
    assert set(np.unique(read_label_png(masks[0]))) == {0, 1, 2}
    with vos.open_source(tmp_path / "shapes.mp4") as frames:
        assert [frame.frame_hw for frame in frames] == [(64, 96)] * 3
    assert shell(main, *args) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert shell(main, *args, "--overwrite") == 0


def test_three_shapes_are_followed_with_the_embedded_model(tmp_path):
    """What `make demo` shows, on an eighth as many frames."""
    assert shell(main, "synth", tmp_path, "--frames", 6) == 0
    annotations = tmp_path / "Annotations"
    reference = annotations / "shapes" / "00000.png"
    args = [tmp_path / "shapes.mp4", "--ref-mask", reference, "--out", tmp_path / "out"]
    assert shell(run_main, *args, "--no-overlay") == 0
    scores = vos.evaluate(annotations, tmp_path / "out", num_workers=1)
    assert scores.num_objects == 3
    assert scores.statistics.measures()["J-Mean"] >= 0.90


def test_models_lists_every_model(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("VOS_CACHE", str(tmp_path))
    assert shell(main, "models") == 0
    table = capsys.readouterr().out
    for name in ("nano", "mobile_sam", "vit_b", "vit_l", "vit_h", "embedded", "not cached"):
        assert name in table


def test_help_answers_at_once():
    """It loads next to nothing; seconds would tell of the machine's load as well."""
    heavy = (
        "{'torch', 'av', 'cv2', 'scipy', 'PIL', 'numpy', 'pydantic', 'segment_anything', 'tqdm'}"
    )
    code = (
        "import atexit, sys; from vos.cli import run_main; "
        f"atexit.register(lambda: print(sorted({heavy} & set(sys.modules)))); run_main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--ref-mask" in done.stdout
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize("command", program("vos").list_commands(click.Context(program("vos"))))
def test_every_command_explains_itself(command, capsys):
    assert shell(main, command, "--help") == 0
    assert "Usage: vos" in capsys.readouterr().out
