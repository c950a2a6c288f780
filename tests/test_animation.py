"""What a file is, its content tells: still pictures, animations, tiles, videos."""

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from clips import HW, is_alike, make_rgb, places, read, write_clip
from PIL import Image, features

from vos.errors import DamagedSourceError, SourceError
from vos.source import Selection, open_backwards, open_source

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
DURATIONS_MS = [100, 40, 40, 300, 40]
TIMES = [0, 0.1, 0.14, 0.18, 0.48]


def write_animation(path: Path, num_pictures: int = 5, **options) -> Path:
    first, *others = [Image.fromarray(make_rgb(index)) for index in range(num_pictures)]
    first.save(
        path, save_all=True, append_images=others, duration=DURATIONS_MS[:num_pictures], **options
    )
    return path


FORMATS = {
    "anim.webp": {"lossless": True},
    "anim.png": {},
    "anim.apng": {"format": "PNG"},
    "anim.gif": {},
    "anim.tiff": {},
    "png.jpg": {"format": "PNG"},  # endings that lie
    "webp.png": {"format": "WEBP", "lossless": True},
    "gif.bin": {"format": "GIF"},
    "webp": {"format": "WEBP", "lossless": True},
    "anim.avif": {"quality": 90},
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_avif if "avif" in n else ()) for n in FORMATS]
)
def test_all_pictures_of_an_animation_are_frames(tmp_path, name):
    path = write_animation(tmp_path / name, **FORMATS[name])
    frames = read(path)
    times = [index / 24 for index in range(5)] if "tiff" in name else TIMES  # TIFF has no times
    assert [frame.pts_seconds for frame in frames] == pytest.approx(times)
    assert [(frame.index, frame.name) for frame in frames] == [(i, f"{i:05d}") for i in range(5)]
    for frame in frames:
        assert is_alike(frame.rgb, make_rgb(frame.index), 12)  # GIF has 256 colours
    assert places(read(path, start=1, every=2)) == places(frames[1::2])
    assert places(read(path, start=times[2] + 0.01, end=times[4])) == places([frames[3]])
    with open_backwards(path, Selection(), max_frames_in_memory=2) as source:
        assert places(list(source)) == places(frames[::-1])


@pytest.mark.parametrize("name", ["one.webp", "one.png", "one.bmp", "one.jpg", "one.tiff"])
def test_still_pictures_are_one_frame(tmp_path, name):
    Image.fromarray(make_rgb(0)).save(tmp_path / name)
    (frame,) = read(tmp_path / name)
    assert frame.name == "one"
    assert is_alike(frame.rgb, make_rgb(0))


@pytest.mark.parametrize("name", ["clip.png", "clip.jpg", "clip", "clip.webp"])
def test_a_video_with_a_pictures_ending(tmp_path, name):
    shutil.copy(write_clip(tmp_path / "clip.mp4"), tmp_path / name)
    assert len(read(tmp_path / name)) == 12


def test_a_jpeg_with_a_second_view_is_one_picture(tmp_path):
    first, second = (Image.fromarray(make_rgb(index, (480, 640))) for index in range(2))
    first.save(tmp_path / "stereo.jpg", format="MPO", save_all=True, append_images=[second])
    (frame,) = read(tmp_path / "stereo.jpg")
    assert is_alike(frame.rgb, make_rgb(0, (480, 640)))


def test_an_animation_among_pictures_gives_its_first(tmp_path, caplog):
    Image.fromarray(make_rgb(7)).save(tmp_path / "0.png")
    write_animation(tmp_path / "1.png")
    frames = read(tmp_path)
    assert [frame.name for frame in frames] == ["0", "1"]
    assert (frames[1].rgb == make_rgb(0)).all()
    assert "1.png has 5 pictures, of which the first is used" in caplog.text


def test_a_damaged_animation_gives_its_good_pictures(tmp_path):
    path = write_animation(tmp_path / "anim.webp", lossless=True)
    data = path.read_bytes()
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"ANMF"]
    broken = bytearray(data)
    broken[starts[3] + 40 : starts[4]] = bytes(starts[4] - starts[3] - 40)
    path.write_bytes(broken)
    frames = []
    with (
        open_source(path) as source,
        pytest.raises(DamagedSourceError, match="breaks off after 3 pictures") as caught,
    ):
        frames.extend(source)
    assert len(frames) == 3
    assert (caught.value.frame_index, caught.value.pts_seconds) == (3, 0.18)
    path.write_bytes(data[: starts[0] + 30])
    with pytest.raises(SourceError, match="cannot"):
        open_source(path)


def test_pages_of_several_sizes(tmp_path):
    first, second = Image.fromarray(make_rgb(0)), Image.fromarray(make_rgb(1, (50, 64)))
    first.save(tmp_path / "pages.tiff", save_all=True, append_images=[second])
    with open_source(tmp_path / "pages.tiff") as source:
        assert next(source).frame_hw == HW
        with pytest.raises(DamagedSourceError, match="frame 1 is 64 x 50 pixels") as caught:
            next(source)
    assert caught.value.frame_index == 1


# --- tiles


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full_box(kind: bytes, *contents: bytes, flags: int = 0, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *contents)


def grid_of_avif(tiles: list[np.ndarray], num_columns: int) -> bytes:
    """Put AVIF pictures of one size together as a grid (ISO 23008-12, 6.6.2.3)."""
    height, width, _ = tiles[0].shape
    num_rows = len(tiles) // num_columns
    coded = []
    for tile in tiles:
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, format="AVIF", quality=95, subsampling="4:4:4")
        data = buffer.getvalue()
        coded.append(data[data.index(b"mdat") + 4 :])
        start = data.index(b"av1C") - 4
        configuration = data[start : start + int.from_bytes(data[start : start + 4], "big")]
    ids = range(2, 2 + len(tiles))
    whole_hw = height * num_rows, width * num_columns
    grid = struct.pack(">BBBBHH", 0, 0, num_rows - 1, num_columns - 1, whole_hw[1], whole_hw[0])

    def entry(item: int, kind: bytes, hidden: bool) -> bytes:
        name = struct.pack(">HH4s", item, 0, kind) + b"\0"
        return full_box(b"infe", name, version=2, flags=int(hidden))

    items = [entry(1, b"grid", False), *(entry(item, b"av01", True) for item in ids)]
    properties = box(
        b"ipco",
        full_box(b"ispe", struct.pack(">II", whole_hw[1], whole_hw[0])),
        full_box(b"ispe", struct.pack(">II", width, height)),
        full_box(b"pixi", bytes([3, 8, 8, 8])),
        configuration,
    )
    links = [struct.pack(">HBBB", 1, 2, 1, 3)]
    links += [struct.pack(">HBBBB", item, 3, 2, 3, 0x84) for item in ids]
    association = full_box(b"ipma", struct.pack(">I", len(links)), *links)
    made_of = struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *ids)

    def meta(first_byte: int) -> bytes:
        places, at = [struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))], first_byte
        for item, data in zip(ids, coded, strict=True):
            places.append(struct.pack(">HHHHII", item, 0, 0, 1, at, len(data)))
            at += len(data)
        return full_box(
            b"meta",
            full_box(b"hdlr", struct.pack(">I4s12x", 0, b"pict"), b"\0"),
            full_box(b"pitm", struct.pack(">H", 1)),
            full_box(b"iloc", struct.pack(">HH", 0x4400, len(places)), *places, version=1),
            full_box(b"iinf", struct.pack(">H", len(items)), *items),
            full_box(b"iref", box(b"dimg", made_of)),
            box(b"iprp", properties, association),
            box(b"idat", grid),
        )

    start = box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    first_byte = len(start) + len(meta(0)) + 8
    return start + meta(first_byte) + box(b"mdat", *coded)


@needs_avif
def test_a_picture_in_tiles_is_whole(tmp_path):
    colours = [(200, 30, 40), (20, 180, 60), (30, 60, 220), (240, 230, 20)]
    tiles = [np.full((64, 96, 3), colour, np.uint8) for colour in colours]
    (tmp_path / "grid.avif").write_bytes(grid_of_avif(tiles, 2))
    (frame,) = read(tmp_path / "grid.avif")
    want = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    assert is_alike(frame.rgb, want, 3)


@needs_avif
def test_tiles_that_cannot_be_put_together_are_an_error(tmp_path):
    """HEIC, which Pillow does not read, looks to FFmpeg as this does."""
    tiles = [np.full((64, 96, 3), 200, np.uint8)] * 4
    data = grid_of_avif(tiles, 2).replace(b"ftypavif", b"ftypheic")
    (tmp_path / "grid.heic").write_bytes(data)
    with pytest.raises(SourceError, match="is a picture in tiles"):
        open_source(tmp_path / "grid.heic")
