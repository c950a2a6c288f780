"""Where the masks of a data set lie: DAVIS' folders, sequences and pairs of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vos.errors import InputError, ScoreError

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
        is_selection: Whether the names were asked for, rather than being all there are.
    """

    annotations_dir: Path
    images_dir: Path | None
    sequences: tuple[str, ...]
    is_selection: bool


def find_annotations(
    gt_dir: Path, year: int | None, split: str | None, sequences: Sequence[str] | None
) -> AnnotationSet:
    """Find the annotated sequences.

    Args:
        gt_dir: A folder of sequences, or a DAVIS root: a folder that holds ``Annotations``.
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
    if not gt_dir.is_dir():
        raise ScoreError(f"there is no folder of annotations {gt_dir}")
    annotations_dir, root = _annotations_and_root(gt_dir)
    if split is not None:
        sequences = _names_of_split(gt_dir, root, year or YEARS[-1], split)
    found = find_sequences(annotations_dir)
    if not found:
        has_masks = any(mask_files(annotations_dir))
        hint = "; it holds masks itself: give the folder above it" if has_masks else ""
        raise ScoreError(f"no folder in {annotations_dir} holds PNG masks{hint}")
    return AnnotationSet(
        annotations_dir,
        _images_dir(annotations_dir, root),
        found if sequences is None else tuple(dict.fromkeys(sequences)),
        is_selection=sequences is not None,
    )


def find_sequences(folder: Path) -> tuple[str, ...]:
    """List the folders in a folder that hold PNG files, by name."""
    return tuple(
        sorted(
            entry.name
            for entry in folder.iterdir()
            if not entry.name.startswith(".") and entry.is_dir() and any(mask_files(entry))
        )
    )


def mask_files(folder: Path) -> list[Path]:
    """List the PNG files of a folder by name; hidden ones are no masks."""
    return sorted(
        path for path in folder.iterdir() if path.suffix == ".png" and path.name[0] != "."
    )


def _annotations_and_root(gt_dir: Path) -> tuple[Path, Path | None]:
    """Tell the folder of sequences and the DAVIS root around it, if there is one."""
    top = gt_dir / "Annotations"
    if top.is_dir():
        resolution = top / _RESOLUTION
        return (resolution if resolution.is_dir() else top), gt_dir
    for folder in (gt_dir, gt_dir.parent):
        if folder.name == top.name:
            return gt_dir, folder.parent
    return gt_dir, None


def _images_dir(annotations_dir: Path, root: Path | None) -> Path | None:
    if root is None:
        return None
    images_dir = root / "JPEGImages" / annotations_dir.relative_to(root / "Annotations")
    return images_dir if images_dir.is_dir() else None


def _names_of_split(gt_dir: Path, root: Path | None, year: int, split: str) -> list[str]:
    if root is None:
        raise ScoreError(
            f"{gt_dir} is not within a DAVIS root, so it has no split {split!r}; a root holds "
            "Annotations and ImageSets"
        )
    path = root / "ImageSets" / str(year) / f"{split}.txt"
    try:
        names = path.read_text(encoding="utf-8").split()
    except OSError as error:
        known = sorted(f"{p.parent.name} {p.stem}" for p in root.glob("ImageSets/*/*.txt"))
        raise ScoreError(
            f"cannot read the split {path}; there are: {', '.join(known) or 'none'}"
        ) from error
    if not names:
        raise ScoreError(f"the split {path} lists no sequence")
    return names
