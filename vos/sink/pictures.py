"""Pictures beside the label maps: overlays, and training sets for image generators."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos.errors import InputError
from vos.files import make_folder, whole_file
from vos.records import FrameMasks
from vos.sink.overlay import OverlayStyle
from vos.sink.passing import Pair, closing_upstream

TrainingLayout = Literal["dreambooth", "onetrainer"]
"""How trainers want pictures and masks: in two folders, or beside one another."""

TRAINING_LAYOUTS: Final[tuple[str, ...]] = get_args(TrainingLayout)

_log = logging.getLogger("vos")


def write_overlay_pictures(
    pairs: Iterable[Pair], folder: Path, *, alpha: float = 0.5
) -> Iterator[Pair]:
    """Write ``folder/<frame name>.jpg``, the picture with its masks, while pictures pass by.

    Args:
        pairs: Pictures and their masks, of any sizes.
        folder: Made when the first picture arrives. Files of the same names are replaced.
        alpha: Opacity of the masks' colours in [0, 1].

    Yields:
        The same pairs.

    Raises:
        InputError: the opacity is out of range.
        OutputError: the disk refuses.
    """
    style = OverlayStyle(alpha=alpha)
    with closing_upstream(pairs) as upstream:
        for frame, masks in upstream:
            _save(Image.fromarray(style.draw(frame, masks)), folder / f"{frame.name}.jpg", "JPEG")
            yield frame, masks


def write_training_set(
    pairs: Iterable[Pair], folder: Path, layout: TrainingLayout, *, min_score: float = 0.5
) -> Iterator[Pair]:
    """Write pictures and masks for training with a masked loss while pictures pass by.

    A mask is 8 bit grey: white is learned, black is not. All objects of a picture are learned but
    the doubtful ones; a picture in which nothing is left is left out. A warning names all that in
    the end. ``dreambooth`` writes ``images/<name>.png``, ``masks/<name>.png`` and
    ``cutouts/<name>.png``, which is RGBA and keeps the picture's colours where it is transparent.
    ``onetrainer`` writes ``<name>.png`` and ``<name>-masklabel.png``.

    Args:
        pairs: Pictures and their masks, of any sizes.
        folder: Made when the first picture arrives. Files of the same names are replaced.
        layout: Which files.
        min_score: An object below this score is doubtful.

    Yields:
        The same pairs.

    Raises:
        InputError: an unknown layout.
        OutputError: the disk refuses.
    """
    _check(layout)
    left_out: list[str] = []
    with closing_upstream(pairs) as upstream:
        for frame, masks in upstream:
            sure = sure_ids(masks, min_score)
            mask = np.where(np.isin(masks.labels, sure), np.uint8(255), np.uint8(0))
            if len(sure):
                contents = (frame.rgb, mask, np.dstack([frame.rgb, mask]))
                # A layout without cut-outs has a path less.
                paths = training_files(folder, layout, frame.name)
                for path, pixels in zip(paths, contents, strict=False):
                    _save(Image.fromarray(pixels), path, "PNG")
            left_out += _left_out(frame.name, masks, min_score)
            yield frame, masks
    if left_out:
        _log.warning("not in the training set: %s", ", ".join(left_out))


def sure_ids(masks: FrameMasks, min_score: float = 0.5) -> NDArray[np.int64]:
    """Give the ids of the objects that are there and not doubtful."""
    return np.array(masks.object_ids)[masks.present & (masks.scores >= min_score)]


def _left_out(name: str, masks: FrameMasks, min_score: float) -> list[str]:
    """Say what of a picture is not in the training set, and why."""
    if not masks.present.any():
        return [f"{name} (nothing was found)"]
    rows = zip(masks.object_ids, masks.scores, masks.present, strict=True)
    return [
        f"{name} (object {object_id} has a score of {score:.2f})"
        for object_id, score, is_present in rows
        if is_present and score < min_score
    ]


def training_files(folder: Path, layout: TrainingLayout, name: str) -> tuple[Path, ...]:
    """Name the files of one picture in a training set: picture, mask, and a cut-out if any.

    Raises:
        InputError: an unknown layout.
    """
    _check(layout)
    if layout == "dreambooth":
        return tuple(folder / part / f"{name}.png" for part in ("images", "masks", "cutouts"))
    return folder / f"{name}.png", folder / f"{name}-masklabel.png"


def _check(layout: str) -> None:
    if layout not in TRAINING_LAYOUTS:
        raise InputError(f"layout must be one of {', '.join(TRAINING_LAYOUTS)}, got {layout}")


def _save(image: Image.Image, path: Path, format_name: str) -> None:
    """Write a picture that appears whole or not at all."""
    make_folder(path.parent)
    with whole_file(path) as unfinished:
        # JPEG takes the quality, PNG the level; the other one ignores it.
        image.save(unfinished, format=format_name, quality=90, compress_level=1)
