"""YouTube-VIS: tracks with the runs of a mask or null for each frame."""

from __future__ import annotations

import json
import shutil
import tempfile
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

from vos.export.clip import Clip, ExportFrame
from vos.export.coco import coco_box, coco_categories, coco_rle
from vos.export.journal import ExportFiles
from vos.export.pictures import save_image
from vos.export.runs import runs_of
from vos.files import whole_file


def write_youtube_vis(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/instances.json``, ``name/results.json`` and ``name/JPEGImages``.

    The first has the tracks as annotations, with runs as lists of numbers as in the official files,
    which TrackEval insists on. The second has them as detections with a score, the mean over the
    frames that show the object, and compressed runs, which all readers of results want.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    paths = [files.claim(clip.name, each) for each in ("instances.json", "results.json")]
    with ExitStack() as stack:
        temporary = partial(tempfile.TemporaryFile, "w+", encoding="ascii")
        tracks = [
            _Track(object_id, stack.enter_context(temporary()), stack.enter_context(temporary()))
            for object_id in clip.results.object_ids
        ]
        for frame in frames:
            image = f"{frame.result.name}.jpg"
            save_image(frame, clip, files, clip.name, "JPEGImages", clip.name, image)
            present = {each[0]: each for each in frame.present()}
            for track in tracks:
                track.add(present.get(track.object_id), is_first=not frame.number)
            yield frame
        instances, results = paths
        if instances is not None:
            with whole_file(instances) as unfinished:
                _write_instances(unfinished, tracks, clip)
        if results is not None:
            with whole_file(results) as unfinished:
                _write_results(unfinished, tracks, clip)


class _Track:
    """What an object has in each frame; its masks are kept on the disk."""

    def __init__(self, object_id: int, runs: IO[str], compressed: IO[str]) -> None:
        self.object_id = object_id
        self.runs = runs
        self.compressed = compressed
        self.areas_px = array("q")
        self.boxes = array("d")
        self.sum_of_scores = 0.0

    def add(self, present: tuple[int, float, Any, Any, int] | None, *, is_first: bool) -> None:
        comma = "" if is_first else ", "
        if present is None:
            self.runs.write(f"{comma}null")
            self.compressed.write(f"{comma}null")
            self.areas_px.append(0)
            self.boxes.extend((0, 0, 0, 0))
            return
        _, score, mask, box_xyxy, area_px = present
        rle = coco_rle(mask)
        self.compressed.write(comma + json.dumps(rle))
        self.runs.write(comma + json.dumps({**rle, "counts": runs_of(mask.T)}))
        self.areas_px.append(area_px)
        self.boxes.extend(coco_box(box_xyxy))
        self.sum_of_scores += score

    @property
    def score(self) -> float:
        num_present = sum(area_px > 0 for area_px in self.areas_px)
        return round(self.sum_of_scores / max(num_present, 1), 6)


def _copy(source: IO[str], target: IO[str]) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target)


def _write_instances(path: Path, tracks: Sequence[_Track], clip: Clip) -> None:
    height, width = clip.results.frame_hw or (0, 0)
    with path.open("w", encoding="utf-8") as file:
        video = {"id": 1, "width": width, "height": height, "length": clip.num_frames}
        file.write(f'{{"categories": {json.dumps(coco_categories(clip))},\n"videos": [')
        file.write(f'{json.dumps(video)[:-1]}, "file_names": [')
        for number, result in enumerate(clip.results.frames):
            name = json.dumps(f"{clip.name}/{result.name}.jpg")
            file.write(f"{', ' if number else ''}{name}")
        file.write(']}],\n"annotations": [')
        for number, track in enumerate(tracks, start=1):
            annotation = {
                "id": number,
                "video_id": 1,
                "category_id": clip.category(track.object_id) + 1,
                "iscrowd": 0,
                "width": width,
                "height": height,
                "length": clip.num_frames,
            }
            file.write(f"{',' if number > 1 else ''}\n{json.dumps(annotation)[:-1]}")
            file.write(', "areas": [')
            file.write(", ".join(str(area_px) if area_px else "null" for area_px in track.areas_px))
            file.write('], "bboxes": [')
            for row, area_px in enumerate(track.areas_px):
                box = json.dumps(track.boxes[4 * row : 4 * row + 4].tolist()) if area_px else "null"
                file.write(f"{', ' if row else ''}{box}")
            file.write('], "segmentations": [')
            _copy(track.runs, file)
            file.write("]}")
        file.write("\n]}\n")


def _write_results(path: Path, tracks: Sequence[_Track], clip: Clip) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, track in enumerate(tracks, start=1):
            detection = {
                "video_id": 1,
                "category_id": clip.category(track.object_id) + 1,
                "score": track.score,
            }
            file.write(f"{',' if number > 1 else ''}\n{json.dumps(detection)[:-1]}")
            file.write(', "segmentations": [')
            _copy(track.compressed, file)
            file.write("]}")
        file.write("\n]\n")
