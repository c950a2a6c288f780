"""J and F of videos: the DAVIS 2017 semi-supervised evaluation."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vos.errors import MaskError, ScoreError
from vos.masks import read_label_png
from vos.score.labels import LabelRule, annotated_objects, predicted_objects, rule_of
from vos.score.measures import score_labels
from vos.score.pairs import FramePair, SequencePairs, find_pairs, read_pair
from vos.score.problems import Problem, Problems, some_of
from vos.score.scores import Evaluation, ObjectScore, SequenceScore, Settings, Statistics
from vos.score.threads import scoring_threads
from vos.sets.layout import YEAR_OF_ONE_OBJECT, find_annotations


@dataclass(frozen=True, slots=True, eq=False)
class _FrameScore:
    """One frame's J and F, (num_objects,) float64 each, and predicted ids not annotated."""

    j: NDArray[np.float64]
    f: NDArray[np.float64]
    unknown_ids: tuple[int, ...]


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

    Results belong to annotations by the names of their frames, digit for digit; the endings of the
    files and their case do not matter. Every annotated frame without result, and every result
    without annotation, is named in an error or in ``left_out``. All problems are reported together.

    Args:
        gt_dir: Folder of annotated sequences (``<sequence>/<frame>.png``), such as
            ``DAVIS/Annotations/480p``; ``DAVIS/Annotations``; or ``DAVIS``.
        results_dir: Folder of predicted sequences, with the same names inside. Where neither a
            split nor ``sequences`` are given it may hold a part of the sequences: only those are
            scored, and ``left_out`` names the others.
        year: 2016 joins all objects into one; also says whose ``split`` is meant, 2017 if None.
        split: Score the sequences of ``ImageSets/<year>/<split>.txt``; the default is all that
            are annotated, and then a folder of results without annotation is a problem too.
        sequences: Score these instead.
        skip_missing: Leave out what is missing or broken and score the rest. The result lists
            it; its figures compare with no others.
        num_workers: Threads to work in; one per core if None.

    Returns:
        J and F of every frame and object, their statistics, and what was left out.

    Raises:
        InputError: an illegal year or number of workers, or a split beside ``sequences``.
        ScoreError: a folder or the split does not exist; frames or sequences are missing,
            broken or of another size; or nothing is left to score.
    """
    started = time.perf_counter()
    results_dir = Path(results_dir).absolute()
    problems = Problems()
    scored = []
    with scoring_threads(num_workers) as threads:
        annotations = find_annotations(Path(gt_dir), year, split, sequences)
        for sequence in find_pairs(annotations, results_dir, _counting, problems):
            rule = _rule_of(sequence, join_objects=year == YEAR_OF_ONE_OBJECT, problems=problems)
            if rule is None:
                continue
            results = list(threads.map(partial(_score_frame, rule=rule), sequence.pairs))
            if score := _sequence_score(sequence, rule, results, problems):
                scored.append(score)
    left_out = problems.left_out(len(scored), skip_missing=skip_missing)
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
        ),
        time.perf_counter() - started,
    )


def _numbered(annotated: Sequence[Path]) -> Sequence[Path]:
    """Give the annotations that are frames: where names are numbers, no other names."""
    return [path for path in annotated if path.stem.isdecimal()] or annotated


def _counting(annotated: Sequence[Path]) -> Sequence[Path]:
    """Give the annotations that count: all but the first and the last."""
    frames = _numbered(annotated)
    if len(frames) < 3:
        raise ScoreError(
            f"needs 3 annotated frames, as the first and last do not count; has {len(frames)}"
        )
    return frames[1:-1]


def _rule_of(
    sequence: SequencePairs, *, join_objects: bool, problems: Problems
) -> LabelRule | None:
    """Tell from the first annotation how label maps are read; None where nothing can be scored."""
    frames = _numbered(sequence.annotations)
    if len(frames) < len(sequence.annotations):
        strays = [path.name for path in sequence.annotations if not path.stem.isdecimal()]
        reason = f"annotations whose names are no numbers ({len(strays)}): {some_of(strays)}"
        problems.notes.append(Problem(sequence.name, None, reason))
    try:
        rule = rule_of(read_label_png(frames[0]), join_objects=join_objects)
    except MaskError as error:
        problems.faults.append(Problem(sequence.name, frames[0].stem, f"annotation: {error}"))
        return None
    if rule.num_objects == 0:
        problems.notes.append(Problem(sequence.name, None, "no object in its first annotation"))
        return None
    return rule


def _score_frame(pair: FramePair, rule: LabelRule) -> _FrameScore | str:
    """Read and score one frame. A string says why it cannot be done."""
    try:
        annotated, predicted = read_pair(pair, read_label_png)
    except MaskError as error:
        return str(error)
    prediction, unknown_ids = predicted_objects(predicted, rule)
    j, f = score_labels(annotated_objects(annotated, rule), prediction, rule.num_objects)
    return _FrameScore(j, f, unknown_ids)


def _sequence_score(
    sequence: SequencePairs,
    rule: LabelRule,
    results: Sequence[_FrameScore | str],
    problems: Problems,
) -> SequenceScore | None:
    """Put a sequence's frames together; None where none could be scored."""
    pairs: list[FramePair] = []
    frames: list[_FrameScore] = []
    for pair, result in zip(sequence.pairs, results, strict=True):
        if isinstance(result, str):
            problems.faults.append(Problem(sequence.name, pair.name, result))
        else:
            pairs.append(pair)
            frames.append(result)
    if not frames:
        return None
    j, f = np.stack([frame.j for frame in frames], 1), np.stack([frame.f for frame in frames], 1)
    objects = tuple(
        ObjectScore(row + 1, j[row], f[row], Statistics.of_frames(j[row], f[row]))
        for row in range(rule.num_objects)
    )
    unknown_ids = Counter(unknown for frame in frames for unknown in frame.unknown_ids)
    return SequenceScore(
        sequence.name,
        tuple(pairs),
        objects,
        Statistics.mean_of(one.statistics for one in objects),
        rule,
        tuple(sorted(unknown_ids.items())),
    )
