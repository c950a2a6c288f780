"""Frames of one sequence, read and scored: the unit of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vos.errors import MaskError
from vos.score.labels import LabelRule, annotated_objects, predicted_objects
from vos.score.measures import score_labels
from vos.score.png import read_labels


@dataclass(frozen=True, slots=True)
class FramePair:
    """The two label maps of one frame."""

    name: str
    annotation: Path
    prediction: Path


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFrames:
    """The scores of T frames.

    Attributes:
        names: The frames that could be read.
        j: (T, num_objects) float64.
        f: (T, num_objects) float64.
        unknown_ids: Predicted ids that are not annotated, with their number of frames.
        faults: Frames that could not be read, with the reason.
    """

    names: tuple[str, ...]
    j: NDArray[np.float64]
    f: NDArray[np.float64]
    unknown_ids: Counter[int]
    faults: tuple[tuple[str, str], ...]


def score_frames(pairs: Sequence[FramePair], rule: LabelRule) -> ScoredFrames:
    """Read and score frames of one sequence.

    Args:
        pairs: The frames' files; annotation and prediction have one size.
        rule: How the sequence's label maps are read.
    """
    names: list[str] = []
    faults: list[tuple[str, str]] = []
    scores: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    unknown_ids: Counter[int] = Counter()
    for pair in pairs:
        part = "annotation"
        try:
            annotation = annotated_objects(read_labels(pair.annotation), rule)
            part = "result"
            prediction, unknown = predicted_objects(read_labels(pair.prediction), rule)
        except MaskError as error:
            faults.append((pair.name, f"{part}: {error}"))
            continue
        names.append(pair.name)
        scores.append(score_labels(annotation, prediction, rule.num_objects))
        unknown_ids.update(unknown)
    j, f = np.reshape(scores, (len(names), 2, rule.num_objects)).swapaxes(0, 1)
    return ScoredFrames(tuple(names), j, f, unknown_ids, tuple(faults))
