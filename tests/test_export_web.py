"""Animations, cut-outs and pictures of the whole video, read back."""

import base64
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from browsers import started_browser
from clips import write_clip
from exported_clip import (
    ABSENT,
    HW,
    NUM_FRAMES,
    PTS,
    TIME_BASE,
    make_labels,
    make_results,
    write_picture_results,
    write_results_of,
)
from PIL import Image
from sound_clips import ONSET_SECONDS, heard, write_sound_clip
from test_export_editors import decoded

import vos
from vos.errors import InputError
from vos.export.clean_up import CleanUp
from vos.export.clip import ExportOptions
from vos.export.export import export_results
from vos.masks import OBJECT_COLOURS
from vos.masks.edges import soft_alpha

MASKS = np.stack([make_labels(index) for index in range(NUM_FRAMES)])
FORMATS = ["webp", "gif", "apng", "cutout", "sheet", "timeline"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = make_results(tmp_path_factory.mktemp("exported"))
    export_results(vos.read_results(folder), FORMATS)
    return folder


@pytest.fixture(scope="module")
def rgb(made) -> list[np.ndarray]:
    with vos.read_results(made).open_frames() as triples:
        return [frame.rgb for frame, *_ in triples]


# What times are rounded to, and how far the colours of objects are off on average, of 255.
@pytest.mark.parametrize(
    ("name", "milliseconds", "mean_error"), [("webp", 1, 8), ("gif", 10, 8), ("apng", 1, 0)]
)
def test_animations(made, rgb, name, milliseconds, mean_error):
    with Image.open(made / "exports" / name / f"clip.{name}") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (NUM_FRAMES, HW[::-1], 0)
        elapsed_ms = 0.0
        for index, labels in enumerate(MASKS):
            image.seek(index)
            rgba = np.asarray(image.convert("RGBA"))
            want_ms = 1000 * float((PTS[index] - PTS[0]) * TIME_BASE)
            assert abs(elapsed_ms - want_ms) <= milliseconds
            elapsed_ms += image.info["duration"]
            np.testing.assert_array_equal(rgba[..., 3], 255 * (labels > 0))
            errors = np.abs(rgba[..., :3].astype(int) - rgb[index])[labels > 0]
            assert errors.mean() <= mean_error


def test_a_soft_animation_has_soft_edges(made, tmp_path):
    options = ExportOptions(per_object=True, clean_up=CleanUp(soft=True))
    export_results(vos.read_results(made), ["apng", "gif"], tmp_path, options)
    alpha = soft_alpha(MASKS[0] == 1)
    with Image.open(tmp_path / "apng" / "clip.object_1.apng") as image:
        np.testing.assert_array_equal(np.asarray(image)[..., 3], np.rint(255 * alpha))
    with Image.open(tmp_path / "gif" / "clip.object_1.gif") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGBA"))[..., 3] > 0, MASKS[0] == 1)


def test_frames_that_come_too_fast_for_gif(tmp_path):
    source = write_clip(tmp_path / "fast.mp4", 3, time_base=Fraction(1, 120))
    results = vos.read_results(write_results_of(source, tmp_path / "out"))
    with pytest.raises(InputError, match="gif: frame 1 comes less than 20 ms after"):
        export_results(results, ["gif"])
    export_results(results, ["webp"])
    with Image.open(tmp_path / "out" / "exports" / "webp" / "fast.webp") as image:
        assert image.n_frames == 3


@pytest.mark.parametrize(("background", "colour"), [("white", 255), ("#102030", (16, 32, 48))])
def test_cut_outs_on_a_colour(made, rgb, tmp_path, background, colour):
    export_results(
        vos.read_results(made), ["cutout"], tmp_path, ExportOptions(background=background)
    )
    frames = list(decoded(tmp_path / "cutout" / "clip.mp4"))
    assert len(frames) == NUM_FRAMES
    for (time, rgba), pts, picture, labels in zip(frames, PTS, rgb, MASKS, strict=True):
        assert time == pts * TIME_BASE
        want = np.where(labels[..., None] > 0, picture, np.array(colour))
        assert np.abs(rgba[..., :3] - want).mean() < 6
    assert not list((tmp_path / "cutout").glob("*.nut"))


def test_cut_outs_on_a_blurred_background_of_each_object(made, rgb, tmp_path):
    options = ExportOptions(background="blur", per_object=True)
    export_results(vos.read_results(made), ["cutout"], tmp_path, options)
    (_, rgba), *_ = decoded(tmp_path / "cutout" / "clip.object_1.mp4")
    is_object = MASKS[0] == 1
    error = np.abs(rgba[..., :3].astype(int) - rgb[0])
    assert error[is_object].max() < 40 < error[~is_object].max()


def test_a_colour_that_is_none(made, tmp_path):
    with pytest.raises(InputError, match="a colour's name or #RRGGBB, got 'greenish'"):
        export_results(
            vos.read_results(made), ["cutout"], tmp_path, ExportOptions(background="greenish")
        )


def test_cut_outs_have_the_sound(tmp_path):
    source = write_sound_clip(tmp_path / "loud.mp4")
    results = vos.read_results(write_results_of(source, tmp_path / "out"))
    export_results(results, ["cutout"])
    codec, onset, _ = heard(tmp_path / "out" / "exports" / "cutout" / "loud.mp4")
    assert (codec, onset) == ("aac", pytest.approx(ONSET_SECONDS, abs=0.03))


def test_the_sheet_has_all_frames_and_names(made):
    with Image.open(made / "exports" / "sheet" / "clip.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape[1] > 6 * 240
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def test_the_time_line_shows_where_objects_are(made):
    """A column of each frame: red where object 2 is absent, a bar where it is there."""
    with Image.open(made / "exports" / "timeline" / "clip.png") as image:
        picture = np.asarray(image).astype(int)
    red = (picture == (255, 205, 205)).all(-1)
    columns = np.flatnonzero(red.any(0))
    start, end = 256, 256 + 1200
    span = float(PTS[-1] * TIME_BASE) + 1 / 25
    first, after = (float(PTS[i] * TIME_BASE) for i in (ABSENT.start, ABSENT.stop))
    assert columns[0] == pytest.approx(start + 1200 * first / span, abs=30)
    assert columns[-1] == pytest.approx(start + 1200 * after / span, abs=30)
    assert columns[-1] < end


def test_the_time_line_has_no_gaps_between_frames(tmp_path):
    """Times in the summary are rounded; frames of a twelfth of the picture begin on a column."""
    source = write_clip(tmp_path / "clip.mp4", 12, time_base=Fraction(1, 24))
    export_results(vos.read_results(write_results_of(source, tmp_path / "out")), ["timeline"])
    with Image.open(tmp_path / "out" / "exports" / "timeline" / "clip.png") as image:
        is_bar = (np.asarray(image) == OBJECT_COLOURS[1]).all(-1)
    assert is_bar[:, 256 : 256 + 1200].sum(1).max() >= 1200 - 6  # lines of ticks


def test_pictures_are_no_video(made, tmp_path):
    """Formats of whole videos refuse results of pictures, the sheet does not."""
    results = vos.read_results(write_picture_results(tmp_path))
    for name in ("prores", "vp9", "ffv1", "matte-mp4", "webp", "gif", "apng", "cutout", "timeline"):
        with pytest.raises(InputError, match="results of single pictures"):
            export_results(results, [name])
    for name in ("youtube-vis", "npz"):
        with pytest.raises(InputError, match="results of single pictures"):
            export_results(results, [name])
    formats = ["coco", "sav", "yolo", "cvat", "label-studio", "matte", "rgba", "exr", "sheet"]
    export_results(results, formats)
    for name in formats:
        assert any((tmp_path / "out" / "exports" / name).iterdir())


ALPHA_IN_THE_BROWSER = """async (address) => {
    const video = document.createElement("video");
    video.src = address;
    video.muted = true;
    await new Promise((done, failed) => {
        video.requestVideoFrameCallback(done);
        video.onerror = () => failed(new Error(video.error.message));
        video.onloadeddata = () => { video.currentTime = 0.001; };
    });
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.height, canvas.width, Array.from(data.filter((_, index) => index % 4 === 3))];
}"""


def test_a_browser_shows_vp9_with_its_opacity(made):
    export_results(vos.read_results(made), ["vp9"])
    content = (made / "exports" / "vp9" / "clip.webm").read_bytes()
    with started_browser() as browser:
        address = f"data:video/webm;base64,{base64.b64encode(content).decode()}"
        height, width, values = browser.new_page().evaluate(ALPHA_IN_THE_BROWSER, address)
    alpha = np.array(values).reshape(height, width)
    assert alpha.shape == HW
    assert np.abs(alpha - 255 * (MASKS[0] > 0)).mean() < 12
    assert alpha[12:14, 8:20].min() > 200
    assert alpha[34:40].max() < 50
