"""The colours in which objects are shown to people. Label maps have DAVIS' palette instead."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's, which people tell apart whatever their colour vision (Wong 2011, Points of view:
# Color blindness, Nature Methods 8, 441): those that stand out most come first.
_OKABE_ITO: Final = (
    *((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167)),
    *((240, 228, 66), (0, 114, 178), (213, 94, 0)),
)
_MIXED_WITH: Final = ((0, 0.0), (255, 0.5), (0, 0.4), (128, 0.5), (255, 0.75), (0, 0.65))


def _object_colours() -> NDArray[np.uint8]:
    """Give colours by id: (256, 3) uint8 RGB; after the first seven they are lighter or darker."""
    base = np.array(_OKABE_ITO, np.float64)
    rounds = [base * (1 - share) + grey * share for grey, share in _MIXED_WITH]
    colours = np.resize(np.concatenate(rounds), (256, 3))
    return np.roll(colours, 1, axis=0).round().astype(np.uint8)


OBJECT_COLOURS: Final = _object_colours()
OBJECT_COLOURS.flags.writeable = False
