"""Small videos for tests, each frame unlike the others."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vos.records import Frame
from vos.source import open_source

HW = (48, 64)


def make_rgb(index: int, hw: tuple[int, int] = HW) -> np.ndarray:
    """A picture unlike those before and after it, and unlike itself turned or mirrored."""
    y, x = np.mgrid[: hw[0], : hw[1]]
    rgb = np.stack([x * 2 + index % 50, 20 + y * 3, x + y + index % 80], axis=-1) % 200
    left = 3 + index % 30
    rgb[4:14, left : left + 10] = 255
    return rgb.astype(np.uint8)


def write_clip(
    path: Path,
    num_frames: int = 12,
    *,
    hw: tuple[int, int] = HW,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    gop: int = 10,
    num_b_frames: int = 0,
) -> Path:
    with av.open(str(path), "w", options=container_options or {}) as container:
        options = {"sc_threshold": "0"} if options is None and codec == "libx264" else options
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *hw, pix_fmt
        stream.gop_size = gop
        stream.codec_context.max_b_frames = num_b_frames
        stream.codec_context.time_base = time_base
        for index in range(num_frames):
            picture = av.VideoFrame.from_ndarray(make_rgb(index, hw), format="rgb24")
            picture.pts = index if pts is None else pts[index]
            picture.time_base = time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def noisy(num_frames: int) -> dict[str, object]:
    """Options of a clip whose packets are large enough to be damaged."""
    return {
        "num_frames": num_frames,
        "options": {"qp": "10", "sc_threshold": "0"},
        "num_b_frames": 2,
    }


def read(path: Path | str, **options) -> list[Frame]:
    with open_source(path, **options) as source:
        return list(source)


def places(frames: list[Frame]) -> list[tuple[int, float]]:
    return [(frame.index, round(frame.pts_seconds, 6)) for frame in frames]


def are_equal(frames: list[Frame], others: list[Frame]) -> bool:
    return places(frames) == places(others) and all(
        (frame.rgb == other.rgb).all() for frame, other in zip(frames, others, strict=True)
    )


def is_alike(rgb: np.ndarray, want: np.ndarray, largest_mean_error: float = 8) -> bool:
    return rgb.shape == want.shape and np.abs(rgb.astype(int) - want).mean() < largest_mean_error
