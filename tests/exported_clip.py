"""Results of a clip that is hard to export, written by the sinks themselves, without a model.

The clip has frames of unequal lengths and is stored turned by 90 degrees. Object 1 has a hole,
object 2 is absent in the middle, object 3 is one pixel.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
from clips import write_clip
from image_sets import image_set
from PIL import Image

from vos.masks import write_label_png
from vos.records import Frame, FrameMasks
from vos.run.job import Job, JobOutputs
from vos.run.outputs import Outputs
from vos.run.references import Reference
from vos.run.results import write_results
from vos.sink.summary import write_summary
from vos.source import open_source
from vos.track.masks import measure

HW = (64, 48)  # as it is shown; it is stored 48 x 64
OBJECT_IDS = (1, 2, 3)
NUM_FRAMES = 12
TIME_BASE = Fraction(1, 600)
PTS = [0, 20, 40, 60, 80, 130, 150, 170, 190, 250, 270, 290]
ABSENT = range(4, 8)


def make_labels(index: int) -> np.ndarray:
    labels = np.zeros(HW, np.uint8)
    labels[10 + index : 30 + index, 6:26] = 1
    labels[16 + index : 20 + index, 12:18] = 0
    if index not in ABSENT:
        labels[44:60, 20 + index : 36 + index] = 2
    labels[3, 40 - index] = 3
    return labels


def masks_of(labels: np.ndarray, index: int) -> FrameMasks:
    return measure(labels, OBJECT_IDS, np.array([0.9, 0.8 - index / 50, 0.4], np.float32))


def write_turned_clip(path: Path) -> Path:
    """Write a clip that players show turned by 90 degrees, with frames of unequal lengths."""
    write_clip(path, NUM_FRAMES, pts=PTS, time_base=TIME_BASE, options={"qp": "4"})
    data = path.read_bytes()
    upright = b"".join(int(v).to_bytes(4, "big") for v in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    turned = b"".join(
        (v & 0xFFFFFFFF).to_bytes(4, "big") for v in (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    )
    start = data.index(b"tkhd")
    head, tail = data[:start], data[start:]
    path.write_bytes(head + tail.replace(upright, turned, 1))
    return path


def job_of(source: Path, out: Path, name: str | None = None) -> Job:
    mask = source.parent / "mask.png"
    if not mask.exists():
        write_label_png(mask, make_labels(0))
    return Job(
        source=str(source),
        references=(Reference(mask=mask),),
        outputs=JobOutputs(folder=out, name=name, overlay_alpha=None),
    )


def write_clip_results(job: Job, **more_of_job: object) -> Path:
    """Write what a run of this job would; give the folder."""
    with open_source(job.source) as source:
        name = job.outputs.name or source.info.name
        outputs = Outputs(folder=job.outputs.folder, name=name, overlay_alpha=None)
        document = job.to_json_values()
        del document["outputs"]["folder"]
        document |= more_of_job
        header = {
            "job": document,
            "source": job.source,
            "selection": document["selection"],
            "versions": {},
        }
        pairs = ((frame, masks_of(make_labels(frame.index), frame.index)) for frame in source)
        for _ in write_results(pairs, outputs, source.info, header):
            pass
    return job.outputs.folder


def make_results(folder: Path, **more_of_job: object) -> Path:
    """Write a clip, the mask of its first frame, and its results; give the results' folder."""
    source = write_turned_clip(folder / "clip.mp4")
    return write_clip_results(job_of(source, folder / "results"), **more_of_job)


def write_results_of(source: Path, out: Path, **selection: object) -> Path:
    """Write results of any video, with a mask that does not move; give the folder."""
    with open_source(source, **selection) as frames:
        labels = np.zeros(frames.info.frame_hw, np.uint8)
        labels[5:20, 5:25] = 1
        masks = measure(labels, (1,), np.ones(1, np.float32))
        outputs = Outputs(folder=out, name=source.stem, overlay_alpha=None)
        header = {"job": {}, "source": str(source), "selection": selection, "versions": {}}
        pairs = ((frame, masks) for frame in frames)
        for _ in write_results(pairs, outputs, frames.info, header):
            pass
    return out


def write_picture_results(folder: Path) -> Path:
    """Write pictures of different sizes and what ``vos images`` would; give the results' folder."""
    out = folder / "out"
    for each in (out, folder / "photos"):
        each.mkdir()
    pairs, files = [], []
    for index, (rgb, labels) in enumerate(image_set(2)):
        picture = folder / "photos" / f"{index}.png"
        Image.fromarray(rgb).save(picture)
        write_label_png(out / f"{index}.png", labels)
        pairs.append((Frame(index, 0.0, str(index), rgb), masks_of(labels, index)))
        files.append({"picture": str(picture), "label_map": f"{index}.png"})
    for _ in write_summary(
        pairs,
        out / "summary.json",
        {"source": str(folder / "photos"), "versions": {}},
        unfinished=folder / "unfinished.json",
        describe=lambda frame, _: files[frame.index],
    ):
        pass
    return out
