"""Reference masks: from the files and arrays people have to a label map."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vos.errors import MaskError
from vos.masks.colours import OBJECT_COLOURS
from vos.masks.image_files import (
    MAX_PIXELS,
    check_max_pixels,
    open_image,
    size_fault,
)
from vos.masks.pixels import (
    Painted,
    Rgb,
    labels_from_colours,
    labels_from_grey,
    labels_from_ids,
    labels_from_palette,
)
from vos.masks.png import DAVIS_PALETTE, grey_spread
from vos.records import Labels

_log = logging.getLogger("vos")

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
# Version 3 is for names of fields that are not Latin.
_NPY_VERSIONS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_LOSSY_FORMATS: Final = ("JPEG", "MPO")  # MPO: a JPEG with further pictures
_FEW_PX: Final = 16  # of an object
_MOST_SHARE: Final = 0.9  # of a mask, for one object
_MAX_STRETCH: Final = 1.05  # of the ratio of width to height


@dataclass(frozen=True, slots=True, eq=False)
class PaintedMask:
    """A label map and how its objects are painted.

    Attributes:
        labels: (H, W) uint8 with ids 0 to 254 and at least one object.
        colours: The colour of each object by its id: that of the file where it has colours of its
            own, which DAVIS' are not, else that of ``vos.masks.OBJECT_COLOURS``.
    """

    labels: Labels
    colours: Mapping[int, Rgb]


def read_mask(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Labels:
    """Read a reference mask.

    Read are PNG, JPEG, WebP, BMP, TIFF and GIF (its first picture), and ``.npy`` with a bool or
    integer (H, W) array. They may hold:

    - object ids, as palette indices or grey values: 0 is background, 255 is DAVIS' void and
      becomes background;
    - one object: bool, 0 and 1, or 0 and 255 (65535 at 16 bits);
    - one colour per object on black or transparent ground. A colour of DAVIS' palette gives its
      index there; the other colours take the lowest free ids in ascending order of (R, G, B).
      A palette picture is read by its colours when it has soft edges, when black is used but is
      not index 0, or when all its used colours are DAVIS', at other indices than there.

    Softened edges go to the nearest object or to the background (grey: above half is object),
    transparency below half is background. Both are logged as warnings; so are objects of a few
    pixels, objects that fill nearly all of the mask, and masks without background, which are
    legal but rarely meant.

    Args:
        path: The mask's file.
        max_pixels: Most pixels that are legal.

    Returns:
        (H, W) uint8 with ids 0 to 254 and at least one object.

    Raises:
        MaskError: the file is missing, broken, too large, of another format or pixel type, holds
            no object, more than 254 of them, or a picture that is no mask.
        InputError: ``max_pixels`` is below 1.
    """
    return read_painted_mask(path, max_pixels=max_pixels).labels


def read_painted_mask(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> PaintedMask:
    """Read a reference mask as :func:`read_mask` does, and the colours of its objects."""
    check_max_pixels(max_pixels)
    path = Path(path)
    colours: Mapping[int, Rgb] = {}
    try:
        if _is_array_file(path):
            _check_array_file(path, max_pixels)
            labels = mask_from_array(np.load(path, mmap_mode="r", allow_pickle=False))
        else:
            with open_image(path, _FORMATS, max_pixels) as image:
                labels, colours = _labels_from_image(image)
    except FileNotFoundError as error:
        raise MaskError(f"there is no mask {path}") from error
    except MaskError as error:
        raise MaskError(f"mask {path}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # of many kinds: numpy parses the header of .npy as Python
        raise MaskError(f"cannot read the mask {path}: {error}") from error
    _warn_of_sizes(labels, path)
    ids = object_ids(labels)
    return PaintedMask(labels, {i: _colour_of(i, colours.get(i)) for i in ids})


def _colour_of(object_id: int, painted: Rgb | None) -> Rgb:
    """Give an object's own colour; DAVIS' stands for its id and is no colour of its own."""
    if painted is not None and painted != tuple(DAVIS_PALETTE[object_id].tolist()):
        return painted
    red, green, blue = OBJECT_COLOURS[object_id].tolist()
    return red, green, blue


def mask_from_array(array: NDArray[np.generic]) -> Labels:
    """Check a reference mask and bring it to one layout.

    Args:
        array: (H, W) bool or integer: object ids 0 to 254, where 255 is void; 0 and 255 alone
            are one object.

    Returns:
        (H, W) uint8 with ids 0 to 254 and at least one object; a copy.

    Raises:
        MaskError: another layout or dtype, an id out of range, or no object.
    """
    if not isinstance(array, np.ndarray):
        raise MaskError(f"a mask must be a numpy array, got {type(array).__name__}")
    if array.ndim != 2 or array.size == 0:
        raise MaskError(f"a mask must be a non-empty (H, W) array, got shape {array.shape}")
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise MaskError(f"a mask must be of bool or integers, got {array.dtype}")
    return labels_from_ids(array)


def match_frame(labels: Labels, frame_hw: tuple[int, int], *, resize: bool = False) -> Labels:
    """Make sure a mask has its frame's size.

    Args:
        labels: (h, w) uint8 label map.
        frame_hw: Height and width of the frame.
        resize: Scale a mask of another size, each pixel taking its nearest neighbour's label.

    Returns:
        (H, W) uint8, ``labels`` itself where the sizes agree.

    Raises:
        MaskError: the sizes differ and ``resize`` is not set, or scaling loses an object.
    """
    if labels.shape == frame_hw:
        return labels
    (height, width), (frame_height, frame_width) = labels.shape, frame_hw
    if not resize:
        raise MaskError(
            f"the mask is {width} x {height} pixels, the frame {frame_width} x {frame_height}; "
            "give a mask of the frame's size, or have it resized (--resize-mask)"
        )
    stretch = (width / height) / (frame_width / frame_height)
    if max(stretch, 1 / stretch) > _MAX_STRETCH:
        _log.warning(
            "mask: %d x %d pixels are stretched to %d x %d, of another shape; it fits only if the "
            "frame was squeezed in the same way when the mask was drawn",
            *(width, height, frame_width, frame_height),
        )
    size = frame_width, frame_height
    scaled = np.array(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    lost = set(np.unique(labels).tolist()) - set(np.unique(scaled).tolist()) - {0}
    if lost:
        raise MaskError(
            f"scaled from {width} x {height} to {frame_width} x {frame_height} pixels, the mask "
            f"loses object {', '.join(map(str, sorted(lost)))}"
        )
    return scaled


def object_ids(labels: Labels) -> tuple[int, ...]:
    """List the objects of a label map.

    Args:
        labels: (H, W) uint8 label map.

    Returns:
        The ids present, ascending, without background.

    Raises:
        MaskError: there is no object.
    """
    ids = tuple(np.unique(labels[labels > 0]).tolist())
    if not ids:
        raise MaskError("the mask holds no object")
    return ids


def _is_array_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX


def _check_array_file(path: Path, max_pixels: int) -> None:
    """Check the size that a ``.npy`` file claims; numpy's own sums overflow.

    Raises:
        MaskError: it is no size of a mask, or too large.
        ValueError: the header is broken.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in _NPY_VERSIONS:
            raise ValueError(f"its version of .npy is {version}, which vos does not know")
        shape, _, _ = _NPY_VERSIONS[version](file)
    if min(shape, default=0) < 0:
        raise MaskError(f"a mask must be a non-empty (H, W) array, got shape {shape}")
    fault = size_fault(math.prod(shape), 1, max_pixels)
    if fault is not None:
        raise MaskError(fault)


def _warn_of_sizes(labels: Labels, path: Path) -> None:
    """Warn of objects that can hardly be meant."""
    counts_px = np.bincount(labels.ravel(), minlength=256)
    for object_id in np.flatnonzero(counts_px[1:]) + 1:
        if counts_px[object_id] < _FEW_PX:
            _log.warning(
                "mask %s: object %d has %d pixels only; it may not be found again",
                *(path, object_id, counts_px[object_id]),
            )
        elif _MOST_SHARE * labels.size < counts_px[object_id] < labels.size:
            _log.warning(
                "mask %s: object %d fills %.0f %% of it; is it the background?",
                *(path, object_id, 100 * counts_px[object_id] / labels.size),
            )
    if counts_px[0] == 0:
        _log.warning("mask %s: no pixel is background (0, black or transparent)", path)


def _labels_from_image(image: Image.Image) -> Painted:
    """Tell ids, one white object and colours apart."""
    is_lossy = image.format in _LOSSY_FORMATS
    spread = grey_spread(image)
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise MaskError("its pixels are floating-point numbers; object ids are integers")
    is_clear = _clear_pixels(image)
    if image.mode in ("1", "L", "P") or image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64) // spread
        values[is_clear] = 0
        if image.mode != "P":
            return labels_from_grey(values, is_lossy=is_lossy), {}
        palette = np.array(image.getpalette("RGB"), dtype=np.int64).reshape(-1, 3)
        if (painted := labels_from_palette(values, palette)) is not None:
            return painted
    rgb = np.array(image.convert("RGB"))
    rgb[is_clear] = 0
    return labels_from_colours(rgb, is_lossy=is_lossy)


def _clear_pixels(image: Image.Image) -> NDArray[np.bool_]:
    """Give (H, W) bool: which pixels are rather transparent than opaque."""
    if not image.has_transparency_data:
        return np.zeros((image.height, image.width), dtype=bool)
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    num_half = np.count_nonzero((alpha > 0) & (alpha < 255))
    if num_half:
        _log.warning("mask: %d half transparent pixels; below half is background", num_half)
    return alpha < 128
