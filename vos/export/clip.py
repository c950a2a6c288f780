"""What is exported and how, and its frames with their masks after clean-up."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError, SourceError
from vos.export.clean_up import CleanUp, cleaned_edges, smooth_in_time
from vos.records import Frame, FrameMasks, Labels, SourceInfo
from vos.run.read_results import ResultFrame, Results
from vos.sink.video import TIME_BASE
from vos.source.container import open_video_container
from vos.track.masks import measure

_NOT_IN_FILE_NAMES: Final = re.compile(r"[^\w-]+", re.ASCII)
_DEFAULT_RATE_HZ: Final = Fraction(25)
_log = logging.getLogger("vos")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How results are exported.

    Attributes:
        clean_up: What is done to the masks.
        per_object: Whether editors' formats have a file or sequence for each object.
        images: Whether annotation formats bring the frames as pictures.
        premultiply: Whether the colours of ``rgba`` are multiplied by their opacity.
        first_number: Number of the first picture of a sequence for editors.
        background: What is behind a cut-out: ``blur``, or a colour such as ``white`` or ``#0f0``.
    """

    clean_up: CleanUp = field(default_factory=CleanUp)
    per_object: bool = False
    images: bool = True
    premultiply: bool = False
    first_number: int = 1
    background: str = "white"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: a negative number, or no colour.
        """
        if self.first_number < 0:
            raise InputError(f"first_number must be 0 or more, got {self.first_number}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """What formats know before the first frame.

    Attributes:
        results: What is exported.
        options: How.
        address: Where the source is.
        info: What is known of the source; None where no format reads it, and for pictures.
        time_base: What its times are multiples of, as its file says, else 1/90000 s.
    """

    results: Results
    options: ExportOptions
    address: str
    info: SourceInfo | None = None
    time_base: Fraction = TIME_BASE

    @property
    def name(self) -> str:
        """Name of the results, and of the export's files."""
        return self.results.name

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return len(self.results.frames)

    @property
    def rate_hz(self) -> Fraction:
        """Average frame rate; 25 where it is unknown."""
        rate_hz = None if self.info is None else self.info.frame_rate_hz
        if rate_hz is None and self.results.frame_rate_hz:
            rate_hz = Fraction(self.results.frame_rate_hz).limit_denominator(1001)
        return rate_hz or _DEFAULT_RATE_HZ

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height, where the frame is shown."""
        return (self.results if self.info is None else self.info).sample_aspect_ratio

    @property
    def square_hw(self) -> tuple[int, int]:
        """Height and width of frames that show the same with square pixels, and lose none."""
        height, width = self.results.frame_hw or (0, 0)
        aspect = self.pixel_aspect
        if aspect < 1:
            return round(height / aspect), width
        return height, round(width * aspect)

    @property
    def start_seconds(self) -> float:
        """Time of the source's first frame on the clock of its file."""
        return 0.0 if self.info is None else self.info.start_seconds

    @property
    def has_soft_edges(self) -> bool:
        """Whether opacity comes from the soft edges that the run kept."""
        return self.options.clean_up.soft and self.results.has_soft_edges

    @property
    def categories(self) -> tuple[str, ...]:
        """Different names of objects, by their first object."""
        return tuple(dict.fromkeys(self.results.names[each] for each in self.results.object_ids))

    def category(self, object_id: int) -> int:
        """Position of an object's name among the categories, from 0."""
        return self.categories.index(self.results.names[object_id])

    def file_stem(self, object_id: int | None) -> str:
        """Name files of an object, or of all objects together; no two objects have the same."""
        if object_id is None:
            return self.name
        return f"{self.name}.{object_stem(self.results.names[object_id], object_id)}"

    @property
    def subjects(self) -> tuple[int | None, ...]:
        """What editors' formats have a file each of: objects, or None for all of them together."""
        return self.results.object_ids if self.options.per_object else (None,)

    def sequence_parts(self, number: int, object_id: int | None, ending: str) -> tuple[str, ...]:
        """Name a picture of a sequence for editors: ``name/name.0001.png``, as parts of a path."""
        stem = self.file_stem(object_id)
        folder = (self.name,) if object_id is None else (self.name, stem[len(self.name) + 1 :])
        return *folder, f"{stem}.{self.options.first_number + number:04d}{ending}"


def with_square_pixels(picture: NDArray[np.uint8], clip: Clip) -> NDArray[np.uint8]:
    """Stretch a picture of a video, (H, W) or (H, W, C) uint8, to ``clip.square_hw``."""
    height, width = clip.square_hw
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(cv2.resize(picture, (width, height)), np.uint8)


def warn_of_pixel_shape(clip: Clip, name: str) -> None:
    """Warn that a format does not say the shape of pixels that are not square."""
    if clip.pixel_aspect != 1:
        _log.warning(
            "%s: pixels of the source are %s times as wide as high, which its files do not say: "
            "set it in the program that opens them",
            name,
            clip.pixel_aspect,
        )


def check_video(clip: Clip) -> None:
    """Refuse pictures where a format wants a video.

    Raises:
        InputError: the results are of pictures.
    """
    if clip.results.frame_hw is None:
        raise InputError(
            "these are results of single pictures, not of a video; this format needs a video"
        )


def object_stem(name: str, object_id: int) -> str:
    """Name files after an object: ``person_3``, and ``object_1`` if it was given no name."""
    plain = _NOT_IN_FILE_NAMES.sub("_", name)
    return plain if plain == f"object_{object_id}" else f"{plain}_{object_id}"


@dataclass(frozen=True, slots=True, eq=False)
class ExportFrame:
    """A frame on its way through the formats.

    Attributes:
        number: Position among the frames exported, from 0.
        pts_seconds: Presentation time, counted from the source's first frame.
        result: What the results say of it.
        masks: Its masks after clean-up.
        clean_up: Gives their opacity.
        rgb: (H, W, 3) uint8; of no pixels where no format needs them.
    """

    number: int
    pts_seconds: float
    result: ResultFrame
    masks: FrameMasks
    clean_up: CleanUp
    rgb: NDArray[np.uint8]

    def alpha(self, object_id: int | None = None) -> NDArray[np.float32]:
        """Give the opacity of an object, or of all: (H, W) float32 in [0, 1]."""
        return self.clean_up.alpha(self.masks, object_id)

    def alpha8(self, object_id: int | None = None) -> NDArray[np.uint8]:
        """Give the opacity of an object, or of all: (H, W) uint8."""
        return np.rint(self.alpha(object_id) * 255).astype(np.uint8)

    def rgba(self, object_id: int | None = None) -> NDArray[np.uint8]:
        """Give the picture with straight alpha: (H, W, 4) uint8."""
        return np.dstack([self.rgb, self.alpha8(object_id)])

    def present(self) -> Iterator[tuple[int, float, NDArray[np.bool_], NDArray[np.int64], int]]:
        """Give those objects that have pixels: id, score, mask, box (x0, y0, x1, y1) and area."""
        masks = self.masks
        for row, object_id in enumerate(masks.object_ids):
            if masks.areas_px[row]:
                yield (
                    object_id,
                    round(float(masks.scores[row]), 6),
                    masks.labels == object_id,
                    masks.boxes_xyxy[row],
                    int(masks.areas_px[row]),
                )


def describe_clip(
    results: Results, options: ExportOptions, source: str | None, *, needs_source: bool
) -> Clip:
    """Find out what formats need to know before the first frame.

    Raises:
        SourceError: the source is needed and cannot be opened.
    """
    address = source or results.source
    selection = results.selection
    if not needs_source or selection is None:
        return Clip(results=results, options=options, address=address)
    with results.open_source(source) as opened:
        info = opened.info
    return Clip(
        results=results,
        options=options,
        address=address,
        info=info,
        time_base=_time_base(address, selection.max_pixels),
    )


def _time_base(address: str, max_pixels: int) -> Fraction:
    try:
        with open_video_container(address, max_pixels) as video:
            return video.stream.time_base or TIME_BASE
    except SourceError:  # a folder, or a picture that another library reads
        return TIME_BASE


@contextmanager
def open_frames(clip: Clip, *, needs_pixels: bool) -> Iterator[Iterator[ExportFrame]]:
    """Open the frames with their masks after clean-up.

    Args:
        clip: What is exported.
        needs_pixels: Whether the source is read.

    Raises:
        SourceError: as :meth:`vos.run.read_results.Results.open_frames`; or OutputError.
    """
    if not needs_pixels:
        yield _cleaned(_without_pixels(clip.results), clip)
        return
    is_moved = clip.address != clip.results.source
    with clip.results.open_frames(clip.address if is_moved else None) as triples:
        yield _cleaned(triples, clip)


def _without_pixels(results: Results) -> Iterator[tuple[Frame | None, ResultFrame, Labels]]:
    for number, result in enumerate(results.frames):
        yield None, result, results.labels(number)


def _cleaned(
    triples: Iterator[tuple[Frame | None, ResultFrame, Labels]]
    | Iterator[tuple[Frame, ResultFrame, Labels]],
    clip: Clip,
) -> Iterator[ExportFrame]:
    clean_up = clip.options.clean_up
    no_pixels = np.zeros((0, 0, 3), np.uint8)
    if clean_up.smooth_time > 1:
        triples = smooth_in_time(triples, clean_up.smooth_time)
    for number, (frame, result, labels) in enumerate(triples):
        cleaned = clean_up.clean(labels)
        masks = measure(cleaned, clip.results.object_ids, result.scores)
        if clip.has_soft_edges and (edges := clip.results.edges(number)) is not None:
            # Labels may have been smoothed in time already.
            edges = cleaned_edges(edges, clip.results.labels(number), cleaned)
            masks = replace(masks, edges=edges)
        pts_seconds = result.pts_seconds if frame is None else frame.pts_seconds
        rgb = no_pixels if frame is None else frame.rgb
        yield ExportFrame(number, pts_seconds, result, masks, clean_up, rgb)
