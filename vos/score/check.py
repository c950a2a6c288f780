"""The check before scoring: every file that will be needed, all problems at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vos.errors import MaskError, ScoreError
from vos.masks import read_label_png
from vos.score.frames import FramePair
from vos.score.labels import LabelRule, rule_of
from vos.score.png import check_label_png
from vos.score.scores import Problem, describe
from vos.sets.layout import AnnotationSet, find_sequences, mask_files

_NUM_LINES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class SequencePlan:
    """A sequence that can be scored.

    Attributes:
        name: The sequence's name.
        rule: How its label maps are read.
        pairs: The frames to score, in order, at least one.
    """

    name: str
    rule: LabelRule
    pairs: tuple[FramePair, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be scored, and what cannot.

    Attributes:
        sequences: What can be scored.
        faults: What is missing or broken.
        unscorable: Sequences in which the protocol has nothing to score; nobody's fault.
    """

    sequences: tuple[SequencePlan, ...] = ()
    faults: tuple[Problem, ...] = ()
    unscorable: tuple[Problem, ...] = ()


def check(annotations: AnnotationSet, results_dir: Path, *, join_objects: bool) -> Plan:
    """Look at every file that scoring needs, decoding only the first annotations.

    Args:
        annotations: The sequences to score.
        results_dir: Holds ``<sequence>/<frame>.png``.
        join_objects: Score all objects as one.

    Raises:
        ScoreError: the folder of results does not exist.
    """
    if not results_dir.is_dir():
        raise ScoreError(f"there is no folder of results {results_dir}")

    parts = [
        _check_sequence(name, annotations.annotations_dir, results_dir, join_objects)
        for name in annotations.sequences
    ]
    strangers: tuple[Problem, ...] = ()
    if not annotations.is_selection:
        names = set(find_sequences(results_dir)).difference(annotations.sequences)
        strangers = tuple(Problem(name, None, "is not annotated") for name in sorted(names))
    return Plan(
        tuple(sequence for part in parts for sequence in part.sequences),
        tuple(fault for part in parts for fault in part.faults) + strangers,
        tuple(problem for part in parts for problem in part.unscorable),
    )


def fault_error(faults: Sequence[Problem]) -> ScoreError:
    """Put faults into one error: their number, and lines up to a bound."""
    lines = describe(faults)
    if len(lines) > _NUM_LINES_SHOWN:
        num_hidden = len(lines) - _NUM_LINES_SHOWN
        lines = [*lines[:_NUM_LINES_SHOWN], f"and {num_hidden} more such lines"]
    count = "1 problem" if len(faults) == 1 else f"{len(faults)} problems"
    return ScoreError(
        f"{count}, so nothing was scored; --skip-missing (skip_missing=True) scores the rest:\n"
        + "\n".join(f"  {line}" for line in lines)
    )


def size_fault(annotated_hw: tuple[int, ...], predicted_hw: tuple[int, ...]) -> str | None:
    """Say that two label maps are not of one size, if so."""
    if annotated_hw == predicted_hw:
        return None
    (height, width), (predicted_height, predicted_width) = annotated_hw, predicted_hw
    return (
        f"result is {predicted_width} x {predicted_height} pixels, the annotation "
        f"{width} x {height}"
    )


def _check_sequence(
    name: str, annotations_dir: Path, results_dir: Path, join_objects: bool
) -> Plan:
    """Check one sequence: the plan holds it, says why it cannot be scored, or some of both."""
    annotated_dir, predicted_dir = annotations_dir / name, results_dir / name
    files = mask_files(annotated_dir) if annotated_dir.is_dir() else []
    if not files:
        return Plan(faults=(Problem(name, None, "is not annotated"),))
    try:
        rule = rule_of(read_label_png(files[0]), join_objects=join_objects)
    except MaskError as error:
        return Plan(faults=(Problem(name, files[0].stem, f"annotation: {error}"),))
    scored = files[1:-1]
    if not scored:
        reason = f"needs 3 annotated frames, as the first and last do not count; has {len(files)}"
        return Plan(unscorable=(Problem(name, None, reason),))
    if rule.num_objects == 0:
        return Plan(unscorable=(Problem(name, None, "has no object in its first annotation"),))
    if not predicted_dir.is_dir():
        return Plan(faults=(Problem(name, None, f"has no results ({len(scored)} frames)"),))
    pairs: list[FramePair] = []
    faults: list[Problem] = []
    for annotation in scored:
        pair = FramePair(annotation.stem, annotation, predicted_dir / annotation.name)
        fault = _fault_of(pair)
        if fault is None:
            pairs.append(pair)
        else:
            faults.append(Problem(name, pair.name, fault))
    sequences = (SequencePlan(name, rule, tuple(pairs)),) if pairs else ()
    return Plan(sequences, tuple(faults))


def _fault_of(pair: FramePair) -> str | None:
    if not pair.prediction.exists():
        return "no result"
    part = "annotation"
    try:
        annotated_hw = check_label_png(pair.annotation)
        part = "result"
        predicted_hw = check_label_png(pair.prediction)
    except MaskError as error:
        return f"{part}: {error}"
    return size_fault(annotated_hw, predicted_hw)
