"""Frames in any order are those of a forward reading, however the video is made."""

import random
import threading
import time

import numpy as np
import pytest
from clips import are_equal, make_rgb, read, write_clip
from PIL import Image

from vos.errors import SourceError
from vos.source.random_access import FrameReader, _Turns

REORDERED = "keyint=12:bframes=3:b-adapt=0:scenecut=0"
KINDS = {
    "mp4": {},
    "b-frames": {"num_b_frames": 3, "gop": 12},
    "one keyframe": {"gop": 400, "num_b_frames": 2},
    "odd times": {"pts": [0, 1, 2, 7, 8, 30, 31, 90, 91, 92, 200, 201, *range(202, 250)]},
    "mkv": {"num_b_frames": 2},
    "avi": {},
    # B-frames that others refer to and such that none does; pictures before a keyframe that refer
    # across it; fields.
    "pyramid": {"options": {"x264-params": f"{REORDERED}:b-pyramid=normal"}},
    "open gop": {"options": {"x264-params": f"{REORDERED}:open-gop=1"}},
    "open gop.mkv": {"options": {"x264-params": f"{REORDERED}:open-gop=1"}},
    "interlaced": {"options": {"x264-params": f"{REORDERED}:interlaced=1"}},
}
NUM_FRAMES = 60


def make(kind: str, folder):
    suffix = kind[-3:] if kind.endswith(("mkv", "avi")) else "mp4"
    options = dict(KINDS[kind])
    return write_clip(folder / f"a.{suffix}", len(options.get("pts", range(NUM_FRAMES))), **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("knows_times", [False, True])
def test_any_order_gives_the_frames_of_a_forward_reading(tmp_path, kind, knows_times):
    path = make(kind, tmp_path)
    frames = read(path)
    reader = FrameReader(path)
    if knows_times:
        times = reader.times().pts_seconds
        np.testing.assert_allclose(times, [frame.pts_seconds for frame in frames])
    some = random.Random(1).choices(range(len(frames)), k=25)
    order = [*some, len(frames) - 1, 0, 1, 2, 50, 51]
    assert are_equal([reader.read(index) for index in order], [frames[index] for index in order])
    assert [reader.frame_name(index) for index in (0, 7)] == ["00000", "00007"]
    for beyond in (len(frames), 10**9):
        with pytest.raises(SourceError, match="holds no frame"):
            reader.read(beyond)
    assert are_equal([reader.read(3)], [frames[3]])  # an error leaves it usable
    reader.close()


def test_who_came_last_is_served_first():
    turns, served, threads = _Turns(), [], []

    def come(name: str) -> None:
        with turns.take():
            served.append(name)

    with turns.take():
        for name in "abc":
            threads.append(threading.Thread(target=come, args=(name,)))
            threads[-1].start()
            while len(turns._waiting) < len(threads):
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert served == ["c", "b", "a"]


def test_folders_of_pictures(tmp_path):
    for index in range(12):
        Image.fromarray(make_rgb(index)).save(tmp_path / f"f{index}.png")
    reader = FrameReader(tmp_path)
    for index in (11, 0, 5, 6, 4):
        frame = reader.read(index)
        assert frame.name == reader.frame_name(index) == f"f{index}"
        np.testing.assert_array_equal(frame.rgb, make_rgb(index))
    assert len(reader.times().pts_seconds) == 12


def test_what_breaks_off_has_the_times_of_its_good_frames(tmp_path):
    path = write_clip(tmp_path / "a.avi", 30, gop=5, options={"qp": "10"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    reader = FrameReader(path)
    num_frames = len(reader.times().pts_seconds)
    assert 5 < num_frames < 30
    assert reader.read(num_frames - 1).index == num_frames - 1
    with pytest.raises(SourceError):
        reader.read(num_frames)


def test_what_can_be_read_only_once_is_refused():
    with pytest.raises(SourceError, match="only once"):
        FrameReader("/dev/null")
    with pytest.raises(SourceError, match="there is no video"):
        FrameReader("no such file")
