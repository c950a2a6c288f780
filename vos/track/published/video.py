"""A video by PerSAM-F or PerSAM: frames to masks, and what one frame hands to the next."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass

from vos.config import PublishedMethod
from vos.errors import InputError
from vos.records import Frame, FrameMasks, Labels
from vos.sam.model import SamModel
from vos.track.masks import correct, nothing_found
from vos.track.published.encode import Encoded, encode
from vos.track.published.personalize import personalize
from vos.track.published.prior import Priors, fresh_priors, hand_on
from vos.track.published.segment import segment_frame
from vos.track.published.targets import Targets


@dataclass(frozen=True, slots=True, eq=False)
class Personalized:
    """What is known after a frame.

    Attributes:
        object_ids: (K,) ascending, all objects of the video, those too that appear later.
        targets: The objects; None before the first reference.
        priors: What the frame hands on.
        references: The frames with a reference so far and their label maps, while further
            references are to come.
    """

    object_ids: tuple[int, ...]
    targets: Targets | None
    priors: Priors
    references: tuple[tuple[Encoded, Labels], ...]

    def __post_init__(self) -> None:
        """Check that the object axis agrees.

        Raises:
            InputError: the targets are of other objects.
        """
        if self.targets is not None and self.targets.object_ids != self.object_ids:
            raise InputError(f"targets are of {self.targets.object_ids}, not {self.object_ids}")

    @classmethod
    def fresh(cls, object_ids: tuple[int, ...]) -> Personalized:
        """Give what is known before the first frame."""
        return cls(object_ids, None, fresh_priors(len(object_ids)), ())


def track_by_similarity(
    frames: Iterable[Frame],
    references: Mapping[int, Labels],
    sam: SamModel,
    config: PublishedMethod,
    state: Personalized,
) -> Generator[tuple[Frame, FrameMasks, Personalized], None, None]:
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
    ids = state.object_ids
    with closing(encode(frames, sam, config.batch_size)) as stream:
        for encoded in stream:
            frame, targets, known = encoded.frame, state.targets, state.references
            if targets is None:
                masks = nothing_found(frame.frame_hw, ids)
            else:
                masks = segment_frame(encoded, targets, state.priors, sam, config)
            if (reference := references.get(frame.index)) is not None:
                masks = correct(masks, reference)
                known = (*known, (encoded, reference))
                targets = personalize(known, ids, sam, config)
            if not any(index > frame.index for index in references):
                known = ()
            state = Personalized(ids, targets, hand_on(masks, config.prior), known)
            yield frame, masks, state
