"""Which frames of a source are wanted, and their delivery."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import DamagedSourceError, InputError, SourceError
from vos.records import Frame

_MAX_DENOMINATOR: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Selection:
    """The wanted part of a source.

    Attributes:
        start: First wanted frame, by index (int) or by pts in seconds (float); None is the first.
        end: First frame no longer wanted, in the same terms; None is after the last.
        every: Of the frames between, every which one is wanted, beginning with the first.
    """

    start: int | float | None = None
    end: int | float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: a negative or non-finite bound, an empty range, or ``every`` below 1.
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

    def count(
        self, num_frames: int | None, frame_rate_hz: Fraction | None, start_seconds: float = 0
    ) -> int | None:
        """Estimate how many frames are wanted; None where it cannot be told.

        Args:
            num_frames: Frames of the source.
            frame_rate_hz: Its average frame rate.
            start_seconds: Pts of its first frame.
        """
        bounds = [0.0, math.inf if num_frames is None else float(num_frames)]
        for place, bound in enumerate((self.start, self.end)):
            if isinstance(bound, float) and frame_rate_hz is None:
                return None
            if isinstance(bound, float) and frame_rate_hz is not None:
                bound = math.ceil((bound - start_seconds) * float(frame_rate_hz))
            if bound is not None:
                bounds[place] = min(max(bound, 0), bounds[1])
        first, last = bounds
        return None if math.isinf(last) else max(1, math.ceil((last - first) / self.every))


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame of a source that need not be converted if it is not wanted.

    Attributes:
        index: Position in the source.
        pts_seconds: Presentation time in seconds.
        load: Gives the (H, W, 3) uint8 RGB picture; valid until the next one is asked for.
        name: Name of the frame, or None to number the delivered frames.
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
        The wanted frames, all of one size, named by their picture or ``00000`` onward.

    Raises:
        SourceError: there is no wanted frame.
        DamagedSourceError: a frame has another size than the first.
    """
    first_index = first_hw = None
    num_delivered = 0
    seen = "none at all"
    for picture in pictures:
        if selection.is_after(picture.index, picture.pts_seconds):
            break
        seen = f"the last is frame {picture.index} at {picture.pts_seconds:.3f} s"
        if selection.is_before(picture.index, picture.pts_seconds):
            continue
        first_index = picture.index if first_index is None else first_index
        if (picture.index - first_index) % selection.every:
            continue
        rgb = picture.load()
        first_hw = first_hw or rgb.shape[:2]
        if rgb.shape[:2] != first_hw:
            raise DamagedSourceError(
                f"{source}: frame {picture.index} is {rgb.shape[1]} x {rgb.shape[0]} pixels, the "
                f"first was {first_hw[1]} x {first_hw[0]}; all must be of one size"
            )
        name = picture.name or f"{num_delivered:05d}"
        num_delivered += 1
        yield Frame(picture.index, picture.pts_seconds, name, rgb)
    if not num_delivered:
        wanted = f"with start={selection.start!r} and end={selection.end!r}"
        raise SourceError(f"{source} holds no wanted frame, {wanted}; of those before end, {seen}")
