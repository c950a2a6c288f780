"""YouTube-VIS: tracks with a compressed RLE or null for each frame."""

from __future__ import annotations

import json
import shutil
import tempfile
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from vos.errors import InputError
from vos.export.clip import Clip, ExportFrame
from vos.export.coco import coco_box, coco_categories, coco_rle
from vos.export.journal import ExportFiles
from vos.export.pictures import save_image
from vos.files import whole_file


def check_video(clip: Clip) -> None:
    """Refuse pictures where a format wants a video.

    Raises:
        InputError: the results are of pictures.
    """
    if clip.results.frame_hw is None:
        raise InputError("these are results of pictures of their own sizes, and no video")


def write_youtube_vis(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/instances.json``, ``name/results.json`` and ``name/JPEGImages``.

    The first has the tracks as annotations, the second as detections with a score, their mean over
    the frames that show the object.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    paths = [files.claim(clip.name, each) for each in ("instances.json", "results.json")]
    with ExitStack() as stack:
        tracks = [
            _Track(object_id, stack.enter_context(tempfile.TemporaryFile("w+", encoding="ascii")))
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

    def __init__(self, object_id: int, segmentations: IO[str]) -> None:
        self.object_id = object_id
        self.segmentations = segmentations
        self.areas_px = array("q")
        self.boxes = array("d")
        self.sum_of_scores = 0.0

    def add(self, present: tuple[int, float, Any, Any, int] | None, *, is_first: bool) -> None:
        self.segmentations.write("" if is_first else ", ")
        if present is None:
            self.segmentations.write("null")
            self.areas_px.append(0)
            self.boxes.extend((0, 0, 0, 0))
            return
        _, score, mask, box_xyxy, area_px = present
        self.segmentations.write(json.dumps(coco_rle(mask)))
        self.areas_px.append(area_px)
        self.boxes.extend(coco_box(box_xyxy))
        self.sum_of_scores += score

    def copy_segmentations(self, file: IO[str]) -> None:
        self.segmentations.seek(0)
        shutil.copyfileobj(self.segmentations, file)

    @property
    def score(self) -> float:
        num_present = sum(area_px > 0 for area_px in self.areas_px)
        return round(self.sum_of_scores / max(num_present, 1), 6)


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
            track.copy_segmentations(file)
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
            track.copy_segmentations(file)
            file.write("]}")
        file.write("\n]\n")
