"""What the README and the page on Python tell people to type works, on drawn clips.

The stand-in model takes the place of the embedded one.
"""

import contextlib
import json
import re
import shlex
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from colour_sam import PALETTE, ColourSam
from image_sets import write_perseg
from interrupted_runs import stand_in
from PIL import Image

import vos
from vos.cli import eval_main, main, run_main
from vos.masks import write_label_png
from vos.sink import write_video

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = {"vos": main, "vos-run": run_main, "vos-eval": eval_main}
NUM_FRAMES = 42
# The page waits for a browser; tests/test_app_*.py open it.
NOT_RUN = ("vos app",)


def commands() -> list[str]:
    """All commands of code blocks and of the table of commands."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    for row in re.findall(r"^\| (`vos.*?) \|", README, re.MULTILINE):
        lines += re.findall(r"`(vos[^`]*)`", row)
    return [line for line in lines if line.split(" ")[0] in PROGRAMS]


def draw(t: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame of 512 x 320 px and its label map; pixel 410, 220 is always on object 1."""
    rgb, labels = np.zeros((320, 512, 3), np.uint8), np.zeros((320, 512), np.uint8)
    part = slice(160, 290), slice(384 - t // 4, 465 - t // 4)
    rgb[part], labels[part] = PALETTE[1], 1
    return rgb, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """All files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    frames = vos.frames_from_arrays((draw(t)[0] for t in range(NUM_FRAMES)), fps=10)
    write_video(folder / "video.mp4", frames, Fraction(10))
    write_label_png(folder / "mask.png", draw(0)[1])
    write_label_png(folder / "fix.png", draw(40)[1])
    for name in ("photos", "DAVIS/JPEGImages/480p/one", "DAVIS/Annotations/480p/one"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(draw(0)[0]).save(folder / "ref.jpg")
    Image.fromarray(draw(20)[0]).save(folder / "photos" / "1.jpg")
    for t in range(3):
        Image.fromarray(draw(t)[0]).save(folder / f"DAVIS/JPEGImages/480p/one/{t:05d}.jpg")
        write_label_png(folder / f"DAVIS/Annotations/480p/one/{t:05d}.png", draw(t)[1])
    (folder / "DAVIS/ImageSets/2017").mkdir(parents=True)
    (folder / "DAVIS/ImageSets/2017/val.txt").write_text("one\n")
    (folder / "Annotations" / "video").mkdir(parents=True)
    for t in range(NUM_FRAMES):
        write_label_png(folder / f"Annotations/video/{t:05d}.png", draw(t)[1])
    write_perseg(folder / "PerSeg", num_images=2)
    row = {"name": "first", "video": "video.mp4", "mask": "mask.png", "end": 3}
    (folder / "jobs.jsonl").write_text(json.dumps(row) + "\n")
    return folder


@pytest.fixture(scope="module")
def with_results(folder, tmp_path_factory) -> Path:
    """The same with the results of the first command."""
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("results") / "copy")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(copy):
        patch.setattr("vos.sam.load.load_sam", stand_in)
        assert shell("vos-run video.mp4 --ref-mask mask.png") == 0
    return copy


@pytest.fixture
def stand_in_model(monkeypatch):
    monkeypatch.setattr("vos.sam.load.load_sam", stand_in)
    monkeypatch.setattr("vos.load_sam", stand_in)


def shell(line: str) -> int:
    program, *args = shlex.split(line)
    with pytest.raises(SystemExit) as end:
        PROGRAMS[program](args)
    return end.value.code


def test_there_are_commands_to_try():
    assert len(commands()) > 15
    assert {"vos-run", "vos", "vos-eval"} == {line.split(" ")[0] for line in commands()}


@pytest.mark.usefixtures("stand_in_model")
@pytest.mark.parametrize("line", dict.fromkeys(commands()))
def test_a_command_of_the_readme_works(line, folder, with_results, tmp_path, capsys, monkeypatch):
    if line.startswith(NOT_RUN):
        return
    monkeypatch.setattr("sys.prefix", "environment")  # where vos man --install writes
    is_of_results = line.startswith(("vos-eval", "vos export", "vos review"))
    goes_on = is_of_results or "--update" in line or "--resume" in line
    monkeypatch.chdir(shutil.copytree(with_results if goes_on else folder, tmp_path / "copy"))
    assert shell(line) == 0, capsys.readouterr().err


@pytest.mark.usefixtures("stand_in_model")
def test_the_python_of_the_reference_works(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "copy"))
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    arrays = [draw(t)[0] for t in range(3)]
    exec(code, {"arrays": arrays, "module": ColourSam()})
    assert f"{NUM_FRAMES} {NUM_FRAMES}" in capsys.readouterr().out
