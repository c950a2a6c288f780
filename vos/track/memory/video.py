"""A video by memory: frames to masks, and what one frame hands to the next."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vos.config import Memory
from vos.records import Frame, FrameMasks, Labels
from vos.sam.model import SamModel
from vos.track.masks import correct
from vos.track.memory.follow import Tracks, follow
from vos.track.memory.motion import motion_at_rest
from vos.track.memory.relook import Seen
from vos.track.memory.tracks import learn
from vos.track.passes import Pass, Start


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


def taught(
    references: Sequence[tuple[Frame, Labels]],
    object_ids: tuple[int, ...],
    sam: SamModel,
    config: Memory,
    *,
    are_kept: bool,
) -> Remembered:
    """Give what references teach before the first frame.

    Args:
        references: Frames and their (H, W) label maps, in the order of the video.
        object_ids: (K,) all objects of the video, ascending.
        sam: The model.
        config: Settings.
        are_kept: Whether further references are to be learned together with these.
    """
    tracks = tuple(learn(references, object_id, sam, config) for object_id in object_ids)
    return Remembered(Tracks(object_ids, tracks), tuple(references) if are_kept else ())


def track_by_memory(
    frames: Iterable[Frame],
    wanted: Pass,
    sam: SamModel,
    config: Memory,
    state: Remembered,
    previous: int | None,
    *,
    soft: bool = False,
) -> Generator[tuple[Frame, FrameMasks, Remembered], None, None]:
    """Find objects in the frames of a video.

    Args:
        frames: The frames, all of one size.
        wanted: What to do in which of them.
        sam: The model.
        config: Settings.
        state: What is known before the first of ``frames``.
        previous: ``Frame.index`` of the frame before them, if there was one.
        soft: Whether masks come with soft edges.

    Yields:
        Each frame, its masks, and what is known after it.
    """
    for frame in frames:
        tracks = state.tracks
        for start in wanted.starts(frame.index, previous):
            tracks = _start(tracks, start)
        masks, tracks = follow(frame, tracks, sam, config, wanted.tracked(frame.index), soft=soft)
        known = state.references
        if (reference := wanted.correction(frame.index)) is not None:
            masks = correct(masks, reference)
            tracks = replace(tracks, seen=Seen(frame, masks.labels))
            if wanted.learns:
                known = (*known, (frame, reference))
                tracks = _learn_again(tracks, known, sam, config)
        if not any(index > frame.index for index in wanted.references):
            known = ()
        state = Remembered(tracks, known)
        previous = frame.index
        yield frame, masks, state


def _start(tracks: Tracks, start: Start) -> Tracks:
    """Let an object start from a mask, with nothing recent in its memory."""
    motion = replace(motion_at_rest(start.mask), num_frames_lost=start.num_frames_lost)
    started = (
        replace(track, recent=(), rejected=(), motion=motion)
        if track is not None and object_id == start.object_id
        else track
        for object_id, track in zip(tracks.object_ids, tracks.tracks, strict=True)
    )
    return replace(tracks, tracks=tuple(started))


def _learn_again(
    tracks: Tracks, references: tuple[tuple[Frame, Labels], ...], sam: SamModel, config: Memory
) -> Tracks:
    """Learn the objects of the newest reference from all references that show them."""
    newest = set(np.unique(references[-1][1]).tolist())
    learned = (
        learn(references, object_id, sam, config) if object_id in newest else track
        for object_id, track in zip(tracks.object_ids, tracks.tracks, strict=True)
    )
    return replace(tracks, tracks=tuple(learned))
