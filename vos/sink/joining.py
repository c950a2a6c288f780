"""Laying the pieces of a video end to end, without encoding them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av

from vos.errors import InputError
from vos.files import make_folder, whole_file
from vos.sink.video import BIT_EXACT, Encoding, packets_of, url_of

_FORMATS: Final = {".mkv": "matroska", ".mov": "mov", ".mp4": "mp4"}
# The index first, so that the video can be played while it is being loaded.
_INDEX_FIRST: Final = {"movflags": "+faststart"}


@dataclass(slots=True)
class Timeline:
    """When the frames of a video are shown, in ticks of ``TIME_BASE``.

    Attributes:
        first: The first frame's time; None before it is there.
        last: The last frame's.
    """

    first: int | None = None
    last: int | None = None

    def add(self, tick: int) -> None:
        """Take notice of a frame."""
        self.first = tick if self.first is None else self.first
        self.last = tick


def join_pieces(path: Path, pieces: Sequence[Path], timeline: Timeline, encoding: Encoding) -> None:
    """Lay pieces of a video end to end.

    Args:
        path: The video, ending in .mp4, .mkv or .mov; replaced if it exists. Its time starts at 0.
        pieces: Files that :class:`vos.sink.video.Piece` wrote, in their order; at least one.
        timeline: The times of all of their frames.
        encoding: How they are encoded.

    Raises:
        OutputError: a piece is damaged, or the disk refuses; no file is left.
    """
    name = _FORMATS[path.suffix.lower()]
    options = BIT_EXACT | ({} if name == "matroska" else _INDEX_FIRST)
    make_folder(path.parent)
    with (
        whole_file(path, av.FFmpegError) as unfinished,
        av.open(url_of(unfinished), "w", format=name, options=options) as container,
    ):
        stream = None
        for piece in pieces:
            for packet in packets_of(piece):
                stream = stream or container.add_stream_from_template(packet.stream)
                packet.stream = stream
                packet.pts = packet.dts = packet.pts - (timeline.first or 0)
                packet.duration = encoding.period
                container.mux_one(packet)


def check_ending(path: Path) -> None:
    """Check the ending of a video's name.

    Raises:
        InputError: it is another one than .mp4, .mkv or .mov.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"a video must end in {', '.join(_FORMATS)}, got {path.name!r}")
