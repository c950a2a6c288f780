"""Looking twice: where an object was lost and came back, it is followed back from there too."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vos.config import RunConfig
from vos.errors import DamagedSourceError, InputError
from vos.masks import mask_from_array
from vos.masks.image_files import MAX_PIXELS
from vos.records import Frame, FrameMasks, Labels
from vos.run.resume import Selected
from vos.sam.model import SamModel
from vos.segment.forward import memory_of, segment_steps
from vos.segment.read_ahead import read_ahead
from vos.source import Decoder, open_backwards
from vos.source.backwards import check_read_again
from vos.spill import Spill
from vos.track.memory.follow import Tracks, follow
from vos.track.memory.tracks import Track, learn
from vos.track.published.segment import correct, frame_masks

Direction = Literal["forward", "both"]
"""Whether a video is followed once, or a second time from its end to its front."""

CONFIDENT_SHARE: Final = 0.9
"""Of an object's best score: what a frame needs for it to be followed back from there,"""

LEAST_SCORE: Final = 0.5
"""and this, for an object is not learned from a mask that is more likely wrong than right."""

Reference = tuple[Frame, Labels]


def segment_both_ways(
    path: str | os.PathLike[str],
    reference: Labels,
    sam: SamModel,
    config: RunConfig | None = None,
    *,
    later_references: Mapping[int, Labels] | None = None,
    start: int | float | None = None,
    end: int | float | None = None,
    every: int = 1,
    decoder: Decoder = "av",
    max_pixels: int = MAX_PIXELS,
    spill_folder: str | os.PathLike[str] | None = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> Generator[tuple[Frame, FrameMasks], None, None]:
    """Segment the objects of reference masks in every frame of a video, looking twice.

    The first pass is that of :func:`vos.segment_video`. The second one reads the frames from the
    last to the first. Where the first pass lost an object, or did not know it yet, and found it
    again or was shown it later, the object is learned from the references and the next confident
    frame, and followed back from there to where it was lost (:func:`plan_second_pass`). What is
    found of it in between is taken over (:func:`fill_in`); where the first pass saw an object, its
    mask stays, and so do the references. A third pass decodes only.

    Nothing is yielded before the second pass ends. Memory does not grow with the video's length
    but for some bytes per frame and object: label maps wait on the disk, pictures never.

    Args:
        path: A file or a folder, which can be read several times.
        reference: As in ``segment_video``.
        sam: The model.
        config: Settings, with the prior ``memory``; the defaults if None.
        later_references: As in ``segment_video``.
        start: First wanted frame, as in :func:`vos.open_source`.
        end: First frame no longer wanted, likewise.
        every: Of the frames between, every which one is wanted.
        decoder: Library that decodes videos.
        max_pixels: Most pixels that a frame may have.
        spill_folder: Where the folder of the waiting label maps is made, and removed in the end,
            after errors too; the system's place for temporary files if None.
        on_frame: Told the pass, 1 or 2, and how many of its frames are done.

    Yields:
        Each frame with its masks, as ``segment_video``.

    Raises:
        SourceError: the source can be read only once, or gives other frames the next time.
        InputError: it is no path, or the prior is another than ``memory``.
        OutputError: the disk refuses the label maps.
        VosError: as ``segment_video`` and ``open_source``. Where the video is damaged, its good
            frames are followed both ways and yielded first.
    """
    config = config or RunConfig()
    check_both_ways(path, config)
    later = {index: mask_from_array(mask) for index, mask in (later_references or {}).items()}
    video = Selected(os.fspath(path), start, end, every, decoder, max_pixels)
    note = on_frame or (lambda _pass, _num_frames: None)
    with Spill(spill_folder, max_pixels=max_pixels) as seen:
        shown = _look_forward(video, reference, later, sam, config, seen, note)
        _look_back(video, shown, later, sam, config, seen, note)
        with video.open() as source, closing(read_ahead(source, config.num_read_ahead)) as frames:
            for place in range(len(seen.indices)):
                frame = seen.check(place, next(frames, None))
                yield frame, seen.masks(place)
            for frame in frames:
                seen.check(len(seen.indices), frame)


def check_both_ways(path: str | os.PathLike[str], config: RunConfig) -> None:
    """Refuse at once what :func:`segment_both_ways` cannot do.

    Raises:
        SourceError: the source can be read only once.
        InputError: it is no path, or the prior is another than ``memory``.
    """
    if config.prior != "memory":
        raise InputError(
            f"the direction both needs the prior memory, got {config.prior}; take the direction "
            "forward, or the prior memory"
        )
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            "the direction both reads a video several times, so it needs a path, got "
            f"{type(path).__name__}; segment_video takes frames"
        )
    check_read_again(os.fspath(path))


def plan_second_pass(
    scores: NDArray[np.float32], least: float = LEAST_SCORE
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Choose where each object is followed back, and from which frames.

    An object is followed back from the first confident frame after frames without it. A frame is
    confident if its score is at least :data:`CONFIDENT_SHARE` of the object's best after the first
    frame, and not below ``least``. What is lost to the end, or returns without such a frame, is not
    followed.

    Args:
        scores: (T, K) of the first pass, in [0, 1], 0 where an object was not found.
        least: No frame with a lower score is confident.

    Returns:
        (T, K) whether the frame is one from which the object is followed back, and (T, K) whether
        it is one to which it is followed; both never for the first frame.
    """
    starts, followed = np.zeros((2, *scores.shape), dtype=np.bool_)
    if len(scores) < 2:
        return starts, followed
    needed = np.maximum(CONFIDENT_SHARE * scores[1:].max(axis=0), least)
    is_confident = (scores >= needed) & (scores > 0)
    is_open = np.zeros(scores.shape[1], dtype=np.bool_)
    for place in range(1, len(scores)):
        starts[place] = is_open & is_confident[place]
        is_open = (is_open | (scores[place] == 0)) & ~is_confident[place]
        followed[place] = is_open
    comes_later = np.zeros_like(is_open)
    for place in range(len(scores) - 1, 0, -1):
        followed[place] &= comes_later
        comes_later |= starts[place]
    return starts, followed


def fill_in(forward: FrameMasks, backward: FrameMasks) -> FrameMasks:
    """Add to a frame's masks those of objects that only the second pass found.

    A pixel of several objects goes to the one of the highest score, of equal ones to the lowest id.

    Args:
        forward: What the first pass found.
        backward: What the second pass found of the same objects.

    Returns:
        ``forward`` itself if there is nothing to add.
    """
    is_added = (forward.scores == 0) & (backward.scores > 0)
    if not is_added.any():
        return forward
    scores = np.where(is_added, backward.scores, forward.scores)
    labels = np.zeros_like(forward.labels)
    for row in np.argsort(-scores, kind="stable")[::-1]:
        found, object_id = (backward if is_added[row] else forward), forward.object_ids[row]
        labels[found.labels == object_id] = object_id
    return frame_masks(labels, forward.object_ids, scores)


def _look_forward(
    video: Selected,
    reference: Labels,
    later: Mapping[int, Labels],
    sam: SamModel,
    config: RunConfig,
    seen: Spill,
    note: Callable[[int, int], None],
) -> list[Reference]:
    """Follow the objects forward as far as the video is good; give the references and frames."""
    shown: list[Reference] = []
    with (
        suppress(DamagedSourceError),  # the last pass meets it again, after the good frames
        video.open() as source,
        closing(segment_steps(source, reference, sam, config, later_references=later)) as steps,
    ):
        for num_frames, step in enumerate(steps, start=1):
            seen.add(step.frame, step.masks)
            if num_frames == 1:
                shown.append((step.frame, step.masks.labels))
            elif step.frame.index in later:
                shown.append((step.frame, later[step.frame.index]))
            note(1, num_frames)
    return shown


def _look_back(
    video: Selected,
    shown: list[Reference],
    later: Mapping[int, Labels],
    sam: SamModel,
    config: RunConfig,
    seen: Spill,
    note: Callable[[int, int], None],
) -> None:
    """Follow the objects back to where they were lost, and add what is found of them."""
    ids, memory = seen.object_ids, config.memory
    if not ids:  # damaged before the first frame
        return
    starts, followed = plan_second_pass(seen.scores)
    if not starts.any():
        return
    first = int(np.flatnonzero(followed.any(axis=1))[0])
    last = int(np.flatnonzero(starts.any(axis=1))[-1])
    tracks: tuple[Track | None, ...] = (None,) * len(ids)
    with (
        memory_of(sam),
        open_backwards(
            video.path,
            start=video.start,
            end=seen.indices[last] + 1,
            every=video.every,
            decoder=video.decoder,
            max_pixels=video.max_pixels,
        ) as source,
        closing(read_ahead(source, config.num_read_ahead)) as frames,
    ):
        for num_frames, place in enumerate(range(last, first - 1, -1), start=1):
            frame = seen.check(place, next(frames, None))
            tracks = tuple(
                track if is_followed else None
                for track, is_followed in zip(tracks, followed[place], strict=True)
            )
            forward = seen.masks(place)
            if any(tracks):
                backward, after = follow(frame, Tracks(ids, tracks), sam, memory)
                tracks = after.tracks
                both = fill_in(forward, backward)
                if both is not forward:
                    given = later.get(frame.index)
                    seen.replace(place, both if given is None else correct(both, given))
            if starts[place].any():
                others = [each for each in shown if each[0].index != frame.index]
                references = [*others, (frame, forward.labels)]
                tracks = tuple(
                    learn(references, object_id, sam, memory) if is_start else track
                    for object_id, is_start, track in zip(ids, starts[place], tracks, strict=True)
                )
            note(2, num_frames)
