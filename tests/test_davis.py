"""Whole data sets: run, resume, keep going, score."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from batches import load_stand_in_in_workers
from interrupted_runs import contents, stand_in
from PIL import Image

import vos
from vos.cli import main
from vos.errors import InputError, ScoreError
from vos.masks import read_label_png, write_label_png
from vos.sets.davis import davis_job, find_davis_sequences

NUM_FRAMES = 4


def add_sequence(root: Path, name: str, colour: tuple[int, int, int], num_objects: int = 1) -> None:
    images, masks = root / "JPEGImages/480p" / name, root / "Annotations/480p" / name
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for t in range(NUM_FRAMES):
        rgb = np.full((72, 128, 3), 90, np.uint8)
        labels = np.zeros((72, 128), np.uint8)
        for k in range(num_objects):
            x = 10 + 4 * t + 60 * k
            labels[20:52, x : x + 36] = k + 1
            rgb[20:52, x : x + 36] = colour if k == 0 else (240, 240, 60)
        Image.fromarray(rgb).save(images / f"{t:05d}.jpg", quality=95)
        write_label_png(masks / f"{t:05d}.png", labels)


@pytest.fixture(autouse=True)
def stand_in_model(monkeypatch):
    """What is shown here does not hang on the model."""
    monkeypatch.setattr("vos.sam.load.load_sam", stand_in)


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "set"
    add_sequence(root, "red", (230, 50, 40))
    add_sequence(root, "two", (50, 90, 240), num_objects=2)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("red\ntwo\n")
    return root


def davis(root: Path, out: Path, *options: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["davis", str(root), "--out", str(out), *options])
    return end.value.code


def test_no_frame_and_no_annotation_of_a_set_is_replaced(root, tmp_path, capsys):
    """The first sequence is not run either where only the results of the second would do harm."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "two").symlink_to(root / "Annotations/480p/two")
    before = contents(tmp_path)
    for out in (tmp_path / "out", root / "Annotations/480p", root / "JPEGImages/480p"):
        assert davis(root, out, "--overwrite") == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert line.startswith("error: ")
        assert "is read by this run and would be replaced" in line
    assert contents(tmp_path) == before


def test_a_set_is_run_and_scored(root, tmp_path, capsys):
    assert davis(root, tmp_path / "out", "--split", "val") == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("global"))
    assert float(row.split()[1]) > 0.7
    for name in ("red", "two"):
        masks = sorted((tmp_path / "out" / name).iterdir())
        assert [path.name for path in masks] == [f"{t:05d}.png" for t in range(NUM_FRAMES)]
    assert set(np.unique(read_label_png(masks[-1]))) == {0, 1, 2}


def test_a_set_keeps_soft_edges_for_its_exports(root, tmp_path, capsys):
    assert davis(root, tmp_path / "out", "--split", "val", "--soft", "--export", "rgba") == 0
    results = vos.read_results(tmp_path / "out", "red")
    assert results.has_soft_edges
    alpha = np.asarray(Image.open(sorted((tmp_path / "out").rglob("rgba/red*/*.png"))[-1]))[..., 3]
    assert (alpha == results.alpha(NUM_FRAMES - 1)[0]).all()
    assert len(np.unique(alpha)) > 2


def test_two_workers_give_the_same_figures(root, tmp_path, capsys, monkeypatch):
    load_stand_in_in_workers(monkeypatch)
    assert davis(root, tmp_path / "one", "--threads", "1") == 0
    one = capsys.readouterr().out.splitlines()
    assert davis(root, tmp_path / "two", "--threads", "1", "--workers", "2") == 0
    two = capsys.readouterr().out.splitlines()
    begin = next(number for number, line in enumerate(one) if "J&F-Mean" in line)
    assert one[begin:] == two[begin - len(one) :]


def test_year_2016_joins_objects(root, tmp_path):
    assert davis(root, tmp_path / "out", "--year", "2016") == 0
    assert set(np.unique(read_label_png(tmp_path / "out/two/00003.png"))) <= {0, 1}


def test_finished_sequences_are_kept_and_one_that_broke_off_goes_on(root, tmp_path, capsys):
    out = tmp_path / "out"
    red, two = find_davis_sequences(root, year=2017)
    where = vos.JobOutputs(folder=out, overlay_alpha=None)
    vos.run_job(davis_job(red, where))
    vos.run_job(davis_job(two, where), should_stop=lambda: True)
    kept = (out / "red/00001.png").stat().st_mtime_ns
    (root / "JPEGImages/480p/red/Thumbs.db").write_bytes(b"of the system's own")
    assert davis(root, out, "--split", "val") == 0
    printed = capsys.readouterr().out
    assert "done before" in printed
    assert f"{NUM_FRAMES - 1} frames after 1 before" in printed
    assert (out / "red/00001.png").stat().st_mtime_ns == kept
    assert (out / "two/00003.png").exists()


def test_results_with_a_gap_are_not_taken_for_finished(root, tmp_path, capsys):
    out = tmp_path / "out"
    assert davis(root, out) == 0
    (out / "two/00003.png").unlink()
    assert davis(root, out) == 1
    assert "is gone; pass --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--method", "persam-f"], ["--year", "2016"]])
def test_other_settings_and_other_joining_are_not_mixed_in(root, tmp_path, capsys, options):
    assert davis(root, tmp_path / "out") == 0
    assert davis(root, tmp_path / "out", *options) == 1
    assert "holds another run" in capsys.readouterr().err
    assert davis(root, tmp_path / "out", *options, "--overwrite") == 0


def test_foreign_results_are_not_replaced(root, tmp_path, capsys):
    foreign = tmp_path / "out/red/00000.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    assert davis(root, tmp_path / "out") == 1
    assert foreign.read_bytes() == b"mine"
    assert "1 of 2 sequences failed" in capsys.readouterr().err


def test_a_failing_sequence_does_not_stop_the_others(root, tmp_path, capsys):
    (root / "JPEGImages/480p/red/00002.jpg").write_bytes(b"broken")
    assert davis(root, tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "1 of 2 sequences failed" in captured.err
    assert "00002.jpg" in captured.err
    assert any(line.startswith("two") for line in captured.out.splitlines())
    assert (tmp_path / "out/two/00003.png").exists()


def test_bad_layouts_are_refused_before_anything_runs(root, tmp_path):
    with pytest.raises(ScoreError, match="there is no folder"):
        find_davis_sequences(tmp_path / "absent")
    with pytest.raises(ScoreError, match="split"):
        find_davis_sequences(root, split="train")
    with pytest.raises(InputError, match="year"):
        find_davis_sequences(root, year=2018)
    shutil.rmtree(root / "JPEGImages/480p/two")
    with pytest.raises(ScoreError, match="sequence two"):
        find_davis_sequences(root)
