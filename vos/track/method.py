"""The prior policies: what a frame's masks follow from, and what they leave to the next frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vos.config import RunConfig
from vos.records import Encoded, FrameMasks, Labels, Priors, Targets
from vos.sam.model import SamModel
from vos.track.memory.follow import Tracks, follow
from vos.track.memory.tracks import learn
from vos.track.published.personalize import personalize
from vos.track.published.prior import POLICIES, fresh_priors
from vos.track.published.segment import frame_masks, segment_frame


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """What the priors ``none`` and ``box`` carry from frame to frame."""

    targets: Targets
    priors: Priors


State = Published | Tracks
Reference = tuple[Encoded, Labels]


def needs_features(config: RunConfig) -> bool:
    """Tell whether the policy wants whole frames encoded; ``memory`` takes looks of its own."""
    return config.prior != "memory"


def start(
    reference: Reference, object_ids: tuple[int, ...], sam: SamModel, config: RunConfig
) -> tuple[FrameMasks, State]:
    """Learn the objects of the first frame.

    Args:
        reference: The frame and its (H, W) label map.
        object_ids: (K,) all objects of the video, ascending, those too that appear later.
        sam: The model.
        config: Settings.

    Returns:
        The reference as the frame's result, and what the next frame needs.
    """
    encoded, labels = reference
    if not needs_features(config):
        shown = [(encoded.frame, labels)]
        tracks = tuple(learn(shown, own_id, sam, config.memory) for own_id in object_ids)
        trust = np.ones(len(object_ids), dtype=np.float32)
        return frame_masks(labels, object_ids, trust), Tracks(object_ids, tracks)
    targets, masks = personalize(encoded, labels, sam, config, object_ids=object_ids)
    priors = POLICIES[config.prior](fresh_priors(len(object_ids)), masks)
    return masks, Published(targets, priors)


def step(
    encoded: Encoded, state: State, sam: SamModel, config: RunConfig
) -> tuple[FrameMasks, State]:
    """Find every object in the next frame.

    Args:
        encoded: The frame, with features where :func:`needs_features` asks for them.
        state: What the frame before it left.
        sam: The model.
        config: Settings.

    Returns:
        The masks, and what the frame after it needs.
    """
    if isinstance(state, Tracks):
        return follow(encoded.frame, state, sam, config.memory)
    masks = segment_frame(encoded, state.targets, state.priors, sam, config)
    return masks, Published(state.targets, POLICIES[config.prior](state.priors, masks))


def learn_again(
    references: Sequence[Reference],
    masks: FrameMasks,
    state: State,
    sam: SamModel,
    config: RunConfig,
) -> State:
    """Learn from a further reference, the newest, together with those before it.

    Args:
        references: All frames with a reference so far, the oldest first.
        masks: The newest one's masks as corrected by its reference.
        state: What :func:`step` left on that frame.
        sam: The model.
        config: Settings.
    """
    ids = masks.object_ids
    if isinstance(state, Tracks):
        frames = [(encoded.frame, labels) for encoded, labels in references]
        held = set(frames[-1][1].ravel().tolist())
        tracks = (
            learn(frames, own_id, sam, config.memory) if own_id in held else track
            for own_id, track in zip(ids, state.tracks, strict=True)
        )
        return Tracks(ids, tuple(tracks))
    *earlier, newest = references
    targets, _ = personalize(*newest, sam, config, earlier=earlier, object_ids=ids)
    return Published(targets, POLICIES[config.prior](state.priors, masks))
