"""The DAVIS 2017 semi-supervised evaluation, on all cores."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np

from vos.errors import ScoreError
from vos.score.check import SequencePlan, check, fault_error
from vos.score.frames import FramePair, ScoredFrames, score_frames
from vos.score.labels import LabelRule
from vos.score.parallel import call_all, checked_workers
from vos.score.scores import (
    Evaluation,
    ObjectScore,
    Problem,
    SequenceScore,
    Settings,
    Statistics,
    describe,
)
from vos.sets.layout import YEAR_OF_ONE_OBJECT, find_annotations

_FRAMES_PER_CALL: Final = 16
_FRAMES_PER_PROCESS: Final = 800  # fewer are scored sooner than another process has started


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
        num_workers: Most processes to work in, this one included; one per core if None.

    Returns:
        J and F of every frame and object, their statistics, and what was left out.

    Raises:
        InputError: an illegal year or number of workers, or a split beside ``sequences``.
        ScoreError: a folder or the split does not exist; frames or sequences are missing,
            broken or of another size; or nothing is left to score.
    """
    started = time.perf_counter()
    num_workers = checked_workers(num_workers)
    gt_dir, results_dir = Path(gt_dir).absolute(), Path(results_dir).absolute()
    annotations = find_annotations(gt_dir, year, split, sequences)
    plan = check(annotations, results_dir, join_objects=year == YEAR_OF_ONE_OBJECT)
    if plan.faults and not skip_missing:
        raise fault_error(plan.faults)
    scored, late_faults = _score(plan.sequences, num_workers)
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


def _score(
    sequences: Sequence[SequencePlan], num_workers: int
) -> tuple[list[SequenceScore], list[Problem]]:
    """Score everything; give the sequences, and the frames that could not be read after all."""
    chunks = [list(_chunks(sequence)) for sequence in sequences]
    num_frames = sum(len(sequence.pairs) for sequence in sequences)
    num_useful = math.ceil(num_frames / _FRAMES_PER_PROCESS)
    results = iter(
        call_all(score_frames, list(chain.from_iterable(chunks)), min(num_workers, num_useful))
    )
    scored: list[SequenceScore] = []
    faults: list[Problem] = []
    for sequence, chunks_of_sequence in zip(sequences, chunks, strict=True):
        parts = list(islice(results, len(chunks_of_sequence)))
        faults += [
            Problem(sequence.name, name, reason) for part in parts for name, reason in part.faults
        ]
        if any(part.names for part in parts):
            scored.append(_join(sequence, parts))
    return scored, faults


def _chunks(sequence: SequencePlan) -> Iterator[tuple[Sequence[FramePair], LabelRule]]:
    for start in range(0, len(sequence.pairs), _FRAMES_PER_CALL):
        yield sequence.pairs[start : start + _FRAMES_PER_CALL], sequence.rule


def _join(sequence: SequencePlan, parts: Sequence[ScoredFrames]) -> SequenceScore:
    """Put a sequence's parts together."""
    j = np.concatenate([part.j for part in parts])
    f = np.concatenate([part.f for part in parts])
    objects = tuple(
        ObjectScore(row + 1, j[:, row], f[:, row], Statistics.of_frames(j[:, row], f[:, row]))
        for row in range(sequence.rule.num_objects)
    )
    unknown_ids = sum((part.unknown_ids for part in parts), Counter[int]())
    return SequenceScore(
        sequence.name,
        tuple(name for part in parts for name in part.names),
        objects,
        Statistics.mean_of(one.statistics for one in objects),
        sequence.rule,
        tuple(sorted(unknown_ids.items())),
    )
