"""Line plots as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 480, 160
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 10, 8, 22
_MAX_DOTS = 24  # points up to this number are marked each


def plot_scores(
    frame_names: Sequence[str],
    j: NDArray[np.float64],
    f: NDArray[np.float64],
    marked: Sequence[int],
) -> str:
    """Draw J and F over time.

    Time runs by the numbers that the frames' names are, so that sparse annotation shows its gaps;
    by position where they are no numbers.

    Args:
        frame_names: Names of the T frames.
        j: (T,) float64 in [0, 1].
        f: (T,) float64 in [0, 1].
        marked: Positions of frames to mark on the time axis.

    Returns:
        An ``<svg>`` element; its classes are the report's.
    """
    times = _times(frame_names)
    span = max(times[-1] - times[0], 1)
    x = _LEFT + (times - times[0]) / span * (_WIDTH - _LEFT - _RIGHT)
    if len(times) == 1:
        x += (_WIDTH - _LEFT - _RIGHT) / 2
    floor = _HEIGHT - _BOTTOM
    parts = []
    for level in (0, 0.5, 1):
        at = floor - level * (floor - _TOP)
        parts.append(f'<path class="grid" d="M{_LEFT} {at}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 3.5}" text-anchor="end">{level:g}</text>')
    for position in marked:
        parts.append(f'<path class="mark" d="M{x[position]:.1f} {_TOP}V{floor}"/>')
    for name, values in (("f", f), ("j", j)):
        y = floor - values * (floor - _TOP)
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(x, y, strict=True))
        parts.append(f'<polyline class="{name}" points="{points}"/>')
        if len(x) <= _MAX_DOTS:
            parts += [
                f'<circle class="{name}" cx="{px:.1f}" cy="{py:.1f}" r="2.5"/>'
                for px, py in zip(x, y, strict=True)
            ]
    ends = {0: "start", len(x) - 1: "end"} if len(x) > 1 else {0: "middle"}
    parts += [
        f'<text x="{x[position]:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">'
        f"{escape(frame_names[position])}</text>"
        for position, anchor in ends.items()
    ]
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="J and F over time">{"".join(parts)}</svg>'
    )


def _times(frame_names: Sequence[str]) -> NDArray[np.float64]:
    if all(name.isdecimal() for name in frame_names):
        times = np.array([float(name) for name in frame_names])
        if np.all(np.diff(times) > 0):
            return times
    return np.arange(len(frame_names), dtype=np.float64)
