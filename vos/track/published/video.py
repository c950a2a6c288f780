"""A video by PerSAM-F or PerSAM: frames to masks, and what one frame hands to the next."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from vos.config import PublishedMethod
from vos.errors import InputError
from vos.masks.boxes import tight_boxes_xyxy
from vos.records import Frame, FrameMasks, Labels
from vos.sam.model import SamModel
from vos.track.masks import correct, nothing_found
from vos.track.passes import Pass, Start
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


def taught(
    references: Sequence[tuple[Frame, Labels]],
    object_ids: tuple[int, ...],
    sam: SamModel,
    config: PublishedMethod,
    *,
    are_kept: bool,
) -> Personalized:
    """Give what references teach before the first frame.

    Args:
        references: Frames and their (H, W) label maps, in the order of the video.
        object_ids: (K,) all objects of the video, ascending.
        sam: The model.
        config: Settings.
        are_kept: Whether further references are to be learned together with these.
    """
    with closing(encode((frame for frame, _ in references), sam, 1)) as encoded:
        known = tuple(zip(encoded, (labels for _, labels in references), strict=True))
    targets = personalize(known, object_ids, sam, config)
    priors = fresh_priors(len(object_ids))
    return Personalized(object_ids, targets, priors, known if are_kept else ())


def track_by_similarity(
    frames: Iterable[Frame],
    wanted: Pass,
    sam: SamModel,
    config: PublishedMethod,
    state: Personalized,
    previous: int | None,
    *,
    soft: bool = False,
) -> Generator[tuple[Frame, FrameMasks, Personalized], None, None]:
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
    ids = state.object_ids

    def is_needed(frame: Frame) -> bool:
        is_learned = wanted.learns and wanted.correction(frame.index) is not None
        return is_learned or bool(wanted.tracked(frame.index))

    with closing(encode(frames, sam, config.batch_size, is_needed)) as stream:
        for encoded in stream:
            frame, targets, known = encoded.frame, state.targets, state.references
            priors = state.priors
            for start in wanted.starts(frame.index, previous):
                priors = _start(priors, ids.index(start.object_id), start, config)
            in_frame = targets and _only(targets, wanted.tracked(frame.index))
            if in_frame is None or not in_frame.is_known.any():
                masks = nothing_found(frame.frame_hw, ids)
            else:
                masks = segment_frame(encoded, in_frame, priors, sam, config, soft=soft)
            if (reference := wanted.correction(frame.index)) is not None:
                masks = correct(masks, reference)
                if wanted.learns:
                    known = (*known, (encoded, reference))
                    targets = personalize(known, ids, sam, config)
            if not any(index > frame.index for index in wanted.references):
                known = ()
            state = Personalized(ids, targets, hand_on(masks, config.prior), known)
            previous = frame.index
            yield frame, masks, state


def _only(targets: Targets, wanted: frozenset[int]) -> Targets:
    """Leave the objects that are not wanted as if nothing were known of them."""
    return replace(targets, yet_to_come=targets.yet_to_come | ({*targets.object_ids} - wanted))


def _start(priors: Priors, row: int, start: Start, config: PublishedMethod) -> Priors:
    """Let an object start from a mask."""
    boxes_xyxy, has_box, is_lost = (
        priors.boxes_xyxy.copy(),
        priors.has_box.copy(),
        priors.is_lost.copy(),
    )
    boxes_xyxy[row] = tight_boxes_xyxy(start.mask[None])[0]
    is_lost[row] = start.num_frames_lost > 0
    has_box[row] = not is_lost[row] and config.prior == "box"
    return Priors(boxes_xyxy, has_box, is_lost)
