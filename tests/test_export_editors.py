"""Formats for editors, read back: opacity, colours and times."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import make_rgb, write_clip
from exported_clip import (
    HW,
    NUM_FRAMES,
    OBJECT_IDS,
    PTS,
    TIME_BASE,
    make_labels,
    make_results,
    write_results_of,
)
from PIL import Image

import vos
from vos.errors import InputError
from vos.export.alpha_video import PRORES
from vos.export.clean_up import CleanUp
from vos.export.clip import Clip, ExportOptions
from vos.export.export import export_results
from vos.masks.edges import soft_alpha

MASKS = np.stack([make_labels(index) for index in range(NUM_FRAMES)])
FORMATS = ["matte", "matte-mp4", "rgba", "exr", "prores", "vp9", "ffv1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Results, exported in all formats in one pass."""
    folder = make_results(tmp_path_factory.mktemp("exported"))
    export_results(vos.read_results(folder), FORMATS)
    return folder


@pytest.fixture(scope="module")
def per_object(made) -> Path:
    """The same, a file for each object, with soft edges."""
    options = ExportOptions(per_object=True, clean_up=CleanUp(soft=True), first_number=1001)
    export_results(vos.read_results(made), FORMATS, made / "soft", options)
    return made / "soft"


@pytest.fixture(scope="module")
def rgb(made) -> list[np.ndarray]:
    with vos.read_results(made).open_frames() as triples:
        return [frame.rgb for frame, *_ in triples]


def decoded(path: Path, decoder: str | None = None) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Times, and (H, W, 4) uint8, of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context if decoder is None else av.CodecContext.create(decoder, "r")
        for packet in container.demux(stream):
            for frame in codec.decode(packet):
                rgba = frame.reformat(format="rgba").to_ndarray()
                yield frame.pts * stream.time_base, rgba


# What the file's times are rounded to, and how far opacity and colours may be off, of 255.
@pytest.mark.parametrize(
    ("name", "decoder", "seconds", "alpha_error", "mean_error"),
    [
        pytest.param("prores/clip.mov", None, 0, 2, 2, id="prores"),
        pytest.param("vp9/clip.webm", "libvpx-vp9", 0.0005, 12, 10, id="vp9"),
        pytest.param("ffv1/clip.mkv", None, 0.0005, 0, 0, id="ffv1"),
    ],
)
def test_videos_with_alpha(made, rgb, name, decoder, seconds, alpha_error, mean_error):
    frames = list(decoded(made / "exports" / name, decoder))
    assert len(frames) == NUM_FRAMES
    for (time, rgba), pts, want, labels in zip(frames, PTS, rgb, MASKS, strict=True):
        assert abs(time - pts * TIME_BASE) <= seconds
        errors = np.abs(rgba[..., 3].astype(int) - 255 * (labels > 0))
        assert errors.max() <= alpha_error
        assert np.abs(rgba[..., :3].astype(int) - want).mean() <= mean_error


def test_conversion_spoils_no_alpha():
    """Threads of FFmpeg's converter do, in some frames, where their parts of it meet."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        rgba = rng.integers(0, 1 << 16, (480, 854, 4), np.uint16)
        (*_, plane) = PRORES.picture(rgba).planes
        alpha = np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width]
        assert np.abs(alpha / 1023 - rgba[..., 3] / 65535).max() < 1 / 500


def test_prores_says_what_editors_want_to_know(made):
    with av.open(str(made / "exports" / "prores" / "clip.mov")) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.profile, stream.height, stream.width) == ("prores", "4444", *HW)
        assert codec.pix_fmt.startswith("yuva444p")
        assert codec.codec_tag == "ap4h"
        assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (1, 1, 1)
        assert (TIME_BASE / stream.time_base).denominator == 1


@pytest.mark.parametrize(
    ("name", "decoder", "alpha_error"),
    [
        ("prores/clip.object_{}.mov", None, 2),
        ("vp9/clip.object_{}.webm", "libvpx-vp9", 16),
        ("ffv1/clip.object_{}.mkv", None, 0),
    ],
)
def test_soft_videos_of_each_object(per_object, name, decoder, alpha_error):
    for object_id in OBJECT_IDS:
        frames = decoded(per_object / name.format(object_id), decoder)
        for (_, rgba), labels in zip(frames, MASKS, strict=True):
            want = np.rint(255 * soft_alpha(labels == object_id))
            assert np.abs(rgba[..., 3] - want).max() <= alpha_error


def test_a_source_that_starts_late_keeps_its_clock(tmp_path):
    """Its first frame is shown at 2 s, and it has a time base that 90 kHz does not hold."""
    time_base = Fraction(1001, 24000)
    source = write_clip(tmp_path / "late.mkv", 6, pts=[48, 49, 50, 52, 53, 54], time_base=time_base)
    folder = write_results_of(source, tmp_path / "out")
    export_results(vos.read_results(folder), ["prores"])
    with av.open(str(source)) as container:
        want = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert [time for time, _ in decoded(folder / "exports" / "prores" / "late.mov")] == want


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> vos.Results:
    """Results of a video of 64 x 48 pixels that are a third wider than high."""
    folder = tmp_path_factory.mktemp("wide")
    source = folder / "wide.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for index in range(2):
            picture = av.VideoFrame.from_ndarray(make_rgb(index), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return vos.read_results(write_results_of(source, folder / "out"))


@pytest.mark.parametrize("name", ["prores/wide.mov", "matte-mp4/wide.mp4", "cutout/wide.mp4"])
def test_videos_say_the_shape_of_their_pixels(wide, tmp_path, caplog, name):
    export_results(wide, [name.split("/")[0]], tmp_path)
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        assert (stream.height, stream.width) == (48, 64)
    assert not caplog.messages


@pytest.mark.parametrize(
    "name", ["vp9/wide.webm", "webp/wide.webp", "gif/wide.gif", "apng/wide.apng"]
)
def test_browsers_get_square_pixels(wide, tmp_path, caplog, name):
    export_results(wide, [name.split("/")[0]], tmp_path)
    if name.endswith("webm"):
        (_, rgba), *_ = decoded(tmp_path / name, "libvpx-vp9")
    else:
        with Image.open(tmp_path / name) as image:
            rgba = np.asarray(image.convert("RGBA"))
    mask = cv2.resize((wide.labels(0) > 0).astype(np.uint8), (85, 48)) > 0
    assert rgba.shape == (48, 85, 4)
    assert ((rgba[..., 3] >= 128) != mask).mean() < 0.02
    assert not caplog.messages


def test_sequences_warn_of_pixels_that_are_not_square(wide, tmp_path, caplog):
    import OpenEXR

    for name, warned in (("matte", "matte"), ("rgba", "rgba"), ("ffv1", "ffv1"), ("exr", None)):
        caplog.clear()
        export_results(wide, [name], tmp_path)
        want = [f"{warned}: pixels of the source are 4/3 times as wide as high"] if warned else []
        assert [message.partition(",")[0] for message in caplog.messages] == want
    with OpenEXR.File(str(tmp_path / "exr" / "wide" / "wide.0001.exr")) as file:
        assert file.header()["pixelAspectRatio"] == pytest.approx(4 / 3)


def test_pixels_higher_than_wide_are_stretched_upwards(wide):
    high = replace(wide, sample_aspect_ratio=Fraction(1, 2))
    assert Clip(results=high, options=ExportOptions(), address="").square_hw == (96, 64)


def test_a_part_of_the_source_keeps_its_times(tmp_path):
    source = write_clip(tmp_path / "clip.mp4", 8)
    folder = write_results_of(source, tmp_path / "out", start=3)
    export_results(vos.read_results(folder), ["prores"])
    times = [time for time, _ in decoded(folder / "exports" / "prores" / "clip.mov")]
    assert times == [Fraction(index, 25) for index in range(3, 8)]


def test_matte_sequences(made, per_object):
    files = sorted((made / "exports" / "matte" / "clip").iterdir())
    assert [path.name for path in files] == [f"clip.{n:04d}.png" for n in range(1, NUM_FRAMES + 1)]
    for path, labels in zip(files, MASKS, strict=True):
        with Image.open(path) as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), 255 * (labels > 0))
    for object_id in OBJECT_IDS:
        for index, labels in enumerate(MASKS):
            stem = f"object_{object_id}"
            path = per_object / "matte" / "clip" / stem / f"clip.{stem}.{1001 + index}.png"
            want = np.rint(255 * soft_alpha(labels == object_id))
            with Image.open(path) as image:
                np.testing.assert_array_equal(np.asarray(image), want)


def test_matte_videos_are_of_the_full_range(made, per_object):
    with av.open(str(made / "exports" / "matte-mp4" / "clip.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.color_range) == ("h264", 2)
    for name, object_id in (("clip", None), ("clip.object_1", 1), ("clip.object_2", 2)):
        folder = per_object if object_id else made / "exports"
        frames = decoded(folder / "matte-mp4" / f"{name}.mp4")
        for (time, rgba), pts, labels in zip(frames, PTS, MASKS, strict=True):
            assert time == pts * TIME_BASE
            want = 255 * soft_alpha(labels == object_id) if object_id else 255 * (labels > 0)
            assert np.abs(rgba[..., 0] - want).max() <= 12
            assert np.abs(rgba[..., 0] - want).mean() < 1


def test_rgba_is_straight_unless_asked(made, rgb, tmp_path):
    results = vos.read_results(made)
    options = ExportOptions(premultiply=True, clean_up=CleanUp(soft=True))
    export_results(results, ["rgba"], tmp_path, options)
    for index, (want, labels) in enumerate(zip(rgb, MASKS, strict=True)):
        name = f"clip.{index + 1:04d}.png"
        with Image.open(made / "exports" / "rgba" / "clip" / name) as image:
            straight = np.asarray(image)
        np.testing.assert_array_equal(straight[..., :3], want)
        np.testing.assert_array_equal(straight[..., 3], 255 * (labels > 0))
        with Image.open(tmp_path / "rgba" / "clip" / name) as image:
            premultiplied = np.asarray(image)
        alpha = np.rint(255 * soft_alpha(labels > 0))
        np.testing.assert_array_equal(premultiplied[..., 3], alpha)
        colours = np.floor(want * alpha[..., None] / 255 + 0.5)
        assert np.abs(premultiplied[..., :3] - colours).max() <= 1


def test_exr_has_a_channel_for_each_object(made, per_object):
    import OpenEXR

    for folder, of in ((made / "exports", np.asarray), (per_object, soft_alpha)):
        first = 1001 if folder is per_object else 1
        for index, labels in enumerate(MASKS):
            path = folder / "exr" / "clip" / f"clip.{first + index:04d}.exr"
            with OpenEXR.File(str(path), separate_channels=True) as file:
                assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
                channels = file.channels()
                assert sorted(channels) == ["A", *(f"object_{i}.A" for i in OBJECT_IDS)]
                for object_id in OBJECT_IDS:
                    pixels = channels[f"object_{object_id}.A"].pixels
                    assert pixels.dtype == np.float32
                    np.testing.assert_array_equal(pixels, of(labels == object_id))
                np.testing.assert_array_equal(channels["A"].pixels, of(labels > 0))


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Path:
    """Results of frames of 63 x 47 pixels, in a folder of images."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "frames").mkdir()
    for index in range(3):
        Image.fromarray(np.full((47, 63, 3), 50 * index, np.uint8)).save(
            folder / "frames" / f"{index:05d}.png"
        )
    return write_results_of(folder / "frames", folder / "out")


def test_odd_sizes(odd):
    results = vos.read_results(odd)
    with pytest.raises(InputError, match=r"matte-mp4: H\.264 needs even sides, .* 63 x 47"):
        export_results(results, ["matte", "matte-mp4"])
    assert not (odd / "exports").exists()
    export_results(results, ["prores", "vp9", "ffv1"])
    for name, decoder in (("prores/frames.mov", None), ("vp9/frames.webm", "libvpx-vp9")):
        (_, first), *_ = decoded(odd / "exports" / name, decoder)
        want = np.zeros((47, 63))
        want[5:20, 5:25] = 255
        assert np.abs(first[..., 3] - want).max() <= 12


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("prores", "prores_ks"), ("vp9", "libvpx-vp9"), ("ffv1", "ffv1"), ("matte-mp4", "libx264")],
)
def test_an_encoder_that_is_not_there(made, tmp_path, monkeypatch, name, encoder):
    monkeypatch.setattr("av.codec.codecs_available", {"h264"})
    with pytest.raises(InputError, match=f"has no encoder {encoder} for"):
        export_results(vos.read_results(made), [name], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_openexr_that_is_not_there(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(InputError, match=r"needs the package OpenEXR: pip install 'vos-persam\[ex"):
        export_results(vos.read_results(made), ["exr"], tmp_path)


def test_more_videos_than_memory_holds(made, tmp_path):
    """Each object would have an encoder of its own; a sequence needs none."""
    many = replace(vos.read_results(made), object_ids=tuple(range(1, 34)))
    options = ExportOptions(per_object=True)
    for name in ("prores", "vp9", "ffv1", "matte-mp4", "gif", "apng", "cutout"):
        with pytest.raises(InputError, match="at most 32 videos can be made at once"):
            export_results(many, [name], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_names_of_objects_are_names_of_files(tmp_path):
    folder = make_results(tmp_path, names={"1": "Zoë/../x", "2": "dog", "3": "dog"})
    export_results(vos.read_results(folder), ["matte"], options=ExportOptions(per_object=True))
    names = sorted(path.name for path in (folder / "exports" / "matte" / "clip").iterdir())
    assert names == ["Zo_x_1", "dog_2", "dog_3"]
