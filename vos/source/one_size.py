"""The one check that the frames of a video have one size."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from vos.errors import InputError, VosError
from vos.records import Frame


def of_one_size(
    frames: Iterable[Frame],
    error: Callable[[str, Frame], VosError] = lambda fault, frame: InputError(fault),
) -> Generator[Frame, None, None]:
    """Pass frames on until one has another size than the first.

    Args:
        frames: The frames.
        error: Makes the error from what it is to say and the frame.

    Raises:
        InputError: a frame has another size; or whatever ``error`` makes.
    """
    first_hw = None
    for frame in frames:
        first_hw = first_hw or frame.frame_hw
        if frame.frame_hw != first_hw:
            raise error(
                f"frame {frame.index} is {frame.frame_hw[1]} x {frame.frame_hw[0]} pixels, the "
                f"first was {first_hw[1]} x {first_hw[0]}; all must be of one size",
                frame,
            )
        yield frame
