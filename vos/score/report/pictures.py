"""Small pictures of single frames: the image, and the masks to lay over it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos.masks.image_files import BROKEN_IMAGE, open_image
from vos.records import Labels
from vos.score.labels import VOID, annotated_objects, predicted_objects
from vos.score.png import read_labels
from vos.score.scores import SequenceScore, Settings

_LONGEST_SIDE_PX: Final = 400
_JPEG_QUALITY: Final = 80
_IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")
_FORMATS: Final = ("JPEG", "PNG")

# Bright enough to show on photographs; object ids take them in turn.
OBJECT_COLOURS: Final = (
    (255, 56, 96),
    (0, 162, 255),
    (255, 196, 0),
    (0, 190, 120),
    (168, 96, 255),
    (255, 122, 0),
    (0, 214, 214),
)
_NUM_COLOURS: Final = len(OBJECT_COLOURS)
_FILL_ALPHA, _VOID_ALPHA = 115, 150
_VOID_COLOUR, _LINE_COLOUR = (160, 160, 160), (255, 255, 255)
# The overlays' palette: nothing, fills, the same colours solid for edges, void, white line.
_EDGE, _VOID_INDEX = _NUM_COLOURS, 2 * _NUM_COLOURS + 1
_LINE_INDEX = _VOID_INDEX + 1
_PALETTE: Final = [
    (0, 0, 0),
    *OBJECT_COLOURS,
    *OBJECT_COLOURS,
    _VOID_COLOUR,
    _LINE_COLOUR,
]
_ALPHA: Final = bytes([0, *[_FILL_ALPHA] * _NUM_COLOURS, *[255] * _NUM_COLOURS, _VOID_ALPHA, 255])


@dataclass(frozen=True, slots=True)
class Pictures:
    """One frame, each picture as a data URI.

    Attributes:
        width_px: Width of all of them.
        height_px: Height of all of them.
        image: The frame itself, or None where it is not to be had.
        annotation: Annotated objects on transparent ground.
        prediction: Predicted objects on transparent ground, with the annotation's outline.
    """

    width_px: int
    height_px: int
    image: str | None
    annotation: str
    prediction: str


def pictures_of(settings: Settings, sequence: SequenceScore, frame_name: str) -> Pictures:
    """Draw one frame of an evaluation.

    Raises:
        MaskError: a label map can no longer be read.
    """
    file_name = f"{frame_name}.png"
    annotation = annotated_objects(
        read_labels(settings.annotations_dir / sequence.name / file_name), sequence.rule
    )
    prediction, _ = predicted_objects(
        read_labels(settings.results_dir / sequence.name / file_name), sequence.rule
    )
    height, width = annotation.shape
    scale = min(1, _LONGEST_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    annotation, prediction = (_shrink(labels, size) for labels in (annotation, prediction))
    num_objects = sequence.rule.num_objects
    predicted = _paint(prediction, num_objects)
    predicted[_edges(np.where(annotation <= num_objects, annotation, 0).astype(np.uint8))] = (
        _LINE_INDEX
    )
    image = None
    if settings.images_dir is not None:
        image = _shrunk_jpeg(settings.images_dir / sequence.name, frame_name, size)
    return Pictures(*size, image, _png_uri(_paint(annotation, num_objects)), _png_uri(predicted))


def colour_of(object_id: int) -> str:
    """Give an object's colour in CSS."""
    return "#{:02x}{:02x}{:02x}".format(*OBJECT_COLOURS[(object_id - 1) % _NUM_COLOURS])


def _shrink(labels: Labels, size: tuple[int, int]) -> Labels:
    shrunk = cv2.resize(np.ascontiguousarray(labels), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(shrunk, dtype=np.uint8)


def _edges(labels: Labels) -> NDArray[np.bool_]:
    gradient = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(gradient) > 0


def _paint(labels: Labels, num_objects: int) -> NDArray[np.uint8]:
    """Turn object ids into indices of the overlays' palette."""
    is_object = (labels > 0) & (labels <= num_objects)
    painted = np.where(is_object, (labels.astype(np.int64) - 1) % _NUM_COLOURS + 1, 0)
    painted[is_object & _edges(labels)] += _EDGE
    painted[(labels == VOID) & ~is_object] = _VOID_INDEX
    return painted.astype(np.uint8)


def _png_uri(painted: NDArray[np.uint8]) -> str:
    image = Image.fromarray(painted)
    image.putpalette(np.array(_PALETTE, np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=_ALPHA, optimize=True)
    return _uri("image/png", buffer.getvalue())


def _shrunk_jpeg(folder: Path, frame_name: str, size: tuple[int, int]) -> str | None:
    for suffix in _IMAGE_SUFFIXES:
        try:
            with open_image(folder / (frame_name + suffix), _FORMATS) as image:
                image.draft("RGB", size)
                small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        except BROKEN_IMAGE:
            continue
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
        return _uri("image/jpeg", buffer.getvalue())
    return None


def _uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
