"""Formats for annotators and trainers, read back by the libraries that they are for."""

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from exported_clip import (
    ABSENT,
    HW,
    NUM_FRAMES,
    OBJECT_IDS,
    PTS,
    TIME_BASE,
    make_labels,
    make_results,
)
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy.ndimage import binary_fill_holes, label

import vos
from vos.export.clip import ExportOptions
from vos.export.export import export_results
from vos.export.label_studio import brush_rle
from vos.export.yolo import polygons_of
from vos.masks import read_label_png, write_label_png

# pycocotools' own, in what it decodes with.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MASKS = np.stack([make_labels(index) for index in range(NUM_FRAMES)])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Results, exported in all formats in one pass."""
    folder = make_results(tmp_path_factory.mktemp("exported"))
    formats = ["coco", "youtube-vis", "npz", "sav", "yolo", "cvat", "label-studio"]
    export_results(vos.read_results(folder), formats)
    return folder


def rgb_of(made: Path) -> list[np.ndarray]:
    with vos.read_results(made).open_frames() as triples:
        return [frame.rgb for frame, *_ in triples]


def test_coco_by_pycocotools(made):
    folder = made / "exports" / "coco" / "clip"
    coco = COCO(str(folder / "annotations.json"))
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == [
        "object 1",
        "object 2",
        "object 3",
    ]
    frames = rgb_of(made)
    for image in coco.loadImgs(coco.getImgIds()):
        index = image["frame_index"]
        assert image["pts_seconds"] == pytest.approx(float(PTS[index] * TIME_BASE), abs=1e-6)
        with Image.open(folder / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == HW[::-1]
            assert np.abs(np.asarray(picture).astype(int) - frames[index]).mean() < 3
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert [each["track_id"] for each in annotations] == np.unique(MASKS[index])[1:].tolist()
        for each in annotations:
            mask = MASKS[index] == each["track_id"]
            np.testing.assert_array_equal(coco.annToMask(each), mask)
            ys, xs = np.nonzero(mask)
            size = np.ptp(xs) + 1, np.ptp(ys) + 1
            assert each["bbox"] == [xs.min(), ys.min(), *size]
            assert (each["area"], each["iscrowd"]) == (mask.sum(), 0)


def test_coco_by_supervision(made):
    import supervision

    folder = made / "exports" / "coco" / "clip"
    dataset = supervision.DetectionDataset.from_coco(
        str(folder / "images"), str(folder / "annotations.json")
    )
    assert len(dataset) == NUM_FRAMES
    for path, _, detections in dataset:
        labels = MASKS[int(Path(path).stem)]
        for mask, class_id in zip(detections.mask, detections.class_id, strict=True):
            np.testing.assert_array_equal(mask, labels == class_id + 1)
        assert sorted(detections.class_id + 1) == np.unique(labels)[1:].tolist()


def test_youtube_vis_by_pycocotools(made):
    folder = made / "exports" / "youtube-vis" / "clip"
    document = json.loads((folder / "instances.json").read_text())
    (video,) = document["videos"]
    assert (video["height"], video["width"], video["length"]) == (*HW, NUM_FRAMES)
    for name in video["file_names"]:
        assert (folder / "JPEGImages" / name).is_file()
    results = json.loads((folder / "results.json").read_text())
    for row, object_id in enumerate(OBJECT_IDS):
        track, detection = document["annotations"][row], results[row]
        assert (track["id"], track["video_id"], track["category_id"]) == (object_id, 1, object_id)
        pairs = zip(track["segmentations"], detection["segmentations"], strict=True)
        for index, (runs, rle) in enumerate(pairs):
            mask = MASKS[index] == object_id
            if not mask.any():
                assert rle is runs is track["bboxes"][index] is track["areas"][index] is None
                continue
            np.testing.assert_array_equal(coco_mask.decode(rle), mask)
            np.testing.assert_array_equal(coco_mask.decode(coco_mask.frPyObjects(runs, *HW)), mask)
            assert track["areas"][index] == mask.sum()
            np.testing.assert_array_equal(track["bboxes"][index], coco_mask.toBbox(rle))
    assert [each["score"] for each in results] == pytest.approx(
        [0.9, np.mean([0.8 - i / 50 for i in range(NUM_FRAMES) if i not in ABSENT]), 0.4]
    )


def test_npz_by_numpy(made):
    with np.load(made / "exports" / "npz" / "clip.npz") as arrays:
        np.testing.assert_array_equal(arrays["labels"], MASKS)
        np.testing.assert_array_equal(arrays["indices"], np.arange(NUM_FRAMES))
        times = [float(each * TIME_BASE) for each in PTS]
        np.testing.assert_allclose(arrays["pts_seconds"], times, atol=1e-6)
        assert arrays["frame_names"].tolist() == [f"{i:05d}" for i in range(NUM_FRAMES)]
        assert arrays["object_ids"].tolist() == list(OBJECT_IDS)
        assert arrays["names"].tolist() == ["object 1", "object 2", "object 3"]
        ids = np.array(OBJECT_IDS)
        areas_px = (MASKS[:, None] == ids[:, None, None]).sum((2, 3))
        np.testing.assert_array_equal(arrays["areas_px"], areas_px)
        np.testing.assert_array_equal(arrays["present"], areas_px > 0)
        assert arrays["scores"].shape == (NUM_FRAMES, 3)
        assert arrays["boxes_xyxy"][0, 2].tolist() == [40, 3, 40, 3]


def test_sav_file_by_file(made):
    folder = made / "exports" / "sav"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert files == [f"clip/{i:03d}/{n:05d}.png" for i in OBJECT_IDS for n in range(NUM_FRAMES)]
    for object_id in OBJECT_IDS:
        for index, labels in enumerate(MASKS):
            path = folder / "clip" / f"{object_id:03d}" / f"{index:05d}.png"
            np.testing.assert_array_equal(read_label_png(path), labels == object_id)
            with Image.open(path) as image:  # as the official evaluator reads it
                assert set(np.unique(np.asarray(image.convert("P")))) <= {0, 1}


def test_yolo_by_supervision(made):
    import supervision

    folder = made / "exports" / "yolo" / "clip"
    dataset = supervision.DetectionDataset.from_yolo(
        str(folder / "images" / "train"),
        str(folder / "labels" / "train"),
        str(folder / "data.yaml"),
    )
    assert dataset.classes == ["object 1", "object 2", "object 3"]
    assert len(dataset) == NUM_FRAMES
    for path, _, detections in dataset:
        labels = MASKS[int(Path(path).stem)]
        # Holes are filled, and what has fewer than three pixels is left out.
        filled = {i: binary_fill_holes(labels == i) for i in (1, 2) if (labels == i).any()}
        assert sorted(detections.class_id + 1) == sorted(filled)
        for mask, class_id in zip(detections.mask, detections.class_id, strict=True):
            np.testing.assert_array_equal(mask, filled[class_id + 1])


@pytest.mark.parametrize("seed", range(20))
def test_polygons_fill_to_the_mask_again(seed):
    rng = np.random.default_rng(seed)
    hw = rng.integers(5, 40, 2)
    mask = cv2.blur(rng.random(hw), (3, 3)) > rng.uniform(0.4, 0.6)
    polygons, num_holes = polygons_of(mask)
    again = np.zeros(hw, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(again, [polygon], 1)
    filled = binary_fill_holes(mask)
    np.testing.assert_array_equal(again, filled)
    assert num_holes == label(filled & ~mask)[1]


def test_yolo_says_what_it_cannot_hold(tmp_path, caplog):
    export_results(vos.read_results(make_results(tmp_path)), ["yolo"])
    before, *after = (record.getMessage() for record in caplog.records)
    assert before.startswith("yolo: object 3 has fewer than 3 pixels in some frames")
    assert after == [
        f"yolo: {NUM_FRAMES} holes in masks are filled, because polygons have none",
        f"yolo: {NUM_FRAMES} pieces of one or two pixels are left out",
    ]


def test_cvat_element_by_element(made):
    """As CVAT reads it; ``make test-exports`` does it with datumaro."""
    folder = made / "exports" / "cvat" / "clip"
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    assert [each.text for each in root.iter("name")][1:] == ["object 1", "object 2", "object 3"]
    images = root.findall("image")
    assert [int(each.get("id")) for each in images] == list(range(NUM_FRAMES))
    for image, labels in zip(images, MASKS, strict=True):
        assert (int(image.get("height")), int(image.get("width"))) == labels.shape
        assert (folder / "images" / image.get("name")).is_file()
        again = np.zeros_like(labels)
        for each in image:
            left, top, width, height = (
                int(each.get(key)) for key in ("left", "top", "width", "height")
            )
            runs = [int(run) for run in each.get("rle").split(",")]
            assert sum(runs) == width * height
            bits = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
            object_id = int(each.get("label").split()[1])
            again[top : top + height, left : left + width][bits > 0] = object_id
        np.testing.assert_array_equal(again, labels)


def decode_brush(rle: list[int]) -> np.ndarray:
    """Unpack thi.ng/rle-pack, as its documentation says."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    position = 0

    def read(num_bits: int) -> int:
        nonlocal position
        position += num_bits
        return int(bits[position - num_bits : position], 2)

    num_values, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < num_values:
        is_run = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    return np.array(values)


def test_label_studio_bit_by_bit(made):
    """By the packing's own rules; ``make test-exports`` does it with Label Studio's converter."""
    folder = made / "exports" / "label-studio"
    tasks = json.loads((folder / "clip" / "tasks.json").read_text())
    labels_xml = ElementTree.parse(folder / "clip" / "labels.xml").getroot()
    names = [each.get("value") for each in labels_xml.iter("Label")]
    assert names == ["object 1", "object 2", "object 3"]
    for task, labels in zip(tasks, MASKS, strict=True):
        root, image = task["data"]["image"].split("?d=")
        assert root == "/data/local-files/"
        assert (folder / image).is_file()
        again = np.zeros_like(labels)
        for each in task["predictions"][0]["result"]:
            assert (each["original_height"], each["original_width"]) == labels.shape
            values = decode_brush(each["value"]["rle"]).reshape(*labels.shape, 4)
            assert {*np.unique(values)} == {0, 255}
            assert (values == values[..., :1]).all()
            again[values[..., 0] > 0] = names.index(each["value"]["brushlabels"][0]) + 1
        np.testing.assert_array_equal(again, labels)


def test_long_runs_of_the_brush():
    mask = np.zeros((300, 400), bool)
    mask[100:, :] = True
    np.testing.assert_array_equal(decode_brush(brush_rle(mask))[::4] > 0, mask.ravel())
    assert decode_brush(brush_rle(~np.zeros((2, 2), bool))).tolist() == [255] * 16


def test_sav_by_our_own_evaluator(made, tmp_path):
    """Each object's folder is a sequence of masks of one object."""
    for object_id in OBJECT_IDS:
        for index, labels in enumerate(MASKS):
            path = tmp_path / f"{object_id:03d}" / f"{index:05d}.png"
            path.parent.mkdir(exist_ok=True)
            write_label_png(path, (labels == object_id).astype(np.uint8))
    evaluation = vos.evaluate(tmp_path, made / "exports" / "sav" / "clip")
    assert evaluation.num_objects == len(OBJECT_IDS)
    assert (evaluation.statistics.j_mean, evaluation.statistics.f_mean) == (1, 1)


def test_without_images_the_source_is_not_needed(tmp_path):
    folder = make_results(tmp_path)
    (tmp_path / "clip.mp4").unlink()
    options = ExportOptions(images=False)
    export_results(vos.read_results(folder), ["coco", "youtube-vis"], options=options)
    assert not list(folder.rglob("*.jpg"))
    coco = COCO(str(folder / "exports" / "coco" / "clip" / "annotations.json"))
    assert len(coco.getImgIds()) == NUM_FRAMES


def test_objects_of_one_name_are_of_one_category(tmp_path):
    folder = make_results(tmp_path, names={"1": "dog", "3": "dog"})
    export_results(vos.read_results(folder), ["coco"], options=ExportOptions(images=False))
    document = json.loads((folder / "exports" / "coco" / "clip" / "annotations.json").read_text())
    assert [each["name"] for each in document["categories"]] == ["dog", "object 2"]
    categories = {each["track_id"]: each["category_id"] for each in document["annotations"]}
    assert categories == {1: 1, 2: 2, 3: 1}
