"""Label maps as indexed PNGs, DAVIS' format for masks."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos.errors import InputError, MaskError
from vos.files import write_whole
from vos.masks.image_files import BROKEN_IMAGE, MAX_PIXELS, open_image
from vos.records import Labels

# Pillow spreads 2 and 4 bit grey over 0..255; a label map needs the stored numbers.
_GREY_SPREAD: Final = {"L;2": 85, "L;4": 17}


def _davis_palette() -> NDArray[np.uint8]:
    """Give the colours of label maps: (256, 3) uint8 RGB, as in PASCAL VOC and DAVIS.

    Bit 3k + c of an index becomes bit 7 - k of channel c.
    """
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    colours = np.zeros((256, 3), dtype=np.int64)
    for k in range(8):
        colours |= (index >> (3 * k + channel) & 1) << (7 - k)
    return colours.astype(np.uint8)


DAVIS_PALETTE: Final = _davis_palette()
DAVIS_PALETTE.flags.writeable = False


def read_label_png(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Labels:
    """Read the indices of a palette or grey PNG exactly as they are stored.

    Args:
        path: PNG with a palette or one grey channel, at most 8 bits.
        max_pixels: Most pixels that are legal.

    Returns:
        (H, W) uint8.

    Raises:
        MaskError: the file is missing, broken, too large, no PNG, or holds colours, not
            indices.
    """
    try:
        with open_image(path, ["PNG"], max_pixels) as image:
            if image.mode not in ("P", "L", "1"):
                raise MaskError(
                    f"{path} holds {image.mode} pixels; a label map has a palette or 8 bit grey"
                )
            spread = np.uint8(grey_spread(image))
            return np.asarray(image).astype(np.uint8) // spread
    except FileNotFoundError as error:
        raise MaskError(f"there is no label map {path}") from error
    except MaskError:
        raise
    except BROKEN_IMAGE as error:
        raise MaskError(f"cannot read the label map {path}: {error}") from error


def grey_spread(image: Image.Image) -> int:
    """Give the factor by which Pillow multiplies stored grey values; ask before it decodes."""
    tile = getattr(image, "tile", None)
    return _GREY_SPREAD.get(tile[0][3], 1) if tile else 1


def encode_label_png(labels: Labels) -> bytes:
    """Encode a label map as PNG with DAVIS' palette; the same map gives the same bytes.

    Args:
        labels: (H, W) uint8.

    Raises:
        InputError: ``labels`` is not a non-empty (H, W) uint8 array.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2 or labels.size == 0:
        raise InputError(f"labels must be (H, W) uint8, got {labels.dtype} {labels.shape}")
    image = Image.fromarray(labels)
    image.putpalette(DAVIS_PALETTE.tobytes())
    buffer = io.BytesIO()
    # Label maps are flat: looking for runs alone takes half the time and no more bytes.
    image.save(buffer, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def write_label_png(path: str | os.PathLike[str], labels: Labels) -> None:
    """Write a label map as PNG with DAVIS' palette; the file appears whole or not at all.

    Args:
        path: File to write or replace. Its folder must exist.
        labels: (H, W) uint8.

    Raises:
        InputError: ``labels`` is not a non-empty (H, W) uint8 array.
        OutputError: the disk refuses.
    """
    write_whole(Path(path), encode_label_png(labels))
