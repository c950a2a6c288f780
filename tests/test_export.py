"""Exports as work: going on, what is replaced, clean-up, the command line."""

import gc
import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from exported_clip import (
    NUM_FRAMES,
    job_of,
    make_labels,
    make_results,
    write_clip_results,
    write_picture_results,
)
from interrupted_runs import NUM_FRAMES as NUM_RUN_FRAMES
from interrupted_runs import OPTIONS as RUN_OPTIONS
from interrupted_runs import draw, make_clip, stand_in
from interrupted_runs import shell as run_shell
from PIL import Image
from test_cli import shell

import vos
from vos.cli import main
from vos.cli.export import FORMAT_NAMES
from vos.errors import InputError, OutputError, SourceError
from vos.export.clean_up import CleanUp, fill_holes, grow, smooth_in_time
from vos.export.clip import ExportFrame, ExportOptions
from vos.export.export import export_results
from vos.export.formats import FORMATS
from vos.masks import read_label_png, write_label_png
from vos.masks.edges import soft_alpha
from vos.sam import load
from vos.sink.summary import write_summary
from vos.track.masks import measure


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_results(tmp_path_factory.mktemp("export"))


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "results", ignore=lambda *_: ["exports"])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_command_line_knows_all_formats():
    assert tuple(FORMATS) == FORMAT_NAMES


def test_an_export_that_broke_off_goes_on(made, tmp_path):
    """The same files as without a break, and those that were done are left as they are."""
    results = vos.read_results(made)
    formats = ["coco", "sav", "youtube-vis"]
    export_results(results, formats, tmp_path / "whole")

    def stop(frame: ExportFrame) -> None:
        if frame.number == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_results(results, formats, tmp_path / "broken", on_frame=stop)
    done = tmp_path / "broken" / "sav" / "clip" / "001" / "00003.png"
    left = done.stat()
    assert not (tmp_path / "broken" / "coco" / "clip" / "annotations.json").exists()
    export_results(results, formats, tmp_path / "broken")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert (done.stat().st_ino, done.stat().st_mtime_ns) == (left.st_ino, left.st_mtime_ns)


def test_a_journal_whose_last_line_is_cut(made, tmp_path):
    results = vos.read_results(made)
    export_results(results, ["sav"], tmp_path / "out")
    whole = contents(tmp_path / "out")
    journal = tmp_path / "out" / "sav" / ".clip.export"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:10]) + lines[10][:5])
    for line in lines[10:-1]:
        (journal.parent / json.loads(line)).unlink()
    export_results(results, ["sav"], tmp_path / "out")
    assert contents(tmp_path / "out") == whole


def test_a_done_export_is_left_as_it_is(made, tmp_path):
    results = vos.read_results(made)
    (first,) = export_results(results, ["sav"], tmp_path)
    kept = contents(tmp_path)
    (again,) = export_results(results, ["sav"], tmp_path)
    assert (first.was_complete, again.was_complete) == (False, True)
    assert contents(tmp_path) == kept


def test_other_options_want_overwrite(made, tmp_path):
    results = vos.read_results(made)
    export_results(results, ["sav"], tmp_path)
    options = ExportOptions(clean_up=CleanUp(min_area_px=2))
    with pytest.raises(OutputError, match=r"clip is an export of other results or with other opt"):
        export_results(results, ["sav"], tmp_path, options)
    (tmp_path / "sav" / "clip" / "mine.txt").write_text("mine")
    export_results(results, ["sav"], tmp_path, options, overwrite=True)
    assert not read_label_png(tmp_path / "sav" / "clip" / "003" / "00000.png").any()
    assert (tmp_path / "sav" / "clip" / "mine.txt").read_text() == "mine"


def test_files_of_others_are_not_replaced(made, tmp_path):
    results = vos.read_results(made)
    (tmp_path / "npz").mkdir()
    (tmp_path / "npz" / "clip.npz").write_text("mine")
    (tmp_path / "sav" / "clip").mkdir(parents=True)
    (tmp_path / "sav" / "clip" / "mine").write_text("mine")
    for name in ("npz", "sav"):
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=r"is there, and vos did not export it"):
                export_results(results, [name], tmp_path, overwrite=overwrite)
    assert (tmp_path / "npz" / "clip.npz").read_text() == "mine"


def test_a_forged_journal_removes_nothing_of_others(made, tmp_path):
    results = vos.read_results(made)
    export_results(results, ["npz"], tmp_path)
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    journal = tmp_path / "npz" / ".clip.export"
    lines = ["../mine.txt", "clip/../../mine.txt", str(mine), 3, ["clip"]]
    journal.write_text("{}\n" + "".join(f"{json.dumps(line)}\n" for line in lines) + "[" * 10_000)
    (tmp_path / "npz" / "clip.npz").unlink()
    export_results(results, ["npz"], tmp_path, overwrite=True)
    assert mine.read_text() == "mine"


def test_the_source_and_the_results_are_not_replaced(folder, tmp_path):
    """A source that lies where an export would go, by another name."""
    results = vos.read_results(folder)
    (tmp_path / "out" / "npz").mkdir(parents=True)
    (tmp_path / "out" / "npz" / "clip.npz").hardlink_to(results.source)
    with pytest.raises(OutputError, match="is read by this run and would be replaced"):
        export_results(results, ["npz"], tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "sav").mkdir()
    (tmp_path / "out" / "sav" / "clip").symlink_to(folder / "clip")
    with pytest.raises(OutputError, match="is read by this run and would be replaced"):
        export_results(results, ["sav"], tmp_path / "out", overwrite=True)


def test_two_exports_at_once(made, tmp_path):
    results = vos.read_results(made)

    def again(_: ExportFrame) -> None:
        export_results(results, ["sav"], tmp_path)

    with pytest.raises(OutputError, match="another run is writing"):
        export_results(results, ["sav"], tmp_path, on_frame=again)


def test_a_source_or_a_label_map_that_is_gone(folder, tmp_path):
    results = vos.read_results(folder)
    with pytest.raises(SourceError, match="no video or folder"):
        export_results(results, ["coco"], tmp_path / "out", source=str(tmp_path / "gone.mp4"))
    (folder / "clip" / "00007.png").unlink()
    with pytest.raises(OutputError, match=r"00007\.png is gone"):
        export_results(results, ["npz"], tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_formats_are_checked_before_anything_is_written(made, tmp_path):
    results = vos.read_results(made)
    with pytest.raises(InputError, match="there is no export format vhs; choose one of coco, "):
        export_results(results, ["coco", "vhs"], tmp_path / "out")
    with pytest.raises(InputError, match="name each format once"):
        export_results(results, ["coco", "coco"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_have_no_time(tmp_path):
    results = vos.read_results(write_picture_results(tmp_path))
    with pytest.raises(InputError, match="smooth_time is for videos"):
        export_results(results, ["coco"], options=ExportOptions(clean_up=CleanUp(smooth_time=3)))


def test_a_run_that_broke_off_is_exported_with_a_warning(folder, tmp_path, caplog):
    (folder / ".clip.unfinished").mkdir()
    text = (folder / "clip.json").read_text()
    unfinished = folder / ".clip.unfinished" / "summary.json"
    unfinished.write_text(text[: text.index('{"index": 5')])
    (folder / "clip.json").unlink()
    export_results(vos.read_results(folder), ["npz"], tmp_path)
    assert "the run broke off: 5 frames are exported" in caplog.text
    with np.load(tmp_path / "npz" / "clip.npz") as arrays:
        assert len(arrays["labels"]) == 5


def cleaned(**settings) -> list[np.ndarray]:
    maps = [make_labels(index) for index in range(NUM_FRAMES)]
    clean_up = CleanUp(**settings)
    triples = ((None, None, labels) for labels in maps)
    return [clean_up.clean(each[2]) for each in smooth_in_time(triples, clean_up.smooth_time)]


def test_min_area_removes_what_is_small():
    for index, labels in enumerate(cleaned(min_area_px=2)):
        np.testing.assert_array_equal(
            labels, np.where(make_labels(index) == 3, 0, make_labels(index))
        )


def test_holes_are_filled_up_to_a_size():
    for index, (kept, filled) in enumerate(
        zip(cleaned(fill_holes_px=23), cleaned(fill_holes_px=24), strict=True)
    ):
        np.testing.assert_array_equal(kept, make_labels(index))
        assert (filled[10 + index : 30 + index, 6:26] == 1).all()
        assert (filled == 1).sum() == 400


def test_a_hole_of_two_objects_or_at_the_border_is_none():
    labels = np.full((6, 6), 1, np.uint8)
    labels[2:4, 2:4] = 0
    labels[2, 1] = 2
    labels[0, 0] = 0
    np.testing.assert_array_equal(fill_holes(labels, 9), labels)


def test_growing_and_shrinking():
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 2:10], labels[5:15, 16:26] = 1, 2
    grown = grow(labels, 2)
    assert (grown[5:15, :12] == 1).all()
    assert (grown[5:15, 14:28] == 2).all()
    assert not grown[:3].any()
    assert not grown[3, 0]  # the corner is round
    shrunk = grow(labels, -1)
    assert (shrunk[6:14, 3:9] == 1).all()
    assert np.unique(shrunk, return_counts=True)[1].tolist()[1:] == [48, 64]
    np.testing.assert_array_equal(grow(np.ones((4, 4), np.uint8), -1), np.ones((4, 4)))
    assert not grow(np.zeros((4, 4), np.uint8), 3).any()


def test_time_is_smoothed_by_votes():
    blank, full = np.zeros((2, 2), np.uint8), np.full((2, 2), 5, np.uint8)
    maps = [full, full, blank, full, full, blank, blank, blank]
    triples = ((None, number, labels) for number, labels in enumerate(maps))
    voted = list(smooth_in_time(triples, 3))
    assert [number for _, number, _ in voted] == list(range(8))
    assert [int(labels[0, 0]) for *_, labels in voted] == [5, 5, 5, 5, 5, 0, 0, 0]
    for num_maps in range(1, 5):
        triples = ((None, number, labels) for number, labels in enumerate(maps[:num_maps]))
        voted = [int(labels[0, 0]) for *_, labels in smooth_in_time(triples, 7)]
        assert voted == [int(each[0, 0]) if num_maps < 3 else 5 for each in maps[:num_maps]]


def test_soft_edges_cut_at_one_half_are_the_mask():
    for object_id in (1, 2, 3):
        mask = make_labels(0) == object_id
        alpha = soft_alpha(mask)
        np.testing.assert_array_equal(alpha > 0.5, mask)
        is_fading = ((alpha > 0) & (alpha < 1) & ~mask).any()
        assert is_fading == (object_id != 3)  # which is one pixel
    deep = soft_alpha(make_labels(0) == 2)[52, 28]
    assert deep == 1
    for mask in (np.zeros((3, 3), bool), np.ones((3, 3), bool)):
        np.testing.assert_array_equal(soft_alpha(mask), mask)


def test_feathered_edges_fade_evenly():
    mask = np.zeros((20, 40), bool)
    mask[:, 20:] = True
    masks = measure(mask.astype(np.uint8), (1,), np.ones(1, np.float32))
    row = CleanUp(feather_px=4).alpha(masks)[10]
    assert (np.diff(row) >= 0).all()
    assert row[19] + row[20] == pytest.approx(1, abs=1e-5)
    assert (row[8], row[31]) == pytest.approx((0, 1), abs=1e-4)


@pytest.mark.parametrize(
    "settings", [{"smooth_time": 2}, {"smooth_time": 0}, {"min_area_px": -1}, {"feather_px": -1}]
)
def test_clean_up_that_makes_no_sense(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        CleanUp(**settings)


def write_still(folder: Path, labels: np.ndarray, num_frames: int) -> Path:
    """Write the results of a video that does not move; its label maps are links to one file."""
    (folder / "still").mkdir()
    write_label_png(folder / "label_map.png", labels)
    for index in range(num_frames):
        (folder / "still" / f"{index:05d}.png").hardlink_to(folder / "label_map.png")
    masks = measure(labels, (1,), np.ones(1, np.float32))
    rgb = np.zeros((*labels.shape, 3), np.uint8)
    header = {
        "job": {},
        "source": "still",
        "selection": {},
        "versions": {},
        "width_px": labels.shape[1],
        "height_px": labels.shape[0],
    }
    pairs = ((vos.Frame(i, i / 25, f"{i:05d}", rgb), masks) for i in range(num_frames))
    unfinished = folder / "unfinished.json"
    for _ in write_summary(pairs, folder / "still.json", header, unfinished=unfinished):
        pass
    return folder


def test_memory_is_flat(tmp_path):
    """An annotation file and a sequence; benchmarks/exports.py has ten thousand frames."""
    labels = np.zeros((6, 8), np.uint8)
    labels[1:3, 2:5] = 1
    folder = write_still(tmp_path, labels, 700)
    results = vos.read_results(folder, "still")
    in_use: list[int] = []

    def watch(frame: ExportFrame) -> None:
        if frame.number in (100, 600):
            gc.collect()
            # pathlib interns names; the interpreter's table of them grows in leaps.
            others = tracemalloc.Filter(False, "*pathlib*")
            snapshot = tracemalloc.take_snapshot().filter_traces([others])
            in_use.append(sum(each.size for each in snapshot.statistics("filename")))

    tracemalloc.start()
    try:
        options = ExportOptions(images=False)
        export_results(results, ["coco", "sav"], tmp_path / "out", options, on_frame=watch)
    finally:
        tracemalloc.stop()
    assert len(list((tmp_path / "out" / "sav").rglob("*.png"))) == 700
    assert in_use[1] - in_use[0] < 1 << 16


def test_the_command_exports_all_results_of_a_folder(tmp_path, capsys):
    job = job_of(make_results(tmp_path).parent / "clip.mp4", tmp_path / "results", "second")
    write_clip_results(job)
    arguments = ("export", tmp_path / "results", "--to", "npz", "--to", "sav", "--min-area", "2")
    assert shell(main, *arguments, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: {tmp_path / 'out' / name / result}*"
        for result in ("clip", "second")
        for name in ("npz", "sav")
    ]
    with np.load(tmp_path / "out" / "npz" / "second.npz") as arrays:
        assert set(np.unique(arrays["labels"])) == {0, 1, 2}
    assert shell(main, *arguments, "--out", tmp_path / "out", "--name", "clip") == 0
    assert "exported before" in capsys.readouterr().out


def test_the_command_says_what_is_wrong(made, tmp_path, capsys):
    assert shell(main, "export", made, "--to", "npz", "--smooth-time", "2") == 2
    assert shell(main, "export", made) == 2
    assert shell(main, "export", tmp_path, "--to", "npz") == 1
    assert "no results in" in capsys.readouterr().err


def test_vos_run_exports_what_it_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path)
    arguments = ("clip.mp4", *RUN_OPTIONS, "--export", "coco", "--export", "matte")
    assert run_shell(*arguments) == 0
    assert "coco: out/exports/coco/clip*" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "exports" / "matte" / "clip").iterdir())) == NUM_RUN_FRAMES
    assert run_shell(*arguments, "--resume") == 0
    assert "coco: out/exports/coco/clip*, exported before" in capsys.readouterr().out
    assert run_shell(*arguments, "--overwrite") == 0


@pytest.mark.parametrize("video", ["rtsp://localhost/1", "-"])
def test_a_video_that_is_read_once_is_not_exported(tmp_path, capsys, video):
    arguments = (video, "--ref-mask", tmp_path / "m.png", "--export", "matte", "--export", "coco")
    assert run_shell(*arguments) == 2
    assert "--export coco reads the frames again" in capsys.readouterr().err


def test_the_page_names_all_formats():
    page = (Path(__file__).parents[1] / "docs" / "exports.md").read_text()
    assert [name for name in FORMAT_NAMES if f"`{name}`" not in page] == []


def test_vos_davis_exports_each_sequence(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "load_sam", stand_in)
    root = tmp_path / "davis"
    for index in range(3):
        rgb, labels = draw(index)
        for folder, pixels in (("JPEGImages", rgb), ("Annotations", labels)):
            path = root / folder / "480p" / "one" / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if folder == "Annotations":
                write_label_png(path, pixels)
            else:
                Image.fromarray(pixels).save(path)
    out = tmp_path / "out"
    arguments = ("davis", root, "--out", out, "--export", "sav", "--method", "persam")
    assert shell(main, *arguments) == 0
    assert len(list((out / "exports" / "sav" / "one" / "001").iterdir())) == 3
    assert shell(main, *arguments) == 0  # both are done
    assert [each.name for each in result_frames(out)] == ["00000", "00001", "00002"]


def result_frames(out: Path) -> list[vos.ResultFrame]:
    return list(vos.read_results(out, "one").frames)


def test_vos_images_exports_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "load_sam", stand_in)
    (tmp_path / "photos").mkdir()
    for index in (0, 1):
        Image.fromarray(draw(index)[0]).save(tmp_path / "photos" / f"{index}.png")
    write_label_png(tmp_path / "mask.png", draw(0)[1])
    files = (tmp_path / "photos" / "0.png", tmp_path / "mask.png", tmp_path / "photos")
    out = tmp_path / "out"
    arguments = ("images", *files, "--out", out, "--export", "coco", "--method", "persam")
    assert shell(main, *arguments) == 0
    document = json.loads((out / "exports" / "coco" / "out" / "annotations.json").read_text())
    assert [each["file_name"] for each in document["images"]] == ["0.jpg", "1.jpg"]
