"""Methods that are networks of their own follow objects in groups, each with one memory.

The objects of a group start from the same references in the same frame, and the network sees them
together, as its authors mean it. Objects that start elsewhere are a group of their own, and between
groups pixels are settled as between objects. A group that starts knows its references only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch

from vos.config import Cutie, Sam2
from vos.masks import object_ids as ids_in
from vos.records import Frame, FrameMasks, Labels
from vos.track.cutie.memory import CutieGroup
from vos.track.masks import Claim, correct, measure, settle
from vos.track.passes import Pass
from vos.track.sam2.memory import Sam2Group

Group = CutieGroup | Sam2Group
"""Objects that are followed together, and what is remembered of them."""

_EVERYWHERE: Final = (slice(None), slice(None))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One object in one frame.

    Attributes:
        object_id: 1 to 254.
        logits: (H, W) float32, above 0 where the object is; of two objects the higher one's pixel.
        score: In [0, 1], what the network thinks of this mask.
    """

    object_id: int
    logits: torch.Tensor
    score: float


class Network(Protocol):
    """A network that follows objects; the type of its features and groups is its own.

    Attributes:
        name: What ``--method`` calls it.
        weights_sha256: Hash of its weights file, where it is known.
        device: Where it computes.
        dtype: Its arithmetic.
        package: Name of the distribution that it is from.
    """

    name: str
    weights_sha256: str | None
    device: torch.device
    dtype: str
    package: str

    def encode(self, frame: Frame, config: Any) -> Any:
        """Give the features of a frame, which all groups share."""

    def begin(
        self,
        shown: Sequence[tuple[Any, Labels]],
        object_ids: tuple[int, ...],
        num_frames_lost: int,
        config: Any,
    ) -> Any:
        """Give a group as it is after the last of its references.

        Args:
            shown: Features of the references and their (H, W) label maps.
            object_ids: The objects; every reference shows them all.
            num_frames_lost: For how many frames they count as lost; 0 next to the last reference.
            config: Settings.
        """

    def follow(self, features: Any, group: Any, config: Any) -> tuple[Any, Iterator[Found]]:
        """Give a group after its next frame, and its objects there, one after the other."""


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """What is known after a frame.

    Attributes:
        object_ids: (K,) all objects of the video, ascending, those too that appear later.
        groups: Those of them that are followed.
        references: The frames with a reference that are known so far and their label maps, while
            objects are to start from them.
    """

    object_ids: tuple[int, ...]
    groups: tuple[Group, ...]
    references: tuple[tuple[Frame, Labels], ...]

    @classmethod
    def fresh(cls, object_ids: tuple[int, ...]) -> Grouped:
        """Give what is known before the first frame."""
        return cls(object_ids, (), ())


def track_in_groups(
    frames: Iterable[Frame],
    wanted: Pass,
    network: Network,
    config: Cutie | Sam2,
    state: Grouped,
    previous: int | None,
) -> Generator[tuple[Frame, FrameMasks, Grouped], None, None]:
    """Find objects in the frames of a video.

    Args:
        frames: The frames, all of one size.
        wanted: What to do in which of them.
        network: The network.
        config: Settings.
        state: What is known before the first of ``frames``.
        previous: ``Frame.index`` of the frame before them, if there was one.

    Yields:
        Each frame, its masks, and what is known after it.
    """
    ids = state.object_ids
    for frame in frames:
        known, reference = state.references, wanted.correction(frame.index)
        learned = {*ids_in(reference)} if reference is not None and wanted.learns else set()
        starts = wanted.starts(frame.index, previous)
        leaving = learned | {each.object_id for each in starts}
        groups = _only(state.groups, wanted.tracked(frame.index) - leaving, network)
        features = network.encode(frame, config) if groups or starts or learned else None
        begin_at = [(each.object_id, each.reference_index, each.num_frames_lost) for each in starts]
        groups += _begin(known, begin_at, network, config)
        masks, groups = _follow(frame, features, groups, ids, network, config)
        if reference is not None:
            masks = correct(masks, reference)
        if reference is not None and learned:
            known = (*known, (frame, reference))
            begin_at = [(object_id, frame.index, 0) for object_id in sorted(learned)]
            groups += _begin(known, begin_at, network, config, features)
        state = Grouped(ids, groups, known if _are_needed(wanted, frame.index) else ())
        previous = frame.index
        yield frame, masks, state


def _only(groups: tuple[Group, ...], wanted: frozenset[int], network: Network) -> tuple[Group, ...]:
    """Leave some objects, by id; what leaves a group comes back by a start only."""
    kept = (
        [object_id for object_id in group.object_ids if object_id in wanted] for group in groups
    )
    return tuple(group.only(ids) for group, ids in zip(groups, kept, strict=True) if ids)


def _begin(
    known: Sequence[tuple[Frame, Labels]],
    starts: Iterable[tuple[int, int, int]],
    network: Network,
    config: Cutie | Sam2,
    features_of_last: Any = None,
) -> tuple[Group, ...]:
    """Let objects start.

    Args:
        known: Frames with a reference and their label maps.
        starts: Object, ``Frame.index`` of the reference that it starts from, and for how many
            frames it counts as lost.
        network: The network.
        config: Settings.
        features_of_last: Features of the last of ``known``, if they are there.
    """
    references = {frame.index: (frame, labels) for frame, labels in known}
    shown = {index: {*ids_in(labels)} for index, (_, labels) in references.items()}
    alike = defaultdict(list)
    for object_id, reference_index, num_frames_lost in starts:
        showing = [index for index in references if object_id in shown[index]]
        showing.sort(key=lambda index, start=reference_index: abs(index - start))  # type: ignore[misc]
        nearest = tuple(reversed(showing[: config.num_references]))
        alike[nearest, num_frames_lost].append(object_id)

    def features_and_labels(index: int) -> tuple[Any, Labels]:
        frame, labels = references[index]
        if features_of_last is not None and frame is known[-1][0]:
            return features_of_last, labels
        return network.encode(frame, config), labels

    return tuple(
        network.begin(
            [features_and_labels(index) for index in nearest],
            tuple(object_ids),
            num_frames_lost,
            config,
        )
        for (nearest, num_frames_lost), object_ids in alike.items()
    )


def _follow(
    frame: Frame,
    features: Any,
    groups: tuple[Group, ...],
    object_ids: tuple[int, ...],
    network: Network,
    config: Cutie | Sam2,
) -> tuple[FrameMasks, tuple[Group, ...]]:
    """Find the objects of all groups in one frame."""
    followed: list[Group] = []
    scores = dict.fromkeys(object_ids, 0.0)

    def claims() -> Iterator[Claim]:
        for group in groups:
            after, found = network.follow(features, group, config)
            followed.append(after)
            for each in found:
                scores[each.object_id] = each.score
                yield Claim(each.object_id, _EVERYWHERE, each.logits)

    labels = settle(claims(), frame.frame_hw, network.device).labels
    masks = measure(labels, object_ids, np.array([*scores.values()], np.float32))
    return masks, tuple(followed)


def _are_needed(wanted: Pass, index: int) -> bool:
    """Tell whether objects start from references after a frame of a pass."""
    if wanted.learns and any(other > index for other in wanted.references):
        return True
    starting = [each for each in wanted.stretches if each.reference_index is not None]
    if wanted.is_backwards:
        return any(each.last is not None and each.last < index for each in starting)
    return any(each.first > index for each in starting)
