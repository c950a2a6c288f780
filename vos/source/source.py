"""An open source of frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from types import TracebackType

from vos.records import Frame, SourceInfo


class Source(Iterator[Frame]):
    """Frames of one source, in order of presentation, read as they are asked for.

    Iterating raises DamagedSourceError where the source breaks off, after its good frames. Close
    it, or use it as a context manager.

    Attributes:
        info: What is known before the frames are read; the size is that of the first one.
    """

    info: SourceInfo

    def __init__(
        self,
        frames: Iterator[Frame],
        *,
        name: str,
        frame_rate_hz: Fraction | None,
        num_frames: int | None,
        sample_aspect_ratio: Fraction = Fraction(1),
        start_seconds: float = 0.0,
        resources: ExitStack,
    ) -> None:
        """Read the first frame.

        Args:
            frames: At least one frame, or an error.
            name: As in SourceInfo.
            frame_rate_hz: As in SourceInfo.
            num_frames: As in SourceInfo.
            sample_aspect_ratio: As in SourceInfo.
            start_seconds: As in SourceInfo.
            resources: What to close in the end, and now if the first frame is an error.
        """
        with resources:
            self._first: Frame | None = next(frames)
            self._frames = frames
            self.info = SourceInfo(
                name,
                self._first.frame_hw,
                frame_rate_hz,
                num_frames,
                sample_aspect_ratio,
                start_seconds,
            )
            self._resources = resources.pop_all()

    def __next__(self) -> Frame:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._frames)

    def close(self) -> None:
        """Release the file or connection; no further frame comes."""
        self._first = None
        self._resources.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
