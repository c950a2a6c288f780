"""The wiring: the only module that knows every stage."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from vos.config import RunConfig
from vos.errors import DeviceError, InputError, SourceError, is_out_of_memory
from vos.masks import mask_from_array, match_frame, object_ids
from vos.records import Encoded, Frame, FrameMasks, Labels
from vos.sam.model import SamModel
from vos.segment.read_ahead import read_ahead
from vos.track.method import State, learn_again, needs_features, start, step
from vos.track.published.encode import encode, unencoded
from vos.track.published.instances import find_instances, instance_ids
from vos.track.published.personalize import personalize
from vos.track.published.segment import correct


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """All that a video's next frame needs to know of the frames before it.

    Attributes:
        frame_index: ``Frame.index`` of the last of them.
        state: What the prior policy carries on.
        known: The reference frames so far and their label maps, while further ones are to come.
    """

    frame_index: int
    state: State
    known: tuple[tuple[Encoded, Labels], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A frame, its masks, and where the video stands after it."""

    frame: Frame
    masks: FrameMasks
    progress: Progress


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
        DeviceError: the memory of the model's device is full.
    """
    steps = segment_steps(frames, reference, sam, config, later_references=later_references)
    yield from pairs_of(steps)


def segment_steps(
    frames: Iterable[Frame],
    begin: Labels | Progress,
    sam: SamModel,
    config: RunConfig | None = None,
    *,
    later_references: Mapping[int, Labels] | None = None,
) -> Generator[Step, None, None]:
    """Segment a video as :func:`segment_video` does, from its first frame or from a later one.

    Args:
        frames: The video, or what comes after the progress.
        begin: The reference of the first frame, or the progress to go on from.
        sam: The model.
        config: Settings; the defaults if None.
        later_references: As in :func:`segment_video`; those that have passed are passed over.

    Yields:
        Each frame with its masks and the progress after it.

    Raises:
        VosError: as :func:`segment_video`.
    """
    config = config or RunConfig()
    later = {index: mask_from_array(mask) for index, mask in (later_references or {}).items()}
    with (
        memory_of(sam),
        closing(read_ahead(frames, config.num_read_ahead)) as decoded,
        closing(_stream(decoded, sam, config)) as stream,
    ):
        if isinstance(begin, Progress):
            progress = begin
        else:
            first = _first_step(stream, mask_from_array(begin), later, sam, config)
            progress = first.progress
            yield first
        later = {index: mask for index, mask in later.items() if index > progress.frame_index}
        for encoded in stream:
            masks, state = step(encoded, progress.state, sam, config)
            known = progress.known
            if (given := later.pop(encoded.frame.index, None)) is not None:
                given = match_frame(given, encoded.frame.frame_hw)
                masks = correct(masks, given)
                known = (*known, (encoded, given))
                state = learn_again(known, masks, state, sam, config)
            _check_passed(later, encoded.frame.index)
            progress = Progress(encoded.frame.index, state, known if later else ())
            yield Step(encoded.frame, masks, progress)
    if later:
        raise InputError(f"there is no frame {min(later)} for its reference mask")


def pairs_of(steps: Generator[Step, None, None]) -> Generator[tuple[Frame, FrameMasks], None, None]:
    """Drop the progress."""
    with closing(steps):
        for step in steps:
            yield step.frame, step.masks


def _stream(
    frames: Iterable[Frame], sam: SamModel, config: RunConfig
) -> Generator[Encoded, None, None]:
    """Encode whole frames in batches, where the policy wants that."""
    if needs_features(config):
        return encode(frames, sam, config.batch_size)
    return unencoded(frames)


def _first_step(
    stream: Iterator[Encoded],
    reference: Labels,
    later: Mapping[int, Labels],
    sam: SamModel,
    config: RunConfig,
) -> Step:
    """Learn the objects of the first frame."""
    first = next(stream, None)
    if first is None:
        raise SourceError("the source holds no frame")
    for mask in later.values():
        match_frame(mask, first.frame.frame_hw)
    known = (first, match_frame(reference, first.frame.frame_hw))
    _check_passed(later, first.frame.index)
    ids = tuple(sorted({i for mask in (reference, *later.values()) for i in object_ids(mask)}))
    masks, state = start(known, ids, sam, config)
    progress = Progress(first.frame.index, state, (known,) if later else ())
    return Step(first.frame, masks, progress)


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
            object's id, further ones the ids of ``vos.track.published.instances.instance_ids``.

    Yields:
        Each picture with its masks.

    Raises:
        InputError: there is no reference, or more instances than ids.
        MaskError: a reference is empty, of another size than its picture, or not a label map.
        DamagedSourceError: a picture cannot be read; those before it were yielded.
        DeviceError: the memory of the model's device is full.
    """
    config = config or RunConfig.for_images()
    if not references:
        raise InputError("at least one reference picture with its mask is needed")
    labels = [match_frame(mask_from_array(mask), frame.frame_hw) for frame, mask in references]
    every_id = {object_id for mask in labels for object_id in object_ids(mask)}
    instance_ids(sorted(every_id), num_instances)
    with memory_of(sam):
        every = (frame for frame, _ in references)
        pictures = encode(every, sam, config.batch_size, same_size=False)
        *earlier, (newest, mask) = zip(pictures, labels, strict=True)
        targets, _ = personalize(newest, mask, sam, config, earlier=earlier)
        with (
            closing(read_ahead(frames, config.num_read_ahead)) as decoded,
            closing(encode(decoded, sam, config.batch_size, same_size=False)) as stream,
        ):
            for encoded in stream:
                yield encoded.frame, find_instances(encoded, targets, sam, config, num_instances)


@contextmanager
def memory_of(sam: SamModel) -> Iterator[None]:
    """Say what can be done where memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory on {sam.device}; take a smaller batch (--batch-size 1), a smaller "
            "model or another device"
        ) from error


def _check_passed(later: Mapping[int, Labels], index: int) -> None:
    """Refuse a later reference whose frame was not among those that were delivered."""
    if later and min(later) <= index:
        raise InputError(
            f"frame {min(later)} has a reference mask, but is not among the frames used after the "
            f"first one; the one just reached is frame {index}"
        )
