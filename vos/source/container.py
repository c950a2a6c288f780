"""Opening videos, streams and cameras with FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vos.errors import SourceError
from vos.masks.image_files import MAX_PIXELS, size_fault
from vos.source import waiting
from vos.source.address import is_camera, is_url
from vos.source.headers import declared_num_bytes

_LIVE_SCHEMES: Final = ("rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
_NETWORK_PROTOCOLS: Final = "crypto,http,httpproxy,https,rtmp,rtmps,rtp,srt,srtp,tcp,tls,udp"
_END_DECLARING_FORMATS: Final = ("flv", "matroska")
_READ_SIZE: Final = 1 << 18
# Decoders count what they pad; a frame that passes them is measured again, without padding.
_DECODER_PIXELS: Final = 2
_PADDING_PX: Final = 1 << 22
_MAX_INT: Final = (1 << 31) - 1
# While it opens a file FFmpeg decodes some frames. With options for streams, PyAV before 18
# crashes on formats whose streams show up after the header.
_PROBES_WITH_OPTIONS: Final = int(av.__version__.split(".")[0]) >= 18


@dataclass(frozen=True, slots=True, eq=False)
class OpenVideo:
    """An open video.

    Attributes:
        address: Path or URL, as given.
        container: FFmpeg's demuxer.
        stream: The video stream to decode.
        is_live: Whether frames come when they are taken: nothing can be read twice, and damage
            passes.
        is_seekable: Whether any part can be read again.
        max_pixels: Most pixels that a frame may have.
        has_pts: Whether it says when frames are shown. AVI only says when they are decoded; one
            frame leaves the decoder whenever another enters it.
        pipe: Where its bytes come from, if that is a pipe.
        wanted_from_pts: Frames that are shown before this one are decoded only if others refer to
            them; None decodes all. For decoders that tell such frames from others without fail.
    """

    address: str
    container: InputContainer
    stream: VideoStream
    is_live: bool
    is_seekable: bool
    max_pixels: int
    has_pts: bool
    pipe: waiting.Pipe | None
    wanted_from_pts: int | None = None

    def packets(self) -> Iterator[Packet[Stream]]:
        """Read the packets of all streams; see :func:`vos.source.waiting.packets`."""
        packets = waiting.packets(self.container, self.pipe)
        return packets if self.wanted_from_pts is None else self._skipping(packets)

    def _skipping(self, packets: Iterator[Packet[Stream]]) -> Iterator[Packet[Stream]]:
        """Tell the decoder with each packet which frames it may skip."""
        for packet in packets:
            if packet.stream.index == self.stream.index:
                is_before = packet.pts is not None and packet.pts < (self.wanted_from_pts or 0)
                self.stream.codec_context.skip_frame = "NONREF" if is_before else "DEFAULT"
            yield packet

    @property
    def frame_rate_hz(self) -> Fraction | None:
        """Average frame rate, or FFmpeg's guess."""
        return self.stream.average_rate or self.stream.guessed_rate or None

    @property
    def start_seconds(self) -> float:
        """Pts of the first frame, or 0 where it is not declared."""
        return float((self.stream.start_time or 0) * (self.stream.time_base or 0))

    @property
    def declared_end_seconds(self) -> float | None:
        """Pts of the end, of all streams, in formats that say it and end silently if cut short."""
        if not self.container.format.name.startswith(_END_DECLARING_FORMATS) or self.is_live:
            return None
        return self.container.duration / av.time_base if self.container.duration else None

    @property
    def duration_seconds(self) -> float | None:
        """Time from the first frame to the end, where it is known."""
        if self.declared_end_seconds is not None:
            return self.declared_end_seconds - self.start_seconds
        if self.container.duration is None or self.is_live:
            return None
        return self.container.duration / av.time_base

    def num_missing_bytes(self) -> int:
        """Count the bytes that a file says it has and lacks; 0 where it does not say."""
        if not os.path.isfile(self.address):
            return 0
        declared = declared_num_bytes(self.address) or 0
        return max(0, declared - os.path.getsize(self.address))


def is_dropped(packet: Packet[Any]) -> bool:
    """Tell samples without bytes from the empty packets that end a stream; those have no time."""
    return packet.size == 0 and (packet.pts is not None or packet.dts is not None)


@contextmanager
def open_video_container(address: str, max_pixels: int = MAX_PIXELS) -> Iterator[OpenVideo]:
    """Open a video for decoding.

    A local file is handed to FFmpeg as an open file, and with every protocol forbidden: a playlist
    in disguise can open neither other files nor the network. A URL may use the network only.

    Args:
        address: Path of a file, a URL, or a camera such as ``/dev/video0``.
        max_pixels: Most pixels that a frame may have. More than that are refused where they are
            declared; decoders stop before they take memory for many more.

    Raises:
        SourceError: it cannot be opened, holds no video, or its frames are too large.
    """
    is_file = os.path.isfile(address)
    if is_file and os.path.getsize(address) == 0:
        raise SourceError(f"{address} is an empty file")
    with ExitStack() as stack:
        pipe = None
        try:
            if not (is_file or is_url(address) or is_camera(address) or os.name == "nt"):
                pipe = stack.enter_context(waiting.Pipe(address))
            container = _open_container(address, max_pixels, stack, pipe)
        except (av.InvalidDataError, av.EOFError) as error:
            if pipe is not None and pipe.has_stalled:
                raise SourceError(f"cannot open {address}: {waiting.no_data()}") from error
            message = (
                f"cannot open {address}: it is not a video, or its beginning or index is missing"
            )
            raise SourceError(f"{message} ({reason(error)})") from error
        except Exception as error:  # PyAV's are of many kinds
            if is_memory_full(error):
                raise
            raise SourceError(f"cannot open {address}: {reason(error)}") from error
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            raise SourceError(f"{address} holds no video")
        videos = container.streams.video
        if any(video.disposition & Disposition.dependent for video in videos):
            raise SourceError(
                f"{address} is a picture in tiles, as phones write HEIC and AVIF, which cannot be "
                "put together here; convert it to JPEG or PNG"
            )
        if stream.codec_context is None:
            raise SourceError(f"{address}: FFmpeg has no decoder for its video")
        context = stream.codec_context
        fault = size_fault(context.width, context.height, max_pixels)
        if fault is not None:
            raise SourceError(f"{address} is too large: {fault}")
        context.options = _decoder_limit(max_pixels)
        # Frame threads would delay errors, and PyAV drops those that come up while draining.
        stream.thread_type = "SLICE"
        yield OpenVideo(
            address,
            container,
            stream,
            is_live=is_camera(address) or urlsplit(address).scheme in _LIVE_SCHEMES,
            is_seekable=is_file,
            max_pixels=max_pixels,
            has_pts=container.format.name != "avi",
            pipe=pipe,
        )


def reason(error: Exception) -> str:
    """Say what FFmpeg or the system said, without the address."""
    if isinstance(error, av.ExitError):  # nothing but its timeout makes FFmpeg exit
        return waiting.no_data()
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def is_memory_full(error: Exception) -> bool:
    """Tell Python's lack of memory from FFmpeg's, which is mostly a number that a file claims."""
    return isinstance(error, MemoryError) and not isinstance(error, av.FFmpegError)


def _decoder_limit(max_pixels: int) -> dict[str, str]:
    return {"max_pixels": str(min(_DECODER_PIXELS * max_pixels + _PADDING_PX, _MAX_INT))}


def _open_container(
    address: str, max_pixels: int, stack: ExitStack, pipe: waiting.Pipe | None
) -> InputContainer:
    if is_camera(address):
        return stack.enter_context(
            av.open(
                address,
                "r",
                format="v4l2",
                container_options=dict(waiting.NOT_BLOCKING),
                timeout=waiting.STALL_SECONDS,
            )
        )
    if is_url(address):
        options = {"protocol_whitelist": _NETWORK_PROTOCOLS}
        if address.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # over UDP, pictures arrive with holes
        return stack.enter_context(
            av.open(
                address,
                "r",
                options=_decoder_limit(max_pixels) if _PROBES_WITH_OPTIONS else {},
                container_options=options,
                metadata_errors="replace",
                timeout=waiting.STALL_SECONDS,
            )
        )
    return stack.enter_context(
        av.open(
            pipe or stack.enter_context(Path(address).open("rb")),
            "r",
            options=_decoder_limit(max_pixels) if _PROBES_WITH_OPTIONS else {},
            container_options={"protocol_whitelist": "none"},
            metadata_errors="replace",
            buffer_size=_READ_SIZE,
        )
    )
