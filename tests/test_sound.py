"""The overlay has the source's sound: in step, cut as the frames are, and never in the way."""

import logging
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

import av
import numpy as np
import pytest
from sound_clips import FPS, NUM_FRAMES, ONSET_SECONDS, heard, write_sound_clip

from vos.records import Frame, FrameMasks
from vos.run.outputs import Outputs
from vos.run.results import write_results
from vos.sink import write_video
from vos.source import open_source
from vos.source.sound import open_sound, sound_of

TOLERANCE_SECONDS = 0.05  # a packet or two


def masks_of(frame: Frame) -> FrameMasks:
    labels = np.zeros(frame.frame_hw, np.uint8)
    labels[4:14, 4:14] = 1
    box = np.array([[4, 4, 13, 13]])
    return FrameMasks(labels, (1,), np.ones(1, np.float32), np.ones(1, bool), box, np.array([100]))


def overlay_of(path: Path, **selection) -> Path:
    outputs = Outputs(folder=path.parent / "out", name="clip", overwrite=True)
    with open_source(path, **selection) as source:
        first = next(source)
        zero = 0.0 if selection else first.pts_seconds
        frames = (replace(f, pts_seconds=f.pts_seconds - zero) for f in chain([first], source))
        pairs = ((frame, masks_of(frame)) for frame in frames)
        sound = sound_of(str(path))
        with closing(write_results(pairs, outputs, source.info, {}, sound=sound)) as results:
            for _ in results:
                pass
    assert list(outputs.folder.glob(".*")) == []
    return outputs.overlay_path


def num_sound_streams(path: Path) -> int:
    with av.open(str(path)) as container:
        return len(container.streams.audio)


@pytest.mark.parametrize(
    ("name", "audio", "video", "want"),
    [
        ("clip.mp4", "aac", "libx264", "aac"),
        ("clip.mkv", "libmp3lame", "libx264", "mp3"),
        ("clip.webm", "libopus", "libvpx-vp9", "opus"),
        ("clip.mkv", "flac", "libx264", "flac"),
        ("clip.avi", "pcm_s16le", "mpeg4", "aac"),
        ("clip.mov", "pcm_s16le", "libx264", "aac"),
        ("clip.ts", "aac", "libx264", "aac"),
    ],
)
def test_sound_is_taken_over_or_encoded(tmp_path, name, audio, video, want):
    clip = write_sound_clip(tmp_path / name, audio=audio, video=video)
    codec, onset, end = heard(overlay_of(clip))
    assert codec == want
    assert onset == pytest.approx(ONSET_SECONDS, abs=TOLERANCE_SECONDS)
    assert end == pytest.approx(NUM_FRAMES / FPS, abs=TOLERANCE_SECONDS)


def test_copied_sound_is_the_source_s_to_the_byte(tmp_path):
    clip = write_sound_clip(tmp_path / "clip.mp4")
    packets = []
    for path in (clip, overlay_of(clip)):
        with av.open(str(path)) as container:
            demuxed = container.demux(audio=0)
            packets.append([(p.pts, bytes(p)) for p in demuxed if p.size])
    assert packets[0] == packets[1]


@pytest.mark.parametrize(("name", "audio"), [("clip.mp4", "aac"), ("clip.mov", "pcm_s16le")])
@pytest.mark.parametrize(
    ("selection", "onset", "end"),
    [
        ({"start": 5, "end": 15}, 0.5, 1.0),
        ({"start": 0.7, "end": 1.5}, 0.3, 0.8),
        ({"every": 3}, 1.0, 2.0),
        ({"start": 6, "every": 2}, 0.4, 1.4),
    ],
)
def test_sound_is_cut_as_the_frames_are(tmp_path, name, audio, selection, onset, end):
    clip = write_sound_clip(tmp_path / name, audio=audio)
    _, got_onset, got_end = heard(overlay_of(clip, **selection))
    assert (got_onset, got_end) == pytest.approx((onset, end), abs=TOLERANCE_SECONDS)


def test_times_of_sound_count_from_the_first_frame(tmp_path):
    """Also where the file's own clock begins elsewhere, as in transport streams."""
    clip = write_sound_clip(tmp_path / "clip.ts", start_seconds=3)
    with open_sound(str(clip), 1.0, 1.2) as opened:
        _, packets = opened
        times = [(float(p.pts * p.time_base), float(p.duration * p.time_base)) for p in packets]
    assert times[0][0] <= 0 < times[-1][0] < 0.2
    assert times[0][0] == pytest.approx(0, abs=TOLERANCE_SECONDS)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize(("name", "audio"), [("clip.mkv", "aac"), ("clip.avi", "libmp3lame")])
def test_damaged_sound_does_not_stop_the_overlay(tmp_path, name, audio, share):
    """Packets of noise."""
    clip = write_sound_clip(tmp_path / name, audio=audio, video="mpeg4")
    rng = np.random.default_rng(0)
    content = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packets = [p for p in container.demux(audio=0) if p.size]
    for packet in packets:
        begin = content.find(bytes(packet))
        if begin >= 0 and rng.random() < share:
            content[begin : begin + packet.size] = rng.bytes(packet.size)
    assert content != clip.read_bytes()
    clip.write_bytes(content)
    with av.open(str(overlay_of(clip))) as container:
        assert sum(1 for _ in container.decode(video=0)) == NUM_FRAMES


def test_sound_that_nobody_can_decode_is_left_out_with_a_notice(tmp_path, caplog):
    """A codec that FFmpeg has no encoder of its own to repair: its packets are cut to nothing."""
    clip = write_sound_clip(tmp_path / "clip.avi", audio="mp2", video="mpeg4")
    content = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packets = [bytes(p) for p in container.demux(audio=0) if p.size]
    for packet in packets:
        begin = content.find(packet)
        content[begin : begin + len(packet)] = bytes(len(packet))
    clip.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="vos"):
        overlay = overlay_of(clip)
    with av.open(str(overlay)) as container:
        assert sum(1 for _ in container.decode(video=0)) == NUM_FRAMES
        assert not container.streams.audio
    assert "is silent, because its sound cannot be taken over" in caplog.text


def test_a_source_without_sound_has_a_silent_overlay(tmp_path, caplog):
    with open_source(write_sound_clip(tmp_path / "with.mp4")) as source:
        write_video(tmp_path / "clip.mp4", source, source.info.frame_rate_hz)
    with caplog.at_level(logging.WARNING, logger="vos"):
        assert num_sound_streams(overlay_of(tmp_path / "clip.mp4")) == 0
    assert not caplog.records


def test_a_picture_has_no_sound(tmp_path, caplog):
    (tmp_path / "picture.x").write_bytes(b"of a format that FFmpeg does not know")
    with sound_of(str(tmp_path / "picture.x"))(0, 1) as opened:
        assert opened is None
    assert not caplog.records


def test_what_is_read_only_once_has_a_silent_overlay_and_a_notice(tmp_path, caplog):
    assert sound_of(str(tmp_path)) is None
    assert not caplog.records
    with caplog.at_level(logging.WARNING, logger="vos"):
        assert sound_of("rtsp://127.0.0.1/stream") is None
    assert "the overlay is silent: rtsp://127.0.0.1/stream can be read only once" in caplog.text
