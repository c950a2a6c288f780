"""Laying the pieces of a video end to end, without encoding them again, and sound beside them."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.filter import Graph

from vos.errors import InputError, OutputError
from vos.files import make_folder, whole_file
from vos.sink.video import BIT_EXACT, TIME_BASE, Encoding, packets_of, url_of

Sound = Callable[[float, float], AbstractContextManager[tuple[AudioStream, Iterator[Any]] | None]]
"""Opens the sound between two times of ``Frame.pts_seconds``: its stream and its packets, whose
times count from the first of the two; None if there is none."""

_FORMATS: Final = {".mkv": "matroska", ".mov": "mov", ".mp4": "mp4"}
# The index first, so that the video can be played while it is being loaded.
_INDEX_FIRST: Final = {"movflags": "+faststart"}
_TICKS_PER_SECOND: Final = int(1 / TIME_BASE)
# MP4 has 31 bits for the time from one frame to the next, six hours in ticks of TIME_BASE; FFmpeg
# does not use the largest number.
_MAX_GAP: Final = (1 << 31) - 2
_COARSER_RATES_HZ: Final = (_TICKS_PER_SECOND, 45_000, 30_000, 15_000, 9_000, 3_000, 1_000)
# What players know in MP4; FFmpeg would put more there.
_COPIED_CODECS: Final = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})
_AAC_RATE_HZ: Final = 48_000
_log = logging.getLogger("vos")


@dataclass(slots=True)
class Timeline:
    """When the frames of a video are shown, in ticks of ``TIME_BASE``.

    Attributes:
        first: The first frame's time; None before it is there.
        last: The last frame's.
        longest_gap: The longest time between two frames.
    """

    first: int | None = None
    last: int | None = None
    longest_gap: int = 0

    def add(self, tick: int) -> None:
        """Take notice of a frame."""
        if self.first is None or self.last is None:
            self.first = self.last = tick
        self.longest_gap = max(self.longest_gap, tick - self.last)
        self.last = tick

    @property
    def rate_hz(self) -> int:
        """How fine the times of an MP4 can be, which has few bits for long gaps."""
        for rate_hz in _COARSER_RATES_HZ:
            if self.longest_gap * rate_hz <= _MAX_GAP * _TICKS_PER_SECOND:
                break
        return rate_hz


def join_pieces(
    path: Path,
    pieces: Sequence[Path],
    timeline: Timeline,
    encoding: Encoding,
    sound: Sound | None = None,
) -> None:
    """Lay pieces of a video end to end.

    Sound is taken over as it is where MP4 players know its codec, else it is encoded as AAC. What
    can neither be taken over nor encoded is left out, and the log says so.

    Args:
        path: The video, ending in .mp4, .mkv or .mov; replaced if it exists. Its time starts at 0.
        pieces: Files that :class:`vos.sink.video.Piece` wrote, in their order; at least one.
        timeline: The times of all of their frames.
        encoding: How they are encoded.
        sound: Opens the sound of the video; None makes it silent.

    Raises:
        OutputError: a piece is damaged, or the disk refuses; no file is left.
    """
    make_folder(path.parent)
    ways = (None,) if sound is None else (_copied, _as_aac, None)
    fault: Exception | None = None
    for way in ways:
        try:
            _join(path, pieces, timeline, encoding, sound, way)
            break
        except OutputError as error:
            if way is None:
                raise
            fault = error
    if fault is not None and way is None:
        _log.warning("%s is silent, because its sound cannot be taken over: %s", path, fault)


_Way = Callable[[OutputContainer, AudioStream, Iterator[Any], float], Iterator[Any]]


def _join(
    path: Path,
    pieces: Sequence[Path],
    timeline: Timeline,
    encoding: Encoding,
    sound: Sound | None,
    way: _Way | None,
) -> None:
    name = _FORMATS[path.suffix.lower()]
    options = dict(BIT_EXACT)
    if name != "matroska":
        options |= {**_INDEX_FIRST, "video_track_timescale": str(timeline.rate_hz)}
    with ExitStack() as stack:
        unfinished = stack.enter_context(whole_file(path, av.FFmpegError, ValueError))
        opened = None
        if sound is not None and way is not None:
            start, end = timeline.first or 0, (timeline.last or 0) + encoding.period
            opened = stack.enter_context(sound(float(start * TIME_BASE), float(end * TIME_BASE)))
        container = stack.enter_context(
            av.open(url_of(unfinished), "w", format=name, options=options)
        )
        tracks = [_video_track(container, pieces, timeline, encoding)]
        if opened is not None and way is not None:
            stream, packets = opened
            first = next(packets, None)
            if first is not None:
                seconds = float((end - start) * TIME_BASE)
                tracks.append(way(container, stream, chain([first], packets), seconds))
        for packet in heapq.merge(*tracks, key=lambda packet: packet.dts * packet.time_base):
            container.mux_one(packet)


def _video_track(
    container: OutputContainer, pieces: Sequence[Path], timeline: Timeline, encoding: Encoding
) -> Iterator[Any]:
    """Move the pieces' packets to the start, and to times that the container can hold."""
    rate_hz = timeline.rate_hz
    time_base = Fraction(1, rate_hz)
    duration = max(1, round(encoding.period * rate_hz * TIME_BASE))
    stream = last = None
    cut = 0
    for packet in chain.from_iterable(map(packets_of, pieces)):
        if stream is None:
            stream = container.add_stream_from_template(packet.stream)
            stream.time_base = time_base
        pts = round((packet.pts - (timeline.first or 0)) * rate_hz * TIME_BASE) - cut
        if last is not None and pts - last > _MAX_GAP:
            cut += pts - last - _MAX_GAP
            pts = last + _MAX_GAP
            _log.warning("the overlay shows a gap of more than %d s shorter", _MAX_GAP // rate_hz)
        last = pts if last is None else max(pts, last + 1)
        packet.stream = stream
        packet.time_base = time_base  # the container may have set the stream's own by now
        packet.pts = packet.dts = last
        packet.duration = duration
        yield packet


def _copied(
    container: OutputContainer, stream: AudioStream, packets: Iterator[Any], seconds: float
) -> Iterator[Any]:
    """Take sound over as it is, where players know its codec."""
    if stream.codec_context.codec.canonical_name not in _COPIED_CODECS:
        yield from _as_aac(container, stream, packets, seconds)
        return
    copied = container.add_stream_from_template(stream)
    for packet in packets:
        packet.stream = copied
        yield packet


def _as_aac(
    container: OutputContainer, stream: AudioStream, packets: Iterator[Any], seconds: float
) -> Iterator[Any]:
    """Encode sound, in step with its times; what cannot be decoded is silence."""
    layout = "mono" if stream.codec_context.channels == 1 else "stereo"
    target = container.add_stream("aac", rate=_AAC_RATE_HZ, layout=layout)
    graph = None
    for packet in packets:
        frames: list[AudioFrame] = []
        with suppress(av.FFmpegError):
            frames = packet.decode()
        for frame in frames:
            graph = graph or _resampling(frame, layout, seconds)
            graph.push(frame)
            for resampled in _pulled(graph):
                yield from target.encode(resampled)
    if graph is None:
        raise OutputError("nothing of it can be decoded")
    graph.push(None)
    for resampled in _pulled(graph):
        yield from target.encode(resampled)
    yield from target.encode(None)


def _resampling(frame: AudioFrame, layout: str, seconds: float) -> Graph:
    """Make sound begin at 0 and end after some seconds, with silence where there is none."""
    graph = Graph()
    nodes = [
        graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base,
        ),
        graph.add("aresample", f"{_AAC_RATE_HZ}:async=1:first_pts=0"),
        graph.add("aformat", f"sample_fmts=fltp:channel_layouts={layout}"),
        graph.add("atrim", f"end={seconds:.6f}"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[AudioFrame]:
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            frame = graph.pull()
            assert isinstance(frame, AudioFrame)
            yield frame


def check_ending(path: Path) -> None:
    """Check the ending of a video's name.

    Raises:
        InputError: it is another one than .mp4, .mkv or .mov.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"a video must end in {', '.join(_FORMATS)}, got {path.name!r}")
