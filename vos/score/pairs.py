"""Which result belongs to which annotation: by the name of the frame, whatever the ending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vos.errors import MaskError, ScoreError
from vos.masks.image_files import BROKEN_IMAGE, open_image
from vos.score.problems import Problem, Problems, some_of
from vos.sets.layout import AnnotationSet, find_sequences, mask_files, other_files

Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True)
class FramePair:
    """The two files of one frame."""

    name: str
    annotation: Path
    result: Path


@dataclass(frozen=True, slots=True)
class SequencePairs:
    """The frames to score of one sequence.

    Attributes:
        name: The sequence's name.
        annotations: All its annotations in natural order, also those that are not scored.
        pairs: The frames to score, in the same order, at least one.
    """

    name: str
    annotations: tuple[Path, ...]
    pairs: tuple[FramePair, ...]


def find_pairs(
    annotations: AnnotationSet,
    results_dir: Path,
    select: Callable[[Sequence[Path]], Sequence[Path]],
    problems: Problems,
) -> list[SequencePairs]:
    """Find the frames to score. No file's content is looked at.

    Whatever is annotated and not in a pair is added to ``problems``, and so is every result that
    belongs to no annotation. Sequences without results are a fault where the caller named the
    sequences, else a note: results may be of a part of the set.

    Args:
        annotations: The sequences to score.
        results_dir: Holds ``<sequence>/<frame>.png``.
        select: Gives, of a sequence's annotations, those to score; raises ScoreError to say why
            there are none.
        problems: Receives what is not scored.

    Raises:
        ScoreError: the folder of results does not exist, or is that of one sequence.
    """
    if not results_dir.is_dir():
        raise ScoreError(f"there is no folder of results {results_dir}")
    with_results = find_sequences(results_dir)
    if not with_results and mask_files(results_dir):
        raise ScoreError(f"{results_dir} holds masks itself: give the folder above it")
    absent = problems.faults if annotations.is_selection else problems.notes
    found = []
    for name in annotations.sequences:
        annotated_dir, result_dir = annotations.annotations_dir / name, results_dir / name
        try:
            annotated = mask_files(annotated_dir)
            if not annotated:
                problems.faults.append(Problem(name, None, "is not annotated"))
            elif not result_dir.is_dir():
                absent.append(Problem(name, None, "no results"))
            else:
                found.append(_pair_up(name, annotated, result_dir, select, problems))
                if others := other_files(annotated_dir):
                    reason = f"no masks in {annotated_dir} ({len(others)}): {some_of(others)}"
                    problems.notes.append(Problem(name, None, reason))
        except ScoreError as error:
            problems.faults.append(Problem(name, None, str(error)))
    problems.notes.extend(
        Problem(name, None, "holds no annotation") for name in annotations.without_masks
    )
    if not annotations.is_selection:
        unknown = (name for name in with_results if name not in annotations.sequences)
        problems.faults.extend(Problem(name, None, "is not annotated") for name in unknown)
    return [sequence for sequence in found if sequence.pairs]


def read_pair(
    pair: FramePair, read: Callable[[Path], NDArray[Pixel]]
) -> tuple[NDArray[Pixel], NDArray[Pixel]]:
    """Read both files of a frame, and check their checksums.

    Args:
        pair: The files.
        read: Reads one: (H, W); raises MaskError.

    Returns:
        The annotation and the result, of one size.

    Raises:
        MaskError: one cannot be read or is damaged, or they differ in size; says which.
    """
    annotation, result = (
        _read_checked(part, path, read)
        for part, path in (("annotation", pair.annotation), ("result", pair.result))
    )
    if annotation.shape != result.shape:
        (height, width), (result_height, result_width) = annotation.shape, result.shape
        raise MaskError(
            f"result is {result_width} x {result_height} pixels, the annotation {width} x {height}"
        )
    return annotation, result


def _pair_up(
    name: str,
    annotated: Sequence[Path],
    result_dir: Path,
    select: Callable[[Sequence[Path]], Sequence[Path]],
    problems: Problems,
) -> SequencePairs:
    """Pair the annotations to score with the results of their names."""
    results = {path.stem: path for path in mask_files(result_dir)}
    pairs, missing = [], []
    try:
        for path in select(annotated):
            if path.stem in results:
                pairs.append(FramePair(path.stem, path, results[path.stem]))
            else:
                missing.append(path.stem)
    except ScoreError as error:
        problems.notes.append(Problem(name, None, str(error)))
    problems.faults.extend(Problem(name, frame, "no result") for frame in missing)
    names = {path.stem for path in annotated}
    surplus = [path.name for stem, path in results.items() if stem not in names]
    if missing:
        surplus += other_files(result_dir)
    if surplus:
        # Beside missing results they are mostly the reason: other digits, or another ending.
        reason = f"results that belong to no annotation ({len(surplus)}): {some_of(surplus)}"
        (problems.faults if missing else problems.notes).append(Problem(name, None, reason))
    return SequencePairs(name, tuple(annotated), tuple(pairs))


def _read_checked(part: str, path: Path, read: Callable[[Path], NDArray[Pixel]]) -> NDArray[Pixel]:
    try:
        pixels = read(path)
        # Decoding alone passes over the checksums of the file's chunks.
        with open_image(path, ["PNG"]) as image:
            image.verify()
    except MaskError as error:
        raise MaskError(f"{part}: {error}") from error
    except BROKEN_IMAGE as error:
        raise MaskError(f"{part}: {path} is damaged: {error}") from error
    return pixels
