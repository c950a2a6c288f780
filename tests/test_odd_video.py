"""Odd but legal videos are read as FFmpeg reads them.

The reference is PyAV used as plainly as possible and, where there is one, the ``ffmpeg`` program.
"""

import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import HW, make_rgb, read, write_clip

from vos.source import open_source

FFMPEG = shutil.which("ffmpeg")
X264 = {"sc_threshold": "0"}
X265 = {"x265-params": "log-level=none:keyint=6"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=8:bframes=3:scenecut=0"}
AV1 = {"codec": "libsvtav1", "hw": (96, 128), "options": {"preset": "12"}}
VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}

CLIPS = {
    # containers and codecs
    "h264.mp4": {"num_b_frames": 2},
    "h264.mkv": {"num_b_frames": 2},
    "h264.mov": {"num_b_frames": 2},
    "h264.ts": {"num_b_frames": 2},
    "h264.flv": {},
    "hevc.mp4": {"codec": "libx265", "options": X265},
    "hevc.ts": {"codec": "libx265", "options": X265},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": VP9,
    "vp9.mp4": VP9,
    "av1.mp4": AV1,
    "av1.webm": AV1,
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj422p"},
    "mpeg2.ts": {"codec": "mpeg2video", "num_b_frames": 2},
    "mpeg4.avi": {"codec": "mpeg4"},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "animation.apng": {"codec": "apng", "pix_fmt": "rgb24"},
    # sizes
    "odd_size.webm": {**VP9, "hw": (47, 63)},
    "odd_size.mkv": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "hw": (33, 51)},
    "one_pixel.webm": {**VP9, "hw": (1, 1)},
    "one_pixel.mkv": {"codec": "ffv1", "pix_fmt": "bgra", "hw": (1, 1)},
    "one_row.mkv": {"codec": "ffv1", "pix_fmt": "yuv420p", "hw": (1, 64)},
    "one_column.mov": {"codec": "png", "pix_fmt": "rgb24", "hw": (48, 1)},
    # pixels
    "hevc_10bit.mp4": {"codec": "libx265", "options": X265, "pix_fmt": "yuv420p10le"},
    "av1_10bit.mp4": {**AV1, "pix_fmt": "yuv420p10le"},
    "vp9_444.webm": {**VP9, "pix_fmt": "yuv444p"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "full_range_444.mp4": {"pix_fmt": "yuvj444p"},
    "grey.mp4": {"pix_fmt": "gray"},
    "grey_10bit.mkv": {"codec": "ffv1", "pix_fmt": "gray10le"},
    "alpha.mov": {"codec": "prores_ks", "pix_fmt": "yuva444p10le"},
    "alpha_rle.mov": {"codec": "qtrle", "pix_fmt": "argb"},
    "alpha.webm": {**VP9, "pix_fmt": "yuva420p"},
    "black_and_white.mov": {"codec": "png", "pix_fmt": "monob"},
    "deep.mkv": {"codec": "ffv1", "pix_fmt": "yuv422p16le"},
    # fields
    "interlaced.mp4": {"options": {**X264, "x264-params": "interlaced=1"}},
    "interlaced.ts": {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme"}},
    # order and time
    "b_pyramid.mp4": {"num_b_frames": 4, "options": {**X264, "b-pyramid": "normal"}},
    "open_gop.mp4": {"options": OPEN_GOP},
    "variable.mp4": {
        "pts": [0, 3, 4, 11, 12, 13, 40, 41, 43, 90, 91, 200],
        "time_base": Fraction(1, 1000),
        "num_b_frames": 2,
    },
    "late.ts": {"pts": list(range(9000, 9012))},
    "negative.mp4": {
        "pts": list(range(-5, 7)),
        "container_options": {"avoid_negative_ts": "disabled"},
    },
    "negative.flv": {
        "pts": list(range(-5, 7)),
        "container_options": {"avoid_negative_ts": "disabled"},
    },
    "negative.ts": {
        "pts": list(range(-5, 7)),
        "container_options": {"avoid_negative_ts": "disabled"},
    },
    "negative_offsets.mp4": {
        "num_b_frames": 2,
        "container_options": {"movflags": "negative_cts_offsets", "use_editlist": "0"},
    },
    "no_edit_list.mp4": {"num_b_frames": 2, "container_options": {"use_editlist": "0"}},
    "fine_times.mp4": {
        "pts": [index * 3003 for index in range(12)],
        "time_base": Fraction(1, 90_000),
    },
    "one_frame.mp4": {"num_frames": 1},
    "one_frame.gif": {"codec": "gif", "pix_fmt": "rgb8", "num_frames": 1},
    "one_frame.ts": {"num_frames": 1},
}
# The edit list hides what comes before 0.
NUM_SHOWN = {"negative.mp4": 7}
_TO_RAW = [
    "-an",
    "-vf",
    "showinfo",
    "-fps_mode",
    "passthrough",
    "-pix_fmt",
    "rgb24",
    "-f",
    "rawvideo",
]


def has_encoder(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except ValueError:
        return False
    return True


def by_pyav(path: Path) -> list[tuple[float, np.ndarray]]:
    """Give times and pictures, (H, W, 3) uint8, without anything of vos."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        # AVI has no presentation times; its frames come at an even rate.
        rate = stream.average_rate
        pictures = [
            (
                float(index / rate) if container.format.name == "avi" else frame.time,
                np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90),
            )
            for index, frame in enumerate(container.decode(stream))
        ]
        return [(seconds - pictures[0][0], rgb) for seconds, rgb in pictures]


def by_ffmpeg(path: Path) -> list[tuple[float, np.ndarray]]:
    done = subprocess.run(
        [FFMPEG, "-nostdin", "-copyts", "-i", str(path), *_TO_RAW, "-"],
        capture_output=True,
        check=True,
    )
    shown = re.findall(rb"Parsed_showinfo.* pts_time:(\S+).* s:(\d+)x(\d+)", done.stderr)
    width, height = int(shown[0][1]), int(shown[0][2])
    pictures = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    first_seconds = float(shown[0][0])
    return [
        (float(seconds) - first_seconds, rgb)
        for (seconds, *_), rgb in zip(shown, pictures, strict=True)
    ]


def check_read_as_reference(path: Path) -> None:
    frames = read(path)
    # The program prints times to a millionth, rounds pixels in another way than the library, and
    # interpolates colour between pixels.
    for decode, largest_mean_error in ((by_pyav, 0), (by_ffmpeg, 5)):
        if decode is by_ffmpeg and FFMPEG is None:
            continue
        want = decode(path)
        assert [frame.index for frame in frames] == list(range(len(want)))
        seconds = [frame.pts_seconds for frame in frames]
        assert seconds == pytest.approx([seconds for seconds, _ in want], abs=2e-6)
        for frame, (_, rgb) in zip(frames, want, strict=True):
            assert frame.rgb.shape == rgb.shape
            assert np.abs(frame.rgb.astype(int) - rgb).mean() <= largest_mean_error


@pytest.mark.parametrize("name", CLIPS)
def test_read_as_ffmpeg_reads(tmp_path, name):
    options = CLIPS[name]
    codec = options.get("codec", "libx264")
    if not has_encoder(codec):
        pytest.skip(f"the installed PyAV has no encoder {codec}")
    path = write_clip(tmp_path / name, **options)
    with open_source(path) as source:
        assert source.info.frame_hw == options.get("hw", HW)
    check_read_as_reference(path)
    assert len(read(path)) == NUM_SHOWN.get(name, options.get("num_frames", 12))


def test_8k(tmp_path):
    width, height = 7680, 4320
    path = tmp_path / "8k.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        picture = av.VideoFrame(width, height, "yuv420p")
        for plane, value in zip(picture.planes, (63, 102, 240), strict=True):  # red, BT.709
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    (frame,) = read(path)
    assert frame.frame_hw == (height, width)
    corners = frame.rgb[:: height - 1, :: width - 1].astype(int)
    assert np.abs(corners - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize(
    ("colourspace", "is_full_range", "yuv"),
    [
        (5, False, (81, 90, 240)),  # BT.601, BT.709, BT.2020: pure red in each
        (1, False, (63, 102, 240)),
        (1, True, (54, 99, 255)),
        (9, False, (74, 97, 240)),
    ],
)
def test_colours_are_those_of_the_declared_matrix(tmp_path, colourspace, is_full_range, yuv):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *HW, "yuv444p"
        stream.codec_context.colorspace = colourspace
        stream.codec_context.color_range = 2 if is_full_range else 1
        picture = av.VideoFrame(HW[1], HW[0], "yuv444p")
        for plane, value in zip(picture.planes, yuv, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    (frame,) = read(path)
    assert np.abs(frame.rgb.astype(int) - (255, 0, 0)).max() <= 2


def test_a_cut_that_begins_with_frames_of_the_part_before(tmp_path):
    """Cutting without encoding keeps B-frames whose reference is gone; nobody can show them."""
    whole = write_clip(tmp_path / "whole.mp4", 40, options=OPEN_GOP)
    cut = tmp_path / "cut.mkv"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        keyframes = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        first = packets[keyframes[1]]
        leading = [p for p in packets[keyframes[1] :] if p.pts < first.pts]
        assert leading  # or this is no such cut
        first_index = first.pts // 512
        for packet in packets[keyframes[1] :]:
            packet.stream = stream
            target.mux(packet)
    frames = read(cut)
    shown = range(first_index, 40)
    assert len(frames) == len(shown)
    all_frames = read(whole)
    for frame, index in zip(frames, shown, strict=True):
        assert (frame.rgb == all_frames[index].rgb).all()
    times = [frame.pts_seconds - frames[0].pts_seconds for frame in frames]
    assert times == pytest.approx(np.arange(len(frames)) / 25, abs=1.1e-3)


def write_streams(path: Path, kinds: list[tuple[str, tuple[int, int], bool]]) -> Path:
    """Write several streams: ``video`` of a size, or ``audio``; marked as the default or not."""
    with av.open(str(path), "w") as container:
        streams = []
        for kind, hw, is_default in kinds:
            stream = container.add_stream("aac" if kind == "audio" else "libx264", rate=25)
            if kind == "audio":
                stream.codec_context.sample_rate = 44100
            else:
                stream.height, stream.width, stream.pix_fmt = *hw, "yuv420p"
            stream.disposition = av.stream.Disposition.default.value if is_default else 0
            streams.append(stream)
        for index in range(10):
            for stream, (kind, hw, _) in zip(streams, kinds, strict=True):
                if kind == "audio":
                    part = av.AudioFrame.from_ndarray(
                        np.zeros((1, 1764), np.float32), format="fltp", layout="mono"
                    )
                    part.rate, part.pts = 44100, index * 1764
                else:
                    part = av.VideoFrame.from_ndarray(make_rgb(index, hw), format="rgb24")
                    part.pts, part.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(part))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_sound_that_comes_first(tmp_path, name):
    path = write_streams(tmp_path / name, [("audio", HW, True), ("video", HW, True)])
    assert len(read(path)) == 10
    check_read_as_reference(path)


@pytest.mark.parametrize("second_is_default", [False, True])
def test_of_several_videos_the_default_one_is_read(tmp_path, second_is_default):
    hws = ((64, 96), (48, 64))
    kinds = [
        ("video", hws[0], not second_is_default),
        ("audio", HW, True),
        ("video", hws[1], second_is_default),
    ]
    frames = read(write_streams(tmp_path / "clip.mkv", kinds))
    assert len(frames) == 10
    assert {frame.frame_hw for frame in frames} == {hws[second_is_default]}


def test_packets_without_timestamps(tmp_path):
    """In MP4 and Matroska every packet has times; in raw streams none has."""
    for name, options in (
        ("raw.h264", {"num_b_frames": 2}),
        ("raw.hevc", {"codec": "libx265", "options": X265}),
        ("raw.mjpeg", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("raw.m2v", {"codec": "mpeg2video"}),
    ):
        frames = read(write_clip(tmp_path / name, **options))
        times = [frame.pts_seconds for frame in frames]
        assert len(frames) == 12, name
        assert np.diff(times) == pytest.approx(0.04, abs=1e-5), name
        assert times[0] >= 0, name
