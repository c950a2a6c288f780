"""Single pictures of an export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.files import whole_file


def save_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture: (H, W), (H, W, 3) or (H, W, 4) uint8; whole or not at all.

    Raises:
        OutputError: the disk refuses.
    """
    with whole_file(path) as unfinished:
        Image.fromarray(pixels).save(unfinished, format="PNG", compress_level=1)


def save_image(frame: ExportFrame, clip: Clip, files: ExportFiles, *parts: str) -> None:
    """Write a frame as JPEG in the best quality for training, if images are wanted.

    Args:
        frame: The frame.
        clip: Says whether images are wanted.
        files: The export.
        parts: The picture's path below the export's folder.

    Raises:
        OutputError: the disk refuses.
    """
    if not clip.options.images:
        return
    path = files.claim(*parts)
    if path is not None:
        with whole_file(path) as unfinished:
            Image.fromarray(frame.rgb).save(unfinished, format="JPEG", quality=95, subsampling=0)
