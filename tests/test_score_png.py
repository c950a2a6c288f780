"""The check of PNG files, and reading them fast."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from score_masks import square

from vos.errors import MaskError
from vos.masks import read_label_png
from vos.score.png import check_label_png, read_labels


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("png") / "a.png"


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.sampled_from("LP"))
def test_reads_what_pillow_reads(path, labels, mode):
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    image.save(path)
    np.testing.assert_array_equal(read_labels(path), labels)
    np.testing.assert_array_equal(read_labels(path), read_label_png(path))
    assert check_label_png(path) == labels.shape


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_reads_packed_pixels(path, bits):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 2**bits
    image = Image.fromarray(labels)
    image.putpalette(bytes(range(48)))
    image.save(path, bits=bits)
    np.testing.assert_array_equal(read_labels(path), labels)
    assert check_label_png(path) == (3, 4)


def test_a_flipped_bit_anywhere_is_noticed(path):
    Image.fromarray(square(1)).save(path)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(MaskError):
            check_label_png(path)


def test_a_cut_file_is_noticed(path):
    Image.fromarray(square(1)).save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(MaskError):
            check_label_png(path)


def png_of(*chunks):
    """A PNG file of chunks with right checksums."""
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        content += struct.pack(">I", len(body)) + kind + body
        content += struct.pack(">I", zlib.crc32(kind + body))
    return content


HEADER = (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 0))
END = (b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"GIF89a", "no PNG file"),
        (png_of(HEADER, END), "no picture"),
        (png_of(END), "does not begin with a header"),
        (png_of(HEADER, (b"IDAT", b"nonsense"), END), "damaged"),
        (png_of(HEADER, (b"IDAT", zlib.compress(b"\0\1\2")[:-2]), END), "damaged"),
    ],
)
def test_what_is_wrong_is_said(path, content, message):
    path.write_bytes(content)
    with pytest.raises(MaskError, match=message):
        read_labels(path)


def test_no_file(path):
    with pytest.raises(MaskError, match="cannot be read"):
        check_label_png(path.with_name("none.png"))


def test_colours_are_no_labels(path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    for read in (check_label_png, read_labels):
        with pytest.raises(MaskError, match="RGB"):
            read(path)
