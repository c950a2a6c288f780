"""Frames look as players show them: colours, cropping, turning, the shape of pixels."""

import io
import logging
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import HW, is_alike, make_rgb, read, write_clip
from PIL import Image, ImageOps

from vos.errors import SourceError
from vos.source import open_source


def write_planes(
    path: Path,
    planes: np.ndarray,
    pix_fmt: str,
    *,
    codec: str = "ffv1",
    tags: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write one frame of given planes, (3, H, W) of the format's integers."""
    _, height, width = planes.shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        picture = av.VideoFrame(width, height, pix_fmt)
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
            setattr(picture, name, value)
        for plane, values in zip(picture.planes, planes, strict=True):
            rows = np.zeros((height, plane.line_size // planes.itemsize), planes.dtype)
            rows[:, :width] = values
            plane.update(rows.tobytes())
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


# --- colours


def flat(yuv: tuple[int, int, int], hw: tuple[int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(yuv, np.uint8)[:, None, None], (3, *hw))


RED = {"BT.601": (81, 90, 240), "BT.709": (63, 102, 240), "BT.2020": (74, 97, 240)}


@pytest.mark.parametrize(
    ("hw", "matrix"),
    [
        ((480, 720), "BT.601"),
        ((576, 720), "BT.601"),
        ((720, 960), "BT.709"),
        ((720, 1280), "BT.709"),
        ((1280, 720), "BT.709"),
        ((536, 1280), "BT.709"),  # a film without its black bars
    ],
)
def test_untagged_video_has_the_matrix_of_its_size(tmp_path, hw, matrix):
    path = write_planes(tmp_path / "clip.mkv", flat(RED[matrix], hw), "yuv444p")
    (frame,) = read(path)
    assert np.abs(frame.rgb.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize(("number", "matrix"), [(5, "BT.601"), (1, "BT.709"), (9, "BT.2020")])
@pytest.mark.parametrize("hw", [(48, 64), (720, 960)])
def test_tagged_video_has_its_matrix_at_any_size(tmp_path, hw, number, matrix):
    planes = flat(RED[matrix], hw)
    path = write_planes(tmp_path / "clip.mkv", planes, "yuv444p", tags={"colorspace": number})
    (frame,) = read(path)
    assert np.abs(frame.rgb.astype(int) - (255, 0, 0)).max() <= 3


GREYS = [(level, level, level) for level in (0, 64, 128, 191, 255)]
PATCHES = np.array([*GREYS, (255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 30, 90)])
# Of RGB lights to XYZ, from the primaries' coordinates in ITU-R BT.709 and BT.2020.
XYZ_OF_709 = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
XYZ_OF_2020 = np.array([[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0, 0.0281, 1.0610]])


def hdr_signal(rgb: np.ndarray, transfer: str, white_nits: float) -> np.ndarray:
    """Signal in [0, 1] that shows sRGB colours with a given white on an HDR screen."""
    srgb = rgb / 255
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    nits = white_nits * light @ (np.linalg.inv(XYZ_OF_2020) @ XYZ_OF_709).T
    nits = np.maximum(nits, 0)
    if transfer == "PQ":
        power = (nits / 10_000) ** (2610 / 16384)
        numerator = 3424 / 4096 + 2413 / 128 * power
        return (numerator / (1 + 2392 / 128 * power)) ** (2523 / 32)
    luminance = nits @ XYZ_OF_2020[1] / 1000
    scene = nits / 1000 * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def hdr_planes(signal: np.ndarray) -> np.ndarray:
    """(N, 3) signals as patches side by side: (3, 32, 32 N) of 10 bits, BT.2020, limited range."""
    luma = signal @ XYZ_OF_2020[1]
    blue = (signal[:, 2] - luma) / 1.8814
    red = (signal[:, 0] - luma) / 1.4746
    levels = np.stack([64 + 876 * luma, 512 + 896 * blue, 512 + 896 * red]).round()
    return levels.astype(np.uint16)[:, None].repeat(32, axis=1).repeat(32, axis=2)


HDR_TAGS = {"colorspace": 9, "color_primaries": 9, "color_range": 1}


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
@pytest.mark.parametrize(("transfer", "number"), [("PQ", 16), ("HLG", 18)])
def test_hdr_is_shown_as_the_sdr_that_it_stands_for(tmp_path, caplog, transfer, number, name):
    planes = hdr_planes(hdr_signal(PATCHES, transfer, 203))
    coding = {
        "clip.mkv": {"codec": "ffv1"},
        "clip.mp4": {"codec": "libx264", "options": {"qp": "0"}},
    }[name]
    tags = {**HDR_TAGS, "color_trc": number}
    path = write_planes(tmp_path / name, planes, "yuv444p10le", tags=tags, **coding)
    with caplog.at_level(logging.WARNING, "vos"):
        (frame,) = read(path)
    got = frame.rgb[16, 16::32].astype(int)
    # 10 bits of the signal are few where it is dark, and colours at the border of BT.709 are small
    # differences of large numbers.
    assert np.abs(got - PATCHES).max() <= 20
    assert np.abs(got - PATCHES)[[0, 1, 2, 3, 4, 8]].max() <= 3
    assert got[4].tolist() == [255, 255, 255]
    assert f"is HDR ({transfer})" in caplog.text


def test_what_is_brighter_than_white_is_white(tmp_path):
    planes = hdr_planes(hdr_signal(np.array([[255, 255, 255]]), "PQ", 1000))
    tags = {**HDR_TAGS, "color_trc": 16}
    (frame,) = read(write_planes(tmp_path / "clip.mkv", planes, "yuv444p10le", tags=tags))
    assert (frame.rgb == 255).all()


# --- cropping


TAGS = {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}


def write_tagged(path: Path) -> Path:
    """Write three frames whose header has room for what says how they are cropped."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *HW, "yuv444p"
        for name, value in {**TAGS, "sample_aspect_ratio": Fraction(64, 45)}.items():
            setattr(stream.codec_context, name, value)
        for index in range(3):
            picture = av.VideoFrame.from_ndarray(make_rgb(index), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv444p", dst_colorspace=1)))
        container.mux(stream.encode(None))
    return path


def crop(path: Path, top: int, bottom: int, left: int, right: int) -> Path:
    """Overwrite a header's colours and pixel shape by a cropping."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".mkv":
        start = data.index(b"\x55\xb0")  # Colour
        sides = zip((0x54BB, 0x54AA, 0x54CC, 0x54DD), (top, bottom, left, right), strict=True)
        new = b"".join(struct.pack(">HBB", kind, 0x81, size) for kind, size in sides)
        num_bytes = 3 + (data[start + 2] & 0x7F)
        rest = num_bytes - len(new) - 2
        new += bytes([0xEC, 0x80 | rest]) + bytes(rest)  # Void
    else:
        start = data.index(b"colrnclx") - 4
        end = data.index(b"btrt") + 16
        num_bytes = end - start
        height, width = HW[0] - top - bottom, HW[1] - left - right
        aperture = struct.pack(
            ">8i", width, 1, height, 1, left - right, 2, top - bottom, 2
        )  # ISO 14496-12, 12.1.4
        new = struct.pack(">I4s", 40, b"clap") + aperture
        new += struct.pack(">I4s", num_bytes - 40, b"free") + bytes(num_bytes - 48)
    data[start : start + num_bytes] = new
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_cropping_that_the_container_asks_for(tmp_path, name):
    whole = read(write_tagged(tmp_path / name))
    path = crop(tmp_path / name, 8, 4, 6, 2)
    with open_source(path) as source:
        frames = list(source)
    assert source.info.frame_hw == (36, 56)
    assert len(frames) == 3
    for frame, uncropped in zip(frames, whole, strict=True):
        assert is_alike(frame.rgb, uncropped.rgb[8:-4, 6:-2])


def test_a_cropping_that_leaves_nothing_is_ignored(tmp_path):
    path = crop(write_tagged(tmp_path / "clip.mp4"), 24, 24, 0, 0)
    assert {frame.frame_hw for frame in read(path)} == {HW}


# --- turning, the shape of pixels


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Make an MP4 file ask for a turn (ISO 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def write_with_pixels(path: Path, aspect: Fraction) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *HW, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        container.mux(stream.encode(av.VideoFrame.from_ndarray(make_rgb(0), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(8, 9), Fraction(1)])
def test_the_shape_of_pixels_is_known(tmp_path, name, aspect):
    with open_source(write_with_pixels(tmp_path / name, aspect)) as source:
        assert float(source.info.sample_aspect_ratio) == pytest.approx(aspect, rel=1e-3)
        assert source.info.frame_hw == HW


def test_pixels_are_turned_with_the_frame(tmp_path):
    path = write_with_pixels(tmp_path / "clip.mp4", Fraction(64, 45))
    with open_source(turned(path, (0, 1, -1, 0))) as source:
        assert source.info.frame_hw == HW[::-1]
        assert source.info.sample_aspect_ratio == Fraction(45, 64)


# --- side data


def write_jpegs(path: Path, orientation: int | None) -> Path:
    """Write three JPEG pictures as a video, each with EXIF unless the orientation is None."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = *HW, "yuvj420p"
        for index in range(3):
            exif = Image.Exif()
            exif[0x010E] = "a frame"  # its description
            if orientation:
                exif[0x0112] = orientation
            buffer = io.BytesIO()
            options = {} if orientation is None else {"exif": exif}
            Image.fromarray(make_rgb(index)).save(buffer, format="JPEG", **options)
            packet = av.Packet(buffer.getvalue())
            packet.stream, packet.is_keyframe = stream, True
            packet.pts = packet.dts = index
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["clip.avi", "clip.mov", "clip.mkv"])
def test_side_data_that_is_unknown_changes_nothing(tmp_path, name):
    plain = read(write_jpegs(tmp_path / name, None))
    for orientation in (0, 1):  # none, upright
        frames = read(write_jpegs(tmp_path / name, orientation))
        assert len(frames) == 3
        assert all((one.rgb == other.rgb).all() for one, other in zip(frames, plain, strict=True))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_known_side_data_is_found_among_unknown_one(tmp_path, orientation):
    """FFmpeg makes a display matrix of what EXIF says, if it reads EXIF."""
    path = write_jpegs(tmp_path / "clip.mkv", orientation)
    with av.open(str(path)) as container:
        is_read = next(container.decode(video=0)).rotation != 0 or orientation in (2, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (first, *_) = read(path)
    image = Image.fromarray(make_rgb(0))
    image.info["exif"] = exif.tobytes()
    if not is_read:
        pytest.skip("this FFmpeg reads no EXIF in videos")
    assert is_alike(first.rgb, np.asarray(ImageOps.exif_transpose(image)))


def test_a_turned_file_with_unknown_side_data(tmp_path):
    path = turned(write_jpegs(tmp_path / "clip.mov", 0), (0, 1, -1, 0))
    assert {frame.frame_hw for frame in read(path)} == {HW[::-1]}
    assert is_alike(read(path)[0].rgb, np.rot90(make_rgb(0), -1))


# --- errors of libraries


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), NotImplementedError("no")])
def test_no_error_of_a_library_reaches_the_user(tmp_path, monkeypatch, error):
    path = write_clip(tmp_path / "clip.mp4")
    with monkeypatch.context() as patch:
        patch.setattr("vos.source.waiting.packets", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(SourceError, match="no frame can be decoded"):
            read(path)
    with monkeypatch.context() as patch:
        patch.setattr("av.open", lambda *_, **__: (_ for _ in ()).throw(error))
        with pytest.raises(SourceError, match="cannot open"):
            read(path)
    with monkeypatch.context() as patch:
        patch.setattr("vos.source.shown._guessed_matrix", lambda *_: 2)
        patch.setattr("vos.source.shown._to_sdr", lambda *_: (_ for _ in ()).throw(error))
        patch.setattr("vos.source.shown._HDR_NAMES", {2: "unspecified"})
        with pytest.raises(SourceError, match="cannot convert yuv420p to RGB"):
            read(path)
