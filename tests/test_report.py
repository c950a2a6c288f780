"""The HTML report."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from score_masks import FRAME_HW, square, write_masks

import vos
from vos.score.report.pictures import pictures_of
from vos.score.report.plots import plot_scores
from vos.score.report.write import worst_frames, write_report

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
        Image.new("RGB", FRAME_HW[::-1], (200, 30, 30)).save(images / f"{number:05d}.jpg")
    results = write_masks(tmp_path / "results", {NAME: [square(1, x=x) for x in XS]})
    return vos.evaluate(root, results)


def picture(uri):
    content = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def test_worst_frames_come_first_and_perfect_ones_not_at_all(evaluation):
    sequence = evaluation.sequences[0]
    names = [sequence.frame_names[position] for position in worst_frames(sequence)]
    assert names == ["00003", "00007", "00002", "00005", "00001"]
    (first, *_) = names
    perfect = vos.evaluate(evaluation.settings.annotations_dir, evaluation.settings.annotations_dir)
    assert first == "00003"
    assert worst_frames(perfect.sequences[0]) == []


def test_the_page_holds_everything_itself(evaluation, tmp_path):
    write_report(evaluation, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "http" not in page
    assert "@import" not in page
    assert page.count("data:image/jpeg") == 5  # each image once, shown in three panels
    assert page.count("data:image/png") == 10
    targets = set(re.findall(r'id="([^"]*)"', page))
    assert {link[1:] for link in links if link.startswith("#")} <= targets


def test_the_page_shows_figures_settings_and_names(evaluation, tmp_path):
    write_report(evaluation, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for figure in evaluation.statistics.measures().values():
        assert f"<dd>{figure:.3f}</dd>" in page
    assert "a&lt;b&gt;&amp;&#x27;c" in page
    assert NAME not in page
    assert str(evaluation.settings.results_dir) in page
    body = page[page.index("<body>") : page.index("<script>")]
    ElementTree.fromstring(body.replace("&times;", "x") + "</body>")  # all tags are closed


def test_remarks_are_on_the_page(tmp_path):
    annotations = write_masks(tmp_path / "gt", {"a": [square(1)] * 4, "b": [square(1)]})
    results = write_masks(tmp_path / "results", {"a": [square(2)] * 4})
    write_report(vos.evaluate(annotations, results), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "id 2 (in 2 frames)" in page
    assert "left out: b: needs 3 annotated frames" in page
    assert "data:image/jpeg" not in page  # masks alone
    assert page.count("data:image/png") == 4


def test_pictures_show_image_annotation_and_prediction(evaluation):
    sequence = evaluation.sequences[0]
    pictures = pictures_of(evaluation.settings, sequence, "00003")
    assert (pictures.height_px, pictures.width_px) == FRAME_HW
    np.testing.assert_allclose(picture(pictures.image)[0, 0], (200, 30, 30, 255), atol=6)
    annotation, prediction = picture(pictures.annotation), picture(pictures.prediction)
    np.testing.assert_array_equal(annotation[..., 3] > 0, square(1, x=4) > 0)
    inside_both, predicted_only, outside = (10, 12), (10, 17), (2, 2)
    assert 0 < prediction[inside_both][3] < 255
    assert prediction[predicted_only][3] > 0
    assert prediction[outside][3] == 0
    assert tuple(prediction[6, 4]) == (255, 255, 255, 255)  # the annotation's outline


def test_a_missing_image_leaves_its_place_empty(evaluation, tmp_path):
    folder = evaluation.settings.images_dir / NAME
    (folder / "00003.jpg").unlink()
    (folder / "00007.jpg").write_bytes(b"broken")
    assert pictures_of(evaluation.settings, evaluation.sequences[0], "00007").image is None
    write_report(evaluation, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("no image") == 2
    assert page.count("data:image/jpeg") == 3


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (("00001", "00002", "00011"), (0, 0.1, 1)),  # time runs by the frames' numbers
        (("a", "b", "c"), (0, 0.5, 1)),
    ],
)
def test_plots_are_to_scale(names, places):
    j, f = np.array([0, 0.5, 1]), np.array([1, 1, 1])
    svg = ElementTree.fromstring(plot_scores(names, j, f, marked=[1]))
    lines = {line.get("class"): line.get("points") for line in svg.iter("polyline")}
    x, y = np.array([point.split(",") for point in lines["j"].split()], float).T
    np.testing.assert_allclose((x - x[0]) / (x[2] - x[0]), places, atol=1e-3)
    np.testing.assert_allclose((y[0] - y) / (y[0] - y[2]), j, atol=1e-3)
    assert [text.text for text in svg.iter("text")][-2:] == [names[0], names[2]]


def test_a_plot_of_one_frame():
    svg = ElementTree.fromstring(plot_scores(("00004",), np.ones(1), np.zeros(1), marked=[0]))
    assert len(list(svg.iter("circle"))) == 2
