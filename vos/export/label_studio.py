"""Label Studio: pre-annotations with brush masks."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.export.pictures import save_image
from vos.export.runs import runs_of
from vos.files import whole_file, write_whole

_NUM_CHANNELS: Final = 4  # a brush mask is an RGBA picture with the same number in each channel
_WORD_BITS: Final = 8
_SIZES_BITS: Final = (3, 4, 8, 16)  # of run lengths, as Label Studio itself writes


def brush_rle(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask as Label Studio's brush does, which packs runs into bits (thi.ng/rle-pack).

    Args:
        mask: (H, W) bool.

    Returns:
        Bytes: the number of values, four for each pixel; the bits of a value and of the four sizes
        of run lengths; then runs of 0 and 255, row by row.
    """
    bits = [f"{_NUM_CHANNELS * mask.size:032b}", f"{_WORD_BITS - 1:05b}"]
    bits += [f"{size - 1:04b}" for size in _SIZES_BITS]
    longest = 1 << _SIZES_BITS[-1]
    for number, run in enumerate(runs_of(mask)):
        value = f"{255 * (number % 2):08b}"
        left = _NUM_CHANNELS * run
        while left > 0:
            length = min(left, longest)
            size = next(i for i, each in enumerate(_SIZES_BITS) if length <= 1 << each)
            bits.append(f"1{size:02b}{length - 1:0{_SIZES_BITS[size]}b}{value}")
            left -= length
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def write_label_studio(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/tasks.json``, ``name/labels.xml`` and ``name/images/*.jpg``.

    Images are named as local files below the folder of the format; ``labels.xml`` is the labelling
    interface that the tasks belong to.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    interface = files.claim(clip.name, "labels.xml")
    if interface is not None:
        labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in clip.categories)
        text = (
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="labels" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
        )
        write_whole(interface, text.encode())
    path = files.claim(clip.name, "tasks.json")
    if path is None:  # it is written last, so the images are there too
        yield from frames
        return
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write("[")
        for frame in frames:
            name = f"{frame.result.name}.jpg"
            save_image(frame, clip, files, clip.name, "images", name)
            file.write(("," if frame.number else "") + "\n" + json.dumps(_task(frame, clip, name)))
            yield frame
        file.write("\n]\n")


def _task(frame: ExportFrame, clip: Clip, image: str) -> dict[str, object]:
    height, width = frame.masks.labels.shape
    results = [
        {
            "id": f"object{object_id}",
            "type": "brushlabels",
            "from_name": "labels",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": score,
            "value": {
                "format": "rle",
                "rle": brush_rle(mask),
                "brushlabels": [clip.results.names[object_id]],
            },
        }
        for object_id, score, mask, _, _ in frame.present()
    ]
    address = quote(f"{clip.name}/images/{image}")
    return {
        "data": {
            "image": f"/data/local-files/?d={address}",
            "frame_index": frame.result.index,
            "pts_seconds": frame.result.pts_seconds,
        },
        "predictions": [{"model_version": "vos", "result": results}],
    }
