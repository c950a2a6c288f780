"""Sets of images: which pictures to search, and for what."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from vos.config import RunConfig
from vos.errors import SourceError
from vos.masks import match_frame, object_ids, read_mask
from vos.masks.image_files import MAX_PIXELS
from vos.records import Frame, FrameMasks, Labels
from vos.run.only_writer import only_writer
from vos.run.outputs import describe_run
from vos.sam.model import SamModel
from vos.segment.forward import segment_images
from vos.sets.image_outputs import ImageOutputs
from vos.sink import write_label_pngs, write_summary
from vos.sink.passing import Pair, closing_upstream
from vos.sink.pictures import sure_ids, write_overlay_pictures, write_training_set
from vos.source import image_files, open_source
from vos.source.images import IMAGE_SUFFIXES
from vos.track.masks import correct
from vos.track.published.instances import instance_ids

_log = logging.getLogger("vos")


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A picture, and the mask that was drawn of the objects in it.

    Attributes:
        picture: The picture's file.
        mask: The mask's file.
        frame: The picture.
        labels: (H, W) label map.
    """

    picture: Path
    mask: Path
    frame: Frame
    labels: Labels


@dataclass(slots=True)
class Pictures:
    """Pictures on disk, to be read one after another; a broken one does not stop the others.

    Attributes:
        files: The pictures.
        failures: What could not be read so far, and why.
        max_pixels: Most pixels that a picture may have.
    """

    files: tuple[Path, ...]
    failures: dict[Path, SourceError] = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS

    def __iter__(self) -> Iterator[Frame]:
        """Read the pictures; their index is their position, their name the file's stem."""
        for index, file in enumerate(self.files):
            try:
                frame = read_picture(file, index, max_pixels=self.max_pixels)
            except SourceError as error:
                self.failures[file] = error
                _log.warning("%s", error)
                continue
            yield frame


def find_pictures(
    paths: Sequence[str | os.PathLike[str]], *, max_pixels: int = MAX_PIXELS
) -> Pictures:
    """List pictures.

    Args:
        paths: Pictures, and folders of pictures, which are not searched deeper.
        max_pixels: Most pixels that a picture may have.

    Raises:
        SourceError: a path is missing or no picture, a folder holds none, or two pictures have
            the same stem.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += image_files(path)
        elif not path.exists():
            raise SourceError(f"there is no picture or folder {path}")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            raise SourceError(f"{path} is not a picture ({', '.join(IMAGE_SUFFIXES)})")
        else:
            files.append(path)
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(file.stem, file)
        if other is not file:
            raise SourceError(f"the results of {other} and {file} would both be {file.stem}.png")
    return Pictures(tuple(files), max_pixels=max_pixels)


def read_picture(file: Path, index: int = 0, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Read one picture.

    Raises:
        SourceError: it is missing, broken or too large.
    """
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        raise SourceError(f"{file} is not a picture ({', '.join(IMAGE_SUFFIXES)})")
    with open_source(file, max_pixels=max_pixels) as source:
        return Frame(index, 0.0, file.stem, next(source).rgb)


def read_references(
    files: Iterable[tuple[Path, Path]],
    *,
    resize: bool = False,
    join_objects: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> list[Reference]:
    """Read reference pictures and their masks.

    Args:
        files: A picture and its mask each.
        resize: Accept masks of another size than their picture.
        join_objects: Whether all that is not background is one object, with id 1.
        max_pixels: Most pixels that a picture or a mask may have.

    Raises:
        SourceError: a picture cannot be read.
        MaskError: a mask cannot be read, or is of another size.
    """
    references = []
    for picture, mask in files:
        labels = read_mask(mask, max_pixels=max_pixels)
        if join_objects:
            labels = (labels > 0).astype(np.uint8)
        frame = read_picture(picture, max_pixels=max_pixels)
        labels = match_frame(labels, frame.frame_hw, resize=resize)
        references.append(Reference(picture, mask, frame, labels))
    return references


def segment_pictures(
    pictures: Pictures,
    references: Sequence[Reference],
    outputs: ImageOutputs,
    sam: SamModel,
    config: RunConfig,
    *,
    num_instances: int = 1,
) -> Generator[Pair, None, None]:
    """Find the references' objects in pictures and write the results.

    A picture that is a reference itself keeps the mask that was drawn, with score 1. Nothing is
    touched before the first picture is done. The summary tells which object each instance belongs
    to, and where each picture and its results are.

    Yields:
        Each picture with its masks.

    Raises:
        VosError: as :func:`vos.segment_images`, or the outputs cannot be written.
    """
    inputs = [path for each in references for path in (each.picture, each.mask)]
    outputs.check_free(pictures.files, inputs)
    ids = sorted({object_id for each in references for object_id in object_ids(each.labels)})
    header = {
        **describe_run(str(pictures.files[0].parent.resolve()), sam, config),
        "references": [
            {"picture": str(each.picture.resolve()), "mask": str(each.mask.resolve())}
            for each in references
        ],
        "files": {"summary": outputs.summary_path.name},
        "instances": [
            {"id": own_id, "object": object_id}
            for own_id, object_id in instance_ids(ids, num_instances)
        ],
    }
    shown = [(each.frame, each.labels) for each in references]
    found = segment_images(pictures, shown, sam, config, num_instances=num_instances)
    with closing(_keep_drawn(found, pictures.files, references)) as upstream:
        first = next(upstream, None)
        if first is None:
            return
        with only_writer(outputs.lock_path, outputs.folder):
            outputs.check_free(pictures.files, inputs)  # another run may have come first
            if outputs.overwrite:
                outputs.ledger.remove_written()
            results = [path for file in pictures.files for path in outputs.paths_of(file.stem)]
            outputs.ledger.begin([*results, outputs.summary_path])
            pairs: Iterator[Pair] = write_label_pngs(chain([first], upstream), outputs.folder)
            if outputs.overlay_alpha is not None:
                pairs = write_overlay_pictures(
                    pairs, outputs.overlays_folder, alpha=outputs.overlay_alpha
                )
            if outputs.training is not None:
                pairs = write_training_set(pairs, outputs.training_folder, outputs.training)
            try:
                yield from write_summary(
                    pairs,
                    outputs.summary_path,
                    header,
                    unfinished=outputs.unfinished_summary,
                    describe=partial(_files_of, pictures, outputs),
                )
            finally:
                outputs.remove_unfinished()


def _files_of(
    pictures: Pictures, outputs: ImageOutputs, frame: Frame, masks: FrameMasks
) -> dict[str, object]:
    """Say where a picture and its results are; the results relative to the summary."""
    label_map, *others = (
        path.relative_to(outputs.folder).as_posix() for path in outputs.paths_of(frame.name)
    )
    picture = pictures.files[frame.index]
    files: dict[str, object] = {
        "name": picture.name,
        "picture": str(picture.resolve()),
        "label_map": label_map,
    }
    if outputs.overlay_alpha is not None:
        files["overlay"] = others.pop(0)
    if outputs.training is not None and len(sure_ids(masks)):
        files["training"] = others
    return files


def _keep_drawn(
    pairs: Iterable[Pair], files: Sequence[Path], references: Sequence[Reference]
) -> Generator[Pair, None, None]:
    """Let the references' own pictures have the masks that were drawn.

    What was found there mostly where something was drawn is the same thing, and goes.
    """
    drawn: dict[Path, list[Labels]] = {}
    for each in references:
        drawn.setdefault(each.picture.resolve(), []).append(each.labels)
    with closing_upstream(pairs) as upstream:
        for frame, masks in upstream:
            for labels in drawn.get(files[frame.index].resolve(), ()):
                num_found = np.bincount(masks.labels.ravel(), minlength=256)
                num_below = np.bincount(masks.labels[labels > 0], minlength=256)
                is_same = 2 * num_below >= num_found
                found = np.where(is_same[masks.labels], np.uint8(0), masks.labels)
                masks = correct(replace(masks, labels=found), labels)
            yield frame, masks
