"""Reading from the end to the start gives what reading forwards gives, reversed."""

import gc
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import are_equal, make_rgb, noisy, places, read, write_clip
from PIL import Image

from vos.errors import DamagedSourceError, InputError, SourceError
from vos.records import Frame
from vos.source import Selection, open_backwards, open_source, reentry

VARIABLE_PTS = [3 * index + (index * index) % 3 for index in range(70)]
CLIPS = {
    "plain.mp4": {},
    "b_frames.mp4": {"num_b_frames": 3, "gop": 25},
    "one_keyframe.mp4": {"num_b_frames": 2, "gop": 1000},
    "open_gop.mp4": {"options": {"x264-params": "open-gop=1:keyint=15:bframes=3:scenecut=0"}},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=15:scenecut=0"}},
    "variable.mkv": {"pts": VARIABLE_PTS, "time_base": Fraction(1, 60), "num_b_frames": 2},
    "late.mkv": {"pts": list(range(500, 570)), "num_b_frames": 2},
    "b_frames.ts": {"num_b_frames": 2},
    "hidden.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "10"}},
    "mpeg2.ts": {"codec": "mpeg2video", "num_b_frames": 2},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=12"}},
    "odd_size.mkv": {"hw": (47, 63), "codec": "ffv1", "pix_fmt": "bgra"},
    "b_frames.avi": {"num_b_frames": 2},
}
# Their timestamps do not tell frames apart, so every stretch is decoded from the beginning.
WITHOUT_SEEKING = {"b_frames.avi"}
SELECTIONS = [
    {},
    {"every": 7},
    {"start": 13, "end": 52, "every": 3},
    {"start": 0.6, "end": 1.9},
    {"start": 69},
]


def read_backwards(path: Path, *, max_frames_in_memory: int = 32, **options) -> list[Frame]:
    selection = Selection(**options)
    with open_backwards(path, selection, max_frames_in_memory=max_frames_in_memory) as source:
        return list(source)


def are_reversed(got: list[Frame], forward: list[Frame]) -> bool:
    names = [frame.name for frame in reversed(forward)]
    times = [frame.pts_seconds for frame in reversed(forward)]
    return (
        are_equal(got, forward[::-1])
        and [frame.name for frame in got] == names
        and [frame.pts_seconds for frame in got] == times
    )


@pytest.fixture(scope="module", params=CLIPS)
def clip(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / request.param
    return write_clip(path, 70, **CLIPS[request.param])


@pytest.mark.parametrize("selection", SELECTIONS)
def test_videos_backwards(clip, selection):
    forward = read(clip, **selection)
    with (
        open_source(clip, **selection) as source,
        open_backwards(clip, Selection(**selection), max_frames_in_memory=9) as reverse,
    ):
        assert reverse.info.name == source.info.name
        assert reverse.info.frame_hw == source.info.frame_hw
        assert reverse.info.frame_rate_hz == source.info.frame_rate_hz
        assert reverse.info.num_frames == len(forward)
        assert are_reversed(list(reverse), forward)


def test_stretches_are_reached_by_seeking(clip, monkeypatch):
    """Without this, all results would be right and long videos would take for ever."""
    num_from_beginning = 0
    decode_from = reentry._decode_from

    def spy(address, selection, point, shown):
        nonlocal num_from_beginning
        is_first_stretch = selection.start == 0
        num_from_beginning += point is None and not is_first_stretch
        return decode_from(address, selection, point, shown)

    monkeypatch.setattr(reentry, "_decode_from", spy)
    read_backwards(clip, max_frames_in_memory=14)
    assert num_from_beginning == (4 if clip.name in WITHOUT_SEEKING else 0)


def test_a_far_start_is_sought_and_not_decoded_up_to(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", 400, gop=50, num_b_frames=2)
    from_beginning = []
    decode_from = reentry._decode_from

    def spy(address, selection, point, shown):
        from_beginning.append(point is None)
        return decode_from(address, selection, point, shown)

    monkeypatch.setattr(reentry, "_decode_from", spy)
    got = read_backwards(path, start=330, end=390, max_frames_in_memory=16)
    assert are_reversed(got, read(path, start=330, end=390))
    assert from_beginning == [False] * 4


@pytest.mark.parametrize("selection", [{}, {"start": 2, "end": 9, "every": 3}, {"start": 0.2}])
def test_images_backwards(tmp_path, selection):
    for index in range(11):
        Image.fromarray(make_rgb(index)).save(tmp_path / f"f{index}.png")
    got = read_backwards(tmp_path, max_frames_in_memory=4, **selection)
    assert are_reversed(got, read(tmp_path, **selection))


@pytest.mark.parametrize("selection", [{}, {"start": 5, "end": 28, "every": 4}])
def test_decord_backwards(tmp_path, selection):
    pytest.importorskip("decord")
    path = write_clip(tmp_path / "clip.mp4", 30, num_b_frames=2)
    got = read_backwards(path, decoder="decord", max_frames_in_memory=7, **selection)
    assert are_reversed(got, read(path, decoder="decord", **selection))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "folder"])
def test_few_frames_are_held(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        for index in range(60):
            Image.fromarray(make_rgb(index)).save(path / f"{index}.png")
    else:
        write_clip(path, 60, gop=60, num_b_frames=2)

    def num_held() -> Counter[type]:
        return Counter(type(thing) for thing in gc.get_objects())

    gc.collect()
    gc.disable()  # what reference cycles hold must count
    try:
        before = num_held()
        held = []
        with open_backwards(path, Selection(), max_frames_in_memory=6) as source:
            for frame in source:
                if frame.index % 6 == 5:  # the first of a stretch, when all of it is held
                    held.append(num_held() - before)
    finally:
        gc.enable()
    assert len(held) == 10
    assert {counts[Frame] for counts in held} == {6}
    # What is not closed at once adds up, stretch by stretch.
    assert max(counts[av.VideoFrame] for counts in held) <= 9


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_damage_comes_after_the_good_frames(tmp_path, name):
    path = write_clip(tmp_path / name, **noisy(50))
    data = bytearray(path.read_bytes())
    place = len(data) * 2 // 3
    data[place : place + 400] = bytes(400)
    path.write_bytes(data)
    forward: list[Frame] = []
    got: list[Frame] = []
    with open_source(path) as source, pytest.raises(DamagedSourceError) as caught:
        forward.extend(source)
    with (
        open_backwards(path, Selection(), max_frames_in_memory=8) as source,
        pytest.raises(DamagedSourceError) as caught_again,
    ):
        got.extend(source)
    assert len(forward) > 10
    assert are_reversed(got, forward)
    assert str(caught_again.value) == str(caught.value)


def test_a_file_that_changes_underway(tmp_path):
    for index in range(8):
        Image.fromarray(make_rgb(index)).save(tmp_path / f"{index}.png")
    with open_backwards(tmp_path, Selection(), max_frames_in_memory=3) as source:
        got = [next(source) for _ in range(3)]
        Image.fromarray(make_rgb(77)).save(tmp_path / "3.png")
        with pytest.raises(
            SourceError, match="does not give the same frames twice: it has changed"
        ):
            got.extend(source)
    assert [index for index, _ in places(got)] == [7, 6, 5]


def test_an_inexact_seek_is_not_used(tmp_path, monkeypatch):
    """Seeking gives the frames one further back; their pixels give it away."""
    path = write_clip(tmp_path / "clip.mp4", 40)
    forward = read(path)
    decode_from = reentry._decode_from

    def wrong(address, selection, point, shown):
        for frame in decode_from(address, selection, point, shown):
            rgb = frame.rgb if point is None else forward[frame.index - 1].rgb
            yield Frame(frame.index, frame.pts_seconds, frame.name, rgb)

    monkeypatch.setattr(reentry, "_decode_from", wrong)
    assert are_reversed(read_backwards(path), forward)


@pytest.mark.parametrize("address", ["rtsp://127.0.0.1:9/live", "http://127.0.0.1:9/clip.mp4"])
def test_streams_cannot_be_read_backwards(address):
    with pytest.raises(SourceError, match=f"{address} cannot be read backwards"):
        open_backwards(address, Selection())


def test_devices_cannot_be_read_backwards():
    with pytest.raises(SourceError, match="/dev/zero cannot be read backwards"):
        open_backwards("/dev/zero", Selection())


def test_errors_of_opening(tmp_path):
    with pytest.raises(SourceError, match="there is no video"):
        open_backwards(tmp_path / "missing.mp4", Selection())
    with pytest.raises(InputError, match="max_frames_in_memory must be 1 or more, got 0"):
        open_backwards(tmp_path, Selection(), max_frames_in_memory=0)
    path = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(SourceError, match="holds no frame from frame 12 on"):
        open_backwards(path, Selection(12))
