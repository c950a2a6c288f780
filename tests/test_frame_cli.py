"""``vos frame``: the stored frame as a picture, and one clear line for every mistake."""

import numpy as np
import pytest
from clips import make_rgb, write_clip
from PIL import Image

import vos
from vos.cli import main
from vos.source.seek import _MIN_FRAMES


def shell(*args) -> int:
    """Run ``vos frame`` in this process and give its exit code."""
    with pytest.raises(SystemExit) as end:
        main(["frame", *map(str, args)])
    return end.value.code


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=30, num_b_frames=2)


@pytest.mark.parametrize(
    ("moment", "index"), [("0", 0), ("17", 17), ("0.4s", 10), ("0:00.41", 11), ("29", 29)]
)
def test_it_is_exactly_the_frame_that_a_run_sees(clip, tmp_path, capsys, moment, index):
    assert shell(clip, moment, tmp_path / "out.png") == 0
    with vos.open_source(clip) as frames:
        frame = next(frame for frame in frames if frame.index == index)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), frame.rgb)
    printed = capsys.readouterr().out
    assert printed.startswith(f"frame {index} at {index / 25:.3f} s, 64 x 48 px: ")
    assert str(tmp_path / "out.png") in printed


def test_a_frame_far_into_a_video(tmp_path):
    """There, the source seeks."""
    index = _MIN_FRAMES + 13
    clip = write_clip(tmp_path / "long.mkv", index + 5, codec="ffv1", pix_fmt="bgr0")
    assert shell(clip, index, tmp_path / "out.png") == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), make_rgb(index))


def test_an_image_of_a_folder(tmp_path):
    (tmp_path / "frames").mkdir()
    for index in range(3):
        Image.fromarray(make_rgb(index)).save(tmp_path / "frames" / f"{index}.png")
    assert shell(tmp_path / "frames", 2, tmp_path / "out.png") == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), make_rgb(2))


def test_nothing_is_replaced_unasked(clip, tmp_path, capsys):
    out = tmp_path / "out.png"
    out.write_bytes(b"mine")
    assert shell(clip, 3, out) == 1
    assert "pass --overwrite" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert shell(clip, 3, out, "--overwrite") == 0
    assert np.asarray(Image.open(out)).shape == (48, 64, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("{clip}", "30", "{out}"), 1, "the last before that is frame 29 at 1.160 s"),
        (("{clip}", "9s", "{out}"), 1, "holds no frame from 9 s on"),
        (("{clip}", "soon", "{out}"), 2, "neither a frame number nor a time"),
        (("{clip}", "3", "{out}.jpg"), 1, "must end in .png"),
        (("nothing.mp4", "3", "{out}"), 1, "no video or folder nothing.mp4"),
        (("{clip}", "3", "{out}/missing/x.png"), 1, "cannot write"),
        (("{clip}", "3", "{out}", "--max-pixels", "99"), 1, "pixels"),
    ],
)
def test_mistakes_are_one_line(clip, tmp_path, capsys, args, code, message):
    args = [arg.format(clip=clip, out=tmp_path / "out.png") for arg in args]
    assert shell(*args) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())
