"""What an evaluation gives: J and F per frame, their statistics, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.score.labels import LabelRule
from vos.score.pairs import FramePair
from vos.score.problems import Problem, describe, some_of

MEASURES: Final = (
    "J&F-Mean",
    "J-Mean",
    "J-Recall",
    "J-Decay",
    "F-Mean",
    "F-Recall",
    "F-Decay",
)
"""DAVIS' names of the figures, in DAVIS' order."""

_RECALL_THRESHOLD: Final = 0.5
_NUM_BINS: Final = 4


@dataclass(frozen=True, slots=True)
class Statistics:
    """The figures of DAVIS for one object, or their means over several.

    Attributes:
        j_mean: Mean region similarity, [0, 1].
        j_recall: Share of frames with J > 0.5.
        j_decay: Mean J of the first quarter minus that of the last, [-1, 1].
        f_mean: Mean contour accuracy, [0, 1].
        f_recall: Share of frames with F > 0.5.
        f_decay: Mean F of the first quarter minus that of the last, [-1, 1].
    """

    j_mean: float
    j_recall: float
    j_decay: float
    f_mean: float
    f_recall: float
    f_decay: float

    @property
    def jf_mean(self) -> float:
        """Mean of J-Mean and F-Mean."""
        return (self.j_mean + self.f_mean) / 2

    def measures(self) -> dict[str, float]:
        """Give the figures by DAVIS' names, in the order of ``MEASURES``."""
        figures = (
            self.jf_mean,
            self.j_mean,
            self.j_recall,
            self.j_decay,
            self.f_mean,
            self.f_recall,
            self.f_decay,
        )
        return dict(zip(MEASURES, figures, strict=True))

    @classmethod
    def of_frames(cls, j: NDArray[np.float64], f: NDArray[np.float64]) -> Statistics:
        """Summarise one object.

        The quarters are those of the official code: cut at round(linspace(1, T, 5)), a frame on
        a cut belonging to both sides. Its cuts are 8 bit numbers, so its Decay is meaningless
        beyond 256 frames; this one is not.

        Args:
            j: (T,) float64, J of every scored frame, at least one.
            f: (T,) float64, F of the same frames.
        """
        return cls(*_summary(j), *_summary(f))

    @classmethod
    def mean_of(cls, parts: Iterable[Statistics]) -> Statistics:
        """Average each figure over objects, at least one."""
        columns = zip(*map(astuple, parts), strict=True)
        return cls(*(float(np.mean(column)) for column in columns))


def _summary(values: NDArray[np.float64]) -> tuple[float, float, float]:
    # The tiny addend rounds halves up, where round alone would go to the even neighbour.
    cuts = np.round(np.linspace(1, len(values), _NUM_BINS + 1) + 1e-10).astype(np.int64) - 1
    first, last = values[: cuts[1] + 1], values[cuts[-2] :]
    recall = np.mean(values > _RECALL_THRESHOLD)
    return float(values.mean()), float(recall), float(first.mean() - last.mean())


@dataclass(frozen=True, slots=True, eq=False)
class ObjectScore:
    """One object of one sequence.

    Attributes:
        object_id: The id in the label maps, from 1.
        j: (T,) float64, J of every scored frame.
        f: (T,) float64, F of the same frames.
        statistics: Their summary.
    """

    object_id: int
    j: NDArray[np.float64]
    f: NDArray[np.float64]
    statistics: Statistics


@dataclass(frozen=True, slots=True, eq=False)
class SequenceScore:
    """One sequence.

    Attributes:
        name: The sequence's name.
        pairs: Names and files of the T scored frames, in order.
        objects: The objects by ascending id.
        statistics: Means over the objects.
        rule: How the sequence's label maps were read.
        unknown_ids: Predicted ids that the annotation lacks, each with its number of frames.
    """

    name: str
    pairs: tuple[FramePair, ...]
    objects: tuple[ObjectScore, ...]
    statistics: Statistics
    rule: LabelRule
    unknown_ids: tuple[tuple[int, int], ...]

    @property
    def frame_names(self) -> tuple[str, ...]:
        """Names of the T scored frames."""
        return tuple(pair.name for pair in self.pairs)


@dataclass(frozen=True, slots=True)
class Settings:
    """What was scored, and how.

    Attributes:
        annotations_dir: Folder of the annotated sequences.
        results_dir: Folder of the predicted sequences.
        images_dir: Folder of the sequences' pictures, or None where the layout has none.
        year: 2016, 2017, or None where none was given. 2016 joins all objects into one.
        split: Name of the list of sequences, or None.
        skip_missing: Whether what cannot be scored was left out.
    """

    annotations_dir: Path
    results_dir: Path
    images_dir: Path | None
    year: int | None
    split: str | None
    skip_missing: bool


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The result of :func:`vos.evaluate`.

    Attributes:
        statistics: Global figures: means over all objects of all sequences.
        sequences: The scored sequences, in the order of their list.
        left_out: What could not be scored and was left out.
        settings: What was scored, and how.
        seconds: Wall-clock time.
    """

    statistics: Statistics
    sequences: tuple[SequenceScore, ...]
    left_out: tuple[Problem, ...]
    settings: Settings
    seconds: float

    @property
    def num_objects(self) -> int:
        """Scored objects of all sequences."""
        return sum(len(sequence.objects) for sequence in self.sequences)

    @property
    def num_frames(self) -> int:
        """Scored frames of all sequences."""
        return sum(len(sequence.frame_names) for sequence in self.sequences)

    def objects(self) -> dict[str, ObjectScore]:
        """Give all objects by DAVIS' names, ``<sequence>_<id>``."""
        return {
            f"{sequence.name}_{scored.object_id}": scored
            for sequence in self.sequences
            for scored in sequence.objects
        }

    def remarks(self) -> list[str]:
        """List what a reader of the figures should know: one sentence each, often none."""
        remarks = []
        for sequence in self.sequences:
            if sequence.unknown_ids:
                ids = [
                    f"{object_id} (in {num_frames} frames)"
                    for object_id, num_frames in sequence.unknown_ids
                ]
                remarks.append(
                    f"{sequence.name}: predicted but not annotated, so counted as background: "
                    f"id {some_of(ids)}"
                )
            if sequence.rule.absent_ids:
                remarks.append(
                    f"{sequence.name}: scored as the protocol has it, though the first annotation "
                    f"lacks them: id {some_of(list(map(str, sequence.rule.absent_ids)))}"
                )
        return remarks + [f"left out: {line}" for line in describe(self.left_out)]
