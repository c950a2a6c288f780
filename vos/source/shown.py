"""How decoded frames are shown: in which colours, cropped, and turned."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any, Final, cast

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vos.errors import DamagedSourceError, SourceError
from vos.masks.image_files import size_fault
from vos.source.container import OpenVideo, is_memory_full, reason
from vos.source.headers import Cropping, cropping_of

_log = logging.getLogger("vos")

# ISO/IEC 23091-2: numbers of matrices, primaries and transfer functions.
_BT709, _UNSPECIFIED, _BT2020 = 1, 2, 9
_PQ, _HLG = 16, 18
_HDR_NAMES: Final = {_PQ: "PQ", _HLG: "HLG"}
_MIN_HD_WIDTH_PX: Final = 1280
_MIN_HD_HEIGHT_PX: Final = 577  # PAL has 576
_WHITE_NITS: Final = 203.0  # ITU-R BT.2408: what is white paper in SDR
_HLG_PEAK_NITS: Final = 1000.0
_BT2020_TO_BT709: Final = np.array(  # ITU-R BT.2087, table 4
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_BT2020_LUMINANCE: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)
_NUM_LEVELS: Final = 1 << 14  # of linear light, on a scale of fourth roots
_MAX_ASPECT: Final = 20
_NUM_SIDE_DATA_TYPES: Final = 64  # more than FFmpeg has


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """How the frames of a video are shown.

    Attributes:
        matrix: (9,) int32, how they are to be turned, row by row, or None.
        cropping: What the container hides of them, before they are turned.
        transfer: Number of their transfer function.
        max_pixels: Most pixels that a frame may have.
    """

    matrix: NDArray[np.int32] | None
    cropping: Cropping
    transfer: int
    max_pixels: int

    @classmethod
    def of(cls, video: OpenVideo, frame: VideoFrame) -> Shown:
        """Read it from a video and its first frame."""
        return cls(
            _display_matrix(frame),
            cropping_of(video.stream),
            video.stream.codec_context.color_trc,
            video.max_pixels,
        )

    @property
    def is_turned(self) -> bool:
        """Whether what is stored as a row is shown as a column."""
        return self.matrix is not None and bool(abs(self.matrix[1]) > abs(self.matrix[0]))

    def warn(self, address: str) -> None:
        """Say so if colours are not shown as they are meant."""
        if self.transfer in _HDR_NAMES:
            _log.warning(
                "%s is HDR (%s); it is converted to BT.709, and what is brighter than %g nits is "
                "white",
                *(address, _HDR_NAMES[self.transfer], _WHITE_NITS),
            )

    def to_rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Convert a frame to (H, W, 3) uint8 RGB, cropped and turned by multiples of 90 degrees.

        Raises:
            DamagedSourceError: it has more pixels than are legal.
            SourceError: its format cannot be converted.
        """
        fault = size_fault(frame.width, frame.height, self.max_pixels)
        if fault is not None:
            raise DamagedSourceError(f"a frame is too large: {fault}")
        if frame.colorspace == _UNSPECIFIED:
            frame.colorspace = _guessed_matrix(frame, self.transfer)
        try:
            if self.transfer in _HDR_NAMES:
                signal = cast(NDArray[np.uint16], frame.to_ndarray(format="rgb48le"))
                rgb = _to_sdr(signal, self.transfer, _white_level(frame.format.name))
            else:
                rgb = cast(NDArray[np.uint8], frame.to_ndarray(format="rgb24"))
        except Exception as error:  # PyAV's are of many kinds
            if is_memory_full(error):
                raise
            fault = f"cannot convert {frame.format.name} to RGB: {reason(error)}"
            raise SourceError(fault) from error
        crop, (height, width) = self.cropping, rgb.shape[:2]
        cropped = rgb[crop.top : height - crop.bottom, crop.left : width - crop.right]
        rgb = cropped if cropped.size else rgb
        if self.matrix is None:
            return rgb
        # Row vectors: (x, y) is shown at (a x + c y, b x + d y) and an offset.
        a, b, _, c, d = self.matrix[:5]
        if self.is_turned:
            rgb = rgb.transpose(1, 0, 2)
            a, d = c, b
        return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def shown_aspect(stored: Fraction | None, *, is_turned: bool = False) -> Fraction:
    """Give width by height of a shown pixel, from that of a stored one."""
    if not stored or not 1 / _MAX_ASPECT <= stored <= _MAX_ASPECT:
        return Fraction(1)
    return 1 / stored if is_turned else stored


def _guessed_matrix(frame: VideoFrame, transfer: int) -> int:
    """Give the number of the matrix that players take where a video does not say."""
    if transfer in _HDR_NAMES:
        return _BT2020
    is_hd = frame.width >= _MIN_HD_WIDTH_PX or frame.height >= _MIN_HD_HEIGHT_PX
    return _BT709 if is_hd else _UNSPECIFIED  # that is BT.601


def _to_sdr(rgb: NDArray[np.uint16], transfer: int, white: int) -> NDArray[np.uint8]:
    """Convert HDR pictures with BT.2020 primaries to sRGB with BT.709 primaries.

    Args:
        rgb: (H, W, 3) uint16 signal.
        transfer: Number of its transfer function, PQ or HLG.
        white: Signal at its maximum.

    Returns:
        (H, W, 3) uint8. Diffuse white is white, what is brighter too, and colours that BT.709
        lacks are the nearest of it in each channel.
    """
    light = _linear_table(transfer, white)[rgb]
    if transfer == _HLG:  # ITU-R BT.2100, table 5: the system gamma of 1.2
        light *= np.power(light @ _BT2020_LUMINANCE, 0.2)[..., None]
        light *= np.float32(_HLG_PEAK_NITS / _WHITE_NITS)
    light = light.reshape(-1, 3) @ _BT2020_TO_BT709.T
    np.clip(light, 0, 1, out=light)
    np.sqrt(np.sqrt(light, out=light), out=light)
    levels = (light * (_NUM_LEVELS - 1) + 0.5).astype(np.uint16)
    return _srgb_table()[levels].reshape(rgb.shape)


@cache
def _white_level(pix_fmt: str) -> int:
    """Give what FFmpeg makes of white in a format: of 16 bits it fills all but the last few."""
    white = VideoFrame.from_ndarray(np.full((16, 16, 3), 255, np.uint8), format="rgb24")
    return int(white.reformat(format=pix_fmt).to_ndarray(format="rgb48le").max())


@cache
def _linear_table(transfer: int, white: int) -> NDArray[np.float32]:
    """Give the light of each signal of 16 bits: PQ as share of white, HLG as share of its peak."""
    signal = np.minimum(np.arange(1 << 16) / white, 1)
    if transfer == _PQ:  # SMPTE ST 2084
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = signal ** (1 / m2)
        light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return (light * 10_000 / _WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # ARIB STD-B67
    light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light.astype(np.float32)


@cache
def _srgb_table() -> NDArray[np.uint8]:
    """Give the sRGB value of each level of light."""
    light = np.linspace(0, 1, _NUM_LEVELS) ** 4
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * signal).astype(np.uint8)


def _display_matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    """Say how a frame is to be turned: (9,) int32, row by row, or None.

    To be asked of few frames: PyAV ties a frame whose side data was seen into a reference cycle, so
    that its memory and the threads that converted it stay until the garbage is collected.
    """
    try:
        side_data: Any = frame.side_data
    except ValueError:  # PyAV knows all kinds of side data or shows none
        known = _with_known_side_data(frame)
        side_data = {} if known is None else known.side_data
    matrix = side_data.get("DISPLAYMATRIX")
    return None if matrix is None else np.frombuffer(matrix, np.int32).copy()


def _with_known_side_data(frame: VideoFrame) -> VideoFrame | None:
    """Drop the side data that PyAV has no name for."""
    known = {cast(int, kind.value) for kind in Type}
    graph = av.filter.Graph()
    filters = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1, 1000),
        ),
        *(
            graph.add("sidedata", f"mode=delete:type={kind}")
            for kind in range(_NUM_SIDE_DATA_TYPES)
            if kind not in known
        ),
        graph.add("buffersink"),
    ]
    try:
        for one, other in pairwise(filters):
            one.link_to(other)
        graph.configure()
        graph.push(frame)
        pulled = graph.pull()
        pulled.side_data  # noqa: B018
    except (av.FFmpegError, ValueError):
        return None
    return cast(VideoFrame, pulled)
