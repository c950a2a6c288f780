"""Whole sets of images in PerSeg's layout: a folder of pictures and one of masks per class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vos.errors import SourceError
from vos.sets.pictures import find_pictures


@dataclass(frozen=True, slots=True)
class ImageClass:
    """One class.

    Attributes:
        name: Its folder's name.
        pictures: Its pictures, the reference among them.
        reference: The files of the reference picture and its mask.
    """

    name: str
    pictures: tuple[Path, ...]
    reference: tuple[Path, Path]


def find_perseg_classes(
    root: str | os.PathLike[str],
    *,
    reference_name: str = "00",
    classes: Sequence[str] = (),
) -> tuple[ImageClass, ...]:
    """Find the classes of a set.

    Args:
        root: Holds ``Images/<class>/NN.jpg`` and ``Annotations/<class>/NN.png``.
        reference_name: Stem of each class' reference.
        classes: Which classes; all if empty.

    Raises:
        SourceError: the layout is another, a class is missing, or it lacks its reference.
    """
    images, annotations = Path(root) / "Images", Path(root) / "Annotations"
    if not images.is_dir() or not annotations.is_dir():
        raise SourceError(f"{root} must hold the folders Images and Annotations, as PerSeg does")
    there = sorted(folder.name for folder in images.iterdir() if folder.is_dir())
    if not there:
        raise SourceError(f"{images} holds no class; there must be a folder for each")
    found = []
    for name in classes or there:
        if name not in there:
            raise SourceError(f"there is no class {name} in {images}; there are {', '.join(there)}")
        pictures = find_pictures([images / name]).files
        references = [picture for picture in pictures if picture.stem == reference_name]
        mask = annotations / name / f"{reference_name}.png"
        if not references or not mask.exists():
            raise SourceError(
                f"class {name} must have its reference {reference_name} in {images / name} "
                f"and the mask {mask}"
            )
        found.append(ImageClass(name, pictures, (references[0], mask)))
    return tuple(found)
