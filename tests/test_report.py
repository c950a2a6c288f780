"""The HTML report."""

import base64
import io
import os
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from score_masks import FRAME_HW, square, write_masks

import vos
from vos.score.report.page import worst_frames, write_report
from vos.score.report.pictures import draw_frame

XS = [4, 5, 7, 10, 4, 6, 4, 9, 4]
NAME = "a<b>&'c"


@pytest.fixture
def evaluation(tmp_path):
    """One sequence with images, an awkward name, and a worst frame 00003 (00000 does not count)."""
    root = tmp_path / "DAVIS"
    write_masks(root / "Annotations/480p", {NAME: [square(1, x=4)] * len(XS)})
    images = root / "JPEGImages/480p" / NAME
    images.mkdir(parents=True)
    for number in range(len(XS)):
        Image.new("RGB", FRAME_HW[::-1], (30, 120, 30)).save(images / f"{number:05d}.jpg")
    results = write_masks(tmp_path / "results", {NAME: [square(1, x=x) for x in XS]})
    return vos.evaluate(root, results)


def picture(uri):
    content = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def written(evaluation, tmp_path):
    write_report(evaluation, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def body_of(page):
    """The page's body as a tree, which it is only if all tags are closed."""
    return ElementTree.fromstring(page[page.index("<body>") : page.index("<script>")] + "</body>")


def test_worst_frames_come_first_and_perfect_ones_not_at_all(evaluation):
    sequence = evaluation.sequences[0]
    names = [sequence.frame_names[index] for index in worst_frames(sequence)]
    assert names == ["00003", "00007", "00002", "00005", "00001"]
    perfect = vos.evaluate(evaluation.settings.annotations_dir, evaluation.settings.annotations_dir)
    assert worst_frames(perfect.sequences[0]) == []


def test_the_page_holds_everything_itself(evaluation, tmp_path):
    page = written(evaluation, tmp_path)
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "http" not in page
    assert "@import" not in page
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/webp") == 3 * 5  # image, annotation and result of five frames
    targets = set(re.findall(r'id="([^"]*)"', page))
    assert {link[1:] for link in links if link.startswith("#")} <= targets


def test_the_page_shows_figures_settings_and_names(evaluation, tmp_path):
    page = written(evaluation, tmp_path)
    for figure in evaluation.statistics.measures().values():
        assert f"<dd>{figure:.3f}</dd>" in page
    assert NAME not in page
    body = body_of(page)
    assert body.find(".//section/h2").text == NAME
    assert str(evaluation.settings.results_dir) in [each.text for each in body.iter("dd")]


def test_names_and_remarks_are_escaped(tmp_path):
    annotations = write_masks(tmp_path / "gt", {"a": [square(1)] * 4, "<i>b": [square(1)]})
    results = write_masks(tmp_path / "re<b>&sults", {"a": [square(2)] * 4, "<i>b": [square(1)]})
    page = written(vos.evaluate(annotations, results), tmp_path)
    remarks = [each.text for each in body_of(page).iter("li")]
    assert "id 2 (in 2 frames)" in remarks[0]
    assert remarks[1].startswith("left out: <i>b: needs 3 annotated frames")
    assert page.count("data:image/webp") == 2 * 2  # masks alone
    assert body_of(page).find(".//h1").text.endswith("re<b>&sults")


def test_names_that_are_no_unicode_do_not_hinder(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    folders = [write_masks(tmp_path / side, {name: [square(1)] * 3}) for side in ("gt", "results")]
    assert "caf\\udce9" in written(vos.evaluate(*folders), tmp_path)


def test_pictures_show_image_annotation_and_result(evaluation):
    sequence = evaluation.sequences[0]
    index = sequence.frame_names.index("00003")
    image, annotation, result = map(
        picture, draw_frame(evaluation.settings.images_dir, sequence, index)
    )
    assert image.shape == annotation.shape == result.shape == (*FRAME_HW, 3)

    def is_ground(picture):
        return np.abs(picture - image).max(axis=2) < 40  # WebP is lossy

    outside, inside_both, result_only = (2, 28), (11, 12), (11, 17)
    assert [is_ground(each)[outside] for each in (annotation, result)] == [True, True]
    assert [is_ground(each)[inside_both] for each in (annotation, result)] == [False, False]
    assert [is_ground(each)[result_only] for each in (annotation, result)] == [True, False]
    assert result[10, 4].min() > annotation[10, 4].min() + 40  # the annotation's outline, white


def test_a_missing_image_leaves_its_panel_empty(evaluation, tmp_path):
    folder = evaluation.settings.images_dir / NAME
    (folder / "00003.jpg").unlink()
    (folder / "00007.jpg").write_bytes(b"broken")
    page = written(evaluation, tmp_path)
    assert page.count("no image") == 2
    assert page.count("data:image/webp") == 3 * 5 - 2


@pytest.mark.parametrize(
    ("names", "times"),
    [
        (("1", "2", "4", "11", "12"), (0, 2 / 9, 1)),  # time runs by the frames' numbers
        (("a", "b", "c", "d", "e"), (0, 0.5, 1)),
    ],
)
def test_plots_are_to_scale(tmp_path, names, times):
    folders = [
        write_masks(tmp_path / side, {"a": [square(1, x=x) for x in xs]})
        for side, xs in (("gt", [4] * 5), ("results", [4, 4, 9, 14, 4]))
    ]
    for folder in folders:
        for number, name in enumerate(names):
            (folder / f"a/{number:05d}.png").rename(folder / f"a/{name}.png")
    body = body_of(written(vos.evaluate(*folders), tmp_path))
    lines = {line.get("class"): line.get("points") for line in body.iter("polyline")}
    x, y = np.array([point.split(",") for point in lines["j"].split()], float).T
    np.testing.assert_allclose((x - x[0]) / (x[2] - x[0]), times, atol=1e-3)
    np.testing.assert_allclose((y[2] - y) / (y[2] - y[0]), [1, 1 / 3, 0], atol=1e-2)
    assert [text.text for text in body.iter("text")][-2:] == [names[1], names[3]]
    assert len(list(body.iter("circle"))) == 2 * 3


def test_a_plot_of_one_frame(tmp_path):
    folders = [write_masks(tmp_path / side, {"a": [square(1)] * 3}) for side in ("gt", "results")]
    body = body_of(written(vos.evaluate(*folders), tmp_path))
    assert len(list(body.iter("circle"))) == 2
    assert "Every frame is perfect." in [each.text for each in body.iter("p")]
