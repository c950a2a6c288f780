import contextlib
import itertools
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vos.errors import DamagedSourceError, InputError, OutputError, SourceError
from vos.masks import OBJECT_COLOURS, read_label_png
from vos.records import Frame, FrameMasks, SourceInfo
from vos.run.outputs import Outputs
from vos.run.results import write_results
from vos.sink import draw_overlay, write_label_pngs, write_overlay, write_summary, write_video
from vos.sink.overlay import OverlayStyle
from vos.sink.pictures import write_overlay_pictures
from vos.sink.pieces import PiecedVideo
from vos.sink.video import Encoding, Piece
from vos.source import open_source

RATE = Fraction(25)
UNFINISHED = "unfinished"  # where sinks keep what another run would go on from


def overlay(pairs, path: Path, *, alpha: float = 0.5, **known) -> Iterator:
    info = SourceInfo("clip", (48, 64), **{"frame_rate_hz": RATE, **known})
    pieces = path.parent / UNFINISHED / "pieces"
    return write_overlay(pairs, path, pieces=pieces, info=info, style=OverlayStyle(alpha=alpha))


def summary(pairs, path: Path, header: dict[str, object]) -> Iterator:
    return write_summary(pairs, path, header, unfinished=path.parent / UNFINISHED / "s.json")


SINKS = {
    "pngs": lambda pairs, folder: write_label_pngs(pairs, folder / "masks"),
    "overlay": lambda pairs, folder: overlay(pairs, folder / "o.mp4"),
    "summary": lambda pairs, folder: summary(pairs, folder / "s.json", {"model": "x"}),
}


def make_pair(index: int, hw: tuple[int, int] = (48, 64), pts: float | None = None):
    y, x = np.mgrid[: hw[0], : hw[1]]
    rgb = np.stack([x * 3, y * 4, x + y], axis=-1).astype(np.uint8) // 2 + index
    labels = np.zeros(hw, np.uint8)
    labels[5:20, 5 + index : 25 + index] = 1
    labels[25:40, 30:50] = 3
    masks = FrameMasks(
        labels=labels,
        object_ids=(1, 2, 3),
        scores=np.array([0.9, 0, 0.5], np.float32),
        present=np.array([True, False, True]),
        boxes_xyxy=np.array([[5 + index, 5, 24 + index, 19], [0] * 4, [30, 25, 49, 39]]),
        areas_px=np.array([300, 0, 300]),
    )
    return Frame(index, index / 25 if pts is None else pts, f"{index:05d}", rgb), masks


def make_pairs(num_pairs: int, **options) -> Iterator:
    for index in range(num_pairs):
        yield make_pair(index, **options)


def failing_after(num_pairs: int) -> Iterator:
    yield from make_pairs(num_pairs)
    raise SourceError("upstream broke")


def decode(path: Path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [f.to_ndarray(format="rgb24") for f in frames], [float(f.time) for f in frames]


def num_results(folder: Path, sink: str) -> int:
    """How many frames a sink left, read back whole."""
    if sink == "pngs":
        return len([read_label_png(path) for path in (folder / "masks").iterdir()])
    if sink == "overlay":
        return len(decode(folder / "o.mp4")[0])
    document = json.loads((folder / "s.json").read_text())
    assert document["num_frames"] == len(document["frames"])
    return document["num_frames"]


@contextlib.contextmanager
def full_disk(num_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a number of bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# --- what all sinks have in common


@pytest.mark.parametrize("sink", SINKS)
def test_pairs_pass_through_one_by_one(tmp_path, sink):
    given_pairs = [make_pair(index) for index in range(4)]
    num_taken = 0

    def upstream() -> Iterator:
        nonlocal num_taken
        for pair in given_pairs:
            num_taken += 1
            yield pair

    for number, (frame, masks) in enumerate(SINKS[sink](upstream(), tmp_path), 1):
        assert frame is given_pairs[number - 1][0]
        assert masks is given_pairs[number - 1][1]
        assert num_taken == number
    assert num_results(tmp_path, sink) == 4


@pytest.mark.parametrize("sink", SINKS)
def test_nothing_is_written_without_a_frame(tmp_path, sink):
    assert list(SINKS[sink](iter(()), tmp_path / "out")) == []
    with pytest.raises(SourceError):
        list(SINKS[sink](failing_after(0), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sink", SINKS)
def test_folders_are_made(tmp_path, sink):
    list(SINKS[sink](make_pairs(1), tmp_path / "a" / "b"))
    assert num_results(tmp_path / "a" / "b", sink) == 1


@pytest.mark.parametrize("sink", SINKS)
def test_an_upstream_error_keeps_what_was_finished(tmp_path, sink):
    with pytest.raises(SourceError, match="upstream broke"):
        list(SINKS[sink](failing_after(3), tmp_path))
    assert num_results(tmp_path, sink) == 3
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("sink", SINKS)
def test_stopping_early_keeps_what_was_finished_and_closes_upstream(tmp_path, sink):
    closed = []

    def upstream() -> Iterator:
        try:
            yield from make_pairs(100)
        finally:
            closed.append(True)

    pairs = SINKS[sink](upstream(), tmp_path)
    next(pairs)
    next(pairs)
    pairs.close()
    assert closed
    assert num_results(tmp_path, sink) == 2
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("sink", SINKS)
def test_the_same_frames_give_the_same_bytes(tmp_path, sink):
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        list(SINKS[sink](make_pairs(3), folder))
        contents.append([(path.name, path.read_bytes()) for path in sorted(results_in(folder))])
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("sink", SINKS)
def test_a_folder_that_cannot_be_made(tmp_path, sink):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot .*file"):
        list(SINKS[sink](make_pairs(1), tmp_path / "file" / "out"))


@pytest.mark.parametrize(("sink", "name"), [("overlay", "o.mp4"), ("summary", "s.json")])
def test_a_name_that_is_taken_by_a_folder(tmp_path, sink, name):
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=f"cannot write .*{name}.*directory"):
        list(SINKS[sink](make_pairs(1), tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {name, UNFINISHED}


@pytest.mark.parametrize("sink", SINKS)
def test_a_full_disk(tmp_path, sink):
    with full_disk(100), pytest.raises(OutputError, match="File too large"):
        list(SINKS[sink](make_pairs(60), tmp_path))
    assert [path.name for path in results_in(tmp_path)] == []


def results_in(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if UNFINISHED not in path.parts]


def test_sinks_chain(tmp_path):
    pairs = make_pairs(5)
    for sink in SINKS.values():
        pairs = sink(pairs, tmp_path)
    next(pairs)
    next(pairs)
    pairs.close()
    assert {sink: num_results(tmp_path, sink) for sink in SINKS} == dict.fromkeys(SINKS, 2)


# --- label maps


def test_label_pngs_hold_the_labels(tmp_path):
    for index, (frame, masks) in enumerate(write_label_pngs(make_pairs(3), tmp_path / "out")):
        path = tmp_path / "out" / f"{frame.name}.png"
        assert (read_label_png(path) == masks.labels).all()
        assert len(list((tmp_path / "out").iterdir())) == index + 1


# --- overlay


@pytest.mark.parametrize("hw", [(48, 64), (47, 63), (48, 63), (1, 1), (3, 200)])
def test_overlay_has_every_frame_at_any_size(tmp_path, hw):
    list(overlay(make_pairs(3, hw=hw), tmp_path / "o.mp4", frame_rate_hz=None))
    pictures, _ = decode(tmp_path / "o.mp4")
    assert len(pictures) == 3
    assert pictures[0].shape == (hw[0] + hw[0] % 2, hw[1] + hw[1] % 2, 3)


def test_overlay_looks_like_the_frames(tmp_path):
    list(overlay(make_pairs(3), tmp_path / "o.mp4", alpha=0.4))
    for index, picture in enumerate(decode(tmp_path / "o.mp4")[0]):
        frame, masks = make_pair(index)
        want = OverlayStyle(alpha=0.4).draw(frame, masks)
        assert np.abs(picture.astype(int) - want).mean() < 6


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(1e-3, 3), min_size=1, max_size=8), st.floats(0, 1e5))
def test_overlay_keeps_the_distances_between_times(tmp_path_factory, gaps, start):
    times = [start, *(start + np.cumsum(gaps)).tolist()]
    path = tmp_path_factory.mktemp("overlay") / "o.mp4"
    pairs = (make_pair(index, pts=pts) for index, pts in enumerate(times))
    list(overlay(pairs, path))
    assert decode(path)[1] == pytest.approx([pts - start for pts in times], abs=1e-4)


def test_overlay_times_always_advance(tmp_path):
    pairs = (make_pair(index, pts=pts) for index, pts in enumerate([1.0, 1.0, 0.5, 2.0]))
    list(overlay(pairs, tmp_path / "o.mp4"))
    times = decode(tmp_path / "o.mp4")[1]
    assert len(times) == 4
    assert times == sorted(set(times))
    assert times[-1] == pytest.approx(1)


def test_overlay_of_a_changing_size(tmp_path):
    pairs = iter([make_pair(0), make_pair(1, hw=(50, 64))])
    with pytest.raises(InputError, match="one size: it is 64 x 48, got 64 x 50"):
        list(overlay(pairs, tmp_path / "o.mp4"))
    assert len(decode(tmp_path / "o.mp4")[0]) == 1


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov", "O.MP4"])
def test_video_containers(tmp_path, name):
    list(overlay(make_pairs(2), tmp_path / name))
    assert len(decode(tmp_path / name)[0]) == 2


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("o.gif", {}, "must end in"),
        ("o.mp4", {"frame_rate_hz": Fraction(0)}, "frame_rate_hz must be positive"),
        ("o.mp4", {"alpha": 1.5}, r"alpha must be within \[0, 1\], got 1.5"),
    ],
)
def test_illegal_overlay_settings(tmp_path, path, options, message):
    with pytest.raises(InputError, match=message):
        list(overlay(make_pairs(1), tmp_path / path, **options))
    assert results_in(tmp_path) == []


def test_drawing_tints_objects_and_nothing_else():
    frame, masks = make_pair(0, hw=(240, 320))
    before = frame.rgb.copy()
    labels = np.kron(masks.labels[:48, :64], np.ones((5, 5), np.uint8))
    picture = draw_overlay(frame.rgb, labels, 0.5)
    assert (frame.rgb == before).all()
    assert (picture[labels == 0] == frame.rgb[labels == 0]).all()
    inside = np.s_[35:40, 35:40]  # of object 1, away from its contour and number
    assert (labels[inside] == 1).all()
    want = (frame.rgb[inside].astype(int) + OBJECT_COLOURS[1]) / 2
    assert np.abs(picture[inside] - want).max() <= 1
    is_changed = (draw_overlay(frame.rgb, labels, 0) != frame.rgb).any(axis=2)
    assert is_changed[25, 30:120].all()  # the contour's upper side
    assert 0.02 < is_changed[labels == 1].mean() < 0.5  # contour and number only
    assert is_changed[55:70, 70:80].any()  # the number


def dashes(picture: np.ndarray, plain: np.ndarray, row: int) -> list[bool]:
    """Where a contour is drawn along the upper side of an object."""
    return (picture[row, 30:110] != plain[row, 30:110]).any(axis=1).tolist()


def test_contours_of_doubtful_objects_are_dashed():
    plain = np.full((240, 320, 3), 90, np.uint8)
    labels = np.zeros((240, 320), np.uint8)
    labels[40:120, 20:120] = 7
    sure, doubtful = (
        draw_overlay(plain, labels, 0, scores={7: score}, min_score=0.5) for score in (0.5, 0.49)
    )
    assert all(dashes(sure, plain, 40))
    drawn = dashes(doubtful, plain, 40)
    assert 0.2 < np.mean(drawn) < 0.8
    assert 4 < sum(a != b for a, b in itertools.pairwise(drawn)) < 40


def test_the_score_is_written_beside_the_id():
    plain = np.full((240, 320, 3), 90, np.uint8)
    labels = np.zeros((240, 320), np.uint8)
    labels[40:200, 20:300] = 7
    texts = [
        draw_overlay(plain, labels, 0, scores=scores)[60:180, 40:280]
        for scores in (None, {7: 0.5}, {7: 0.5004}, {7: 0.6})
    ]
    widths = [np.ptp(np.nonzero((text != 90).any(axis=(0, 2)))[0]) for text in texts]
    assert widths[1] > 2 * widths[0]
    assert (texts[1] == texts[2]).all()
    assert (texts[1] != texts[3]).any()


def test_the_name_is_written_instead_of_the_id():
    """OpenCV writes ASCII letters alone; others it would replace by question marks."""
    plain = np.full((240, 320, 3), 90, np.uint8)
    labels = np.zeros((240, 320), np.uint8)
    labels[40:200, 20:300] = 7
    numbered, named, foreign = (
        draw_overlay(plain, labels, 0, names=names)
        for names in ({8: "other"}, {7: "person"}, {7: "Köter"})
    )
    text = np.s_[60:180, 40:280]
    widths = [np.ptp(np.nonzero((p[text] != 90).any(axis=(0, 2)))[0]) for p in (numbered, named)]
    assert widths[1] > 3 * widths[0]
    assert (foreign == numbered).all()


def test_objects_have_the_colours_that_they_are_given():
    frame, masks = make_pair(0, hw=(240, 320))
    labels = np.kron(masks.labels[:48, :64], np.ones((5, 5), np.uint8))
    masks = replace(masks, labels=labels)
    colours = {1: (0, 255, 0), 3: (255, 0, 0)}
    picture = OverlayStyle(alpha=1, colours=colours).draw(frame, masks)
    plain = OverlayStyle(alpha=1).draw(frame, masks)
    inside = {1: np.s_[35:40, 35:40], 3: np.s_[135:140, 160:165]}  # away from contour and text
    for object_id, colour in colours.items():
        assert (labels[inside[object_id]] == object_id).all()
        assert (picture[inside[object_id]] == colour).all()
        assert (plain[inside[object_id]] == OBJECT_COLOURS[object_id]).all()


def test_drawing_without_objects_changes_nothing():
    frame, masks = make_pair(0)
    assert (draw_overlay(frame.rgb, masks.labels * 0, 0.5) == frame.rgb).all()


def test_drawing_checks_the_size():
    with pytest.raises(InputError, match="differ in size"):
        draw_overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), 0.5)


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", ["o.mp4", "o.mov", "o.mkv"])
@pytest.mark.parametrize(
    "times",
    [
        [0, 0.04, 0.08, 28800, 28800.04],
        [0, 0.04, 7 * 86400, 7 * 86400 + 0.04, 20 * 86400],
        [100.0, 100.5, 90_000.0],
    ],
)
def test_gaps_of_any_length(tmp_path, name, times):
    pairs = (make_pair(index, pts=pts) for index, pts in enumerate(times))
    list(overlay(pairs, tmp_path / name))
    assert times_of(tmp_path / name) == pytest.approx([t - times[0] for t in times], abs=2e-3)


def test_a_gap_that_no_mp4_can_hold_is_shortened_with_a_notice(tmp_path, caplog):
    times = [0, 0.04, 1e9, 1e9 + 0.5]
    pairs = (make_pair(index, pts=pts) for index, pts in enumerate(times))
    list(overlay(pairs, tmp_path / "o.mp4"))
    got = times_of(tmp_path / "o.mp4")
    assert got[:2] == pytest.approx([0, 0.04], abs=2e-3)
    assert got[3] - got[2] == pytest.approx(0.5, abs=2e-3)
    assert "gap of more than 2147483 s shorter" in caplog.text


def write_encoded(path: Path, **settings) -> None:
    pieces = path.parent / UNFINISHED / "pieces"
    with PiecedVideo(path, pieces, Encoding(crf=20, **settings)) as video:
        for frame, _ in make_pairs(2):
            video.add(frame.rgb, frame.pts_seconds)


@pytest.mark.parametrize("aspect", [None, Fraction(1), Fraction(64, 45), Fraction(1, 2)])
@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_pixels_keep_their_aspect(tmp_path, name, aspect):
    write_encoded(tmp_path / name, pixel_aspect=aspect)
    with av.open(str(tmp_path / name)) as container:
        got = container.streams.video[0].codec_context.sample_aspect_ratio
    assert (got or 1) == (aspect or 1)


@pytest.mark.parametrize("aspect", [Fraction(2**31 - 1), Fraction(1, 2**31 - 1)])
def test_an_aspect_beyond_belief_does_no_harm(tmp_path, aspect):
    write_encoded(tmp_path / "o.mp4", pixel_aspect=aspect)
    assert len(decode(tmp_path / "o.mp4")[0]) == 2


@pytest.mark.parametrize("rate", [Fraction(2**31 - 1), Fraction(1, 2**31 - 1)])
def test_a_rate_beyond_belief_does_no_harm(tmp_path, rate):
    list(overlay(make_pairs(3), tmp_path / "o.mp4", frame_rate_hz=rate))
    assert decode(tmp_path / "o.mp4")[1] == pytest.approx([0, 0.04, 0.08], abs=1e-4)


@pytest.mark.parametrize(
    "name",
    ["take12:30.mp4", "file:o.mp4", "pipe:1.mp4", "http://x.mp4", "a%03d.mp4", "exp:1/o.mp4"],
)
def test_names_that_ffmpeg_could_take_for_addresses(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    list(overlay(make_pairs(2), Path(name)))
    with Path(name).open("rb") as file, av.open(file) as container:
        assert sum(1 for _ in container.decode(video=0)) == 2


@pytest.mark.parametrize("hw", [(16, 16_384), (16_383, 16)])
def test_frames_as_large_as_h264_allows(tmp_path, hw):
    list(overlay(make_pairs(1, hw=hw), tmp_path / "o.mp4"))
    assert len(decode(tmp_path / "o.mp4")[0]) == 1


@pytest.mark.parametrize("hw", [(16, 16_385), (20_000, 16)])
def test_larger_frames_are_refused_before_the_first_one(tmp_path, hw):
    asked = []

    def pairs() -> Iterator:
        for index in range(3):
            asked.append(index)
            yield make_pair(index)

    outputs = Outputs(folder=tmp_path, name="clip")
    with pytest.raises(OutputError, match=r"H.264 takes 16384 a side; pass --no-overlay"):
        list(write_results(pairs(), outputs, SourceInfo("clip", hw), {}))
    assert not asked
    assert list(tmp_path.iterdir()) == []
    outputs = Outputs(folder=tmp_path, name="clip", overlay_alpha=None)
    assert len(list(write_results(pairs(), outputs, SourceInfo("clip", hw), {}))) == 3


def test_overlay_pictures_show_what_overlays_show(tmp_path):
    list(write_overlay_pictures(make_pairs(2, hw=(240, 320)), tmp_path))
    for index in range(2):
        with Image.open(tmp_path / f"{index:05d}.jpg") as image:
            got = np.array(image).astype(int)
        want = OverlayStyle().draw(*make_pair(index, hw=(240, 320)))
        assert np.abs(got - want).mean() < 4


# --- videos


@pytest.mark.parametrize(("crf", "largest_error"), [(0, 1.5), (18, 4)])
def test_write_video(tmp_path, crf, largest_error):
    frames = [make_pair(index, hw=(120, 160), pts=index * 0.1)[0] for index in range(4)]
    for frame in frames:  # 4:2:0 halves the resolution of colour, not of grey
        frame.rgb[:] = frame.rgb.mean(axis=2, keepdims=True)
    write_video(tmp_path / "v.mp4", iter(frames), Fraction(10), crf=crf)
    pictures, times = decode(tmp_path / "v.mp4")
    assert times == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-4)
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.rgb.astype(int) - picture).mean() < largest_error


def test_write_video_rejects_a_crf(tmp_path):
    with pytest.raises(InputError, match=r"crf must be within 0\.\.51, got 52"):
        write_video(tmp_path / "v.mp4", [], RATE, crf=52)


# --- summary


def test_summary_holds_all_there_is_to_know(tmp_path):
    list(summary(make_pairs(2), tmp_path / "s.json", {"model": "nano", "size": [1, 2]}))
    document = json.loads((tmp_path / "s.json").read_text())
    assert list(document) == [
        *("model", "size", "box_convention", "objects", "frames", "num_frames", "tallies"),
        *("damaged", "elapsed_seconds"),
    ]
    assert "inclusive" in document["box_convention"]
    assert [row["num_present"] for row in document["tallies"]] == [2, 0, 2]
    assert document["objects"] == [1, 2, 3]
    assert document["frames"][1] == {
        "index": 1,
        "name": "00001",
        "pts_seconds": 0.04,
        "objects": [
            {"id": 1, "score": 0.9, "present": True, "area_px": 300, "box_xyxy": [6, 5, 25, 19]},
            {"id": 2, "score": 0.0, "present": False, "area_px": 0, "box_xyxy": None},
            {"id": 3, "score": 0.5, "present": True, "area_px": 300, "box_xyxy": [30, 25, 49, 39]},
        ],
    }


def test_summary_has_a_line_for_each_frame(tmp_path):
    texts = []
    for num_frames in (2, 3):
        list(summary(make_pairs(num_frames), tmp_path / "s.json", {}))
        texts.append((tmp_path / "s.json").read_text().splitlines())
    assert len(texts[1]) == len(texts[0]) + 1
    for line in texts[0][4:6]:
        assert json.loads(line.rstrip(","))["name"]


def test_summary_of_a_result_says_where_all_of_it_is(tmp_path):
    outputs = Outputs(folder=tmp_path / "out", name="clip")
    info = SourceInfo("clip", (48, 64), Fraction(30_000, 1001))
    started = time.monotonic() - 100
    list(write_results(make_pairs(3), outputs, info, {"model": "x"}, started=started))
    document = json.loads(outputs.summary_path.read_text())
    assert (document["width_px"], document["height_px"]) == (64, 48)
    assert document["frame_rate_hz"] == 29.97003
    assert 100 < document["elapsed_seconds"] < 150
    listed = [entry["label_map"] for entry in document["frames"]]
    listed += [document["files"]["summary"], document["files"]["overlay"]]
    found = [path for path in outputs.folder.rglob("*") if path.is_file()]
    assert sorted(listed) == sorted(path.relative_to(outputs.folder).as_posix() for path in found)
    assert (outputs.folder / document["files"]["label_maps"]).is_dir()


def test_summary_says_where_the_source_broke_off(tmp_path):
    def pairs() -> Iterator:
        yield from make_pairs(2)
        raise DamagedSourceError("a picture is damaged", frame_index=2, pts_seconds=0.08)

    with pytest.raises(DamagedSourceError):
        list(summary(pairs(), tmp_path / "s.json", {}))
    document = json.loads((tmp_path / "s.json").read_text())
    assert document["damaged"] == [
        {"index": 2, "pts_seconds": 0.08, "message": "a picture is damaged"}
    ]
    assert document["num_frames"] == 2


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"frames": 1}, "cannot hold frames"),
        ({"model": object()}, "must be JSON"),
        ({"model": float("nan")}, "must be JSON"),
    ],
)
def test_illegal_headers(tmp_path, header, message):
    with pytest.raises(InputError, match=message):
        list(summary(make_pairs(1), tmp_path / "s.json", header))
    assert list(tmp_path.iterdir()) == []


def test_a_video_does_not_depend_on_what_memory_held(shared: Path, tmp_path):
    """Real frames, for drawn ones hardly show it, between allocations that leave other bytes."""
    rng = np.random.default_rng(0)
    with open_source(shared / "davis" / "JPEGImages" / "480p" / "dog", end=20) as source:
        pictures = [frame.rgb for frame in source]
    path = tmp_path / "clip.nut"
    results = set()
    for _ in range(8):
        piece = Piece(path, Encoding(crf=18))
        for t, rgb in enumerate(pictures):
            junk = rng.integers(0, 256, rng.integers(1_000, 4_000_000), dtype=np.uint8)
            del junk
            piece.add(rgb, t)
        piece.close()
        results.add(path.read_bytes())
    assert len(results) == 1
