"""The wiring: the only module that knows every stage."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain

from vos.config import Method, PublishedMethod, RunConfig
from vos.errors import DeviceError, InputError, SourceError, is_out_of_memory
from vos.masks import mask_from_array, match_frame
from vos.records import Frame, FrameMasks, Labels
from vos.sam.model import SamModel
from vos.segment.plan import all_ids, everywhere
from vos.segment.read_ahead import read_ahead
from vos.source import open_source
from vos.track.method import Model, State, fresh_state, track
from vos.track.passes import Pass
from vos.track.published.instances import instance_ids, search_pictures


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """All that a video's next frame needs to know of the frames before it.

    Attributes:
        frame_index: ``Frame.index`` of the last of them.
        state: What the method knows after it.
    """

    frame_index: int
    state: State


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A frame, its masks, and where the video stands after it."""

    frame: Frame
    masks: FrameMasks
    progress: Progress


def segment_video(
    frames: Iterable[Frame] | str | os.PathLike[str],
    reference: Labels,
    sam: Model,
    config: RunConfig | None = None,
    *,
    later_references: Mapping[int, Labels] | None = None,
) -> Generator[tuple[Frame, FrameMasks], None, None]:
    """Segment the objects of one or several reference masks in every frame.

    A later reference corrects its frame and is learned from there on, together with those
    before it. It speaks of the objects it holds only: its background says nothing of the others,
    which are tracked as in any frame and keep what they have there. An object that appears first
    in a later reference is absent until then. All results have all objects of all references.

    Args:
        frames: The video: its frames, or what :func:`vos.open_source` opens. Memory holds one batch
            and the read-ahead of it, and the reference frames while further ones are to come.
        reference: (H, W) label map of the first frame: 0 background, 1 to 254 object ids.
        sam: The model: a SAM, or :func:`vos.load_network` of the settings' method.
        config: Settings; the defaults if None.
        later_references: Further label maps by the index of their frame (``Frame.index``).

    Yields:
        Each frame with its masks, the first with the reference itself.

    Raises:
        MaskError: a reference is empty, of another size, or not a label map.
        SourceError: there is no frame, or the video cannot be opened.
        DamagedSourceError: the video broke off; all frames before that were yielded.
        InputError: the frames are not all of one size, or the frame of a later reference is not
            among those after the first; what was yielded before that is good.
        DeviceError: the memory of the model's device is full.
    """
    with ExitStack() as stack:
        if isinstance(frames, str | os.PathLike):
            frames = stack.enter_context(open_source(frames))
        steps = segment_steps(frames, reference, sam, config, later_references=later_references)
        yield from pairs_of(steps)


def segment_steps(
    frames: Iterable[Frame],
    begin: Labels | Progress,
    sam: Model,
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
    with memory_of(sam, config.method), closing(_decoded(frames, config)) as delivered:
        first = next(delivered, None)
        if isinstance(begin, Progress):
            start: State | Progress = begin
            ids = begin.state.object_ids
            references = {index: mask for index, mask in later.items() if index > begin.frame_index}
        elif first is None:
            raise SourceError("the source holds no frame")
        else:
            _check_passed(later, first.index)
            references = {first.index: mask_from_array(begin), **later}
            ids = all_ids(references.values())
            start = fresh_state(ids, config)
        if first is None:
            if references:
                raise InputError(f"there is no frame {min(references)} for its reference mask")
            return
        references = {i: match_frame(mask, first.frame_hw) for i, mask in references.items()}
        checked = _checked(chain([first], delivered), references)
        del first  # a frame is large, and kept no longer than it is needed
        yield from _track(checked, everywhere(references, ids), start, sam, config)


def segment_pass(
    frames: Iterable[Frame],
    wanted: Pass,
    begin: State | Progress,
    sam: Model,
    config: RunConfig,
) -> Generator[Step, None, None]:
    """Segment frames of a video in one pass, forwards or backwards.

    Args:
        frames: The frames of the pass in its order, or what comes after the progress.
        wanted: Whom to track where.
        begin: What is known before the first frame, or the progress to go on from.
        sam: The model.
        config: Settings.

    Yields:
        Each frame with its masks and the progress after it.

    Raises:
        InputError: the frames are not all of one size.
        DamagedSourceError: the video broke off; all frames before that were yielded.
        DeviceError: the memory of the model's device is full.
    """
    with memory_of(sam, config.method), closing(_decoded(frames, config)) as delivered:
        yield from _track(_checked(delivered, {}), wanted, begin, sam, config)


def _decoded(frames: Iterable[Frame], config: RunConfig) -> Generator[Frame, None, None]:
    with closing(read_ahead(frames, config.num_read_ahead)) as decoded:
        yield from _frames_only(decoded)


def _track(
    frames: Iterator[Frame],
    wanted: Pass,
    begin: State | Progress,
    sam: Model,
    config: RunConfig,
) -> Generator[Step, None, None]:
    previous = begin.frame_index if isinstance(begin, Progress) else None
    state = begin.state if isinstance(begin, Progress) else begin
    with closing(track(frames, wanted, sam, config, state, previous)) as tracked:
        for frame, masks, state in tracked:
            yield Step(frame, masks, Progress(frame.index, state))


def pairs_of(steps: Generator[Step, None, None]) -> Generator[tuple[Frame, FrameMasks], None, None]:
    """Drop the progress."""
    with closing(steps):
        for step in steps:
            yield step.frame, step.masks


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
        InputError: there is no reference, more instances than ids, or a method that needs a video.
        MaskError: a reference is empty, of another size than its picture, or not a label map.
        DamagedSourceError: a picture cannot be read; those before it were yielded.
        DeviceError: the memory of the model's device is full.
    """
    config = config or RunConfig.for_images()
    method = config.method
    if not isinstance(method, PublishedMethod):
        raise InputError(
            f"the method {method.name} needs the frame before, which pictures do not have; take "
            "the settings RunConfig.for_images()"
        )
    if not references:
        raise InputError("at least one reference picture with its mask is needed")
    labels = [match_frame(mask_from_array(mask), frame.frame_hw) for frame, mask in references]
    ids = all_ids(labels)
    instance_ids(ids, num_instances)
    shown = [(frame, mask) for (frame, _), mask in zip(references, labels, strict=True)]
    with (
        memory_of(sam, method),
        closing(read_ahead(frames, config.num_read_ahead)) as decoded,
    ):
        pictures = _frames_only(decoded)
        with closing(search_pictures(pictures, shown, ids, sam, method, num_instances)) as found:
            yield from found


@contextmanager
def memory_of(sam: Model, method: Method) -> Iterator[None]:
    """Say what can be done where memory runs out.

    Raises:
        DeviceError: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        is_batched = isinstance(method, PublishedMethod)
        batch = "a smaller batch (--batch-size 1), " if is_batched else ""
        raise DeviceError(
            f"out of memory on {sam.device}; take {batch}a smaller model or another device"
        ) from error


def _frames_only(items: Iterable[object]) -> Iterator[Frame]:
    """Refuse what is easily taken for frames: arrays, or a path."""
    for item in items:
        if not isinstance(item, Frame):
            raise InputError(
                "frames must be vos.Frame, as vos.open_source and vos.frames_from_arrays give; "
                f"got {type(item).__name__}"
            )
        yield item


def _checked(frames: Iterable[Frame], references: Mapping[int, Labels]) -> Iterator[Frame]:
    """Pass on frames as long as they are of one size and each reference meets its frame."""
    frame_hw: tuple[int, int] | None = None
    waiting = dict(references)
    for frame in frames:
        frame_hw = frame_hw or frame.frame_hw
        if frame.frame_hw != frame_hw:
            raise InputError(
                f"frame {frame.index} is {frame.frame_hw[1]} x {frame.frame_hw[0]} px, "
                f"the first one was {frame_hw[1]} x {frame_hw[0]}; all must be of one size"
            )
        waiting.pop(frame.index, None)
        _check_passed(waiting, frame.index)
        yield frame
    if waiting:
        raise InputError(f"there is no frame {min(waiting)} for its reference mask")


def _check_passed(waiting: Mapping[int, Labels], index: int) -> None:
    """Refuse a later reference whose frame was not among those that were delivered."""
    if waiting and min(waiting) <= index:
        raise InputError(
            f"frame {min(waiting)} has a reference mask, but is not among the frames used after "
            f"the first one; the one just reached is frame {index}"
        )
