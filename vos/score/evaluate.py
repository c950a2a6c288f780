"""The DAVIS 2017 semi-supervised evaluation, on all cores."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError, MaskError, ScoreError
from vos.masks import read_label_png
from vos.score.check import FramePair, SequencePlan, check, fault_error
from vos.score.labels import LabelRule, annotated_objects, predicted_objects
from vos.score.layout import YEAR_OF_ONE_OBJECT, find_annotations
from vos.score.measures import score_labels
from vos.score.scores import (
    Evaluation,
    ObjectScore,
    Problem,
    SequenceScore,
    Settings,
    Statistics,
    describe,
)

_FRAMES_PER_TASK: Final = 16


def evaluate(
    gt_dir: str | os.PathLike[str],
    results_dir: str | os.PathLike[str],
    *,
    year: int | None = None,
    split: str | None = None,
    sequences: Sequence[str] | None = None,
    skip_missing: bool = False,
    num_workers: int | None = None,
) -> Evaluation:
    """Score folders of masks as the official DAVIS 2017 semi-supervised evaluation does.

    The rules:

    - The first and the last annotated frame of a sequence do not count. Every other annotated
      frame counts for every object; frames without annotation are not looked at, so sparsely
      annotated sets are scored on the frames they annotate. A sequence of one or two annotated
      frames has nothing to score and is left out, and so is one without object.
    - The objects are 1 to the highest id of the sequence's first annotation, also ids that it
      skips. Where the only non-zero value of that annotation is 255, the sequence is of DAVIS
      2016's binary kind: every non-zero annotated pixel is object 1.
    - In all other sequences 255 is void: those pixels are cleared from the annotation and from
      the prediction before J and F are taken. This is what the official measures do with void
      pixels. (The official program passes them none in this task, and the annotations that it
      is made for hold none.)
    - A predicted id that the annotation does not have is reported and counts as background; the
      official program stops. An object that is not predicted counts as empty. In a sequence of
      one object a prediction whose only non-zero value is 255 shows that object.
    - J is intersection over union, F the F-measure of the boundaries with a tolerance of
      ceil(0.008 x diagonal) pixels. Where an object is in neither mask, J = F = 1.
    - Per object, Mean is over frames, Recall the share of frames above 0.5, Decay the mean of the
      first quarter of frames less that of the last. Global figures are means over objects, not
      over sequences.
    - With ``year=2016`` all objects of a sequence, annotated or predicted, are joined into one.

    One figure differs on purpose: in sequences of more than 256 scored frames the official
    Decay goes wrong, as its frame numbers overflow 8 bits; this one does not.

    Before anything is scored every file is checked by its checksums, and all problems are
    reported together.

    Args:
        gt_dir: Folder of annotated sequences (``<sequence>/<frame>.png``), such as
            ``DAVIS/Annotations/480p``, or a DAVIS root, which holds ``Annotations``.
        results_dir: Folder of predicted sequences, with the same names inside.
        year: 2016 joins all objects into one; also says whose ``split`` is meant, 2017 if None.
        split: Score the sequences of ``ImageSets/<year>/<split>.txt``; the default is all that
            are annotated, and then a folder of results without annotation is a problem too.
        sequences: Score these instead.
        skip_missing: Leave out what is missing or broken and score the rest. The result lists
            it; its figures compare with no others.
        num_workers: Threads; all cores of this process if None.

    Returns:
        J and F of every frame and object, their statistics, and what was left out.

    Raises:
        InputError: an illegal year or number of workers, or a split beside ``sequences``.
        ScoreError: a folder or the split does not exist; frames or sequences are missing,
            broken or of another size; or nothing is left to score.
    """
    started = time.perf_counter()
    num_workers = available_cores() if num_workers is None else num_workers
    if num_workers < 1:
        raise InputError(f"num_workers must be 1 or more, got {num_workers}")
    gt_dir, results_dir = Path(gt_dir).absolute(), Path(results_dir).absolute()
    annotations = find_annotations(gt_dir, year, split, sequences)
    with ThreadPoolExecutor(num_workers) as threads:
        plan = check(annotations, results_dir, threads, join_objects=year == YEAR_OF_ONE_OBJECT)
        if plan.faults and not skip_missing:
            raise fault_error(plan.faults)
        scored, late_faults = _score(plan.sequences, threads)
    if late_faults and not skip_missing:
        raise fault_error(late_faults)
    left_out = (*plan.faults, *late_faults, *plan.unscorable)
    if not scored:
        raise ScoreError("\n  ".join(["there is nothing to score:", *describe(left_out)]))
    return Evaluation(
        Statistics.mean_of(one.statistics for sequence in scored for one in sequence.objects),
        tuple(scored),
        left_out,
        Settings(
            annotations.annotations_dir,
            results_dir,
            annotations.images_dir,
            year,
            split,
            skip_missing,
            num_workers,
        ),
        time.perf_counter() - started,
    )


def available_cores() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Some frames of a sequence, scored.

    Attributes:
        names: The T frames that could be read.
        j: (T, num_objects) float64.
        f: (T, num_objects) float64.
        unknown_ids: Predicted ids that are not annotated, with their number of frames.
        faults: Frames that could not be read, with the reason.
    """

    names: list[str]
    j: NDArray[np.float64]
    f: NDArray[np.float64]
    unknown_ids: Counter[int]
    faults: list[tuple[str, str]]


def _score(
    sequences: Sequence[SequencePlan], threads: ThreadPoolExecutor
) -> tuple[list[SequenceScore], list[Problem]]:
    """Score everything; give the sequences and the frames that could not be read after all."""
    futures = [
        [
            threads.submit(
                _score_pairs, sequence.pairs[start : start + _FRAMES_PER_TASK], sequence.rule
            )
            for start in range(0, len(sequence.pairs), _FRAMES_PER_TASK)
        ]
        for sequence in sequences
    ]
    scored, faults = [], []
    try:
        for sequence, futures_of_sequence in zip(sequences, futures, strict=True):
            pieces = [future.result() for future in futures_of_sequence]
            faults += [
                Problem(sequence.name, name, reason)
                for piece in pieces
                for name, reason in piece.faults
            ]
            if any(piece.names for piece in pieces):
                scored.append(_join(sequence, pieces))
    except BaseException:
        # An error or Ctrl-C: do not begin the pieces that still wait.
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    return scored, faults


def _join(sequence: SequencePlan, pieces: Sequence[_Piece]) -> SequenceScore:
    """Put a sequence's pieces together."""
    j = np.concatenate([piece.j for piece in pieces])
    f = np.concatenate([piece.f for piece in pieces])
    objects = tuple(
        ObjectScore(row + 1, j[:, row], f[:, row], Statistics.of_frames(j[:, row], f[:, row]))
        for row in range(sequence.rule.num_objects)
    )
    unknown_ids = sum((piece.unknown_ids for piece in pieces), Counter[int]())
    return SequenceScore(
        sequence.name,
        tuple(name for piece in pieces for name in piece.names),
        objects,
        Statistics.mean_of(one.statistics for one in objects),
        sequence.rule,
        tuple(sorted(unknown_ids.items())),
    )


def _score_pairs(pairs: Sequence[FramePair], rule: LabelRule) -> _Piece:
    """Read and score some frames; what a worker does."""
    names, faults, unknown_ids = [], [], Counter[int]()
    j, f = [], []
    for pair in pairs:
        try:
            annotation = annotated_objects(read_label_png(pair.annotation), rule)
            prediction, unknown = predicted_objects(read_label_png(pair.prediction), rule)
        except MaskError as error:
            faults.append((pair.name, str(error)))
            continue
        frame_j, frame_f = score_labels(annotation, prediction, rule.num_objects)
        names.append(pair.name)
        j.append(frame_j)
        f.append(frame_f)
        unknown_ids.update(unknown)
    shape = (len(names), rule.num_objects)
    return _Piece(names, np.reshape(j, shape), np.reshape(f, shape), unknown_ids, faults)
