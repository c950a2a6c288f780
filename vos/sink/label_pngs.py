"""Label maps as a folder of PNGs, the way DAVIS stores results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from vos.errors import OutputError
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
            path = folder / f"{frame.name}.png"
            try:
                if is_first:
                    folder.mkdir(parents=True, exist_ok=True)
                is_first = False
                write_label_png(path, masks.labels)
            except OSError as error:
                raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
            yield frame, masks
