"""The wiring: the only module that knows every stage."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing

from vos.config import RunConfig
from vos.errors import InputError, SourceError
from vos.masks import mask_from_array, match_frame, object_ids
from vos.prefetch import read_ahead
from vos.records import Frame, FrameMasks, Labels
from vos.sam.encode import encode
from vos.sam.model import SamModel
from vos.track.instances import find_instances, instance_ids
from vos.track.personalize import personalize
from vos.track.prior import POLICIES, fresh_priors
from vos.track.segment import correct, segment_frame


def segment_video(
    frames: Iterable[Frame],
    reference: Labels,
    sam: SamModel,
    config: RunConfig | None = None,
    *,
    later_references: Mapping[int, Labels] | None = None,
) -> Generator[tuple[Frame, FrameMasks], None, None]:
    """Segment the objects of one or several reference masks in every frame.

    A later reference corrects its own frame and is learned from there on, together with those
    before it. It speaks of the objects it holds only: its background says nothing of the others,
    which are tracked as in any frame and keep what they have there. An object that appears first
    in a later reference is absent until then. All results have all objects of all references.

    Args:
        frames: The video; memory holds one batch and the read-ahead of it, and the features of
            the reference frames.
        reference: (H, W) label map of the first frame: 0 background, 1 to 254 object ids.
        sam: The model.
        config: Settings; the defaults if None.
        later_references: Further label maps by the index of their frame (``Frame.index``).

    Yields:
        Each frame with its masks, the first with the reference itself.

    Raises:
        MaskError: a reference is empty, of another size, or not a label map.
        SourceError: there is no frame.
        DamagedSourceError: the video broke off; all frames before that were yielded.
        InputError: the frames are not all of one size, or the frame of a later reference is not
            among those after the first; what was yielded before that is good.
    """
    config = config or RunConfig()
    reference = mask_from_array(reference)
    later = {index: mask_from_array(mask) for index, mask in (later_references or {}).items()}
    ids = tuple(sorted({i for mask in (reference, *later.values()) for i in object_ids(mask)}))
    with (
        closing(read_ahead(frames, config.num_read_ahead)) as decoded,
        closing(encode(decoded, sam, config.batch_size)) as stream,
    ):
        first = next(stream, None)
        if first is None:
            raise SourceError("the source holds no frame")
        later = {index: match_frame(mask, first.frame.frame_hw) for index, mask in later.items()}
        known = [(first, match_frame(reference, first.frame.frame_hw))]
        _check_passed(later, first.frame.index)
        targets, masks = personalize(*known[0], sam, config, object_ids=ids)
        yield first.frame, masks

        hand_on = POLICIES[config.prior]
        priors = hand_on(fresh_priors(len(ids)), masks)
        for encoded in stream:
            masks = segment_frame(encoded, targets, priors, sam, config)
            if (given := later.pop(encoded.frame.index, None)) is not None:
                masks = correct(masks, given)
                targets, _ = personalize(encoded, given, sam, config, earlier=known, object_ids=ids)
                known.append((encoded, given))
            _check_passed(later, encoded.frame.index)
            priors = hand_on(priors, masks)
            yield encoded.frame, masks
    if later:
        raise InputError(f"there is no frame {min(later)} for its reference mask")


def segment_images(
    frames: Iterable[Frame],
    references: Sequence[tuple[Frame, Labels]],
    sam: SamModel,
    config: RunConfig | None = None,
    *,
    num_instances: int = 1,
) -> Generator[tuple[Frame, FrameMasks], None, None]:
    """Find the objects of one or several reference pictures in many others.

    Args:
        frames: The pictures, of any sizes; memory holds one batch and the read-ahead of it.
        references: Pictures and their (H, W) label maps; each holds some of the objects.
        sam: The model.
        config: Settings; ``RunConfig.for_images()`` if None.
        num_instances: How often an object may be in a picture. The first one found bears the
            object's id, further ones the ids of ``vos.track.instances.instance_ids``.

    Yields:
        Each picture with its masks.

    Raises:
        InputError: there is no reference, or more instances than ids.
        MaskError: a reference is empty, of another size than its picture, or not a label map.
        DamagedSourceError: a picture cannot be read; those before it were yielded.
    """
    config = config or RunConfig.for_images()
    if not references:
        raise InputError("at least one reference picture with its mask is needed")
    labels = [match_frame(mask_from_array(mask), frame.frame_hw) for frame, mask in references]
    every_id = {object_id for mask in labels for object_id in object_ids(mask)}
    instance_ids(sorted(every_id), num_instances)
    pictures = encode((frame for frame, _ in references), sam, config.batch_size, same_size=False)
    *earlier, (newest, mask) = zip(pictures, labels, strict=True)
    targets, _ = personalize(newest, mask, sam, config, earlier=earlier)
    with (
        closing(read_ahead(frames, config.num_read_ahead)) as decoded,
        closing(encode(decoded, sam, config.batch_size, same_size=False)) as stream,
    ):
        for encoded in stream:
            yield encoded.frame, find_instances(encoded, targets, sam, config, num_instances)


def _check_passed(later: Mapping[int, Labels], index: int) -> None:
    """Refuse a later reference whose frame was not among those that were delivered."""
    if later and min(later) <= index:
        raise InputError(
            f"frame {min(later)} has a reference mask, but is not among the frames used after the "
            f"first one; the one just reached is frame {index}"
        )
