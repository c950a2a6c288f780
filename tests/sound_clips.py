"""Small videos with sound: silence, then a tone."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from clips import HW, make_rgb

RATE_HZ = 48_000
FPS = 10
NUM_FRAMES = 20
ONSET_SECONDS = 1.0


def write_sound_clip(
    path: Path,
    *,
    audio: str = "aac",
    video: str = "libx264",
    num_frames: int = NUM_FRAMES,
    start_seconds: float = 0.0,
) -> Path:
    """Write frames of 1/10 s, and as much sound, in which a tone begins at the frame of 1 s.

    Args:
        path: The file.
        audio: Codec of the sound.
        video: Codec of the frames.
        num_frames: How many there are.
        start_seconds: When the first frame is shown.
    """
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(video, rate=FPS)
        pictures.height, pictures.width, pictures.pix_fmt = *HW, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, FPS)
        sound = container.add_stream(audio, rate=RATE_HZ, layout="mono")
        shift = round(start_seconds * FPS)
        for index in range(num_frames):
            picture = av.VideoFrame.from_ndarray(make_rgb(index), format="rgb24")
            picture.pts, picture.time_base = index + shift, Fraction(1, FPS)
            container.mux(pictures.encode(picture))
            at = np.arange(index * RATE_HZ // FPS, (index + 1) * RATE_HZ // FPS)
            tone = np.sin(at * 440 * 2 * np.pi / RATE_HZ) * (at >= ONSET_SECONDS * RATE_HZ) / 2
            samples = av.AudioFrame.from_ndarray(
                (tone * 32767).astype(np.int16)[None], format="s16", layout="mono"
            )
            samples.sample_rate = RATE_HZ
            samples.pts = int(at[0]) + shift * RATE_HZ // FPS
            samples.time_base = Fraction(1, RATE_HZ)
            container.mux(sound.encode(samples))
        container.mux(pictures.encode(None))
        container.mux(sound.encode(None))
    return path


def heard(path: Path) -> tuple[str, float, float]:
    """Decode the sound of a video: its codec, and when the tone begins and the sound ends.

    Times are in seconds from the first frame.
    """
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        origin = float(first.pts * first.time_base)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        onset = end = -origin
        for frame in container.decode(stream):
            begin = float(frame.pts * frame.time_base) - origin
            end = begin + frame.samples / frame.sample_rate
            loud = np.flatnonzero(np.abs(frame.to_ndarray()[0].astype(float)) > 0.1)
            if onset == -origin and loud.size:
                onset = begin + loud[0] / frame.sample_rate
        return stream.codec_context.codec.canonical_name, onset, end
