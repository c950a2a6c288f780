"""Whole data sets in DAVIS layout: which sequences to run, which of them are done."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vos.config import RunConfig
from vos.errors import OutputError, ScoreError
from vos.masks import match_frame, read_mask
from vos.masks.image_files import MAX_PIXELS
from vos.run.outputs import Outputs, describe_run
from vos.run.results import write_results
from vos.sam.model import SamModel
from vos.segment.forward import segment_video
from vos.sets.layout import find_annotations, mask_files
from vos.sink.passing import Pair
from vos.source import open_source
from vos.source.images import image_files


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


def is_finished(sequence: DavisSequence, outputs: Outputs, header: dict[str, object]) -> bool:
    """Tell whether an earlier run has done this sequence with the same model and settings.

    Raises:
        OutputError: it was done with others.
    """
    try:
        summary = json.loads(outputs.summary_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(summary, dict) or summary.get("num_frames") != sequence.num_frames:
        return False
    for key in ("weights_sha256", "dtype", "settings"):
        if summary.get(key) != json.loads(json.dumps(header[key])):
            raise OutputError(
                f"{outputs.summary_path} is of a run with another {key}; choose another output "
                "folder, or pass --overwrite to run everything again"
            )
    return True


def segment_sequence(
    sequence: DavisSequence,
    outputs: Outputs,
    sam: SamModel,
    config: RunConfig,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Generator[Pair, None, None]:
    """Segment one sequence and write its results; a half-finished earlier run is replaced.

    Args:
        sequence: Which one.
        outputs: Where its results go.
        sam: The model.
        config: Settings.
        max_pixels: Most pixels that a frame or the mask may have.

    Yields:
        Each frame with its masks.

    Raises:
        VosError: as the functions that segment and :func:`vos.run.outputs.write_results`.
    """
    header = describe_run(str(sequence.images_dir), sam, config)
    reference = read_mask(sequence.reference, max_pixels=max_pixels)
    if sequence.join_objects:
        reference = (reference > 0).astype(np.uint8)
    opened = open_source(sequence.images_dir, start=sequence.first_index, max_pixels=max_pixels)
    with opened as source:
        reference = match_frame(reference, source.info.frame_hw)
        found = segment_video(source, reference, sam, config)
        with (
            closing(found) as pairs,
            closing(write_results(pairs, outputs, source.info, header)) as results,
        ):
            yield from results
