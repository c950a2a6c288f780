"""The choice of the method: each has a wing of its own, which takes frames and yields masks."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from vos.config import Memory, RunConfig
from vos.errors import InputError
from vos.records import Frame, FrameMasks, Labels
from vos.sam.model import SamModel
from vos.track.batches import default_batch_size
from vos.track.memory import video as memory_video
from vos.track.memory.video import Remembered, track_by_memory
from vos.track.passes import Pass
from vos.track.published import video as published_video
from vos.track.published.video import Personalized, track_by_similarity

State = Personalized | Remembered
"""What is known after a frame; ``object_ids`` are all objects of the video, ascending."""


def fresh_state(object_ids: tuple[int, ...], config: RunConfig) -> State:
    """Give what is known before the first frame.

    Args:
        object_ids: (K,) all objects of the video, ascending, those too that appear later.
        config: Settings.
    """
    kind = Remembered if isinstance(config.method, Memory) else Personalized
    return kind.fresh(object_ids)


def taught_state(
    references: Sequence[tuple[Frame, Labels]],
    object_ids: tuple[int, ...],
    sam: SamModel,
    config: RunConfig,
    *,
    are_kept: bool = False,
) -> State:
    """Give what is known before the first frame where references are there from the beginning.

    Args:
        references: Frames of one size and their (H, W) label maps, in the order of the video.
        object_ids: (K,) all objects of the video, ascending.
        sam: The model.
        config: Settings.
        are_kept: Whether a pass will learn further references together with these.
    """
    method = config.method
    if isinstance(method, Memory):
        return memory_video.taught(references, object_ids, sam, method, are_kept=are_kept)
    return published_video.taught(references, object_ids, sam, method, are_kept=are_kept)


def track(
    frames: Iterable[Frame],
    wanted: Pass,
    sam: SamModel,
    config: RunConfig,
    state: State,
    previous: int | None = None,
) -> Generator[tuple[Frame, FrameMasks, State], None, None]:
    """Find objects in the frames of a video.

    Args:
        frames: The frames, all of one size.
        wanted: What to do in which of them.
        sam: The model.
        config: Settings.
        state: What is known before the first of ``frames``.
        previous: ``Frame.index`` of the frame before them, if there was one.

    Returns:
        A generator of each frame, its masks, and what is known after it.

    Raises:
        InputError: the state is of another method.
    """
    method = config.method
    if isinstance(method, Memory):
        if isinstance(state, Remembered):
            return track_by_memory(frames, wanted, sam, method, state, previous, soft=config.soft)
    elif isinstance(state, Personalized):
        return track_by_similarity(frames, wanted, sam, method, state, previous, soft=config.soft)
    raise InputError(f"what is known so far is not of the method {method.name}")


def frames_together(config: RunConfig, sam: SamModel) -> int:
    """Give the number of frames that are encoded in one batch: 1 where parts of frames are."""
    if isinstance(config.method, Memory):
        return 1
    return config.method.batch_size or default_batch_size(sam)
