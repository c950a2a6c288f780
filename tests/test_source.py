import builtins
import contextlib
import dataclasses
import gc
import http.server
import json
import logging
import os
import struct
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from clips import HW, are_equal, is_alike, make_rgb, noisy, places, read, write_clip
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vos.errors import DamagedSourceError, InputError, SourceError
from vos.records import Frame
from vos.source import (
    can_read_again,
    describe_source,
    frame_at,
    frames_from_arrays,
    of_one_size,
    open_selection,
    open_source,
    seek,
    video,
)
from vos.source.images import open_images
from vos.source.selection import Picture, Selection, deliver


def write_sound(path: Path, *, cover: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        if cover:
            art = container.add_stream("png", rate=1)
            art.height, art.width, art.pix_fmt = *HW, "rgb24"
            art.disposition = av.stream.Disposition.attached_pic.value
            picture = av.VideoFrame.from_ndarray(make_rgb(0), format="rgb24")
            container.mux(art.encode(picture))
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 4410), np.float32), format="fltp", layout="mono"
        )
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


def read_until_damage(path: Path, **options) -> tuple[list[Frame], str]:
    frames: list[Frame] = []
    with open_source(path, **options) as source, pytest.raises(DamagedSourceError) as caught:
        frames.extend(source)
    return frames, str(caught.value)


# --- arrays


def test_arrays_become_frames_lazily():
    def arrays() -> Iterator[np.ndarray]:
        yield make_rgb(0)
        yield make_rgb(1)
        raise SourceError("no more")

    frames = frames_from_arrays(arrays(), fps=10)
    first, second = next(frames), next(frames)
    assert (first.index, first.pts_seconds, first.name) == (0, 0.0, "00000")
    assert (second.index, second.pts_seconds, second.name) == (1, 0.1, "00001")
    assert (second.rgb == make_rgb(1)).all()
    with pytest.raises(SourceError):
        next(frames)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_arrays_need_a_frame_rate(fps):
    with pytest.raises(InputError, match="fps must be positive"):
        frames_from_arrays([], fps=fps)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), [[1]]],
)
def test_arrays_must_be_pictures(array):
    with pytest.raises(InputError, match=r"\(H, W, 3\) uint8"):
        next(frames_from_arrays([array]))


def test_one_size():
    frames = of_one_size(frames_from_arrays([make_rgb(0), make_rgb(0), make_rgb(0, (50, 64))]))
    assert [next(frames).index, next(frames).index] == [0, 1]
    with pytest.raises(InputError, match="frame 2 is 64 x 50 pixels, the first was 64 x 48"):
        next(frames)


# --- which frames


def some_pictures(num_frames: int, rate_hz: int) -> Iterator[Picture]:
    for index in range(num_frames):
        yield Picture(index, index / rate_hz, lambda: np.zeros((2, 2, 3), np.uint8))


BOUNDS = st.none() | st.integers(0, 30) | st.floats(0, 3)


@given(st.integers(1, 30), BOUNDS, BOUNDS, st.integers(1, 7))
def test_selection_is_a_slice(num_frames, start, end, every):
    rate_hz = 10

    def is_wanted(index: int) -> bool:
        after = start is None or (index if isinstance(start, int) else index / rate_hz) >= start
        before = end is None or (index if isinstance(end, int) else index / rate_hz) < end
        return after and before

    want = [index for index in range(num_frames) if is_wanted(index)][::every]
    try:
        selection = Selection(start, end, every)
    except InputError:
        assert not want
        return
    frames = deliver(some_pictures(num_frames, rate_hz), selection, "it")
    if not want:
        with pytest.raises(SourceError, match="it holds no frame from"):
            next(frames)
        return
    got = list(frames)
    assert [frame.index for frame in got] == want
    assert [frame.name for frame in got] == [f"{index:05d}" for index in want]
    expected = selection.count(num_frames, Fraction(rate_hz))
    assert abs(expected - len(want)) <= 1  # seconds on a frame's time may round either way
    if not isinstance(start, float) and not isinstance(end, float):
        assert expected == len(want)


def test_counts_that_cannot_be_told():
    assert Selection().count(None, Fraction(10)) is None
    assert Selection(start=1.0).count(100, None) is None
    assert Selection(end=7).count(None, None) == 7
    assert Selection(start=1.0).count(50, Fraction(10)) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "start must be a frame index"),
        ({"start": float("nan")}, "start must be"),
        ({"end": float("inf")}, "end must be"),
        ({"start": "5"}, "start must be"),
        ({"start": True}, "start must be"),
        ({"start": 5, "end": 5}, "start must be before end, got 5 and 5"),
        ({"every": 0}, "every must be an integer, 1 or more, got 0"),
        ({"every": 1.5}, "every must be"),
        ({"decoder": "cv2"}, "decoder must be one of av, decord, got 'cv2'"),
        ({"max_pixels": 0}, "max_pixels must be an integer, 1 or more, got 0"),
    ],
)
def test_illegal_arguments(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        open_source(tmp_path, **options)


# --- folders of images


def write_images(folder: Path, names: list[str], **options) -> Path:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(make_rgb(index)).save(folder / name, **options)
    return folder


def test_images_come_in_natural_order(tmp_path):
    names = ["f1.png", "f2.PNG", "F3.bmp", "f10.webp", "f011.png", "f12.jpeg", "g1.JPG"]
    folder = write_images(tmp_path / "clip", names)
    (folder / "notes.txt").write_text("no image")
    (folder / "._f1.png").write_bytes(b"what macOS leaves on foreign disks")
    with open_source(folder) as source:
        assert source.info.name == "clip"
        assert source.info.frame_hw == HW
        assert source.info.num_frames == 7
        assert source.info.frame_rate_hz == 24
        frames = list(source)
    assert [frame.name for frame in frames] == [Path(name).stem for name in names]
    assert [frame.pts_seconds for frame in frames] == [index / 24 for index in range(7)]
    for index in (0, 1, 2, 4):
        assert (frames[index].rgb == make_rgb(index)).all()
    for index in (3, 5, 6):
        assert is_alike(frames[index].rgb, make_rgb(index))


def test_images_are_selected_without_reading_the_others(tmp_path):
    folder = write_images(tmp_path / "clip", [f"{index}.png" for index in range(12)])
    for index in (0, 1, 3, 11):
        (folder / f"{index}.png").write_bytes(b"broken")
    frames = read(folder, start=2, end=11, every=4)
    assert [(frame.index, frame.name) for frame in frames] == [(2, "2"), (6, "6"), (10, "10")]


def test_images_have_a_frame_rate(tmp_path):
    folder = write_images(tmp_path / "clip", ["0.png", "1.png"])
    with open_images(folder, Selection(every=1), frame_rate_hz=Fraction(4)) as source:
        assert [frame.pts_seconds for frame in source] == [0, 0.25]
    with pytest.raises(InputError, match="frame_rate_hz must be positive"):
        open_images(folder, Selection(), frame_rate_hz=Fraction(0))


def test_images_are_turned_as_exif_asks(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (frame,) = read(write_images(tmp_path / "clip", ["0.png"], exif=exif))
    assert (frame.rgb == np.rot90(make_rgb(0), -1)).all()


def test_grey_palette_and_transparent_images_become_rgb(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    grey = make_rgb(0)[..., 0]
    alpha = np.dstack([make_rgb(0), grey])
    Image.fromarray(grey).save(folder / "0.png")
    Image.fromarray(grey.astype(np.uint16) << 8).save(folder / "1.png")
    Image.fromarray(alpha).save(folder / "2.png")
    Image.fromarray(grey > 99).save(folder / "3.png")
    frames = read(folder)
    for frame in frames[:2]:
        assert (frame.rgb == grey[..., None]).all()
    assert (frames[2].rgb == make_rgb(0)).all()
    assert (frames[3].rgb == (grey[..., None] > 99) * 255).all()


def test_a_single_image_is_a_source(tmp_path):
    write_images(tmp_path, ["only.png"])
    (frame,) = read(tmp_path / "only.png")
    assert frame.name == "only"


def test_a_broken_image_comes_after_the_good_ones(tmp_path):
    folder = write_images(tmp_path / "clip", ["0.png", "1.png", "2.png"])
    whole = (folder / "2.png").read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"text"):
        (folder / "2.png").write_bytes(data)
        frames, message = read_until_damage(folder)
        assert len(frames) == 2
        assert "2.png" in message


def test_images_of_two_sizes(tmp_path):
    folder = write_images(tmp_path / "clip", ["0.png", "1.png"])
    Image.fromarray(make_rgb(0, (50, 64))).save(folder / "1.png")
    frames, message = read_until_damage(folder)
    assert len(frames) == 1
    assert "frame 1 is 64 x 50 pixels, the first was 64 x 48" in message


def test_folders_without_a_clip(tmp_path):
    with pytest.raises(SourceError, match="holds no images"):
        open_source(tmp_path)
    write_images(tmp_path, ["a.png", "a.jpg"])
    with pytest.raises(SourceError, match=r"a\.jpg and a\.png would both be a"):
        open_source(tmp_path)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(SourceError, match=r"from frame 3 on; the last before that is frame 0"):
        open_source(tmp_path, start=3)


# --- videos


def test_a_video_and_what_is_known_of_it(tmp_path):
    with open_source(write_clip(tmp_path / "clip.mp4"), every=2) as source:
        info = source.info
        frames = list(source)
    assert (info.name, info.frame_hw, info.num_frames) == ("clip", HW, 6)
    assert info.frame_rate_hz == Fraction(25, 2)
    assert places(frames) == [(index, round(index / 25, 6)) for index in range(0, 12, 2)]
    assert [frame.name for frame in frames] == [f"{index:05d}" for index in range(0, 12, 2)]
    for frame in frames:
        assert is_alike(frame.rgb, make_rgb(frame.index))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("odd.mp4", {"hw": (47, 63), "pix_fmt": "yuv444p"}),
        ("422.mp4", {"pix_fmt": "yuv422p"}),
        ("10bit.mp4", {"pix_fmt": "yuv420p10le"}),
        ("10bit422.mov", {"pix_fmt": "yuv422p10le", "codec": "prores_ks"}),
        ("full.mkv", {"pix_fmt": "yuvj420p", "codec": "mjpeg"}),
        ("alpha.mkv", {"pix_fmt": "bgra", "codec": "ffv1"}),
        ("16bit.mkv", {"pix_fmt": "gbrp16le", "codec": "ffv1"}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
        ("mpeg.avi", {"codec": "mpeg4"}),
        ("b.ts", {"num_b_frames": 3}),
        ("b.avi", {"num_b_frames": 3}),
        ("b.mkv", {"num_b_frames": 3}),
        ("one.mp4", {"num_frames": 1}),
    ],
)
def test_formats(tmp_path, name, options):
    frames = read(write_clip(tmp_path / name, **options))
    assert [frame.index for frame in frames] == list(range(options.get("num_frames", 12)))
    times = [frame.pts_seconds for frame in frames]
    assert times == pytest.approx([index / 25 for index in range(len(frames))], abs=1.1e-3)
    for frame in frames:
        assert is_alike(frame.rgb, make_rgb(frame.index, options.get("hw", HW)), 10)


@pytest.mark.parametrize(("is_full_range", "white", "black"), [(False, 235, 16), (True, 255, 0)])
def test_range_of_values(tmp_path, is_full_range, white, black):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width = HW
        stream.pix_fmt = "yuvj420p" if is_full_range else "yuv420p"
        picture = av.VideoFrame(HW[1], HW[0], stream.pix_fmt)
        for plane, value in zip(picture.planes, (white, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        upper = bytes([black]) * (picture.planes[0].line_size * HW[0] // 2)
        rest = bytes([white]) * (picture.planes[0].buffer_size - len(upper))
        picture.planes[0].update(upper + rest)
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    (frame,) = read(path)
    assert frame.rgb[0, 0].tolist() == [0, 0, 0]
    assert frame.rgb[-1, -1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("name", ["vfr.mkv", "vfr.ts", "vfr.mp4"])
def test_times_count_from_the_first_frame(tmp_path, name):
    times_ms = [0, 40, 100, 101, 300, 2000]
    pts = [2000 + time_ms for time_ms in times_ms]
    path = write_clip(tmp_path / name, 6, pts=pts, time_base=Fraction(1, 1000))
    assert [frame.pts_seconds for frame in read(path)] == [time / 1000 for time in times_ms]
    # Selections are on the same clock; the end is not included.
    assert [frame.index for frame in read(path, start=0.04, end=0.3)] == [1, 2, 3]
    assert [frame.index for frame in read(path, start=0.05)] == [2, 3, 4, 5]
    assert [frame.index for frame in read(path, end=0.1)] == [0, 1]
    with pytest.raises(SourceError, match=r"no frame from 2.5 s on; .* frame 5 at 2\.000 s"):
        open_source(path, start=2.5)


def test_a_moment_is_the_frame_that_a_reading_from_there_begins_with(tmp_path):
    path = write_clip(tmp_path / "late.ts", pts=list(range(50, 62)))
    selection = Selection(start=3, end=8, every=2)
    assert frame_at(path, selection, 7) == 7
    for seconds, index in ((0.0, 0), (0.04, 1), (0.041, 2), (0.44, 11)):
        assert frame_at(path, selection, seconds) == index
    with pytest.raises(SourceError, match=r"holds no frame from 0\.45 s on"):
        frame_at(path, selection, 0.45)
    with pytest.raises(InputError, match="start must be"):
        frame_at(path, selection, -1)


def test_a_selection_goes_to_json_and_back_and_can_be_entered_later(tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    selection = Selection(start=0.1, end=11, every=3, max_pixels=5000)
    again = Selection(**json.loads(json.dumps(dataclasses.asdict(selection))))
    assert again == selection
    with open_selection(path, again) as source, open_selection(path, again, first_index=6) as late:
        frames = list(source)
        assert [frame.index for frame in frames] == [3, 6, 9]
        assert are_equal(list(late), frames[1:])


def test_what_can_be_read_again(tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    os.mkfifo(tmp_path / "pipe")
    assert [
        can_read_again(str(address))
        for address in (path, tmp_path, tmp_path / "pipe", "/dev/zero", "http://127.0.0.1/a.mp4")
    ] == [True, True, False, False, False]
    assert describe_source("http://127.0.0.1/a.mp4") is None
    described = describe_source(str(path))
    assert described == describe_source(str(path))
    path.write_bytes(path.read_bytes() + b"0")
    assert describe_source(str(path)) != described


def test_a_stream_without_times_gets_them_from_its_rate(tmp_path):
    frames = read(write_clip(tmp_path / "raw.h264"))
    assert [frame.pts_seconds for frame in frames] == pytest.approx(np.arange(12) / 25)


def test_times_advance_across_a_joint(tmp_path):
    parts = [write_clip(tmp_path / f"{part}.ts", 60).read_bytes() for part in "ab"]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    times = [frame.pts_seconds for frame in read(tmp_path / "joined.ts")]
    assert len(times) == 120
    assert np.diff(times) == pytest.approx(0.04, abs=1e-6)


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, -1)),
        ((-1, 0, 0, -1), lambda rgb: np.rot90(rgb, 2)),
        ((0, -1, 1, 0), lambda rgb: np.rot90(rgb, 1)),
        ((-1, 0, 0, 1), lambda rgb: rgb[:, ::-1]),
        ((1, 0, 0, -1), lambda rgb: rgb[::-1]),
        ((0, 1, 1, 0), lambda rgb: rgb.transpose(1, 0, 2)),
    ],
    ids=["clockwise", "half", "counterclockwise", "mirrored", "flipped", "transposed"],
)
def test_videos_are_turned_as_they_ask(tmp_path, matrix, turn):
    path = write_clip(tmp_path / "clip.mp4", 2)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # ISO 14496-12, 8.3.2: version 0
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with open_source(path) as source:
        frames = list(source)
    assert source.info.frame_hw == turn(make_rgb(0)).shape[:2]
    for frame in frames:
        assert is_alike(frame.rgb, turn(make_rgb(frame.index)))


def test_a_size_that_changes_midway(tmp_path):
    parts = [write_clip(tmp_path / f"{hw[0]}.h264", 5, hw=hw).read_bytes() for hw in (HW, (64, 64))]
    (tmp_path / "joined.h264").write_bytes(b"".join(parts))
    frames, message = read_until_damage(tmp_path / "joined.h264")
    assert len(frames) == 5
    assert "frame 5 is 64 x 64 pixels, the first was 64 x 48" in message


def test_only_the_frames_asked_for_are_decoded(tmp_path):
    path = write_clip(tmp_path / "clip.mkv", 100)
    with open_source(path) as source:
        assert next(source).index == 0
        source.close()
        with pytest.raises(StopIteration):
            next(source)


def num_decoded_pictures() -> int:
    return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())


def test_decoded_pictures_are_not_held(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 60)
    gc.collect()
    gc.disable()  # what reference cycles hold must count
    num_of_others = num_decoded_pictures()  # such as what fixtures of other tests hold
    try:
        with open_source(path) as source:
            for _ in source:
                pass
            num_held = num_decoded_pictures() - num_of_others
    finally:
        gc.enable()
    assert num_held <= 3


def test_closing_before_the_first_frame_closes_the_file(tmp_path):
    with open_source(write_clip(tmp_path / "clip.mp4")) as source:
        pass
    assert list(source) == []


# --- far starts


CODINGS = {
    "plain.mp4": {},
    "b.mp4": {"num_b_frames": 3, "gop": 30},
    "open.mp4": {"options": {"x264-params": "open-gop=1:keyint=30:bframes=3:scenecut=0"}},
    "b.mkv": {"num_b_frames": 2},
    "b.ts": {"num_b_frames": 2},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=30:scenecut=0"}},
    "mpeg4.mp4": {"codec": "mpeg4", "num_b_frames": 2},
    "b.avi": {"num_b_frames": 2},
    "offset.mkv": {"pts": list(range(500, 820)), "num_b_frames": 2},
}
ARE_SEEKABLE = {"plain.mp4", "b.mp4", "open.mp4", "b.mkv", "b.ts", "refresh.mp4", "offset.mkv"}


@pytest.fixture(scope="module", params=CODINGS)
def long_clip(request, tmp_path_factory) -> tuple[Path, list[Frame]]:
    path = tmp_path_factory.mktemp("long") / request.param
    write_clip(path, 320, **CODINGS[request.param])
    return path, read(path)


@pytest.mark.parametrize("start", [250, 260, 319, 10.0, 10.01, 11.33])
def test_a_far_start_gives_the_same_frames(long_clip, monkeypatch, start):
    path, frames = long_clip
    decoded_from = []
    timed = video.timed

    def spy(opened, decoded, point, shown):
        decoded_from.append(point.first_index if point else 0)
        return timed(opened, decoded, point, shown)

    monkeypatch.setattr(video, "timed", spy)
    with open_source(path, start=start) as source:
        got = list(islice(source, 5))
    want = [f for f in frames if (f.index if isinstance(start, int) else f.pts_seconds) >= start]
    assert are_equal(got, want[:5])
    assert decoded_from == ([got[0].index] if path.name in ARE_SEEKABLE else [0])


def test_a_start_beyond_the_end(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 270)
    for start in (270, 5000, 10.8, 1e6):
        with pytest.raises(SourceError, match=r"the last before that is frame 269 at 10\.760 s"):
            open_source(path, start=start)


def test_an_inexact_seek_is_not_used(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", 300)
    point = seek.SeekPoint(0, keyframe_index=3, first_pts=5 * 512, first_index=5, origin_pts=0)
    monkeypatch.setattr(video, "find_seek_point", lambda *_: point)
    assert read(path, start=280)[0].index == 280


# --- damage


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("clip.mp4", {"movflags": "faststart"}, "Invalid data"),
        ("clip.mkv", {}, "it ends at"),
        ("clip.flv", {}, "Invalid data"),
    ],
)
def test_a_video_cut_short_gives_its_good_frames(tmp_path, name, options, reason):
    path = write_clip(tmp_path / name, **noisy(50), container_options=options)
    whole = read(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    frames, message = read_until_damage(path)
    assert 20 <= len(frames) <= 35
    assert are_equal(frames, whole[: len(frames)])
    where = f"{name} breaks off after {len(frames)} frames, at {frames[-1].pts_seconds:.3f} s"
    assert where in message
    assert reason in message


@pytest.mark.parametrize("name", ["clip.webm", "clip.mkv", "clip.flv"])
def test_a_duration_that_the_frames_do_not_fill_is_no_damage(tmp_path, name):
    options = {"codec": "libvpx"} if name == "clip.webm" else {}
    path = write_clip(tmp_path / name, **options)
    data = bytearray(path.read_bytes())
    mark = b"\x44\x89\x88" if name != "clip.flv" else b"duration\0"
    start = data.index(mark) + len(mark)
    seconds = 7.5
    data[start : start + 8] = struct.pack(">d", seconds if name == "clip.flv" else 1000 * seconds)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(seconds, abs=0.1)
    assert len(read(path)) == 12


def test_a_file_cut_between_two_packets(tmp_path):
    """Nothing is damaged but the end, which only the header knows of."""
    path = write_clip(tmp_path / "clip.flv", 50)
    with av.open(str(path)) as container:
        at = [packet.pos for packet in container.demux(video=0) if packet.size][30]
    path.write_bytes(path.read_bytes()[:at])
    frames, message = read_until_damage(path)
    assert len(frames) == 30
    assert "it ends at 1.2 s of 2.0 s" in message


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("clip.mov", {"codec": "png", "pix_fmt": "rgb24"}),
        ("clip.mp4", {"options": {"x264-params": "keyint=1"}}),
    ],
)
def test_frames_that_a_recorder_dropped(tmp_path, name, options):
    """Samples without bytes: the picture before is shown on, and nothing is damaged."""
    path = write_clip(tmp_path / name, 8, **options)
    whole = read(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"stsz") + 16
    sizes = list(struct.unpack_from(">8I", data, start))
    for dropped in (6, 3, 2):
        sizes[dropped - 1] += sizes[dropped]  # decoders do not care for what comes after a picture
        sizes[dropped] = 0
    struct.pack_into(">8I", data, start, *sizes)
    path.write_bytes(data)
    frames = read(path)
    shown = [0, 1, 4, 5, 7]
    assert [frame.pts_seconds for frame in frames] == pytest.approx([i / 25 for i in shown])
    assert [frame.index for frame in frames] == list(range(5))
    if name == "clip.mov":  # H.264 would decode the frame behind as well
        for frame, index in zip(frames, shown, strict=True):
            assert (frame.rgb == whole[index].rgb).all()


def test_dropped_frames_before_a_far_start(tmp_path):
    path = write_clip(tmp_path / "clip.mov", 300, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    start = data.index(b"stsz") + 16
    sizes = list(struct.unpack_from(">300I", data, start))
    sizes[9] += sizes[10]
    sizes[10] = 0
    struct.pack_into(">300I", data, start, *sizes)
    path.write_bytes(data)
    frames = read(path)
    assert len(frames) == 299
    assert are_equal(read(path, start=280), frames[280:])
    assert are_equal(
        read(path, start=11.4), [frame for frame in frames if frame.pts_seconds >= 11.4]
    )


def test_damage_after_a_far_start(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", **noisy(300))
    data = bytearray(path.read_bytes())
    place = len(data) * 7 // 8
    data[place : place + 400] = bytes(400)
    path.write_bytes(data)
    frames, message = read_until_damage(path)
    later, later_message = read_until_damage(path, start=250)
    assert are_equal(later, frames[250:])
    assert later_message == message


def test_a_stream_cut_short_ends(tmp_path):
    path = write_clip(tmp_path / "clip.ts", **noisy(50))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    assert 20 <= len(read(path)) <= 35  # nothing in a transport stream says that more should come


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_damage_in_the_middle(tmp_path, name):
    path = write_clip(tmp_path / name, **noisy(50))
    whole = read(path)
    data = bytearray(path.read_bytes())
    place = len(data) * 2 // 3
    data[place : place + 400] = bytes(400)
    path.write_bytes(data)
    frames, message = read_until_damage(path)
    assert 5 <= len(frames) <= 45
    assert are_equal(frames, whole[: len(frames)])
    assert f"breaks off after {len(frames)} frames" in message


def test_damage_says_which_frame_is_missing(tmp_path):
    path = write_clip(tmp_path / "clip.mkv", **noisy(50))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    folder = write_images(tmp_path / "clip", ["0.png", "1.png", "2.png"])
    (folder / "2.png").write_bytes(b"broken")
    for source, seconds in ((path, 0.04), (folder, 1 / 24)):
        frames = []
        with open_source(source) as opened, pytest.raises(DamagedSourceError) as caught:
            frames.extend(opened)
        assert caught.value.frame_index == len(frames)
        assert caught.value.pts_seconds == pytest.approx(len(frames) * seconds, abs=1e-3)


def test_a_recording_that_begins_between_keyframes(tmp_path):
    path = write_clip(tmp_path / "clip.ts", 40, gop=10)
    with av.open(str(path)) as container:
        keyframes = [p.pos for p in container.demux(video=0) if p.is_keyframe]
    packet = 188
    data = path.read_bytes()
    tables = data[: keyframes[0]]
    path.write_bytes(tables + data[(keyframes[0] // packet + 3) * packet :])
    frames = read(path)
    assert len(frames) == 30
    assert is_alike(frames[0].rgb, make_rgb(10))


def test_damage_at_the_start_is_skipped_up_to_the_next_keyframe(tmp_path, caplog):
    path = write_clip(tmp_path / "clip.mp4", **noisy(50))
    whole = read(path)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
        end = first.pos + first.size
    data[end - 300 : end] = bytes(300)
    path.write_bytes(data)
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(40))
    assert all((a.rgb == b.rgb).all() for a, b in zip(frames, whole[10:], strict=True))
    assert "what cannot be decoded is skipped" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.mp4", None, "there is no video or folder .*missing"),
        ("empty.mp4", b"", "is an empty file"),
        ("text.mp4", b"just a text\n" * 50, "not a video"),
        ("zeros.mp4", bytes(5000), "cannot open|not a video"),
    ],
)
def test_files_that_are_no_video(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(tmp_path / name)
    assert name in str(caught.value)


def test_an_index_that_is_missing(tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match="its beginning or index is missing"):
        open_source(path)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_is_no_video(tmp_path, cover):
    with pytest.raises(SourceError, match="holds no video"):
        open_source(write_sound(tmp_path / "sound.mp4", cover=cover))


def test_a_video_without_a_good_frame(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 5)
    data = path.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])
    with pytest.raises(SourceError, match=r"no frame can be decoded \(Invalid data") as caught:
        open_source(path)
    assert not isinstance(caught.value, DamagedSourceError)


def test_no_permission_and_other_system_errors(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceError, match=r"cannot open .*clip\.mp4: Permission denied"):
        open_source(path)


# --- what a file may open


@pytest.mark.parametrize("decoder", ["av", "decord"])
@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {other}\n",
    ],
)
def test_a_file_cannot_open_another_one(tmp_path, playlist, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    write_clip(tmp_path / "other.ts")
    for name in ("list.m3u8", "list.mp4"):
        (tmp_path / name).write_text(playlist.format(other="other.ts"))
        with pytest.raises(SourceError, match="cannot open"):
            open_source(tmp_path / name, decoder=decoder)


def test_a_url_is_read_over_the_network(tmp_path):
    write_clip(tmp_path / "clip.mp4")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=tmp_path)

        def log_message(self, *args) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            with open_source(f"{address}/clip.mp4") as source:
                assert source.info.name == "clip"
                assert len(list(source)) == 12
            with pytest.raises(SourceError, match="cannot open http"):
                open_source(f"{address}/none.mp4")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("scheme", ["file", "concat", "nonsense"])
def test_a_url_cannot_open_files(tmp_path, scheme):
    path = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(SourceError, match="cannot open"):
        open_source(f"{scheme}://{path}")


def test_a_camera_that_is_not_there():
    with pytest.raises(SourceError, match="there is no video"):
        open_source("/dev/video99")


def test_live_streams_go_on_after_damage(tmp_path, caplog, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", **noisy(50))
    data = bytearray(path.read_bytes())
    place = len(data) * 2 // 3
    data[place : place + 400] = bytes(400)
    path.write_bytes(data)
    num_good = len(read_until_damage(path)[0])
    opened = video.open_video_container

    @contextlib.contextmanager
    def open_live(address, max_pixels):
        with opened(address, max_pixels) as file:
            yield dataclasses.replace(file, is_live=True)

    monkeypatch.setattr(video, "open_video_container", open_live)
    with caplog.at_level(logging.WARNING, "vos"):
        frames = read(path)
    assert num_good < len(frames) < 50
    assert len(caplog.records) == 1
    assert "what cannot be decoded is skipped" in caplog.text


# --- decord


@pytest.fixture
def decord():
    return pytest.importorskip("decord")


@pytest.mark.parametrize(
    "options",
    [{}, {"start": 3}, {"start": 3, "every": 4}, {"start": 0.2, "end": 0.7}, {"end": 1}],
)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_both_decoders_give_equal_frames(tmp_path, decord, name, options):
    path = write_clip(tmp_path / name, 30, num_b_frames=2, pts=list(range(5, 35)))
    with open_source(path, **options) as one, open_source(path, decoder="decord", **options) as two:
        assert one.info == two.info
        frames, others = list(one), list(two)
    assert are_equal(frames, others)
    assert [frame.name for frame in frames] == [frame.name for frame in others]


def test_decord_errors(tmp_path, decord):
    with pytest.raises(SourceError, match="there is no video"):
        open_source(tmp_path / "missing.mp4", decoder="decord")
    with pytest.raises(SourceError, match="decord opens video files only"):
        open_source("http://127.0.0.1:9/clip.mp4", decoder="decord")
    with pytest.raises(SourceError, match="holds no video"):
        open_source(write_sound(tmp_path / "sound.mp4"), decoder="decord")
    with pytest.raises(SourceError, match=r"from frame 99 on; .* frame 11 at"):
        open_source(write_clip(tmp_path / "clip.mp4"), decoder="decord", start=99)
    with pytest.raises(SourceError, match="decord cannot open"):
        open_source(write_clip(tmp_path / "raw.h264"), decoder="decord")


def test_decord_that_is_not_installed(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4")
    import_ = builtins.__import__

    def refuse(name, *args):
        if name == "decord":
            raise ImportError(name)
        return import_(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SourceError, match="decord is not installed"):
        open_source(path, decoder="decord")


# --- real clips


@pytest.mark.parametrize(("clip", "num_frames"), [("dog", 289), ("juggle", 247)])
def test_shared_clips(shared, clip, num_frames):
    with open_source(shared / "clips" / f"{clip}.mp4", start=num_frames - 3) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(num_frames - 3, num_frames))
    assert source.info.frame_hw == (720, 1280)
    assert source.info.num_frames == 3
