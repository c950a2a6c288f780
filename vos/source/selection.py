"""Which frames of a source are wanted, and their delivery."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vos.errors import DamagedSourceError, InputError, SourceError
from vos.masks.image_files import MAX_PIXELS, check_max_pixels
from vos.records import Frame
from vos.source.one_size import of_one_size

_MAX_DENOMINATOR: Final = (1 << 31) - 1

Decoder = Literal["av", "decord"]
"""The library that decodes videos."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which frames of a source to use, and how to read it. All fields can be written as JSON.

    Attributes:
        start: First frame to use, by index (int) or by time in seconds (float); None is the first.
        end: The frame to stop before, by index or time; None reads to the last frame.
        every: Use every Nth frame from the first one on.
        decoder: Library that decodes videos. ``av`` holds a few frames in memory, ``decord``
            reads ahead without limit.
        max_pixels: Most pixels that a frame may have; keeps small files from unpacking to more
            than fits in memory.
    """

    start: int | float | None = None
    end: int | float | None = None
    every: int = 1
    decoder: Decoder = "av"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: a negative or non-finite bound, an empty range, ``every`` or
                ``max_pixels`` below 1, or an unknown decoder.
        """
        for name, bound in (("start", self.start), ("end", self.end)):
            if bound is None:
                continue
            is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
            if not is_number or not math.isfinite(bound) or bound < 0:
                raise InputError(
                    f"{name} must be a frame index (int) or seconds (float), 0 or more, "
                    f"got {bound!r}"
                )
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise InputError(f"every must be an integer, 1 or more, got {self.every!r}")
        if (
            self.start is not None
            and self.end is not None
            and type(self.start) is type(self.end)
            and self.start >= self.end
        ):
            raise InputError(f"start must be before end, got {self.start!r} and {self.end!r}")
        if self.decoder not in get_args(Decoder):
            decoders = ", ".join(get_args(Decoder))
            raise InputError(f"decoder must be one of {decoders}, got {self.decoder!r}")
        check_max_pixels(self.max_pixels)

    def in_words(self) -> str:
        """Say where the wanted part begins and ends."""
        start = "from the first on" if self.start is None else f"from {_in_words(self.start)} on"
        return start if self.end is None else f"{start} and before {_in_words(self.end)}"

    def is_before(self, index: int, pts_seconds: float) -> bool:
        """Tell whether a frame comes before the first wanted one."""
        if self.start is None:
            return False
        return (index if isinstance(self.start, int) else pts_seconds) < self.start

    def is_after(self, index: int, pts_seconds: float) -> bool:
        """Tell whether a frame and all that follow it are no longer wanted."""
        if self.end is None:
            return False
        return (index if isinstance(self.end, int) else pts_seconds) >= self.end

    def rate_hz(self, rate_hz: Fraction | None) -> Fraction | None:
        """Give the frame rate of what is delivered; None where it is unknown or next to nothing.

        Args:
            rate_hz: Frame rate of the source.
        """
        if rate_hz is None:
            return None
        # Files may declare any rate; FFmpeg's fractions have 32 bits.
        return (rate_hz / self.every).limit_denominator(_MAX_DENOMINATOR) or None

    def count(self, num_frames: int | None, frame_rate_hz: Fraction | None) -> int | None:
        """Estimate how many frames are wanted; None where it is unknown.

        Args:
            num_frames: Frames of the source.
            frame_rate_hz: Its average frame rate.
        """
        bounds = [0.0, math.inf if num_frames is None else float(num_frames)]
        for side, bound in enumerate((self.start, self.end)):
            if isinstance(bound, float) and frame_rate_hz is None:
                return None
            if isinstance(bound, float) and frame_rate_hz is not None:
                bound = math.ceil(bound * float(frame_rate_hz))
            if bound is not None:
                bounds[side] = min(max(bound, 0), bounds[1])
        first, last = bounds
        return None if math.isinf(last) else max(1, math.ceil((last - first) / self.every))


def _in_words(bound: int | float) -> str:
    return f"frame {bound}" if isinstance(bound, int) else f"{bound:g} s"


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame of a source that need not be converted if it is not wanted.

    Attributes:
        index: Position in the source.
        pts_seconds: Presentation time in seconds.
        load: Gives the (H, W, 3) uint8 RGB picture; valid until the next one is asked for.
        name: Name of the frame, or None for its index.
    """

    index: int
    pts_seconds: float
    load: Callable[[], NDArray[np.uint8]]
    name: str | None = None


def deliver(
    pictures: Iterator[Picture], selection: Selection, source: str
) -> Generator[Frame, None, None]:
    """Load the wanted pictures.

    Args:
        pictures: The source's pictures, in order of presentation.
        selection: What is wanted.
        source: How errors call the source.

    Yields:
        The wanted frames, all of one size, named by their picture or by their index: ``00000``.

    Raises:
        SourceError: there is no wanted frame.
        DamagedSourceError: a frame has another size than the first.
    """
    with closing(_wanted(pictures, selection, source)) as frames:
        yield from of_one_size(
            frames,
            lambda fault, frame: DamagedSourceError(
                f"{source}: {fault}", frame_index=frame.index, pts_seconds=frame.pts_seconds
            ),
        )


def _wanted(
    pictures: Iterator[Picture], selection: Selection, source: str
) -> Generator[Frame, None, None]:
    first_index = None
    seen = "there is none before that"
    for picture in pictures:
        if selection.is_after(picture.index, picture.pts_seconds):
            break
        seen = f"the last before that is frame {picture.index} at {picture.pts_seconds:.3f} s"
        if selection.is_before(picture.index, picture.pts_seconds):
            continue
        first_index = picture.index if first_index is None else first_index
        if (picture.index - first_index) % selection.every:
            continue
        name = picture.name or f"{picture.index:05d}"
        try:
            rgb = picture.load()
        except DamagedSourceError as error:
            raise DamagedSourceError(
                f"{error} (frame {picture.index} at {picture.pts_seconds:.3f} s)",
                frame_index=picture.index,
                pts_seconds=picture.pts_seconds,
            ) from error
        yield Frame(picture.index, picture.pts_seconds, name, rgb)
    if first_index is None:
        raise SourceError(f"{source} holds no frame {selection.in_words()}; {seen}")
