"""Where the masks of a data set lie: DAVIS' folders, sequences and files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vos.errors import InputError, ScoreError, SourceError
from vos.source.images import IMAGE_SUFFIXES, image_files

YEARS: Final = (2016, 2017)
YEAR_OF_ONE_OBJECT: Final = 2016
_RESOLUTION: Final = "480p"


@dataclass(frozen=True, slots=True)
class AnnotationSet:
    """The annotated sequences to score.

    Attributes:
        annotations_dir: Holds ``<sequence>/<frame>.png``.
        images_dir: Holds ``<sequence>/<frame>.jpg``, or None where the layout has none.
        sequences: Names to score, in order; not all need exist.
        is_selection: Whether the caller named them; otherwise they are all there are.
        split_file: The list that names them, or None.
        without_masks: Folders beside the sequences that hold no masks; none for a selection.
    """

    annotations_dir: Path
    images_dir: Path | None
    sequences: tuple[str, ...]
    is_selection: bool
    split_file: Path | None
    without_masks: tuple[str, ...]


def find_annotations(
    gt_dir: Path, year: int | None, split: str | None, sequences: Sequence[str] | None
) -> AnnotationSet:
    """Find the annotated sequences.

    Args:
        gt_dir: A folder of sequences; a folder that holds one such folder, as ``Annotations``
            holds ``480p``; or a DAVIS root, which holds ``Annotations``.
        year: 2016 or 2017, the folder of the split; 2017 if None.
        split: Name of a list of sequences, ``ImageSets/<year>/<split>.txt`` in the root.
        sequences: Names to score instead of a split's.

    Raises:
        InputError: an illegal year, a split beside ``sequences``, or no name in ``sequences``.
        ScoreError: the folder or the split does not exist, or no sequence is in it.
    """
    if year is not None and year not in YEARS:
        raise InputError(f"year must be 2016 or 2017, got {year}")
    if split is not None and sequences is not None:
        raise InputError("give a split or sequences, not both")
    if sequences is not None and (isinstance(sequences, str) or not sequences):
        raise InputError(f"sequences must be a list of one name or more, got {sequences!r}")
    gt_dir = Path(os.path.abspath(gt_dir))
    if not gt_dir.is_dir():
        raise ScoreError(f"there is no folder of annotations {gt_dir}")
    root = _root_around(gt_dir)
    annotations_dir = _folder_of_sequences(gt_dir / "Annotations" if gt_dir == root else gt_dir)
    split_file = None
    if split is not None:
        split_file = _split_file(gt_dir, root, year or YEARS[-1], split)
        sequences = _names_of_split(split_file)
    found = find_sequences(annotations_dir)
    others = [entry.name for entry in _folders(annotations_dir) if entry.name not in found]
    return AnnotationSet(
        annotations_dir,
        _images_dir(annotations_dir, root),
        found if sequences is None else tuple(dict.fromkeys(sequences)),
        is_selection=sequences is not None,
        split_file=split_file,
        without_masks=tuple(others) if sequences is None else (),
    )


def find_sequences(folder: Path) -> tuple[str, ...]:
    """List the folders in a folder that hold masks, by name; hidden ones are none.

    Raises:
        ScoreError: a folder cannot be read.
    """
    return tuple(entry.name for entry in _folders(folder) if _image_names(entry))


def mask_files(folder: Path) -> list[Path]:
    """List the masks of a sequence in natural order, whatever the case of their endings.

    Other images than PNGs are listed too: they are no masks, and reading them says so, but a
    frame must not be lost by its ending.

    Returns:
        No path where the folder does not exist or holds no image.

    Raises:
        ScoreError: the folder cannot be read, or two files are of one frame.
    """
    if not folder.is_dir() or not _image_names(folder):
        return []
    try:
        return image_files(folder)
    except SourceError as error:
        raise ScoreError(str(error)) from error


def other_files(folder: Path) -> list[str]:
    """List the names of what is in a folder, not hidden and not in :func:`mask_files`.

    Raises:
        ScoreError: the folder cannot be read.
    """
    masks = set(_image_names(folder))
    return [entry.name for entry in _visible(folder) if entry.name not in masks]


def files_to_score(annotations: AnnotationSet, results_dir: Path) -> Iterator[Path]:
    """Give every file that scoring may read: masks, images, and the list of the sequences.

    Raises:
        ScoreError: a folder cannot be read.
    """
    if annotations.split_file is not None:
        yield annotations.split_file
    for folder in (annotations.annotations_dir, annotations.images_dir, results_dir):
        if folder is not None and folder.is_dir():
            for sequence in find_sequences(folder):
                yield from (folder / sequence / name for name in _image_names(folder / sequence))


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _visible(folder: Path) -> list[Path]:
    """List what is in a folder and not hidden, by name."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise ScoreError(f"cannot list {folder}: {error.strerror}") from error


def _image_names(folder: Path) -> list[str]:
    return [entry.name for entry in _visible(folder) if entry.suffix.lower() in IMAGE_SUFFIXES]


def _root_around(gt_dir: Path) -> Path | None:
    """Find the DAVIS root that a folder is, or within whose ``Annotations`` it lies."""
    if (gt_dir / "Annotations").is_dir():
        return gt_dir
    for folder in (gt_dir, gt_dir.parent):
        if folder.name == "Annotations":
            return folder.parent
    return None


def _folder_of_sequences(folder: Path) -> Path:
    """Give the one in it for DAVIS' resolution, else itself, else the one for another."""
    at_resolution = folder / _RESOLUTION
    if at_resolution.is_dir() and find_sequences(at_resolution):
        return at_resolution
    if find_sequences(folder):
        return folder
    below = {entry.name: entry for entry in _folders(folder) if find_sequences(entry)}
    if len(below) == 1:
        return next(iter(below.values()))
    if below:
        raise ScoreError(f"{folder} holds several sets: {', '.join(below)}; give one of them")
    hint = "; it holds masks itself: give the folder above it" if _image_names(folder) else ""
    raise ScoreError(f"no folder in {folder} holds masks{hint}")


def _images_dir(annotations_dir: Path, root: Path | None) -> Path | None:
    if root is None:
        return None
    images_dir = root / "JPEGImages" / annotations_dir.relative_to(root / "Annotations")
    return images_dir if images_dir.is_dir() else None


def _split_file(gt_dir: Path, root: Path | None, year: int, split: str) -> Path:
    if root is None:
        raise ScoreError(
            f"{gt_dir} is not within a DAVIS root, so it has no split {split!r}; a root holds "
            "Annotations and ImageSets"
        )
    path = root / "ImageSets" / str(year) / f"{split}.txt"
    if not path.is_file():
        known = sorted(f"{p.parent.name} {p.stem}" for p in root.glob("ImageSets/*/*.txt"))
        raise ScoreError(f"there is no split {path}; there are: {', '.join(known) or 'none'}")
    return path


def _names_of_split(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ScoreError(f"cannot read the split {path}: {error}") from error
    if not names:
        raise ScoreError(f"the split {path} lists no sequence")
    return names
