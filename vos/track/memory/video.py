"""A video by memory: frames to masks, and what one frame hands to the next."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vos.config import Memory
from vos.records import Frame, FrameMasks, Labels
from vos.sam.model import SamModel
from vos.track.masks import correct
from vos.track.memory.follow import Tracks, follow
from vos.track.memory.relook import Seen
from vos.track.memory.tracks import learn


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """What is known after a frame.

    Attributes:
        tracks: The objects.
        references: The frames with a reference so far and their label maps, while further
            references are to come.
    """

    tracks: Tracks
    references: tuple[tuple[Frame, Labels], ...]

    @classmethod
    def fresh(cls, object_ids: tuple[int, ...]) -> Remembered:
        """Give what is known before the first frame."""
        return cls(Tracks(object_ids, (None,) * len(object_ids)), ())

    @property
    def object_ids(self) -> tuple[int, ...]:
        """All objects of the video, those too that appear later, ascending."""
        return self.tracks.object_ids


def track_by_memory(
    frames: Iterable[Frame],
    references: Mapping[int, Labels],
    sam: SamModel,
    config: Memory,
    state: Remembered,
) -> Generator[tuple[Frame, FrameMasks, Remembered], None, None]:
    """Find every object in the frames of a video.

    Args:
        frames: The frames, all of one size.
        references: (H, W) label maps by ``Frame.index``.
        sam: The model.
        config: Settings.
        state: What is known before the first of ``frames``.

    Yields:
        Each frame, its masks, and what is known after it.
    """
    for frame in frames:
        masks, tracks = follow(frame, state.tracks, sam, config)
        known = state.references
        if (reference := references.get(frame.index)) is not None:
            masks = correct(masks, reference)
            known = (*known, (frame, reference))
            tracks = _learn_again(tracks, known, Seen(frame, masks.labels), sam, config)
        if not any(index > frame.index for index in references):
            known = ()
        state = Remembered(tracks, known)
        yield frame, masks, state


def _learn_again(
    tracks: Tracks,
    references: tuple[tuple[Frame, Labels], ...],
    seen: Seen,
    sam: SamModel,
    config: Memory,
) -> Tracks:
    """Learn the objects of the newest reference from all references that show them."""
    newest = set(np.unique(references[-1][1]).tolist())
    learned = (
        learn(references, object_id, sam, config) if object_id in newest else track
        for object_id, track in zip(tracks.object_ids, tracks.tracks, strict=True)
    )
    return Tracks(tracks.object_ids, tuple(learned), seen)
