"""The choice of the method: each has a wing of its own, which takes frames and yields masks."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from vos.config import Cutie, Memory, Method, PublishedMethod, RunConfig, Sam2, Sam2Size
from vos.errors import CheckpointError, InputError
from vos.records import Frame, FrameMasks, Labels
from vos.sam.devices import available_device
from vos.sam.model import SamModel
from vos.track.batches import default_batch_size
from vos.track.groups import Grouped, Network, track_in_groups
from vos.track.memory import video as memory_video
from vos.track.memory.video import Remembered, track_by_memory
from vos.track.passes import Pass
from vos.track.published import video as published_video
from vos.track.published.video import Personalized, track_by_similarity

State = Personalized | Remembered | Grouped
"""What is known after a frame; ``object_ids`` are all objects of the video, ascending."""

Model = SamModel | Network
"""What a method works with: a SAM, or a network of its own."""


def fresh_state(object_ids: tuple[int, ...], config: RunConfig) -> State:
    """Give what is known before the first frame.

    Args:
        object_ids: (K,) all objects of the video, ascending, those too that appear later.
        config: Settings.
    """
    if isinstance(config.method, Cutie | Sam2):
        return Grouped.fresh(object_ids)
    kind = Remembered if isinstance(config.method, Memory) else Personalized
    return kind.fresh(object_ids)


def taught_state(
    references: Sequence[tuple[Frame, Labels]],
    object_ids: tuple[int, ...],
    sam: Model,
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
    if isinstance(method, Cutie | Sam2):
        return Grouped(object_ids, (), tuple(references))
    sam = _sam_of(sam, method)
    if isinstance(method, Memory):
        return memory_video.taught(references, object_ids, sam, method, are_kept=are_kept)
    return published_video.taught(references, object_ids, sam, method, are_kept=are_kept)


def track(
    frames: Iterable[Frame],
    wanted: Pass,
    sam: Model,
    config: RunConfig,
    state: State,
    previous: int | None = None,
) -> Generator[tuple[Frame, FrameMasks, State], None, None]:
    """Find objects in the frames of a video.

    Args:
        frames: The frames, all of one size.
        wanted: What to do in which of them.
        sam: The model of the method.
        config: Settings.
        state: What is known before the first of ``frames``.
        previous: ``Frame.index`` of the frame before them, if there was one.

    Returns:
        A generator of each frame, its masks, and what is known after it.

    Raises:
        InputError: the state or the model is of another method.
    """
    method = config.method
    if isinstance(method, Cutie | Sam2):
        if isinstance(sam, SamModel) or sam.name != config.method_choice:
            raise InputError(
                f"the method {config.method_choice} has a network of its own and cannot use "
                f"{sam.name}; take vos.load_network(method)"
            )
        if isinstance(state, Grouped):
            return track_in_groups(frames, wanted, sam, method, state, previous)
    elif isinstance(method, Memory):
        if isinstance(state, Remembered):
            sam = _sam_of(sam, method)
            return track_by_memory(frames, wanted, sam, method, state, previous, soft=config.soft)
    elif isinstance(state, Personalized):
        sam = _sam_of(sam, method)
        return track_by_similarity(frames, wanted, sam, method, state, previous, soft=config.soft)
    raise InputError(f"what is known so far is not of the method {method.name}")


def frames_together(config: RunConfig, sam: Model) -> int:
    """Give the number of frames that are encoded in one batch: 1 where the next frame must wait."""
    if isinstance(config.method, PublishedMethod):
        return config.method.batch_size or default_batch_size(sam.device)
    return 1


def load_network(
    method: Cutie | Sam2, checkpoint: str | os.PathLike[str] | None = None, device: str = "auto"
) -> Network:
    """Build the network of a method that has one of its own, and load its weights.

    The last one stays loaded, so that the next run of a page or of a batch finds it there.

    Args:
        method: Settings; of them, only the size matters here.
        checkpoint: A weights file of that network, instead of the published one.
        device: As of :func:`vos.load_sam`.

    Raises:
        MissingPackageError: the package of the network is not installed.
        DeviceError: the device is absent.
        DownloadError: the weights cannot be fetched.
        CheckpointError: the file is missing or holds no weights of this network.
    """
    resolved = available_device(device)
    size = method.size if isinstance(method, Sam2) else None
    if checkpoint is None:
        return _loaded(size, None, 0, resolved)
    path = Path(checkpoint)
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError as error:
        raise CheckpointError(f"cannot read weights from {path}: {error.strerror}") from error
    return _loaded(size, path.absolute(), changed_ns, resolved)


@lru_cache(maxsize=1)
def _loaded(
    size: Sam2Size | None, checkpoint: Path | None, changed_ns: int, device: torch.device
) -> Network:
    if size is None:
        from vos.track.cutie.load import load_cutie

        return load_cutie(checkpoint, device)
    from vos.track.sam2.load import load_sam2

    return load_sam2(size, checkpoint, device)


def _sam_of(model: Model, method: Method) -> SamModel:
    if isinstance(model, SamModel):
        return model
    raise InputError(f"the method {method.name} needs a SAM, got {model.name}")
