"""Reference masks: from the files and arrays people have to a label map."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from tokenize import TokenError
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vos.errors import MaskError
from vos.masks.image_files import (
    BROKEN_IMAGE,
    MAX_PIXELS,
    check_max_pixels,
    open_image,
    size_fault,
)
from vos.masks.pixels import (
    is_label_map,
    labels_from_colours,
    labels_from_grey,
    labels_from_ids,
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


def read_mask(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Labels:
    """Read a reference mask.

    Read are PNG, JPEG, WebP, BMP, TIFF and GIF (its first picture), and ``.npy`` with a bool or
    integer (H, W) array. They may hold:

    - object ids, as palette indices or grey values: 0 is background, 255 is DAVIS' void and
      becomes background;
    - one object: bool, 0 and 1, or 0 and 255 (65535 at 16 bits);
    - one colour per object on black or transparent ground. A colour of DAVIS' palette gives its
      index there; the other colours take the lowest free ids in ascending order of (R, G, B).
      A palette picture is read by its colours when it has soft edges, or when black is used but
      is not index 0.

    Softened edges go to the nearest object or to the background (grey: above half is object),
    transparency below half is background; both are logged as warnings.

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
    check_max_pixels(max_pixels)
    path = Path(path)
    try:
        if path.suffix.lower() == ".npy":
            _check_array_file(path, max_pixels)
            return mask_from_array(np.load(path, mmap_mode="r", allow_pickle=False))
        with open_image(path, _FORMATS, max_pixels) as image:
            labels = _labels_from_image(image)
    except FileNotFoundError as error:
        raise MaskError(f"there is no mask {path}") from error
    except MaskError as error:
        raise MaskError(f"mask {path}: {error}") from error
    except (*BROKEN_IMAGE, TokenError) as error:  # numpy parses the header of .npy as Python
        raise MaskError(f"cannot read the mask {path}: {error}") from error
    return labels


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
            "they must agree, or be made to with --resize-mask (resize=True)"
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


def _check_array_file(path: Path, max_pixels: int) -> None:
    """Check the size that a ``.npy`` file claims; numpy's own sums overflow.

    Raises:
        MaskError: it is no size of a mask, or too large.
        ValueError: the header is broken.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in _NPY_VERSIONS:
            raise ValueError(f"it is .npy of version {version}")
        shape, _, _ = _NPY_VERSIONS[version](file)
    if min(shape, default=0) < 0:
        raise MaskError(f"a mask must be a non-empty (H, W) array, got shape {shape}")
    fault = size_fault(math.prod(shape), 1, max_pixels)
    if fault is not None:
        raise MaskError(fault)


def _labels_from_image(image: Image.Image) -> Labels:
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
            return labels_from_grey(values, is_lossy=is_lossy)
        if _are_ids(values, np.array(image.getpalette("RGB")).reshape(-1, 3)):
            return labels_from_ids(values)
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


def _are_ids(indices: NDArray[np.int64], palette: NDArray[np.int64]) -> bool:
    """Tell whether a palette picture's indices are object ids, rather than its colours."""
    used = np.unique(indices)
    if used[-1] < len(palette) and (palette[used] == DAVIS_PALETTE[used]).all():
        return True
    (black,) = np.nonzero(palette.max(axis=1) == 0)
    return is_label_map(indices) and (0 in black or not np.isin(used, black).any())
