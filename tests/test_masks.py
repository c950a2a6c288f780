import io
import logging
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from vos.errors import InputError, MaskError
from vos.masks import (
    DAVIS_PALETTE,
    OBJECT_COLOURS,
    encode_label_png,
    grow_box_xyxy,
    mask_box_xyxy,
    mask_from_array,
    match_frame,
    object_ids,
    read_label_png,
    read_mask,
    read_painted_mask,
    write_label_png,
)

LABEL_MAPS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def discs(hw: tuple[int, int] = (60, 80), num_objects: int = 2) -> np.ndarray:
    """A label map of discs side by side."""
    labels = np.zeros(hw, np.uint8)
    for object_id in range(1, num_objects + 1):
        centre = (hw[1] * object_id // (num_objects + 1), hw[0] // 2)
        cv2.circle(labels, centre, hw[0] // 4, object_id, -1)
    return labels


def softened(image: np.ndarray) -> np.ndarray:
    """The same picture at half size, antialiased."""
    return np.asarray(
        Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2), Image.LANCZOS)
    )


def saved(tmp_path: Path, image: np.ndarray | Image.Image, name: str = "m.png", **options) -> Path:
    path = tmp_path / name
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **options)
    return path


def photo(hw: tuple[int, int] = (64, 64), num_channels: int = 3) -> np.ndarray:
    """Smooth colours with noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 5, num_channels)).astype(np.uint8)
    smooth = cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC).reshape(*hw, -1)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


# --- label PNGs


def test_palette_begins_like_davis():
    assert DAVIS_PALETTE.shape == (256, 3)
    assert DAVIS_PALETTE[:9].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert DAVIS_PALETTE[255].tolist() == [224, 224, 192]
    assert len(np.unique(DAVIS_PALETTE, axis=0)) == 256


def test_palette_is_that_of_the_shared_annotations(shared):
    path = next((shared / "moseg").glob("Annotations/**/*.png"))
    with Image.open(path) as image:
        used = np.array(image.getpalette("RGB")).reshape(-1, 3)[:8]
    assert (used == DAVIS_PALETTE[:8]).all()


@given(LABEL_MAPS)
def test_label_png_keeps_every_index_and_the_palette(labels):
    data = encode_label_png(labels)
    assert data == encode_label_png(labels.copy())
    image = Image.open(io.BytesIO(data))
    assert image.mode == "P"
    assert (np.asarray(image) == labels).all()
    assert (np.asarray(image.convert("RGB")) == DAVIS_PALETTE[labels]).all()


def test_label_png_is_written_whole_and_leaves_nothing_else(tmp_path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = tmp_path / "00000.png"
    path.write_text("old")
    write_label_png(path, labels)
    assert [p.name for p in tmp_path.iterdir()] == ["00000.png"]
    assert (read_label_png(path) == labels).all()
    first = path.read_bytes()
    write_label_png(path, labels)
    assert path.read_bytes() == first


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "00000.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_label_png(tmp_path / "00000.png", discs())
    assert [p.name for p in tmp_path.iterdir()] == ["00000.png"]


@pytest.mark.parametrize("labels", [discs().astype(int), np.zeros((2, 2, 1), np.uint8)])
def test_label_png_rejects_other_arrays(labels):
    with pytest.raises(InputError, match=r"\(H, W\) uint8"):
        encode_label_png(labels)


@pytest.mark.parametrize("num_bits", [1, 2, 4, 8])
def test_label_png_gives_stored_values_at_every_depth(tmp_path, num_bits):
    labels = np.arange(32, dtype=np.uint8).reshape(4, 8).repeat(4, 0).repeat(4, 1)
    labels &= 2**num_bits - 1
    grey = tmp_path / "grey.png"
    grey.write_bytes(grey_png(labels, num_bits))
    assert (read_label_png(grey) == labels).all()
    assert (read_mask(grey) == labels).all()
    palette = tmp_path / "palette.png"
    image = Image.open(io.BytesIO(encode_label_png(labels)))
    image.save(palette, bits=num_bits)
    assert (read_label_png(palette) == labels).all()


def grey_png(values: np.ndarray, num_bits: int) -> bytes:
    """A grey PNG of a depth that Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    height, width = values.shape
    bits = values[..., None] >> np.arange(num_bits)[::-1] & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    header = struct.pack(">IIBBBBB", width, height, num_bits, 0, 0, 0, 0)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_label_png_errors(tmp_path):
    with pytest.raises(MaskError, match="no label map"):
        read_label_png(tmp_path / "missing.png")
    with pytest.raises(MaskError, match="RGB pixels"):
        read_label_png(saved(tmp_path, photo(), "rgb.png"))
    with pytest.raises(MaskError, match="cannot read"):
        read_label_png(saved(tmp_path, discs(), "really.png", format="JPEG"))
    whole = saved(tmp_path, photo(num_channels=1)[..., 0], "whole.png").read_bytes()
    for name, data in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MaskError, match="cannot read"):
            read_label_png(tmp_path / name)
    (tmp_path / "flipped").write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
    with pytest.raises(MaskError, match="cannot read"):
        read_label_png(tmp_path / "flipped")


# --- reference masks


@pytest.mark.parametrize(
    "image",
    [
        discs(num_objects=1) * 255,
        discs(num_objects=1),
        discs(num_objects=1) > 0,
        discs(num_objects=1).astype(np.uint16) * 65535,
        np.dstack([discs(num_objects=1) * 255] * 3),
        np.dstack([discs(num_objects=1) * 255] * 2),
        np.dstack([np.full((60, 80, 3), 255, np.uint8), discs(num_objects=1) * 255]),
    ],
    ids=["0/255", "0/1", "1 bit", "16 bit", "RGB", "LA", "white RGBA"],
)
def test_one_object_in_any_pixel_type(tmp_path, caplog, image):
    assert (read_mask(saved(tmp_path, image)) == discs(num_objects=1)).all()
    assert not caplog.records


def test_ids_are_kept(tmp_path, caplog):
    labels = discs(num_objects=3)
    labels[labels == 3] = 254
    labels[5, 5:9] = 77  # even where an object is a few pixels
    for image in (
        labels,
        labels.astype(np.uint16),
        Image.open(io.BytesIO(encode_label_png(labels))),
    ):
        assert (read_mask(saved(tmp_path, image)) == labels).all()
    for dtype in (np.uint8, np.int64, np.uint16):
        np.save(tmp_path / "m.npy", labels.astype(dtype))
        assert (read_mask(tmp_path / "m.npy") == labels).all()
    assert set(caplog.messages) == {
        f"mask {tmp_path / name}: object 77 has 4 pixels only; it may not be found again"
        for name in ("m.png", "m.npy")
    }


@pytest.mark.parametrize("as_palette", [False, True])
def test_void_becomes_background(tmp_path, caplog, as_palette):
    labels = discs()
    with_void = labels.copy()
    with_void[:3] = 255
    image = Image.open(io.BytesIO(encode_label_png(with_void))) if as_palette else with_void
    assert (read_mask(saved(tmp_path, image)) == labels).all()
    assert "240 void pixels" in caplog.text


def test_davis_colours_keep_their_index(tmp_path):
    labels = discs(num_objects=3)
    labels[labels == 1] = 7  # (128, 128, 128) is grey
    for extra in ({}, {"name": "m.bmp"}):
        assert (read_mask(saved(tmp_path, DAVIS_PALETTE[labels], **extra)) == labels).all()
    only_grey = np.where(labels == 7, labels, 0)
    assert (read_mask(saved(tmp_path, DAVIS_PALETTE[only_grey])) == only_grey).all()


def test_other_colours_take_free_ids_in_order(tmp_path):
    colours = np.array([[0, 0, 0], [255, 255, 0], [0, 0, 255], [128, 0, 0]], np.uint8)
    labels = read_mask(saved(tmp_path, colours[discs(num_objects=3)]))
    # (128, 0, 0) is DAVIS' 1; blue comes before yellow.
    assert (labels == np.array([0, 3, 2, 1])[discs(num_objects=3)]).all()


def test_ids_in_three_equal_channels(tmp_path):
    assert (read_mask(saved(tmp_path, np.dstack([discs()] * 3))) == discs()).all()


def test_transparent_is_background(tmp_path, caplog):
    labels = discs()
    alpha = np.where(labels > 0, 255, 0).astype(np.uint8)
    rgba = np.dstack([DAVIS_PALETTE[np.where(labels, labels, 9)], alpha])
    assert (read_mask(saved(tmp_path, rgba)) == labels).all()
    assert not caplog.records
    rgba[:2, :, 3] = 100
    assert (read_mask(saved(tmp_path, rgba)) == labels).all()
    assert "160 half transparent pixels" in caplog.text


def test_a_transparent_palette_index_is_background(tmp_path):
    image = Image.open(io.BytesIO(encode_label_png(discs())))
    labels = read_mask(saved(tmp_path, image, transparency=2))
    assert object_ids(labels) == (1,)


def test_a_palette_without_black_at_0_is_read_by_colour(tmp_path):
    image = Image.fromarray(1 - discs(num_objects=1))  # 0 is the object
    image.putpalette([255, 255, 255, 0, 0, 0])
    assert (read_mask(saved(tmp_path, image)) == discs(num_objects=1)).all()


def test_a_palette_with_soft_edges_is_read_by_colour(tmp_path, caplog):
    soft = softened(discs((240, 320), 1) * 255)
    image = Image.fromarray(soft).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    labels = read_mask(saved(tmp_path, image, "m.gif"))
    assert (labels != (soft >= 128)).mean() < 0.005
    assert "soft edges" in caplog.text


def test_a_palette_that_never_uses_black_gives_ids(tmp_path):
    image = Image.fromarray(discs())
    image.putpalette([9, 9, 9, 255, 0, 0, 0, 255, 0, 0, 0, 0])
    assert (read_mask(saved(tmp_path, image)) == discs()).all()


def scaled(image: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation)


SOFTENINGS = {
    "halved": lambda image: scaled(image, 0.5, cv2.INTER_AREA),
    "shrunk": lambda image: scaled(image, 0.37, cv2.INTER_AREA),
    "enlarged": lambda image: scaled(image, 2, cv2.INTER_LINEAR),
    "halved and enlarged": lambda image: scaled(
        scaled(image, 0.5, cv2.INTER_AREA), 4, cv2.INTER_NEAREST
    ),
    "blurred": lambda image: cv2.blur(image, (3, 3)),
    "blurred much": lambda image: cv2.GaussianBlur(image, (0, 0), 2),
}
PAINTS = {
    "white": [(0, 0, 0), (255, 255, 255), (255, 255, 255)],
    "pale": [(0, 0, 0), (200, 200, 200), (200, 200, 200)],
    "davis": DAVIS_PALETTE[:3].tolist(),
    "pure": [(0, 0, 0), (0, 255, 0), (255, 0, 0)],
    "odd": [(0, 0, 0), (40, 120, 250), (200, 30, 90)],
}


def two_rectangles(*, touching: bool) -> np.ndarray:
    """Two rectangles on odd pixels, so that halving them mixes some edges and not others."""
    labels = np.zeros((120, 160), np.uint8)
    labels[21:77, 17:61] = 1
    labels[30:101, 61 if touching else 90 : 141] = 2
    return labels


@pytest.mark.parametrize("touching", [False, True], ids=["apart", "touching"])
@pytest.mark.parametrize("paint", PAINTS)
@pytest.mark.parametrize("softening", SOFTENINGS)
def test_softened_masks_have_the_objects_that_were_painted(
    tmp_path, caplog, softening, paint, touching
):
    labels = two_rectangles(touching=touching)
    if paint in ("white", "pale"):
        labels = np.minimum(labels, 1)
    image = SOFTENINGS[softening](np.array(PAINTS[paint], np.uint8)[labels])
    want = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    want *= 200 if paint == "pale" else 1
    images = [image] if paint in ("davis", "pure", "odd") else [image, image[..., 0]]
    # A palette of all its colours loses nothing.
    if len(np.unique(image.reshape(-1, 3), axis=0)) <= 256:
        images.append(Image.fromarray(image).quantize(256, dither=Image.Dither.NONE))
    for soft in images:
        got = read_mask(saved(tmp_path, soft))
        assert object_ids(got) == object_ids(want)
        assert (got != want).mean() < 0.04
    assert "soft edges" in caplog.text


@pytest.mark.parametrize("value", [1, 100, 128, 254])
def test_a_stray_pixel_of_another_value_is_no_object(tmp_path, caplog, value):
    image = discs(num_objects=1) * 255
    for at in ((3, 3), (30, 40)):  # in the background, in the object
        stray = image.copy()
        stray[at] = value
        want = np.where(stray == value, value >= 128, image > 0)
        assert (read_mask(saved(tmp_path, stray)) == want).all()
        assert "1 of 4800 pixels were given to the nearest of 2 main colours" in caplog.text
        coloured = np.dstack([image, image // 2, image * 0])
        coloured[at] = (value, 0, 200)
        assert object_ids(read_mask(saved(tmp_path, coloured))) == (1,)


def quantised(image: np.ndarray, num_colours: int) -> Image.Image:
    """The picture with few colours, each replaced by that of DAVIS' palette at its index."""
    few = Image.fromarray(image).quantize(num_colours, dither=Image.Dither.NONE)
    few.putpalette(DAVIS_PALETTE.tobytes())
    return few


@pytest.mark.parametrize("num_colours", [4, 8, 16])
@pytest.mark.parametrize("softening", ["shrunk", "enlarged", "blurred", "blurred much"])
def test_a_softened_mask_that_was_quantised_under_the_palette(
    tmp_path, caplog, softening, num_colours
):
    labels = discs((240, 320), 1)
    image = SOFTENINGS[softening](np.dstack([labels * 255] * 3))
    want = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    got = read_mask(saved(tmp_path, quantised(image, num_colours)))
    assert len(object_ids(got)) == 1
    assert ((got > 0) != want).mean() < 0.02
    assert "it looks like a softened mask that was quantised" in caplog.text


@pytest.mark.parametrize("object_id", [0, 1, 5])
def test_a_flat_mask_under_the_palette(tmp_path, caplog, object_id):
    labels = np.full((50, 60), object_id, np.uint8)
    path = saved(tmp_path, Image.open(io.BytesIO(encode_label_png(labels))))
    if object_id == 0:
        with pytest.raises(MaskError, match="no object"):
            read_mask(path)
    else:
        assert (read_mask(path) == labels).all()
        assert "softened" not in caplog.text


def test_thin_objects_are_no_edges(tmp_path, caplog):
    labels = discs((60, 80), 2)
    labels[50, 4:70] = 3  # a line
    labels[15:45, 12] = 4  # and one along an object
    for image in (labels, DAVIS_PALETTE[labels], Image.open(io.BytesIO(encode_label_png(labels)))):
        assert (read_mask(saved(tmp_path, image)) == labels).all()
    assert not caplog.records


@pytest.mark.parametrize("used", [(0, 2, 5), (5, 0, 2), (0, 7), (0, 16, 3, 1)])
def test_a_reduced_palette_of_davis_colours_gives_their_ids(tmp_path, used):
    """ImageMagick, GIMP and optimisers drop unused colours and move the others."""
    places = discs(num_objects=len(used) - 1)
    image = Image.fromarray(places)
    image.putpalette(DAVIS_PALETTE[list(used)].tobytes())
    want = np.array(used, np.uint8)[places]
    assert (read_mask(saved(tmp_path, image)) == want).all()
    assert (read_mask(saved(tmp_path, DAVIS_PALETTE[want])) == want).all()


def test_objects_keep_the_colours_of_their_mask(tmp_path):
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    labels = discs()
    red_and_green = {1: (0, 255, 0), 2: (255, 0, 0)}
    painted = read_painted_mask(saved(tmp_path, colours[labels]))
    assert painted.colours == red_and_green
    assert (painted.labels == np.array([0, 2, 1])[labels]).all()
    softened_too = read_painted_mask(saved(tmp_path, softened(colours[discs((240, 320))])))
    assert softened_too.colours == red_and_green

    palette = Image.fromarray(labels)
    palette.putpalette([0, 0, 0, 236, 95, 103, 249, 145, 87])  # ids under another palette
    painted = read_painted_mask(saved(tmp_path, palette))
    assert painted.colours == {1: (236, 95, 103), 2: (249, 145, 87)}
    assert (painted.labels == labels).all()

    shown = {each: tuple(OBJECT_COLOURS[each].tolist()) for each in (1, 2)}
    for image in (labels, DAVIS_PALETTE[labels], Image.open(io.BytesIO(encode_label_png(labels)))):
        assert read_painted_mask(saved(tmp_path, image)).colours == shown
    white = read_painted_mask(saved(tmp_path, (labels > 0).astype(np.uint8) * 255))
    assert white.colours == {1: shown[1]}  # white says nothing of the object


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((slice(10, 12), slice(10, 12)), "object 1 has 4 pixels only"),
        ((slice(1, 60), slice(1, 79)), "object 1 fills 96 % of it; is it the background?"),
        ((slice(0, 60), slice(0, 80)), "no pixel is background"),
    ],
)
def test_objects_that_can_hardly_be_meant(tmp_path, caplog, box, message):
    labels = np.zeros((60, 80), np.uint8)
    labels[box] = 1
    assert (read_mask(saved(tmp_path, labels)) == labels).all()
    assert message in caplog.text


@pytest.mark.parametrize("name", ["m.jpg", "m.png", "m.webp"])
def test_soft_edges_are_cut_at_half(tmp_path, caplog, name):
    soft = softened(discs((240, 320), 1) * 255)
    labels = read_mask(saved(tmp_path, soft, name))
    wrong = labels != (soft >= 128)
    assert wrong.sum() <= (0 if name == "m.png" else 20)
    assert "soft edges" in caplog.text


def test_soft_edges_in_16_bits(tmp_path):
    soft = softened(discs((120, 160), 1) * 255)
    labels = read_mask(saved(tmp_path, soft.astype(np.uint16) * 257 + (soft == 77)))
    assert (labels == (soft >= 128)).all()


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_mixed_colours_go_to_the_nearest_object(tmp_path, caplog, name):
    labels = discs((240, 320), 3)
    image = softened(DAVIS_PALETTE[labels]) if name == "m.png" else DAVIS_PALETTE[labels]
    want = labels[1::2, 1::2] if name == "m.png" else labels
    got = read_mask(saved(tmp_path, image, name, **({"quality": 90} if name == "m.jpg" else {})))
    assert object_ids(got) == (1, 2, 3)
    assert (got != want).mean() < 0.02
    assert "nearest of 4 main colours" in caplog.text


def test_exif_orientation_turns_the_mask(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    labels = discs()
    labels[:5, :5] = 3
    path = saved(tmp_path, labels, exif=exif)
    assert (read_mask(path) == np.rot90(labels, -1)).all()


def test_shared_masks_are_read(shared):
    for clip in ("dog", "juggle"):
        labels = read_mask(shared / "clips" / f"{clip}_mask.png")
        assert labels.shape == (720, 1280)
        assert object_ids(labels) == (1,)


@pytest.mark.parametrize(
    ("image", "name", "message"),
    [
        (np.zeros((9, 9), np.uint8), "m.png", "no object"),
        (np.zeros((9, 9, 3), np.uint8), "m.png", "no object"),
        (photo(), "m.png", "looks like a photo"),
        (photo(), "m.jpg", "looks like a photo"),
        (photo(num_channels=1)[..., 0], "m.png", "looks like a photo"),
        (discs((60, 80), 2).astype(np.uint16) * 200, "m.png", r"within 0\.\.254, got 400"),
        (np.zeros((9, 9), np.float32), "m.tiff", "floating-point"),
        (np.where(discs((240, 320)) == 1, 30, 0).astype(np.uint8), "m.jpg", "no object"),
    ],
)
def test_pictures_that_are_no_mask(tmp_path, image, name, message):
    with pytest.raises(MaskError, match=message) as caught:
        read_mask(saved(tmp_path, image, name))
    assert name in str(caught.value)


def test_a_wide_gradient_is_no_mask(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    image = np.vstack([ramp, np.zeros((40, 256), np.uint8), np.full((40, 256), 255, np.uint8)])
    with pytest.raises(MaskError, match="none of its 2 main colours"):
        read_mask(saved(tmp_path, image))


def test_a_colour_too_small_to_be_told_from_soft_edges(tmp_path):
    image = np.zeros((40, 40, 3), np.uint8)
    image[10, 10:30] = np.arange(20, dtype=np.uint8)[:, None] + [200, 0, 0]
    with pytest.raises(MaskError, match="no object large enough"):
        read_mask(saved(tmp_path, image))


def test_more_than_254_colours(tmp_path):
    blocks = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(12, axis=0).repeat(12, axis=1)
    image = np.dstack([blocks, blocks * 77, blocks * 151])
    with pytest.raises(MaskError, match="256 colours; at most 254"):
        read_mask(saved(tmp_path, image))
    image[-12:, -24:] = 0
    assert len(object_ids(read_mask(saved(tmp_path, image)))) == 253


def test_unreadable_files(tmp_path):
    with pytest.raises(MaskError, match=r"no mask .*missing"):
        read_mask(tmp_path / "missing.png")
    with pytest.raises(MaskError, match="cannot read the mask"):
        read_mask(tmp_path)
    whole = saved(tmp_path, photo()).read_bytes()
    for name, data in {"cut.png": whole[:900], "empty.png": b"", "text.png": b"P6 1"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MaskError, match=f"cannot read the mask .*{name}"):
            read_mask(tmp_path / name)


def test_a_picture_declared_too_large_is_not_decoded(tmp_path):
    data = bytearray(saved(tmp_path, np.zeros((1, 1), np.uint8)).read_bytes())
    data[16:24] = struct.pack(">II", 60000, 60000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "m.png").write_bytes(data)
    with pytest.raises(MaskError, match=r"more than the limit of 134\.2 million pixels"):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 4, 4), np.uint8), np.ones((4, 4)), np.zeros((0, 4), np.uint8), np.zeros(4, int)],
)
def test_arrays_that_are_no_mask(tmp_path, array):
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(MaskError, match=r"m\.npy"):
        read_mask(tmp_path / "m.npy")
    with pytest.raises(MaskError, match="mask must be"):
        mask_from_array(array)


def test_what_a_mask_is_its_content_tells(tmp_path):
    labels = discs()
    np.save(tmp_path / "m.npy", labels)
    (tmp_path / "m.npy").rename(tmp_path / "array.png")
    saved(tmp_path, labels, "picture.npy", format="PNG")
    for name in ("array.png", "picture.npy"):
        assert (read_mask(tmp_path / name) == labels).all()


def test_broken_npy(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "whole.npy", discs())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-1])
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "header.npy").write_bytes((tmp_path / "whole.npy").read_bytes().replace(b"}", b" "))
    for name in ("objects.npy", "cut.npy", "text.npy", "header.npy"):
        with pytest.raises(MaskError, match=f"cannot read the mask .*{name}"):
            read_mask(tmp_path / name)


# --- arrays


def test_arrays_follow_the_same_rules(caplog):
    labels = discs()
    assert (mask_from_array(labels > 0) == (labels > 0)).all()
    assert (mask_from_array((labels > 0) * 255) == (labels > 0)).all()
    got = mask_from_array(labels)
    assert (got == labels).all()
    assert got.dtype == np.uint8
    assert not np.shares_memory(got, labels)
    assert (mask_from_array(np.where(labels == 2, 255, labels)) == (labels == 1)).all()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[-1, 1]]), "got -1"),
        (np.array([[1, 256]]), "got 256"),
        (np.zeros((2, 2), bool), "no object"),
        ([[0, 1]], "numpy array, got list"),
        (np.array([["a"]]), "integers, got <U1"),
    ],
)
def test_illegal_arrays(array, message):
    with pytest.raises(MaskError, match=message):
        mask_from_array(array)


def test_match_frame():
    labels = discs()
    assert match_frame(labels, (60, 80)) is labels
    with pytest.raises(MaskError, match="80 x 60 pixels, the frame 40 x 30"):
        match_frame(labels, (30, 40))
    half = match_frame(labels, (30, 40), resize=True)
    assert half.dtype == np.uint8
    assert (match_frame(half.repeat(2, 0).repeat(2, 1), (30, 40), resize=True) == half).all()
    labels[0, 0] = 9
    with pytest.raises(MaskError, match="loses object 9"):
        match_frame(labels, (15, 20), resize=True)


def test_a_mask_of_another_shape_is_stretched_with_a_warning(caplog):
    match_frame(discs(), (31, 40), resize=True)
    assert not caplog.records
    match_frame(discs((60, 60)), (72, 128), resize=True)
    assert "60 x 60 pixels are stretched to 128 x 72, of another shape" in caplog.text


def test_object_ids():
    assert object_ids(np.array([[5, 0], [1, 5]], np.uint8)) == (1, 5)
    with pytest.raises(MaskError, match="no object"):
        object_ids(np.zeros((2, 2), np.uint8))


# --- boxes


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_a_box_holds_its_mask_and_no_smaller_one_does(mask):
    box = mask_box_xyxy(mask)
    if box is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = box
    assert box.dtype == np.int64
    assert mask[y0 : y1 + 1, x0 : x1 + 1].sum() == mask.sum()
    assert mask[y0].any()
    assert mask[y1].any()
    assert mask[:, x0].any()
    assert mask[:, x1].any()


@given(
    frame=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    corners=st.lists(st.integers(0, 49), min_size=4, max_size=4),
    margin=st.integers(0, 60),
)
def test_a_grown_box_holds_the_box_and_stays_in_the_frame(frame, corners, margin):
    height, width = frame
    xs = sorted(c % width for c in corners[:2])
    ys = sorted(c % height for c in corners[2:])
    box = np.array([xs[0], ys[0], xs[1], ys[1]])
    grown = grow_box_xyxy(box, margin, frame)
    assert (grown[:2] <= box[:2]).all()
    assert (grown[2:] >= box[2:]).all()
    assert (grown == box + np.array([-1, -1, 1, 1]) * margin)[
        (grown > 0) & (grown < np.array([width, height, width, height]) - 1)
    ].all()
    assert grown.min() >= 0
    assert (grown <= [width - 1, height - 1, width - 1, height - 1]).all()


def test_growing_rows_of_boxes():
    boxes = np.array([[5, 5, 6, 6], [0, 0, 9, 9]])
    assert grow_box_xyxy(boxes, 2, (10, 10)).tolist() == [[3, 3, 8, 8], [0, 0, 9, 9]]


def test_colours_of_objects_differ_whatever_the_colour_vision():
    """Simulated after Viénot, Brettel and Mollon 1999 in linear light, distances in CIELAB."""
    import cv2

    to_lms = np.array(
        [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
    )
    deficits = {
        "protan": [[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]],
        "deutan": [[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]],
        "none": np.eye(3),
    }
    rgb = OBJECT_COLOURS[1:8] / 255.0
    for name, matrix in deficits.items():
        seen = np.linalg.inv(to_lms) @ np.array(matrix) @ to_lms @ (rgb**2.2).T
        seen = (seen.clip(0, 1) ** (1 / 2.2)).T.astype(np.float32)
        lab = cv2.cvtColor(seen[None], cv2.COLOR_RGB2LAB)[0]
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
        assert distances[~np.eye(7, dtype=bool)].min() > 10, name
    assert len(np.unique(OBJECT_COLOURS[1:43], axis=0)) == 42
