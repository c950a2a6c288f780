"""COCO instances: one JSON with a compressed RLE for each object in each frame."""

from __future__ import annotations

import json
from array import array
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.export.pictures import save_image
from vos.files import whole_file


def coco_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        ``size`` [H, W], and ``counts``: column by column, compressed, as str for JSON.
    """
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def coco_box(box_xyxy: NDArray[np.int64]) -> list[float]:
    """Give a box as COCO has it: left, top, width, height."""
    x0, y0, x1, y1 = box_xyxy.tolist()
    return [float(x0), float(y0), float(x1 - x0 + 1), float(y1 - y0 + 1)]


def coco_categories(clip: Clip) -> list[dict[str, Any]]:
    """List the objects' names as COCO does, with ids from 1."""
    return [{"id": number, "name": name} for number, name in enumerate(clip.categories, start=1)]


def write_coco(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/annotations.json`` and ``name/images/*.jpg`` while frames pass by.

    Beside COCO's own fields an annotation has ``track_id``, the object's id, and ``score``; an
    image has ``frame_index`` and ``pts_seconds`` of the source.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    path = files.claim(clip.name, "annotations.json")
    if path is None:  # it is written last, so the images are there too
        yield from frames
        return
    sizes = array("l")
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": {json.dumps(coco_categories(clip))},\n"annotations": [')
        num_annotations = 0
        for frame in frames:
            save_image(frame, clip, files, clip.name, "images", f"{frame.result.name}.jpg")
            sizes.extend(frame.masks.labels.shape)
            for object_id, score, mask, box_xyxy, area_px in frame.present():
                num_annotations += 1
                annotation = {
                    "id": num_annotations,
                    "image_id": frame.number + 1,
                    "category_id": clip.category(object_id) + 1,
                    "segmentation": coco_rle(mask),
                    "area": area_px,
                    "bbox": coco_box(box_xyxy),
                    "iscrowd": 0,
                    "track_id": object_id,
                    "score": score,
                }
                file.write((",\n" if num_annotations > 1 else "\n") + json.dumps(annotation))
            yield frame
        file.write('],\n"images": [')
        for number, result in enumerate(clip.results.frames):
            image = {
                "id": number + 1,
                "file_name": f"{result.name}.jpg",
                "width": sizes[2 * number + 1],
                "height": sizes[2 * number],
                "frame_index": result.index,
                "pts_seconds": result.pts_seconds,
            }
            file.write((",\n" if number else "\n") + json.dumps(image))
        file.write("\n]}\n")
