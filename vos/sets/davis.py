"""Whole data sets in DAVIS layout: a job for each sequence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vos.config import RunConfig
from vos.errors import ScoreError
from vos.masks.image_files import MAX_PIXELS
from vos.run.job import Job, JobOutputs, ModelChoice
from vos.run.outputs import Outputs
from vos.run.references import Reference
from vos.sets.layout import find_annotations, mask_files
from vos.source import Selection, image_files


@dataclass(frozen=True, slots=True)
class DavisSequence:
    """One sequence to segment.

    Attributes:
        name: Its folder's name.
        images_dir: Its frames.
        reference: Its first annotation.
        first_index: Position of the reference's frame among them.
        num_frames: Frames from the reference on.
        join_objects: Whether all ids are one object, as in DAVIS 2016.
    """

    name: str
    images_dir: Path
    reference: Path
    first_index: int
    num_frames: int
    join_objects: bool


def find_davis_sequences(
    root: str | os.PathLike[str], *, year: int | None = None, split: str | None = None
) -> tuple[DavisSequence, ...]:
    """Find the sequences of a DAVIS root.

    Args:
        root: Holds ``Annotations/480p/<sequence>/00000.png``, ``JPEGImages`` likewise, and
            ``ImageSets/<year>/<split>.txt``.
        year: 2016 joins all objects into one.
        split: A list of sequences; all that are annotated if None.

    Raises:
        ScoreError: the layout is another, or a sequence lacks its frames or its first annotation.
        InputError: an illegal year.
        SourceError: a folder of frames cannot be read or holds none.
    """
    annotations = find_annotations(Path(root), year, split, None)
    if annotations.images_dir is None:
        raise ScoreError(f"{root} has no JPEGImages beside {annotations.annotations_dir}")
    found = []
    for name in annotations.sequences:
        images_dir, annotations_dir = (
            folder / name for folder in (annotations.images_dir, annotations.annotations_dir)
        )
        references = mask_files(annotations_dir) if annotations_dir.is_dir() else []
        stems = [path.stem for path in image_files(images_dir)] if images_dir.is_dir() else []
        if not references or references[0].stem not in stems:
            raise ScoreError(f"sequence {name} lacks frames or a mask of its first frame in {root}")
        first = stems.index(references[0].stem)
        found.append(
            DavisSequence(
                name,
                images_dir,
                references[0],
                first,
                len(stems) - first,
                join_objects=year == 2016,
            )
        )
    return tuple(found)


def check_set_kept(sequences: Sequence[DavisSequence], outputs: JobOutputs) -> None:
    """Make sure that no result of a set would replace a frame or an annotation of it.

    Args:
        sequences: The set.
        outputs: Where its results go.

    Raises:
        OutputError: one would.
    """
    for sequence in sequences:
        of_sequence = Outputs(
            folder=outputs.folder, name=sequence.name, overlay_alpha=outputs.overlay_alpha
        )
        of_sequence.check_inputs_kept([sequence.images_dir, sequence.reference.parent])


def davis_job(
    sequence: DavisSequence,
    outputs: JobOutputs,
    model: ModelChoice | None = None,
    config: RunConfig | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Job:
    """Give the job of one sequence, whose results bear its name.

    Args:
        sequence: Which one.
        outputs: Where the results of the set go.
        model: The model; the default if None.
        config: Settings; the defaults if None.
        max_pixels: Most pixels that a frame or the mask may have.
    """
    return Job(
        source=str(sequence.images_dir),
        references=(Reference(mask=sequence.reference, join_objects=sequence.join_objects),),
        selection=Selection(start=sequence.first_index, max_pixels=max_pixels),
        outputs=replace(outputs, name=sequence.name),
        model=model or ModelChoice(),
        config=config or RunConfig(),
    )
