"""Label maps as a folder of PNGs, the way DAVIS stores results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from vos.masks import write_label_png
from vos.sink.passing import Pair, written_into


def write_label_pngs(pairs: Iterable[Pair], folder: Path) -> Iterator[Pair]:
    """Write ``folder/<frame name>.png``, indexed with DAVIS' palette, while frames pass by.

    Args:
        pairs: Frames and their masks.
        folder: Made when the first frame arrives, and not again should it vanish. Files of the
            same names are replaced.

    Returns:
        An iterator of the same pairs, each after its file is complete.

    Raises:
        OutputError: the disk refuses.
    """
    return written_into(
        folder,
        pairs,
        lambda frame, masks: write_label_png(folder / f"{frame.name}.png", masks.labels),
    )
