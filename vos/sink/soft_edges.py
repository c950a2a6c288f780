"""Soft edges as a folder of NumPy archives, beside the label maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from vos.files import write_whole
from vos.masks.edges import encode_edges, match_edges
from vos.records import Frame, FrameMasks
from vos.sink.passing import Pair, closing_upstream, written_into


def with_matched_edges(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Make the soft edges of every frame agree with its label map, while frames pass by.

    Args:
        pairs: Frames and their masks, with what is known of their edges.

    Yields:
        The same, with the edges of :func:`vos.masks.edges.match_edges`.
    """
    with closing_upstream(pairs) as upstream:
        for frame, masks in upstream:
            yield frame, replace(masks, edges=match_edges(masks.edges, masks.labels))


def write_soft_edges(pairs: Iterable[Pair], folder: Path) -> Iterator[Pair]:
    """Write ``folder/<frame name>.npz`` while frames pass by.

    Args:
        pairs: From :func:`with_matched_edges`.
        folder: Made when the first frame arrives. Files of the same names are replaced.

    Returns:
        An iterator of the same pairs, each after its file is complete.

    Raises:
        OutputError: the disk refuses.
    """

    def write(frame: Frame, masks: FrameMasks) -> None:
        if masks.edges is not None:
            write_whole(folder / f"{frame.name}.npz", encode_edges(masks.edges))

    return written_into(folder, pairs, write)
