"""Faults in the middle of a run: one clear line, no hang, nothing left open, nothing lost."""

import errno
import itertools
import os
import pkgutil
import re
import resource
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from colour_sam import ColourSam
from interrupted_runs import NUM_FRAMES, OPTIONS, contents, draw, make_clip, shell

import vos
from vos.errors import DamagedSourceError, DeviceError, SourceError
from vos.masks import read_label_png, write_label_png
from vos.records import SourceInfo
from vos.run import saving
from vos.run.outputs import Outputs
from vos.run.results import write_results
from vos.sink.pieces import PiecedVideo
from vos.source import waiting
from vos.track.memory import video

WATCHDOG_SECONDS = 60
RUN = ("clip.mp4", *OPTIONS, "--save-every", 0)


@pytest.fixture(autouse=True)
def _watchdog():
    """A hang is a failure."""

    def bark(number: int, frame: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(WATCHDOG_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def num_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def _nothing_stays_open():
    threads, files = set(threading.enumerate()), num_open_files()
    yield
    assert set(threading.enumerate()) == threads
    assert num_open_files() == files


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    make_clip(folder)
    # What libraries open on first use and keep is open from here on.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert shell(*RUN) == 0
    (folder / "out").rename(folder / "whole")
    return folder


@pytest.fixture
def place(clip, tmp_path, monkeypatch) -> Path:
    """The current folder, with the clip."""
    folder = tmp_path / "place"
    folder.mkdir()
    for name in ("clip.mp4", "mask.png"):
        shutil.copy(clip / name, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def whole(clip) -> dict[str, bytes]:
    return contents(clip / "whole")


def only_error(capsys) -> str:
    """The one line on stderr, but for the notice that a stream's sound is not taken."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    *notices, line = lines
    assert all(notice.startswith("warning: the overlay is silent: ") for notice in notices)
    assert line.startswith("error: ")
    return line


def goes_on(place: Path, whole: dict[str, bytes]) -> bool:
    return shell(*RUN, "--resume") == 0 and contents(place / "out") == whole


def fail_from(monkeypatch, owner: object, name: str, call: int, error: Exception) -> None:
    """Let a function fail from one of its calls on."""
    function, numbers = getattr(owner, name), itertools.count(1)

    def fail(*args: object, **options: object) -> object:
        if next(numbers) >= call:
            raise error
        return function(*args, **options)

    monkeypatch.setattr(owner, name, fail)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize("error", [FULL, READ_ONLY])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        pytest.param("pathlib.Path", "replace", 8, id="renaming"),
        pytest.param("vos.sink.video.Piece", "_start", 2, id="overlay"),
        pytest.param("vos.sink.joining", "url_of", 1, id="joined overlay"),
        pytest.param("shutil", "copyfile", 1, id="summary"),
        pytest.param("pathlib.Path", "write_bytes", 10, id="label map or state"),
        pytest.param("os", "fsync", 20, id="sync"),
    ],
)
def test_a_full_or_read_only_disk(place, whole, capsys, error, owner, name, call):
    with pytest.MonkeyPatch.context() as patch:
        fail_from(patch, pkgutil.resolve_name(owner), name, call, error)
        assert shell(*RUN) == 1
    line = only_error(capsys)
    assert error.strerror in line
    assert "--resume" in line
    assert goes_on(place, whole)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_files_that_may_not_grow(place, whole, capsys, share):
    num_bytes = int(share * max(map(len, whole.values())))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        code = shell(*RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert "File too large" in only_error(capsys)
    assert goes_on(place, whole)


def during_frame(monkeypatch, index: int, act) -> None:
    """Do something while one of the frames is searched."""
    follow = video.follow

    def acting(frame: vos.Frame, *args: object, soft: bool) -> object:
        if frame.index == index:
            act()
        return follow(frame, *args, soft=soft)

    monkeypatch.setattr(video, "follow", acting)


def test_a_second_run_into_the_same_place(place, whole, capsys):
    """It is refused, whatever it was told, and the first one does not notice."""
    refused = []

    def start_others() -> None:
        for option in ("--overwrite", "--resume"):
            refused.append((shell(*RUN, option), only_error(capsys)))

    with pytest.MonkeyPatch.context() as patch:
        during_frame(patch, 7, start_others)
        assert shell(*RUN) == 0
    assert [code for code, _ in refused] == [1, 1]
    assert all("another run is writing to out/clip; wait until" in line for _, line in refused)
    assert contents(place / "out") == whole


def test_a_killed_run_locks_nobody_out(place, whole):
    (place / "out").mkdir()
    (place / "out" / ".clip.lock").touch()
    assert shell(*RUN) == 0
    assert contents(place / "out") == whole


def test_an_output_folder_that_vanishes(place, capsys, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        during_frame(patch, 7, lambda: shutil.rmtree(place / "out"))
        assert shell(*RUN) == 1
    assert "No such file or directory" in only_error(capsys)
    assert not list(place.glob("out/clip/*"))  # half of the results would look like all


def test_a_masks_folder_that_vanishes(place, capsys):
    with pytest.MonkeyPatch.context() as patch:
        during_frame(patch, 7, lambda: shutil.rmtree(place / "out" / "clip"))
        assert shell(*RUN) == 1
    assert "No such file or directory" in only_error(capsys)
    assert shell(*RUN, "--resume") == 1
    assert "which was done before, is gone" in only_error(capsys)


def test_a_sink_that_raises_what_nobody_foresaw(place, whole):
    """That is a fault of ours, so it is not made pretty; still nothing is lost or left open."""
    with pytest.MonkeyPatch.context() as patch:
        fail_from(patch, PiecedVideo, "add", 9, ZeroDivisionError("a bug"))
        patch.setattr("sys.argv", ["vos-run"])
        with pytest.raises(ZeroDivisionError, match="a bug"):
            shell(*RUN)
    assert len(list((place / "out" / "clip").glob("*.png"))) == 9
    assert goes_on(place, whole)


def out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("frame", [0, 7])
def test_a_device_whose_memory_is_full(place, whole, capsys, frame):
    with pytest.MonkeyPatch.context() as patch:
        during_frame(patch, frame, out_of_memory)
        assert shell(*RUN) == 1
    line = only_error(capsys)
    assert "out of memory on cpu" in line
    assert "--batch-size" not in line  # the default has no such option
    assert ("--resume" in line) == (frame > 0)
    assert goes_on(place, whole)


def test_memory_that_is_full_while_the_model_is_loaded(place, capsys, monkeypatch):
    monkeypatch.setattr("interrupted_runs.ColourSam", out_of_memory)
    assert shell(*RUN) == 1
    assert "out of memory" in only_error(capsys)
    assert not (place / "out").exists()


def test_other_errors_are_not_taken_for_full_memory():
    def frames():
        yield from vos.frames_from_arrays([draw(0)[0]])
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else") as caught:
        list(vos.segment_video(frames(), draw(0)[1], vos.SamModel(ColourSam())))
    assert not isinstance(caught.value, DeviceError)


def test_a_decoder_error_in_the_middle(place, capsys):
    """The good frames are finished; going on meets the same damage and changes nothing."""
    content = bytearray((place / "clip.mp4").read_bytes())
    with av.open(str(place / "clip.mp4")) as video:
        packets = [packet for packet in video.demux(video=0) if packet.size]
        damaged = packets[9]
        content[damaged.pos : damaged.pos + damaged.size] = b"\xff" * damaged.size
    (place / "clip.mp4").write_bytes(content)
    assert shell(*RUN) == 1
    line = only_error(capsys)
    assert "breaks off after" in line
    assert "good frames are in out/clip" in line
    names = sorted(path.name for path in (place / "out" / "clip").iterdir())
    assert 1 < len(names) < NUM_FRAMES
    with av.open(str(place / "out" / "clip.mp4")) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == len(names)
    before = contents(place / "out")
    assert shell(*RUN, "--resume") == 1
    assert only_error(capsys) == line
    assert {
        name: data for name, data in contents(place / "out").items() if not name.endswith("state")
    } == {name: data for name, data in before.items() if not name.endswith("state")}


def test_a_decoder_error_that_passes(place, whole, capsys):
    """As on a network drive that was away for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        from vos.source.shown import Shown

        fail_from(patch, Shown, "to_rgb", 9, DamagedSourceError("Input/output error"))
        assert shell(*RUN) == 1
    assert "Input/output error" in only_error(capsys)
    assert goes_on(place, whole)


def in_container(path: Path) -> bytes:
    """Put the clip beside it into another container."""
    place = path.parent
    with av.open(str(place / "clip.mp4")) as source, av.open(str(path), "w") as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copied
                target.mux(packet)
    return path.read_bytes()


@pytest.fixture
def stalling_server(place):
    """Sends the first part of a transport stream, then nothing more, and stays connected."""
    stream = in_container(place / "clip.ts")
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(stream[: len(stream) * 3 // 4])
                stopped.wait(WATCHDOG_SECONDS)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        stopped.set()
        thread.join()


def keeps_what_came_before_the_stall(place: Path, capsys, address: str) -> None:
    """Run, and look at the error and at the results of the good frames."""
    code = shell(address, *OPTIONS, "--name", "live")
    line = only_error(capsys)
    assert code == 1
    assert re.search(r"breaks off after \d+ frames, at \S+ s: no data came for \S+ s;", line)
    assert "good frames are in out/live" in line
    names = [path.name for path in (place / "out" / "live").iterdir()]
    assert 1 < len(names) < NUM_FRAMES
    with av.open(str(place / "out" / "live.mp4")) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == len(names)
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        "live",
        "live.json",
        "live.mp4",
    ]


def test_a_stream_that_stalls(stalling_server, place, capsys, monkeypatch):
    monkeypatch.setattr("vos.source.waiting.STALL_SECONDS", 1.0)
    keeps_what_came_before_the_stall(place, capsys, stalling_server)


class Camera:
    """A camera as FFmpeg shows one that it opened without blocking; its frames are the clip's."""

    def __init__(self, num_frames: int, looks_per_frame: int = 1) -> None:
        self.num_frames = num_frames  # until it stalls
        self.looks_per_frame = looks_per_frame  # all but the last one in vain
        self.num_looks = 0

    def open(self, address: object, mode: str | None = None, **options: object) -> object:
        if address != "camera":
            return av_open(address, mode, **options)
        assert options == {
            "format": "v4l2",
            "container_options": waiting.NOT_BLOCKING,
            "timeout": waiting.STALL_SECONDS,
        }
        self.container = av_open("clip.mp4")
        self.packets = self.container.demux()
        return self

    def demux(self) -> Iterator[av.Packet]:
        while True:
            self.num_looks += 1
            if not self.num_frames or self.num_looks % self.looks_per_frame:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self.num_frames -= 1
            packet = next(self.packets, None)
            if packet is None:
                return
            yield packet

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self.container, name)


av_open = av.open


@pytest.fixture
def plug_in(place, monkeypatch):
    """Connect a camera, with patience for 0.3 s."""
    os.mkfifo("camera")  # is there, and no file
    monkeypatch.setattr("vos.source.waiting.STALL_SECONDS", 0.3)
    monkeypatch.setattr("vos.source.container.is_camera", lambda address: address == "camera")
    return lambda camera: monkeypatch.setattr(av, "open", camera.open)


def test_a_camera_that_stalls(plug_in, place, capsys):
    plug_in(Camera(num_frames=9))
    keeps_what_came_before_the_stall(place, capsys, "camera")


def test_a_camera_that_never_gives_a_frame(plug_in):
    plug_in(Camera(num_frames=0))
    with pytest.raises(SourceError, match=r"no frame can be decoded \(no data came for 0\.3 s\)"):
        vos.open_source("camera")


def test_a_slow_camera_is_waited_for(plug_in, clip):
    """Its frames take longer than a stall may, all of them together."""
    plug_in(Camera(num_frames=99, looks_per_frame=10))
    started = time.monotonic()
    with vos.open_source("camera") as source:
        assert sum(1 for _ in source) == NUM_FRAMES
    assert time.monotonic() - started > waiting.STALL_SECONDS


def test_ffmpeg_takes_the_flag_that_has_no_name(place):
    """AVFMT_FLAG_NONBLOCK is 4; what a camera does with it, FFmpeg's v4l2 alone can show."""
    with (
        av.open("clip.mp4") as plain,
        av.open("clip.mp4", container_options=dict(waiting.NOT_BLOCKING)) as changed,
    ):
        assert changed.flags == plain.flags | 4
        assert not plain.flags & 4


@pytest.fixture
def pipe(place):
    """Starts a writer that puts a share of the clip into the pipe ``live``, then maybe stays."""
    stream = in_container(place / "clip.mkv")
    os.mkfifo("live")
    stopped = threading.Event()
    threads = []

    def start(share: float, *, stays: bool) -> None:
        def write() -> None:
            with open("live", "wb") as file:
                file.write(stream[: int(share * len(stream))])
                file.flush()
                if stays:
                    stopped.wait(WATCHDOG_SECONDS)

        threads.append(threading.Thread(target=write))
        threads[-1].start()

    yield start
    stopped.set()
    for thread in threads:
        thread.join()


def test_a_pipe_is_read_as_a_file(pipe, place):
    with vos.open_source("clip.mkv") as source:
        want = [frame.rgb for frame in source]
    pipe(1, stays=False)
    with vos.open_source("live") as source:
        got = [frame.rgb for frame in source]
    assert len(want) == NUM_FRAMES
    np.testing.assert_array_equal(got, want)


def test_a_pipe_that_stalls(pipe, place, capsys, monkeypatch):
    monkeypatch.setattr("vos.source.waiting.STALL_SECONDS", 0.5)
    pipe(0.75, stays=True)
    keeps_what_came_before_the_stall(place, capsys, "live")


def test_a_pipe_that_nobody_writes_to(place, monkeypatch):
    monkeypatch.setattr("vos.source.waiting.STALL_SECONDS", 0.2)
    os.mkfifo("live")
    with pytest.raises(SourceError, match=r"cannot open live: no data came for 0\.2 s"):
        vos.open_source("live")


# --- long runs, and runs alike


def run_to(folder: Path, frames, sam: vos.SamModel, **settings: object):
    """Segment frames into a folder as ``vos-run`` does, saving often."""
    config = vos.RunConfig(**settings)
    steps = saving_steps(frames, sam, config)
    outputs = Outputs(folder=folder, name="clip")
    info = SourceInfo("clip", draw(0)[0].shape[:2])
    return saving.write_and_save(steps, outputs, info, {}, sam, every_seconds=0.2)


def saving_steps(frames, sam: vos.SamModel, config: vos.RunConfig):
    from vos.segment.forward import segment_steps

    return segment_steps(frames, draw(0)[1], sam, config)


def test_threads_and_files_stay_as_many_however_long_the_video(tmp_path):
    num_frames = 150
    frames = vos.frames_from_arrays(draw(t % NUM_FRAMES)[0] for t in range(num_frames))
    counts = []
    for number, _ in enumerate(run_to(tmp_path, frames, vos.SamModel(ColourSam()))):
        if number % 25 == 24:
            counts.append((num_open_files(), threading.active_count()))
    assert len(counts) == num_frames // 25
    # The last frames were decoded ahead, so that the thread has ended by then.
    assert len(set(counts[1:-1])) == 1, counts
    assert len(list((tmp_path / "clip").iterdir())) == num_frames
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip", "clip.json", "clip.mp4"]


def test_reading_ahead_does_not_change_a_byte(tmp_path):
    results = []
    for run, num_read_ahead in enumerate((0, 1, 8, 8)):
        frames = vos.frames_from_arrays(draw(t)[0] for t in range(NUM_FRAMES))
        config = vos.RunConfig(num_read_ahead=num_read_ahead)
        pairs = vos.segment_video(frames, draw(0)[1], vos.SamModel(ColourSam()), config)
        outputs = Outputs(folder=tmp_path / str(run), name="clip")
        list(write_results(pairs, outputs, SourceInfo("clip", (48, 80)), {}))
        results.append(contents(outputs.folder))
    assert len(results[0]) == NUM_FRAMES + 2
    assert all(result == results[0] for result in results)


def test_a_label_map_is_whole_or_absent(tmp_path):
    """Whatever breaks while it is written, and whatever was there before."""
    path = tmp_path / "00000.png"
    write_label_png(path, draw(0)[1])
    with pytest.MonkeyPatch.context() as patch:
        fail_from(patch, Path, "replace", 1, FULL)
        with pytest.raises(OSError, match="No space left"):
            write_label_png(path, draw(5)[1])
    np.testing.assert_array_equal(read_label_png(path), draw(0)[1])
    assert [each.name for each in tmp_path.iterdir()] == ["00000.png"]
