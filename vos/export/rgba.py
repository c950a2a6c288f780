"""Pictures with an alpha channel, as a sequence of PNGs."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.export.pictures import save_png


def write_rgba(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/name.0001.png``, 8 bit RGBA, or ``name/object_1/name.object_1.0001.png``.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    for frame in frames:
        for object_id in clip.subjects:
            path = files.claim(*clip.sequence_parts(frame.number, object_id, ".png"))
            if path is not None:
                rgba = frame.rgba(object_id)
                if clip.options.premultiply:
                    colours = rgba[..., :3].astype(np.uint16) * rgba[..., 3:]
                    rgba[..., :3] = (colours + 127) // 255
                save_png(path, rgba)
        yield frame
