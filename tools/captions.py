"""Lines of text in pictures of the documentation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

INK = (40, 40, 40)


def write(
    picture: NDArray[np.uint8],
    text: str,
    left_bottom: tuple[int, int],
    colour: tuple[int, int, int] = INK,
) -> None:
    """Write a line of text into an (H, W, 3) picture."""
    cv2.putText(picture, text, left_bottom, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
