"""Label maps as a folder of PNGs, the way DAVIS stores results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from vos.files import make_folder
from vos.masks import write_label_png
from vos.sink.passing import Pair, closing_upstream


def write_label_pngs(pairs: Iterable[Pair], folder: Path) -> Iterator[Pair]:
    """Write ``folder/<frame name>.png``, indexed with DAVIS' palette, while frames pass by.

    Args:
        pairs: Frames and their masks.
        folder: Made when the first frame arrives, and not again should it vanish. Files of the
            same names are replaced.

    Yields:
        The same pairs, each after its file is complete.

    Raises:
        OutputError: the disk refuses.
    """
    is_first = True
    with closing_upstream(pairs) as upstream:
        for frame, masks in upstream:
            if is_first:
                make_folder(folder)
            is_first = False
            write_label_png(folder / f"{frame.name}.png", masks.labels)
            yield frame, masks
