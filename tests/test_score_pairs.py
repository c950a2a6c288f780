"""Which result belongs to which annotation: no frame is left out unsaid, no broken one scored."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from score_masks import square, write_masks

import vos
from vos.errors import ScoreError

ANNOTATED = [square(1)] * 6
# Frame 2 of the result is empty: J&F is 3/4 over the frames 1 to 4, and 1 without that frame.
PREDICTED = [square(1), square(1), square(0), square(1), square(1), square(1)]


@pytest.fixture
def folders(tmp_path):
    annotations = write_masks(tmp_path / "gt", {"a": ANNOTATED})
    return annotations, write_masks(tmp_path / "results", {"a": PREDICTED})


def rename(folder, name, new_name):
    (folder / "a" / name).rename(folder / "a" / new_name)


@pytest.mark.parametrize("side", ["gt", "results"])
@pytest.mark.parametrize("ending", ["PNG", "Png", "pNG"])
def test_the_case_of_endings_does_not_matter(folders, side, ending):
    rename(folders[side == "results"], "00002.png", f"00002.{ending}")
    evaluation = vos.evaluate(*folders)
    assert evaluation.statistics.jf_mean == 0.75
    assert evaluation.sequences[0].frame_names == ("00001", "00002", "00003", "00004")
    assert not evaluation.left_out


@pytest.mark.parametrize("ending", ["bmp", "jpg", "webp"])
@pytest.mark.parametrize("part", ["annotation", "result"])
def test_a_frame_of_another_image_format_is_refused(folders, part, ending):
    folder = folders[part == "result"] / "a"
    (folder / "00002.png").unlink()
    Image.fromarray(square(1)).save(folder / f"00002.{ending}")
    with pytest.raises(ScoreError, match=rf"1 problem, (.|\n)*a, 00002: {part}: .*not one of PNG"):
        vos.evaluate(*folders)
    assert vos.evaluate(*folders, skip_missing=True).sequences[0].frame_names == (
        *("00001", "00003", "00004"),
    )


def test_an_annotation_that_is_no_image_of_ours_is_named(folders):
    (folders[0] / "a/00002.png").unlink()
    Image.fromarray(square(1)).save(folders[0] / "a/00002.tif")
    assert vos.evaluate(*folders).remarks() == [
        "left out: a: results that belong to no annotation (1): 00002.png",
        f"left out: a: no masks in {folders[0] / 'a'} (1): 00002.tif",
    ]


def test_a_result_that_is_no_image_of_ours_is_named_beside_the_missing_one(folders):
    rename(folders[1], "00002.png", "00002.tif")
    with pytest.raises(ScoreError) as caught:
        vos.evaluate(*folders)
    assert "a, 00002: no result" in str(caught.value)
    assert "a: results that belong to no annotation (1): 00002.tif" in str(caught.value)


@pytest.mark.parametrize("name", ["{:04d}.png", "{:06d}.png", "{:05d}.png.png", "frame_{:05d}.png"])
def test_results_under_other_names_are_not_guessed_but_named(folders, name):
    for number in range(6):
        rename(folders[1], f"{number:05d}.png", name.format(number))
    with pytest.raises(ScoreError) as caught:
        vos.evaluate(*folders)
    message = str(caught.value)
    assert message.startswith("5 problems, so nothing was scored")
    assert "a, 00001, 00002, 00003, 00004: no result" in message
    assert f"a: results that belong to no annotation (6): {name.format(0)}" in message


@pytest.mark.parametrize("other", ["00002.PNG", "00002.jpg"])
@pytest.mark.parametrize("side", ["gt", "results"])
def test_two_files_of_one_frame_are_refused(folders, side, other):
    folder = folders[side == "results"] / "a"
    (folder / other).write_bytes((folder / "00002.png").read_bytes())
    with pytest.raises(ScoreError, match=r"a: .*00002\.(PNG|jpg|png) .*00002"):
        vos.evaluate(*folders)


def test_results_without_annotation_are_named(folders):
    for number in (1, 3):
        (folders[0] / f"a/{number:05d}.png").unlink()
    (folders[1] / "a/overview.png").write_bytes(b"not looked at")
    evaluation = vos.evaluate(*folders)
    assert evaluation.sequences[0].frame_names == ("00002", "00004")
    assert evaluation.remarks() == [
        "left out: a: results that belong to no annotation (3): overview.png, 00001.png, 00003.png"
    ]


def test_a_picture_beside_numbered_annotations_is_no_frame(folders):
    (folders[0] / "a/zoom.png").write_bytes((folders[0] / "a/00000.png").read_bytes())
    (folders[0] / "a/.hidden.png").write_bytes(b"")
    evaluation = vos.evaluate(*folders)
    assert evaluation.sequences[0].frame_names == ("00001", "00002", "00003", "00004")
    assert evaluation.remarks() == [
        "left out: a: annotations whose names are no numbers (1): zoom.png"
    ]


def test_numbers_without_zeros_are_in_the_order_of_numbers(tmp_path):
    frames = {"a": [square(1)] * 12}
    folders = [write_masks(tmp_path / side, frames) for side in ("gt", "results")]
    for folder in folders:
        for number in range(12):
            rename(folder, f"{number:05d}.png", f"{number}.png")
    names = vos.evaluate(*folders).sequences[0].frame_names
    assert names == tuple(str(number) for number in range(1, 11))


def test_an_annotated_sequence_without_masks_is_named(folders):
    (folders[0] / "b").mkdir()
    Image.fromarray(square(1)).save(folders[0] / "b/00000.tif")
    assert vos.evaluate(*folders).remarks() == ["left out: b: holds no annotation"]


def damaged_copies(content):
    """A PNG file cut short, and with a flipped bit, at every byte before its end mark."""
    for index in range(len(content) - 12):
        yield content[:index]
        yield content[:index] + bytes([content[index] ^ 4]) + content[index + 1 :]


def test_damage_anywhere_is_noticed(folders):
    path = folders[1] / "a/00001.png"
    buffer = io.BytesIO()
    Image.fromarray(square(1)).save(buffer, "PNG")
    for content in damaged_copies(buffer.getvalue()):
        path.write_bytes(content)
        evaluation = vos.evaluate(*folders, skip_missing=True, num_workers=1)
        (problem,) = evaluation.left_out
        assert problem.frame == "00001"
        assert problem.reason.startswith("result: ")


def png_of(*chunks):
    """A PNG file of chunks with right checksums."""
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        content += struct.pack(">I", len(body)) + kind + body
        content += struct.pack(">I", zlib.crc32(kind + body))
    return content


HEIGHT, WIDTH = square(1).shape
HEADER = (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0))
PIXELS = zlib.compress(bytes(HEIGHT * (WIDTH + 1)))
END = (b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        png_of(END),
        png_of(HEADER, END),
        png_of(HEADER, (b"IDAT", b"nonsense"), END),
        png_of(HEADER, (b"IDAT", PIXELS[:-6]), END),
        png_of(HEADER, (b"IDAT", PIXELS)),
    ],
)
@pytest.mark.parametrize("part", ["annotation", "result"])
def test_files_whose_checksums_are_right_and_that_are_broken_all_the_same(folders, part, content):
    (folders[part == "result"] / "a/00003.png").write_bytes(content)
    with pytest.raises(ScoreError, match=rf"1 problem, (.|\n)*\n  a, 00003: {part}: "):
        vos.evaluate(*folders)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_packed_pixels_are_read(tmp_path, bits):
    labels = square(2**bits - 1)
    folders = [write_masks(tmp_path / side, {"a": [labels] * 3}) for side in ("gt", "results")]
    for path in (folders[1] / "a").iterdir():
        image = Image.fromarray(labels)
        image.putpalette(bytes(range(48)))
        image.save(path, bits=bits)
    scored = vos.evaluate(*folders).sequences[0].objects[-1]
    np.testing.assert_array_equal(scored.j, [1])
