"""Exports read back by the programs that they are for, which need an environment of their own.

``make test-exports`` makes it, and names its Python in ``VOS_READERS_PYTHON``.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from exported_clip import NUM_FRAMES, OBJECT_IDS, make_labels, make_results

import vos
from vos.export.export import export_results

pytestmark = pytest.mark.readers

MASKS = np.stack([make_labels(index) for index in range(NUM_FRAMES)])


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> Path:
    folder = make_results(tmp_path_factory.mktemp("readers"))
    export_results(vos.read_results(folder), ["cvat", "label-studio", "youtube-vis"])
    return folder / "exports"


def run(program: str, *arguments: object) -> str:
    """Run a program in the readers' environment; give what it printed."""
    command = [os.environ["VOS_READERS_PYTHON"], "-c", program, *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


DATUMARO = """
import sys
import datumaro
import numpy as np

dataset = datumaro.Dataset.import_from(sys.argv[1], "cvat")
names = [each.name for each in dataset.categories()[datumaro.AnnotationType.label]]
maps = {}
for item in dataset:
    labels = np.zeros(item.media.data.shape[:2], np.uint8)
    for each in item.annotations:
        labels[each.image > 0] = int(names[each.label].removeprefix("object "))
    maps[item.id] = labels
np.savez(sys.argv[2], **maps)
"""


def test_cvat_by_datumaro(exports, tmp_path):
    run(DATUMARO, exports / "cvat" / "clip", tmp_path / "masks.npz")
    with np.load(tmp_path / "masks.npz") as maps:
        assert sorted(maps) == [f"{index:05d}" for index in range(NUM_FRAMES)]
        np.testing.assert_array_equal(np.stack([maps[name] for name in sorted(maps)]), MASKS)


LABEL_STUDIO = """
import json
import sys
import numpy as np
from label_studio_sdk.converter.brush import decode_rle

maps = []
for task in json.load(open(sys.argv[1])):
    for each in task["predictions"][0]["result"]:
        hw = each["original_height"], each["original_width"]
        labels = maps[-1] if maps and each is not task["predictions"][0]["result"][0] else None
        if labels is None:
            labels = np.zeros(hw, np.uint8)
            maps.append(labels)
        values = decode_rle(each["value"]["rle"]).reshape(*hw, 4)
        object_id = int(each["value"]["brushlabels"][0].removeprefix("object "))
        labels[values[..., 3] > 0] = object_id
np.save(sys.argv[2], np.stack(maps))
"""


def test_label_studio_by_its_converter(exports, tmp_path):
    run(LABEL_STUDIO, exports / "label-studio" / "clip" / "tasks.json", tmp_path / "masks.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), MASKS)


TRACKEVAL = """
import sys
import trackeval

config = {
    "GT_FOLDER": sys.argv[1] + "/gt/",
    "TRACKERS_FOLDER": sys.argv[1] + "/trackers/",
    "SPLIT_TO_EVAL": "val",
    "PRINT_CONFIG": False,
}
dataset = trackeval.datasets.YouTubeVIS(config)
# As TrackEval's own script for YouTube-VIS sets it.
sides = (0, 128, 256, 100_000)
ranges = [[small**2, large**2] for small, large in zip(sides, sides[1:])]
settings = {"PRINT_CONFIG": False, "USE_TIME_RANGES": False, "AREA_RANGES": ranges}
metrics = [trackeval.metrics.HOTA(), trackeval.metrics.TrackMAP(settings)]
evaluator = trackeval.Evaluator(
    {"PRINT_CONFIG": False, "PRINT_RESULTS": False, "OUTPUT_SUMMARY": False,
     "OUTPUT_DETAILED": False, "PLOT_CURVES": False, "TIME_PROGRESS": False,
     "BREAK_ON_ERROR": True}
)
results, _ = evaluator.evaluate([dataset], metrics)
results = results["YouTubeVIS"]["vos"]["COMBINED_SEQ"]
for name in dataset.class_list:
    of_class = results[name]
    figures = of_class["HOTA"]["HOTA"].mean(), of_class["TrackMAP"]["AP_all"].mean()
    print("FIGURES", name, *figures)
"""


def test_youtube_vis_by_trackeval(exports, tmp_path):
    """The tracks as annotations against the tracks as detections: nothing may differ."""
    source = exports / "youtube-vis" / "clip"
    for name, folder in (
        ("instances.json", tmp_path / "gt" / "youtube_vis_val"),
        ("results.json", tmp_path / "trackers" / "youtube_vis_val" / "vos" / "data"),
    ):
        folder.mkdir(parents=True)
        shutil.copy(source / name, folder)
    lines = run(TRACKEVAL, tmp_path).splitlines()
    figures = [line.split()[-2:] for line in lines if line.startswith("FIGURES")]
    assert len(figures) == len(OBJECT_IDS)
    np.testing.assert_allclose(np.array(figures, float), 1)
