"""Frames that lie in a folder as images."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Generator
from contextlib import ExitStack, closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from vos.errors import DamagedSourceError, InputError, SourceError
from vos.masks.image_files import BROKEN_IMAGE, is_image, open_image
from vos.source.selection import Picture, Selection, deliver
from vos.source.source import Source

IMAGE_SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
PICTURE_FORMATS: Final = ("BMP", "JPEG", "PNG", "WEBP", "AVIF", "TIFF")
DEFAULT_RATE_HZ: Final = Fraction(24)
"""Rate at which pictures are shown whose files do not say."""

_ANIMATED_FORMATS: Final = ("PNG", "WEBP", "AVIF", "TIFF")
_log = logging.getLogger("vos")

Kind = Literal["images", "animation", "video"]
"""A folder of pictures or a still picture; a picture that moves and that Pillow reads; the rest."""


def open_images(
    path: Path,
    selection: Selection,
    *,
    frame_rate_hz: Fraction = DEFAULT_RATE_HZ,
) -> Source:
    """Open a folder of images, or one image.

    Images are decoded by Pillow and turned as their EXIF orientation asks; transparency is
    dropped. Digits in names count as numbers: ``f2.png`` comes before ``f10.png``.

    Args:
        path: A folder with JPEG, PNG, BMP or WebP files, or one such file, AVIF or TIFF.
        selection: The wanted frames.
        frame_rate_hz: Image i is shown at ``i / frame_rate_hz`` seconds.

    Raises:
        InputError: ``frame_rate_hz`` is not positive.
        SourceError: there is no wanted image, or two have the same stem.
    """
    if frame_rate_hz <= 0:
        raise InputError(f"frame_rate_hz must be positive, got {frame_rate_hz}")
    files = image_files(path) if path.is_dir() else [path]
    with ExitStack() as stack:
        unread = _pictures(files, frame_rate_hz, selection.max_pixels)
        pictures = stack.enter_context(closing(unread))
        return Source(
            stack.enter_context(closing(deliver(pictures, selection, str(path)))),
            name=path.resolve().name if path.is_dir() else path.stem,
            frame_rate_hz=selection.rate_hz(frame_rate_hz),
            num_frames=selection.count(len(files), frame_rate_hz),
            resources=stack.pop_all(),
        )


def kind_of(address: str) -> Kind:
    """Tell pictures from videos by what a file holds.

    Its ending counts only for still pictures that FFmpeg reads too: several of them, one after the
    other, are a video to it.
    """
    if os.path.isdir(address):
        return "images"
    try:
        if not os.path.isfile(address) or not is_image(address, PICTURE_FORMATS):
            return "video"
        with open_image(address, PICTURE_FORMATS) as image:
            if num_pictures(image) > 1:
                return "video" if image.format == "PNG" else "animation"
            if image.format in ("AVIF", "TIFF"):
                return "images"
    except BROKEN_IMAGE:
        pass
    return "images" if Path(address).suffix.lower() in IMAGE_SUFFIXES else "video"


def num_pictures(image: ImageFile) -> int:
    """Count the pictures of an animation; a JPEG with further views of its scene is one."""
    return int(getattr(image, "n_frames", 1)) if image.format in _ANIMATED_FORMATS else 1


def image_files(folder: Path) -> list[Path]:
    """List a folder's images in natural order.

    Raises:
        SourceError: the folder cannot be read or holds no image, or two have the same stem.
    """
    try:
        files = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
        ]
    except OSError as error:
        raise SourceError(f"cannot list {folder}: {error.strerror}") from error
    if not files:
        raise SourceError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    files.sort(key=lambda file: _natural_key(file.name))
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(file.stem, file)
        if other is not file:
            raise SourceError(f"{folder}: {other.name} and {file.name} would both be {file.stem}")
    return files


def _natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort digits as numbers, the rest as text, and what is equal then by the whole name."""
    parts = re.findall(r"(\d+)|(\D+)", name.lower())
    return [(int(digits or -1), text) for digits, text in parts], name


def _pictures(
    files: list[Path], frame_rate_hz: Fraction, max_pixels: int
) -> Generator[Picture, None, None]:
    for index, file in enumerate(files):
        yield Picture(
            index, float(index / frame_rate_hz), partial(_load, file, max_pixels), file.stem
        )


def _load(file: Path, max_pixels: int) -> NDArray[np.uint8]:
    try:
        with open_image(file, PICTURE_FORMATS, max_pixels) as image:
            if (number := num_pictures(image)) > 1:
                _log.warning("%s has %d pictures, of which the first is used", file, number)
            return upright_rgb(image)
    except BROKEN_IMAGE as error:
        raise DamagedSourceError(f"cannot read {file}: {error}") from error


def upright_rgb(image: ImageFile) -> NDArray[np.uint8]:
    """Give the current picture of an image as (H, W, 3) uint8 RGB, turned as EXIF asks."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # 16 bits of grey: Pillow would clip them at 255.
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return np.array(upright.convert("RGB"))
