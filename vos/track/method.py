"""The choice of the method: each has a wing of its own, which takes frames and yields masks."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping

from vos.config import Memory, RunConfig
from vos.errors import InputError
from vos.records import Frame, FrameMasks, Labels
from vos.sam.model import SamModel
from vos.track.batches import default_batch_size
from vos.track.memory.video import Remembered, track_by_memory
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


def track(
    frames: Iterable[Frame],
    references: Mapping[int, Labels],
    sam: SamModel,
    config: RunConfig,
    state: State,
) -> Generator[tuple[Frame, FrameMasks, State], None, None]:
    """Find every object in the frames of a video.

    Args:
        frames: The frames, all of one size.
        references: (H, W) label maps by ``Frame.index``. Each corrects its frame and is learned
            from there on, together with those before it.
        sam: The model.
        config: Settings.
        state: What is known before the first of ``frames``.

    Returns:
        A generator of each frame, its masks, and what is known after it.

    Raises:
        InputError: the state is of another method.
    """
    method = config.method
    if isinstance(method, Memory):
        if isinstance(state, Remembered):
            return track_by_memory(frames, references, sam, method, state)
    elif isinstance(state, Personalized):
        return track_by_similarity(frames, references, sam, method, state)
    raise InputError(f"what is known so far is not of the method {method.name}")


def frames_together(config: RunConfig, sam: SamModel) -> int:
    """Give the number of frames that are encoded in one batch: 1 where parts of frames are."""
    if isinstance(config.method, Memory):
        return 1
    return config.method.batch_size or default_batch_size(sam)
