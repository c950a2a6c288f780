"""Small pictures of single frames: the image, and the masks over it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos.errors import SourceError
from vos.masks import read_label_png
from vos.masks.image_files import BROKEN_IMAGE, open_image
from vos.records import Labels
from vos.score.labels import VOID, annotated_objects, predicted_objects
from vos.score.scores import SequenceScore
from vos.source.images import image_files

_LONGEST_SIDE_PX: Final = 400
_QUALITY: Final = 80
_FORMATS: Final = ("JPEG", "PNG")
_ALPHA: Final = 0.45
_GROUND: Final = (32, 36, 43)  # where there is no image

# Bright enough to show on photographs; object ids take them in turn.
_OBJECT_COLOURS: Final = (
    (255, 56, 96),
    (0, 162, 255),
    (255, 196, 0),
    (0, 190, 120),
    (168, 96, 255),
    (255, 122, 0),
    (0, 214, 214),
)
_COLOURS: Final = np.zeros((VOID + 1, 3), np.uint8)
_COLOURS[1:] = np.resize(_OBJECT_COLOURS, (VOID, 3))
_COLOURS[VOID] = 160


def draw_frame(
    images_dir: Path | None, sequence: SequenceScore, index: int
) -> tuple[str | None, ...]:
    """Draw one frame of an evaluation.

    Args:
        images_dir: Folder of the sequences' images, or None.
        sequence: The frame's sequence.
        index: The frame's index in ``sequence.pairs``.

    Returns:
        Data URIs: the image, or None where it cannot be had; the annotation; the result with the
        annotation's outline. Without ``images_dir`` the last two.

    Raises:
        MaskError: a label map can no longer be read.
    """
    pair, rule = sequence.pairs[index], sequence.rule
    annotation = annotated_objects(read_label_png(pair.annotation), rule)
    result, _ = predicted_objects(read_label_png(pair.result), rule)
    height, width = annotation.shape
    scale = min(1, _LONGEST_SIDE_PX / max(height, width))
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    annotation, result = (_shrink(labels, size_wh) for labels in (annotation, result))
    image = None
    if images_dir is not None:
        image = _read_image(images_dir / sequence.name, pair.name, size_wh)
    ground = np.full((*annotation.shape, 3), _GROUND, np.uint8) if image is None else image
    is_annotated = annotation <= rule.num_objects
    annotation = np.where(is_annotated | (annotation == VOID), annotation, 0)
    with_annotation = _paint(ground, annotation)
    with_result = _paint(ground, np.where(result <= rule.num_objects, result, 0))
    with_result[_edges(np.where(is_annotated, annotation, 0))] = 255
    uris = _uri(with_annotation), _uri(with_result)
    return uris if images_dir is None else (None if image is None else _uri(image), *uris)


def css_colour(object_id: int) -> str:
    """Give an object's colour in CSS."""
    return "#{:02x}{:02x}{:02x}".format(*_COLOURS[object_id])


def _paint(rgb: NDArray[np.uint8], labels: Labels) -> NDArray[np.uint8]:
    """Tint what is not zero, with edges in full colour; leaves ``rgb`` as it is."""
    is_shown, colours = labels > 0, _COLOURS[labels]
    painted = np.where(
        is_shown[..., None], cv2.addWeighted(rgb, 1 - _ALPHA, colours, _ALPHA, 0), rgb
    )
    is_edge = _edges(labels) & is_shown
    painted[is_edge] = colours[is_edge]
    return painted


def _edges(labels: Labels) -> NDArray[np.bool_]:
    gradient = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(gradient) > 0


def _shrink(labels: Labels, size_wh: tuple[int, int]) -> Labels:
    shrunk = cv2.resize(labels, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(shrunk, dtype=np.uint8)


def _read_image(folder: Path, name: str, size_wh: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Read a frame's image, shrunk; None where there is none or it is broken."""
    try:
        (file,) = (file for file in image_files(folder) if file.stem == name)
        with open_image(file, _FORMATS) as image:
            image.draft("RGB", size_wh)
            return np.asarray(image.convert("RGB").resize(size_wh, Image.Resampling.LANCZOS))
    except (SourceError, *BROKEN_IMAGE):
        return None


def _uri(rgb: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
