"""Which values of a label map are which object: the rules for ids, void and binary masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.records import Labels

VOID: Final = 255
"""Value of annotated pixels that do not count; as the only non-zero value, a binary mask."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """How the label maps of one sequence are read.

    Attributes:
        num_objects: Objects to score; their ids are 1 to this number.
        is_binary: Every non-zero annotated pixel is object 1, and nothing is void.
        is_joined: All objects count as one, in the annotation and in the prediction.
        absent_ids: Ids up to ``num_objects`` that the first annotation does not show. They are
            scored all the same.
    """

    num_objects: int
    is_binary: bool
    is_joined: bool
    absent_ids: tuple[int, ...] = ()


def rule_of(first_annotation: Labels, *, join_objects: bool) -> LabelRule:
    """Tell from a sequence's first annotation how its label maps are read.

    Args:
        first_annotation: (H, W) uint8.
        join_objects: Score all objects as one, as DAVIS 2016 does.

    Returns:
        The rule; ``num_objects`` is 0 where the annotation shows no object.
    """
    values = _values(first_annotation)
    if values == [VOID]:
        return LabelRule(num_objects=1, is_binary=True, is_joined=join_objects)
    ids = [value for value in values if value != VOID]
    if join_objects:
        return LabelRule(num_objects=min(len(ids), 1), is_binary=False, is_joined=True)
    highest = max(ids, default=0)
    absent = tuple(sorted(set(range(1, highest + 1)).difference(ids)))
    return LabelRule(highest, is_binary=False, is_joined=False, absent_ids=absent)


def annotated_objects(labels: Labels, rule: LabelRule) -> Labels:
    """Bring an annotation to ids 1 to ``rule.num_objects``.

    Args:
        labels: (H, W) uint8 as stored.
        rule: The sequence's rule.

    Returns:
        (H, W) uint8: object ids, 255 where void, any other value is background.
    """
    if rule.is_binary:
        return np.minimum(labels, 1)
    if rule.is_joined:
        return np.where(labels == VOID, labels, np.minimum(labels, 1))
    return labels


def predicted_objects(labels: Labels, rule: LabelRule) -> tuple[Labels, tuple[int, ...]]:
    """Bring a prediction to ids 1 to ``rule.num_objects``.

    Args:
        labels: (H, W) uint8 as stored.
        rule: The sequence's rule.

    Returns:
        (H, W) uint8, where values beyond ``rule.num_objects`` are background, and those values
        in ascending order.
    """
    highest = labels.max()
    if highest == VOID and rule.num_objects == 1 and _values(labels) == [VOID]:
        return np.minimum(labels, 1), ()
    if rule.is_joined:
        unknown = (VOID,) if highest == VOID else ()
        return np.where(labels == VOID, 0, np.minimum(labels, 1)).astype(np.uint8), unknown
    if highest <= rule.num_objects:
        return labels, ()
    return labels, tuple(value for value in _values(labels) if value > rule.num_objects)


def _values(labels: Labels) -> list[int]:
    """List the non-zero values, ascending."""
    counts: NDArray[np.int64] = np.bincount(labels.ravel(), minlength=VOID + 1)
    return [int(value) for value in np.flatnonzero(counts) if value]
