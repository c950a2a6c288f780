"""SA-V: a folder for each object, a binary mask for each frame; masks may overlap."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.masks import write_label_png


def write_sav(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/001/00000.png`` while frames pass by: 1 where object 1 is, else 0.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    for frame in frames:
        for object_id in clip.results.object_ids:
            path = files.claim(clip.name, f"{object_id:03d}", f"{frame.result.name}.png")
            if path is not None:
                write_label_png(path, (frame.masks.labels == object_id).astype(np.uint8))
        yield frame
